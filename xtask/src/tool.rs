//! Paths of the workspace and the programs that are run on it.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use crate::Result;

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// The host's binary, built for developing.
pub(crate) fn host() -> PathBuf {
    target().join("debug/vitalsign")
}

/// A cargo command in the workspace.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

/// The host's binary, away from the caller's own configuration.
pub(crate) fn vitalsign(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(host());
    command.args(words).current_dir(folder).env_remove("VITALSIGN_CONFIG");
    command
}

/// Says what happens now. Standard output is for what was asked for.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Runs a command with its output streamed.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().map_err(|error| format!("{} could not be started: {error}", shown(command)))
}

/// Runs a command with its output streamed; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if status.success() { Ok(()) } else { Err(format!("{} failed ({status})", shown(command))) }
}

/// What a child prints, line by line as it comes.
pub(crate) fn lines(pipe: Option<impl Read>) -> impl Iterator<Item = String> {
    pipe.map(BufReader::new).into_iter().flat_map(|reader| reader.lines().map_while(std::io::Result::ok))
}

/// Runs a command and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| format!("{} could not be started: {error}", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} failed ({}): {}", shown(command), output.status, said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    format!("`{} {}`", program.to_string_lossy(), words.join(" "))
}

/// Builds the host's binary, and says so when that will take long.
pub(crate) fn build_host() -> Result<()> {
    if host().exists() {
        say("building Vitalsign");
    } else {
        say(
            "building Vitalsign: the first time this takes 5 to 10 minutes on two cores, because Wasmtime and SQLite are compiled",
        );
    }
    run(&mut cargo(&["build", "--package", "vitalsign", "--bin", "vitalsign"]))
}

/// An error of the file system, with its path.
pub(crate) fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a file, making its folder.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        at(folder, fs::create_dir_all(folder))?;
    }
    at(path, fs::write(path, text))
}
