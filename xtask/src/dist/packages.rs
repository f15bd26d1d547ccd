//! The packages for Debian and for distributions with RPM, by `dpkg-deb` and `rpmbuild`.

use std::{fs, path::Path, process::Command};

use super::{
    build::Build,
    files::{Tree, copy},
};
use crate::{
    Result,
    tool::{at, output, run, write},
};

const SUMMARY: &str = "Checks, backs up and restores a live SQLite database";

/// Where Debian's zsh looks for completions, and where the one of the distributions with RPM does.
const DEBIAN_ZSH: &str = "usr/share/zsh/vendor-completions/_vitalsign";
const RPM_ZSH: &str = "usr/share/zsh/site-functions/_vitalsign";

/// Lays the files out as a system has them, below `root`.
fn install(build: &Build, tree: &Tree, root: &Path, zsh: &str) -> Result<()> {
    let bin = root.join("usr/bin");
    at(&bin, fs::create_dir_all(&bin))?;
    at(&bin, fs::copy(&build.binary, bin.join("vitalsign")))?;
    copy(&tree.0.join("man"), &root.join("usr/share/man/man1"))?;
    copy(&tree.0.join("systemd"), &root.join("usr/lib/systemd/system"))?;
    for (from, to) in [
        ("vitalsign.bash", "usr/share/bash-completion/completions/vitalsign"),
        ("_vitalsign", zsh),
        ("vitalsign.fish", "usr/share/fish/vendor_completions.d/vitalsign.fish"),
    ] {
        let to = root.join(to);
        at(&to, fs::create_dir_all(to.parent().unwrap_or(root)))?;
        at(&to, fs::copy(tree.0.join("completions").join(from), &to))?;
    }
    let doc = root.join("usr/share/doc/vitalsign");
    at(&doc, fs::create_dir_all(&doc))?;
    at(&doc, fs::copy(tree.0.join("LICENSE-MIT"), doc.join("copyright")))?;
    at(&doc, fs::copy(tree.0.join("LICENSE-APACHE"), doc.join("LICENSE-APACHE")))?;
    Ok(())
}

/// The user that the units run as. It is made at the first installation, and is left when the package goes: files are its own.
const USER: &str = "\
if ! getent passwd vitalsign >/dev/null; then
    useradd --system --no-create-home --home-dir /var/lib/vitalsign --shell /usr/sbin/nologin vitalsign
fi
";

pub(super) fn deb(build: &Build, tree: &Tree, out: &Path, time: &str) -> Result<()> {
    let architecture = build.architecture.debian();
    let root = out.join("work").join(format!("deb-{architecture}"));
    install(build, tree, &root, DEBIAN_ZSH)?;
    let control = format!(
        "Package: vitalsign\nVersion: {}\nArchitecture: {architecture}\nMaintainer: The Vitalsign developers <vitalsign@localhost>\n\
         Section: database\nPriority: optional\nDepends: passwd\nDescription: {SUMMARY}\n One binary with built-in checks, proven backups, atomic restores and checks of your own.\n",
        build.version
    );
    write(&root.join("DEBIAN/control"), &control)?;
    let script = root.join("DEBIAN/postinst");
    write(&script, &format!("#!/bin/sh\nset -e\n{USER}"))?;
    at(&script, fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)))?;
    let package = out.join(format!("vitalsign_{}_{architecture}.deb", build.version));
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", "--build"]).arg(&root).arg(package).env("SOURCE_DATE_EPOCH", time);
    run(&mut command).map_err(|error| format!("{error}. `dpkg-deb` is in the package `dpkg`"))
}

/// The lines in order, so that the package is the same each time.
fn sorted(files: &str) -> String {
    let mut lines: Vec<&str> = files.lines().collect();
    lines.sort_unstable();
    let mut list = lines.join("\n");
    list.push('\n');
    list
}

pub(super) fn rpm(build: &Build, tree: &Tree, out: &Path, time: &str) -> Result<()> {
    let architecture = build.architecture.rpm();
    let work = out.join("work").join(format!("rpm-{architecture}"));
    let root = work.join("root");
    install(build, tree, &root, RPM_ZSH)?;
    // Files only: a package that owns `/usr/bin` itself conflicts with the package of the distribution that owns it.
    let files = output(Command::new("find").arg(&root).args(["-type", "f", "-printf", "/%P\n"]))?;
    let files = sorted(&files);
    let spec = format!(
        "Name: vitalsign\nVersion: {version}\nRelease: 1\nSummary: {SUMMARY}\nLicense: MIT OR Apache-2.0\nAutoReqProv: no\nRequires(post): /usr/sbin/useradd\n\
         %description\nOne binary with built-in checks, proven backups, atomic restores and checks of your own.\n\
         %install\nmkdir -p %{{buildroot}}\ncp -a {root}/. %{{buildroot}}/\n%files\n{files}%post\n{USER}",
        version = build.version,
        root = root.display(),
    );
    let file = work.join("vitalsign.spec");
    write(&file, &spec)?;
    let mut command = Command::new("rpmbuild");
    command.args(["-bb", "--quiet", "--target", architecture]);
    for (name, value) in [
        ("_topdir", work.join("build").display().to_string()),
        ("_rpmdir", out.display().to_string()),
        ("_rpmfilename", format!("vitalsign-{}-1.{architecture}.rpm", build.version)),
        ("_build_id_links", "none".to_owned()),
        ("__os_install_post", "%{nil}".to_owned()),
        ("use_source_date_epoch_as_buildtime", "1".to_owned()),
        ("clamp_mtime_to_source_date_epoch", "1".to_owned()),
        ("_buildhost", "vitalsign".to_owned()),
    ] {
        command.arg("--define").arg(format!("{name} {value}"));
    }
    run(command.arg(&file).env("SOURCE_DATE_EPOCH", time))
        .map_err(|error| format!("{error}. `rpmbuild` is in the package `rpm`: `apt-get install rpm`"))
}
