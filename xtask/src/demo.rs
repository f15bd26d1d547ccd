//! `cargo xtask demo`: a demo registry in `target/demo`, created again each time.
//!
//! The host creates the registry. This file has the configuration and the texts.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    Result, guests,
    tool::{at, build_host, host, output, say, status, target, vitalsign, write},
};

const LISTEN: &str = "127.0.0.1:8080";

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    once: bool,
    listen: String,
}

impl Options {
    pub(crate) fn parse(mut words: &[&str]) -> Result<Self> {
        let mut options = Self { once: false, listen: LISTEN.to_owned() };
        loop {
            words = match words {
                [] => return Ok(options),
                ["--once", rest @ ..] => {
                    options.once = true;
                    rest
                }
                ["--listen", address, rest @ ..] => {
                    options.listen = (*address).to_owned();
                    rest
                }
                [other, ..] => return Err(format!("demo: unknown option `{other}`; use `--once` or `--listen ADDR`")),
            };
        }
    }
}

/// Makes the demo and shows it. With `--once` the exit code is the report's.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    guests::build_plugins()?;
    build_host()?;
    let folder = target().join("demo");
    prepare(&folder)?;
    drill(&folder)?;
    if options.once {
        let status = status(&mut vitalsign(&folder, &["check", "--config", CONFIG]))?;
        return Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from));
    }
    let listen = options.listen.as_str();
    eprintln!("{}", what_to_try(listen, &folder));
    // The server takes this process's place, so that Ctrl-C and its exit code are its own.
    let error = vitalsign(&folder, &["serve", "--config", CONFIG, "--listen", listen]).exec();
    Err(format!("{} could not be started: {error}", host().display()))
}

/// The configuration's name, in the demo's folder.
const CONFIG: &str = "registry.config.json";

/// What it says. A file of its own, since the tests of the documentation start from it as well.
pub(crate) const CONFIGURATION: &str = include_str!("demo.config.json");

/// Makes a folder with a registry, its configuration, the plugins and the lock file.
fn prepare(folder: &Path) -> Result<()> {
    say(&format!("creating a demo registry in {}", folder.display()));
    if folder.exists() {
        at(folder, fs::remove_dir_all(folder))?;
    }
    at(folder, fs::create_dir_all(folder))?;
    // The output of these two commands is not wanted.
    output(&mut vitalsign(folder, &["demo", "--dir", "."]))?;
    write(&folder.join(CONFIG), CONFIGURATION)?;
    for name in guests::PLUGINS {
        let file = component(name);
        let (from, to) = (guests::folder().join(&file), folder.join("plugins").join(&file));
        at(&to, fs::create_dir_all(folder.join("plugins")))?;
        at(&from, fs::copy(&from, &to))?;
    }
    output(&mut vitalsign(folder, &["plugin", "lock", "--config", CONFIG])).map(drop)
}

/// Makes a backup, deletes the registry, and restores it.
fn drill(folder: &Path) -> Result<()> {
    let database = folder.join("var/registry.sqlite");
    let before = at(&database, fs::read(&database))?;
    eprintln!("\nA restore drill: make a backup, delete the registry, restore it.\n");
    let archive = shown(folder, &["backup", "--tag", "drill"])?;
    eprintln!("  $ rm var/registry.sqlite");
    at(&database, fs::remove_file(&database))?;
    shown(folder, &["restore", "--archive", archive.trim()])?;
    if at(&database, fs::read(&database))? != before {
        return Err(
            "the restore drill failed: the restored database differs from the one that was backed up".to_owned()
        );
    }
    eprintln!("The restored registry is identical to the original, byte for byte.\n");
    Ok(())
}

/// Runs a command of the drill and shows it with what it printed.
fn shown(folder: &Path, words: &[&str]) -> Result<String> {
    eprintln!("  $ vitalsign {}", words.join(" "));
    let text = output(&mut vitalsign(folder, words))?;
    text.lines().for_each(|line| eprintln!("  {line}"));
    Ok(text)
}

fn component(package: &str) -> PathBuf {
    PathBuf::from(format!("{}.wasm", package.replace('-', "_")))
}

fn what_to_try(listen: &str, folder: &Path) -> String {
    let binary = host();
    let (binary, folder) = (binary.display(), folder.display());
    format!(
        "
The report is at http://{listen}/health until you press Ctrl-C. Try:

  curl -s http://{listen}/health
  curl -s http://{listen}/health/provenance-chain
  curl -i http://{listen}/readyz

The database is {folder}/var/registry.sqlite, and its configuration is {folder}/{CONFIG}.
Delete a row and check again:

  sqlite3 {folder}/var/registry.sqlite \"DELETE FROM provenance WHERE seq = 2500\"
  {binary} check --root {folder}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let options = |words: &[&str]| Options::parse(words).unwrap();
        assert_eq!(options(&[]), Options { once: false, listen: LISTEN.into() });
        assert_eq!(options(&["--listen", "[::1]:9", "--once"]), Options { once: true, listen: "[::1]:9".into() });
        assert!(Options::parse(&["--listen"]).unwrap_err().contains("--listen"));
    }

    #[test]
    fn the_configuration_is_json() {
        let config: serde_json::Value = serde_json::from_str(CONFIGURATION).unwrap();
        let names = config["plugins"].as_array().unwrap().iter().map(|plugin| plugin["name"].as_str().unwrap());
        assert!(names.eq(guests::PLUGINS.iter().copied()));
    }
}
