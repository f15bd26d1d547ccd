//! Lines for the host's log, marked there with the check's name. Capped in number and size.
//!
//! `log::info(format_args!("{count} rows"))` formats without a macro of its own.

use std::fmt::Display;

use crate::bindings::vitalsign::health::log::Level;

/// For the check's author.
pub fn debug(line: impl Display) {
    write(Level::Debug, &line);
}

/// For the operator, when looking.
pub fn info(line: impl Display) {
    write(Level::Info, &line);
}

/// For the operator, soon.
pub fn warn(line: impl Display) {
    write(Level::Warn, &line);
}

/// For the operator, now.
pub fn error(line: impl Display) {
    write(Level::Error, &line);
}

#[cfg(target_family = "wasm")]
fn write(level: Level, line: &dyn Display) {
    crate::bindings::vitalsign::health::log::write(level, &line.to_string());
}

/// There is no host here: the line goes to standard error, where `cargo test -- --nocapture` shows it.
#[cfg(not(target_family = "wasm"))]
fn write(level: Level, line: &dyn Display) {
    eprintln!("{level:?}: {line}");
}
