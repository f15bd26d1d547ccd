//! The static binaries: `cargo zigbuild`, whose C compiler and C library come from one Python package for every processor.
//!
//! Knows nothing of what they are packed into.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Result,
    tool::{cargo, output, root, run, say, target},
};

/// The programs that link, in these versions.
const TOOLS: [&str; 2] = ["ziglang==0.17.1", "cargo-zigbuild==0.24.1"];

/// A processor that is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    X86,
    Arm,
}

impl Architecture {
    /// The target, as Rust names it.
    pub(super) fn triple(self) -> &'static str {
        match self {
            Self::X86 => "x86_64-unknown-linux-musl",
            Self::Arm => "aarch64-unknown-linux-musl",
        }
    }

    /// As Debian and OCI images name it.
    pub(super) fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// As RPM names it.
    pub(super) fn rpm(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }
}

/// A binary that was built.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) architecture: Architecture,
    pub(super) binary: PathBuf,
    pub(super) version: String,
}

impl Build {
    /// Builds the static binary for this processor.
    pub(super) fn make(architecture: Architecture) -> Result<Self> {
        let tools = tools()?;
        let triple = architecture.triple();
        say(&format!("building {triple}; this takes about 10 minutes on two cores the first time"));
        run(Command::new("rustup").args(["target", "add", triple]).current_dir(root()))?;
        let mut build = cargo(&["zigbuild", "--locked", "--profile", "published", "--package", "vitalsign"]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path)));
        let path = path.map_err(|error| format!("PATH: {error}"))?;
        run(build.args(["--target", triple]).env("PATH", path))?;
        let binary = target().join(triple).join("published/vitalsign");
        Ok(Self { architecture, binary, version: version()? })
    }
}

/// The version of the product.
fn version() -> Result<String> {
    let said = output(&mut cargo(&["pkgid", "--package", "vitalsign"]))?;
    let version = said.trim().rsplit(['#', '@']).next();
    version.map(str::to_owned).ok_or_else(|| format!("`cargo pkgid` gave no version: {said}"))
}

/// The folder of the programs that link; they are installed there at the first use, and nowhere else.
fn tools() -> Result<PathBuf> {
    let folder = target().join("dist-tools");
    let ready = folder.join("ready");
    let wanted = TOOLS.join("\n");
    if std::fs::read_to_string(&ready).is_ok_and(|found| found == wanted) {
        return Ok(folder.join("bin"));
    }
    say(&format!("installing {} into {}", TOOLS.join(" and "), folder.display()));
    python(&["-m", "venv", "--clear"], &folder)?;
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check"]).args(TOOLS))?;
    crate::tool::write(&ready, &wanted)?;
    Ok(folder.join("bin"))
}

fn python(words: &[&str], folder: &Path) -> Result<()> {
    run(Command::new("python3").args(words).arg(folder))
        .map_err(|error| format!("{error}. Install Python with venv: `apt-get install python3-venv`"))
}
