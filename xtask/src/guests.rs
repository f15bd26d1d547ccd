//! Building the WebAssembly components: the example plugins and the guests of the tests.

use std::{path::PathBuf, process::Command};

use crate::{
    Result,
    tool::{cargo, output, run, say, target},
};

const TARGET: &str = "wasm32-wasip2";

/// The packages of the example plugins.
pub(crate) const PLUGINS: &[&str] = &["provenance-chain", "sql-assert", "growth"];

/// The package of the tests' misbehaving guest.
const HOSTILE: &str = "hostile";

/// The package whose examples are guests that fail when they are asked to describe themselves.
const BAD_DESCRIBE: &str = "bad-describe";

/// Where the components stand, named as their package with `_` for `-`; those that are examples in `examples` below it.
pub(crate) fn folder() -> PathBuf {
    target().join(TARGET).join("guest")
}

/// Builds the example plugins.
pub(crate) fn build_plugins() -> Result<()> {
    build(&["--lib"], PLUGINS)
}

/// Builds the example plugins and the tests' guests.
pub(crate) fn build_all() -> Result<()> {
    build(&["--lib"], &[PLUGINS, &[HOSTILE]].concat())?;
    // Apart, since examples bring a package's dev-dependencies, and the plugins' are not for wasm.
    build(&["--examples"], &[BAD_DESCRIBE])
}

fn build(kind: &[&str], packages: &[&str]) -> Result<()> {
    add_target()?;
    say(&format!("building for {TARGET}: {}", packages.join(", ")));
    let mut command = cargo(&["build", "--profile", "guest", "--target", TARGET]);
    command.args(kind);
    for package in packages {
        command.args(["--package", package]);
    }
    run(&mut command)
}

/// Adds the target to the toolchain when it lacks it.
fn add_target() -> Result<()> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(crate::tool::root()))?;
    if PathBuf::from(sysroot.trim()).join("lib/rustlib").join(TARGET).exists() {
        return Ok(());
    }
    say(&format!("adding the target {TARGET} to the toolchain"));
    run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(crate::tool::root())).map_err(|error| {
        format!("the Rust toolchain does not have the target {TARGET}, and {error}. Install rustup from https://rustup.rs, or add the target by hand")
    })
}
