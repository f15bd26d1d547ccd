//! What is installed beside the binary (completions, manual pages, units, licences), and the tarball of all of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{build::Build, folder};
use crate::{
    Result,
    tool::{at, output, root, run, write},
};

/// The units for systemd, in the sources.
pub(super) const UNITS: &str = "xtask/dist/systemd";

/// A folder with the files beside the binary.
#[derive(Debug)]
pub(super) struct Tree(pub(super) PathBuf);

/// Makes the files beside the binary, with the binary that runs on this machine.
pub(super) fn tree(build: &Build, time: &str) -> Result<Tree> {
    let tree = folder().join("work/tree");
    for below in ["completions", "man", "systemd"] {
        at(&tree, fs::create_dir_all(tree.join(below)))?;
    }
    let print = |words: &[&str]| output(Command::new(&build.binary).args(words).env("SOURCE_DATE_EPOCH", time));
    for (shell, name) in [("bash", "vitalsign.bash"), ("zsh", "_vitalsign"), ("fish", "vitalsign.fish")] {
        write(&tree.join("completions").join(name), &print(&["completions", shell])?)?;
    }
    write(&tree.join("man/vitalsign.1"), &print(&["man"])?)?;
    pages(&print, &tree.join("man"), &[])?;
    let units = root().join(UNITS);
    for entry in at(&units, fs::read_dir(&units))? {
        let entry = at(&units, entry)?;
        at(&units, fs::copy(entry.path(), tree.join("systemd").join(entry.file_name())))?;
    }
    for name in ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "CHANGELOG.md"] {
        at(&tree, fs::copy(root().join(name), tree.join(name)))?;
    }
    Ok(Tree(tree))
}

/// Writes a manual page for every command below `above`.
fn pages(print: &dyn Fn(&[&str]) -> Result<String>, folder: &Path, above: &[&str]) -> Result<()> {
    let help = print(&[above, &["--help"]].concat())?;
    let below = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap_or_default());
    for line in below.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let Some(name) = line.split_whitespace().next().filter(|name| *name != "help") else { continue };
        let words = [above, &[name]].concat();
        let page = print(&[&["man"], words.as_slice()].concat())?;
        write(&folder.join(format!("vitalsign-{}.1", words.join("-"))), &page)?;
        pages(print, folder, &words)?;
    }
    Ok(())
}

/// Packs the binary and the files beside it.
pub(super) fn tarball(build: &Build, tree: &Tree, out: &Path, time: &str) -> Result<()> {
    let name = format!("vitalsign-{}-{}", build.version, build.architecture.triple());
    let packed = out.join("work").join(&name);
    copy(&tree.0, &packed)?;
    at(&packed, fs::copy(&build.binary, packed.join("vitalsign")))?;
    tar(&out.join("work"), &[&name], &out.join(format!("{name}.tar.gz")), time)
}

/// A `.tar.gz` of entries in a folder, which is the same each time.
pub(super) fn tar(folder: &Path, entries: &[&str], archive: &Path, time: &str) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--use-compress-program=gzip -9n"]);
    tar.arg(format!("--mtime=@{time}")).arg("-C").arg(folder).arg("-cf").arg(archive).args(entries);
    run(&mut tar)
}

/// Copies a folder with everything in it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    at(to, fs::create_dir_all(to))?;
    run(Command::new("cp").arg("-a").arg(from.join(".")).arg(to))
}
