//! The container image, as a folder in the OCI image layout: the static binary, the example plugins, and their compiled code.
//!
//! The format is the OCI image specification 1.1. Any tool reads it: `skopeo copy oci-archive:FILE docker://…`,
//! `podman load --input target/dist/vitalsign-…-oci-amd64.tar`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::build::Build;
use crate::{
    Result,
    demo::CONFIGURATION,
    guests,
    tool::{at, output, run, say, write},
};

/// The user of the image, who is nobody else on the host. The database has to be readable for this user.
const USER: u32 = 65532;

/// Where the plugins and their compiled code are in the image.
const PLUGINS: &str = "usr/share/vitalsign/plugins";
const CACHE: &str = "var/cache/vitalsign";

/// Writes the image layout, as one file that `podman load` and `docker load` read.
pub(super) fn layout(build: &Build, out: &Path, time: &str) -> Result<()> {
    let root = out.join("work/image-root");
    fill(build, &root)?;
    let image = out.join("work/image");
    let blobs = image.join("blobs/sha256");
    at(&blobs, fs::create_dir_all(&blobs))?;

    let (layer, plain) = layer(&root, out, time)?;
    let created = output(Command::new("date").args(["-u", "-d", &format!("@{time}"), "+%Y-%m-%dT%H:%M:%SZ"]))?;
    let config = json!({
        "architecture": build.architecture.debian(),
        "os": "linux",
        "created": created.trim(),
        "config": {
            "User": USER.to_string(),
            "Entrypoint": ["/usr/bin/vitalsign"],
            "Cmd": ["serve", "--listen", "0.0.0.0:8080"],
            "WorkingDir": "/data",
            "Env": [format!("VITALSIGN_CACHE_DIR=/{CACHE}"), "PATH=/usr/bin".to_owned()],
            "ExposedPorts": { "8080/tcp": {} },
            "Volumes": { "/data": {} },
        },
        "rootfs": { "type": "layers", "diff_ids": [plain] },
        "history": [{ "created": created.trim(), "created_by": "cargo xtask dist" }],
    });
    let layer = blob(&blobs, &layer, "application/vnd.oci.image.layer.v1.tar+gzip")?;
    let config = text(&blobs, &config, "application/vnd.oci.image.config.v1+json")?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest = text(&blobs, &manifest, "application/vnd.oci.image.manifest.v1+json")?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": build.version });
    let index =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest] });
    write(&image.join("index.json"), &index.to_string())?;
    write(&image.join("oci-layout"), &json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    let name = format!("vitalsign-{}-oci-{}.tar", build.version, build.architecture.debian());
    let mut command = Command::new("tar");
    command.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", &format!("--mtime=@{time}")]);
    run(command.arg("-C").arg(&image).arg("-cf").arg(out.join(name)).arg("."))
}

/// Fills the root of the image.
fn fill(build: &Build, root: &Path) -> Result<()> {
    // `var/cache` is made here, open to be passed through; the product makes only the last folder, for its user alone.
    for folder in ["usr/bin", PLUGINS, "tmp", "data", "var/cache"] {
        at(root, fs::create_dir_all(root.join(folder)))?;
    }
    at(root, fs::copy(&build.binary, root.join("usr/bin/vitalsign")))?;
    guests::build_plugins()?;
    let work = root.with_extension("work");
    for name in guests::PLUGINS {
        let file = format!("{}.wasm", name.replace('-', "_"));
        for to in [root.join(PLUGINS).join(&file), work.join("plugins").join(&file)] {
            at(&to, fs::create_dir_all(to.parent().unwrap_or(root)))?;
            at(&to, fs::copy(guests::folder().join(&file), &to))?;
        }
    }
    say("compiling the plugins into the cache of the image");
    write(&work.join("registry.config.json"), CONFIGURATION)?;
    let mut demo = Command::new(&build.binary);
    output(demo.args(["demo", "--records", "10", "--dir"]).arg(&work))?;
    let mut check = Command::new(&build.binary);
    // What the checks find is of no interest. To run them, their plugins are compiled.
    check.arg("check").arg("--only").args(guests::PLUGINS).arg("--root").arg(&work);
    let ran = check.env("VITALSIGN_CACHE_DIR", root.join(CACHE)).env_remove("VITALSIGN_CONFIG").output();
    let ran = ran.map_err(|error| format!("{} could not be started: {error}", build.binary.display()))?;
    let said = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let compiled = at(&root.join(CACHE), fs::read_dir(root.join(CACHE)))
        .map_err(|error| format!("{error}\n{said}"))?
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "code"));
    if compiled.count() < guests::PLUGINS.len() {
        return Err(format!("the plugins were not compiled into the cache of the image:\n{said}"));
    }
    Ok(())
}

/// The one layer: its `.tar.gz`, and the digest of what is in it. The user of the image owns only what it has to write, and
/// so cannot replace the binary.
fn layer(root: &Path, out: &Path, time: &str) -> Result<(PathBuf, String)> {
    let plain = out.join("work/layer.tar");
    let pack = |mode: &str, owner: u32, entries: &[&str]| {
        let mut command = Command::new("tar");
        command.args(["--sort=name", "--numeric-owner", &format!("--owner={owner}"), &format!("--group={owner}")]);
        run(command.arg(format!("--mtime=@{time}")).arg("-C").arg(root).arg(mode).arg(&plain).args(entries))
    };
    let cache = format!("./{CACHE}");
    pack("-cf", 0, &[&format!("--exclude={cache}"), "./usr", "./var"])?;
    pack("-rf", USER, &[&cache, "./tmp", "./data"])?;
    let digest = digest(&plain)?;
    run(Command::new("gzip").args(["-9nf"]).arg(&plain))?;
    Ok((plain.with_extension("tar.gz"), digest))
}

/// The digest of a file, as OCI writes it.
fn digest(file: &Path) -> Result<String> {
    let said = output(Command::new("sha256sum").arg(file))?;
    Ok(format!("sha256:{}", said.split_whitespace().next().unwrap_or_default()))
}

/// Moves a file to the blobs; its descriptor.
fn blob(blobs: &Path, file: &Path, kind: &str) -> Result<Value> {
    let digest = digest(file)?;
    let size = at(file, fs::metadata(file))?.len();
    at(file, fs::rename(file, blobs.join(digest.trim_start_matches("sha256:"))))?;
    Ok(json!({ "mediaType": kind, "digest": digest, "size": size }))
}

/// Writes a value to the blobs; its descriptor.
fn text(blobs: &Path, value: &Value, kind: &str) -> Result<Value> {
    let file = blobs.join("new");
    write(&file, &value.to_string())?;
    blob(blobs, &file, kind)
}
