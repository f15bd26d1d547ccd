//! The command line, one file for each command. Everything that reads the environment or prints is in here.
//!
//! `assemble` alone knows every module. A command turns its arguments into calls, and the answers into text and an exit code.

#![expect(
    clippy::disallowed_methods,
    reason = "the environment, the working directory and the binary are known here alone"
)]

mod args;
mod disk_turns;
mod exit;
mod signals;
mod status_log;
mod timeout;

mod assemble;
mod demo;
mod healthcheck;
mod interrupt;
mod manual;
mod pin;
mod statements;
mod usage;

mod check;
mod gate;
mod init;
mod plugin;
mod progress;
mod prune;
mod stream;

mod backup;
mod restore;
mod scheduled;

mod guard;
mod list;
mod serve;
mod verify;

mod config;

use std::{
    env,
    ffi::OsStr,
    io::{self, IsTerminal, Write},
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
pub use exit::{CommandFailure, Exit};
use tracing_subscriber::filter::LevelFilter;

use args::{Cli, CliCommand, Global};
use vitalsign_plugin_runtime::{CHILD_COMMAND, child_main};

/// Runs the command line of this process and says what it ends with.
#[must_use]
pub fn main() -> ExitCode {
    interrupt::end_process_one();
    // Not a command for people, so the command line that people see does not know it.
    if env::args_os().nth(1).is_some_and(|word| word == CHILD_COMMAND) {
        return compile(env::args_os().nth(2).as_deref()).into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error).into(),
    };
    log_to_stderr(&cli);
    panic::set_hook(Box::new(|what| {
        let place = what.location().map(ToString::to_string).unwrap_or_default();
        let payload = what.payload();
        let words = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        print_error(&format!(
            "vitalsign: internal error at {place}: {}\n  → please report it\n",
            words.unwrap_or_default()
        ));
    }));
    let exit = panic::catch_unwind(|| run(cli)).unwrap_or(Exit::Bug);
    match interrupt::received_signal() {
        // The command has tidied up; now the signal does what it does to every other program.
        Some(signal) if exit != Exit::Done => signals::end_by(signal),
        _ => exit.into(),
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

fn run(cli: Cli) -> Exit {
    let global = &cli.global;
    let ended = match cli.command {
        CliCommand::Check(args) => check::run(global, &args),
        CliCommand::Serve(args) => serve::run(global, &args),
        CliCommand::Guard(args) => guard::run(global, &args),
        CliCommand::Backup(args) => backup::run(global, &args),
        CliCommand::Restore(args) => restore::run(global, &args),
        CliCommand::Verify(args) => verify::run(global, &args),
        CliCommand::List(args) => list::run(global, &args),
        CliCommand::Pin(args) => pin::run(global, &args, true),
        CliCommand::Unpin(args) => pin::run(global, &args, false),
        CliCommand::Prune(args) => prune::run(global, &args),
        CliCommand::Init(args) => init::run(global, &args),
        CliCommand::Config(command) => config::run(global, &command),
        CliCommand::Plugin(command) => plugin::run(global, &command),
        CliCommand::Healthcheck(args) => healthcheck::run(&args),
        CliCommand::Demo(args) => demo::run(&args),
        CliCommand::Completions(args) => manual::completions(&args),
        CliCommand::Man(args) => manual::man(&args),
    };
    ended.unwrap_or_else(|failure| {
        print_error(&failure.text());
        failure.exit
    })
}

/// The compiling child: the component comes on standard input, its code goes to standard output.
fn compile(cpu_seconds: Option<&OsStr>) -> Exit {
    let Some(cpu_seconds) = cpu_seconds.and_then(OsStr::to_str).and_then(|seconds| seconds.parse().ok()) else {
        print_error(&format!("vitalsign: {CHILD_COMMAND} is for vitalsign itself\n"));
        return Exit::Usage;
    };
    match child_main(cpu_seconds) {
        Ok(()) => Exit::Done,
        Err(sentence) => {
            print_error(&sentence);
            Exit::Damaged
        }
    }
}

/// Log lines go to standard error: warnings always, what plugins log with `-v` (`serve` does without), their debug messages
/// with `-vv`.
fn log_to_stderr(cli: &Cli) {
    let serving = matches!(cli.command, CliCommand::Serve(_));
    let level = match (cli.global.verbose, serving) {
        (0, false) => LevelFilter::WARN,
        (0, true) | (1, false) => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    // What the libraries log is for their developers.
    let ours = tracing_subscriber::filter::Targets::new()
        .with_target("vitalsign", level)
        // What takes long is said at every level of verbosity, although nothing is wrong.
        .with_target("vitalsign::progress", level.max(LevelFilter::INFO));
    let colour = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(colour).with_target(false);
    use tracing_subscriber::layer::{Layer, SubscriberExt};
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(ours));
    // Set once a process; a second call would be a bug that changes nothing for the user.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// A path seen from `--root`.
fn within(global: &Global, path: &Path) -> PathBuf {
    global.root.as_ref().map_or_else(|| path.to_owned(), |root| root.join(path))
}

/// Prints a value as JSON, for programs.
fn print_json(value: &impl serde::Serialize) -> Result<(), CommandFailure> {
    // What is printed is made of text and numbers, which always serialise.
    print(&(serde_json::to_string_pretty(value).unwrap_or_default() + "\n"))
}

/// Writes data to standard output. A reader that has gone away is no failure of ours.
fn print(text: &str) -> Result<(), CommandFailure> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandFailure::new(Exit::Environment, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a message to standard error; if even that fails there is nobody left to tell.
fn print_error(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// The width that text is laid out for: the terminal's, or a fixed one, so that files do not depend on a window.
fn width() -> usize {
    const FILE_COLUMNS: usize = 100;
    if !io::stdout().is_terminal() {
        return FILE_COLUMNS;
    }
    // A terminal that does not know its width says 0.
    let known = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0);
    known.map_or(FILE_COLUMNS, |size| usize::from(size.ws_col).clamp(20, 160))
}
