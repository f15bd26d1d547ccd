//! Exit codes and failures: what a command ends with, and what it prints then.
//!
//! The only file in which the errors of all modules come together. The table in `docs/exit-codes.md` is tested against [`Exit`].

use std::{error::Error, fmt::Write as _, io, path::Path};

use crate::backup;

/// What the command ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Healthy, or done.
    Done = 0,
    /// Unhealthy at or above `--fail-on`.
    Unhealthy = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// Refused, nothing was changed.
    Refused = 4,
    /// An archive or database failed verification.
    Damaged = 5,
    /// I/O, no space, permissions.
    Environment = 6,
    /// An internal error.
    Bug = 70,
}

impl Exit {
    /// All exit codes with what they mean.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Done, "healthy, or done"),
        (Self::Unhealthy, "unhealthy at or above `--fail-on`"),
        (Self::Usage, "the command line is wrong"),
        (Self::Config, "the configuration is wrong"),
        (Self::Refused, "refused, nothing was changed"),
        (Self::Damaged, "an archive or database failed verification"),
        (Self::Environment, "the environment failed: I/O, no space, permissions"),
        (Self::Bug, "internal error: please report it"),
    ];
}

/// Why a command did not do what it was asked to: the message, its causes, what to do now, and the exit code.
#[derive(Debug)]
pub struct CommandFailure {
    pub(super) exit: Exit,
    message: String,
    hint: Option<String>,
}

impl CommandFailure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// Walks the error's chain once: the message, then each cause that the message does not already hold.
    pub(super) fn of(exit: Exit, error: &dyn Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                // Writing to a string does not fail.
                let _ = write!(message, ": {text}");
            }
            cause = error.source();
        }
        Self::new(exit, message)
    }

    /// What the system said about a file.
    pub(super) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::AlreadyExists { Exit::Refused } else { Exit::Environment };
        Self::new(exit, format!("cannot {doing} {}: {error}", path.display()))
    }

    /// What a backup, a restore or their like failed with.
    pub(super) fn backup(failure: &backup::Error) -> Self {
        let exit = match failure.kind() {
            backup::ErrorKind::Refused => Exit::Refused,
            backup::ErrorKind::Damaged => Exit::Damaged,
            backup::ErrorKind::Environment => Exit::Environment,
        };
        Self::new(exit, failure.to_string()).hint(failure.hint())
    }

    /// Says which file it is about, ahead of the message.
    pub(super) fn about(mut self, path: &Path) -> Self {
        self.message = format!("{}: {}", path.display(), self.message);
        self
    }

    /// Says what came of it, ahead of the message.
    pub(super) fn before(mut self, outcome: &str) -> Self {
        self.message = format!("{outcome}: {}", self.message);
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|hint: &String| !hint.is_empty());
        self
    }

    /// What standard error gets.
    pub(super) fn text(&self) -> String {
        let mut text = format!("vitalsign: {}\n", self.message);
        if let Some(hint) = &self.hint {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  → {hint}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test that reads the docs")]
    fn the_documented_table_is_this_one() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/exit-codes.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<_> =
            Exit::ALL.iter().map(|(exit, meaning)| format!("| `{}` | {meaning} |", *exit as u8)).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_failure_says_each_cause_once() {
        let cause = io::Error::new(io::ErrorKind::PermissionDenied, "no");
        let failure = CommandFailure::io("write", Path::new("a/b"), &cause).hint("try elsewhere");
        assert_eq!(failure.text(), "vitalsign: cannot write a/b: no\n  → try elsewhere\n");
        assert_eq!(failure.exit, Exit::Environment);
    }
}
