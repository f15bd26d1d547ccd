//! The configuration: which file, what is written in it, what holds in the end.
//!
//! `discover` finds the file, `raw` is the format, `shape` holds a file against it, `unit` reads text with units, `effective`
//! fills in and judges, `review` judges what plugins say of theirs, `show` lists the result. Prints nothing, and asks for the environment and the working directory to be handed in.
//! Values are taken as they are written: `${NAME}` is never expanded.

mod defaults;
mod position;

mod mistake;

mod json_cursor;

mod show;
mod unit;

mod discover;
mod raw;
mod schema_check;

mod effective;
mod init;

mod archives;
mod assertions;
mod include;
mod review;

#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

pub use discover::{CANDIDATES, ConfigRequest, ServeFlags, VARIABLE};
pub use effective::{EffectiveConfig, GuardSettings, LOCK_FILE};
pub use init::{DatabaseFacts, FILE as INIT_FILE, propose};
pub use mistake::{Mistake, Mistakes};
pub use position::{ConfigText, FilePosition, Position};
pub use review::review;
pub use show::{EffectiveValue, ValueSource, render_text};
use vitalsign_check::CheckInfo;

/// The largest configuration file: 1 MiB, some thousand plugins.
pub const MAX_BYTES: u64 = 1 << 20;

/// Why there is no configuration to work with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder where relative paths begin cannot be reached.
    #[error("the folder `{}`, from which relative paths start, cannot be opened", .root.display())]
    Root {
        /// The folder.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file that was asked for cannot be reached.
    #[error("the configuration file `{}`, named by {by}, cannot be opened", .file.display())]
    Named {
        /// The file.
        file: PathBuf,
        /// Who asked for it.
        by: ValueSource,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there and cannot be read as text.
    #[error("the configuration file `{}` cannot be read", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is written is wrong.
    #[error("{0}")]
    Wrong(Mistakes),
}

impl Error {
    /// What to do now, when the message does not say it already.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Root { .. } => Some("give an existing folder with `--root`"),
            Self::Named { by: ValueSource::Variable(_), .. } => {
                Some("correct the variable or unset it; a relative path starts from `--root`")
            }
            Self::Named { .. } => Some("check the path; a relative path starts from `--root`"),
            Self::Unreadable { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => {
                    Some("it is a symbolic link to a file that does not exist; correct or remove it")
                }
                io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidData => {
                    Some("a configuration is JSON text; name a database with `--db`")
                }
                io::ErrorKind::PermissionDenied => Some("give the user that runs vitalsign permission to read it"),
                _ => Some("name another file with `--config`"),
            },
            Self::Wrong(_) => Some("`vitalsign config schema` describes every key"),
        }
    }
}

/// Finds, reads and settles the configuration; without a file everything is at its default.
///
/// # Errors
/// [`Error`] when a file that was asked for is missing, when one cannot be read, or when what is written is wrong.
pub fn load(asked: &ConfigRequest<'_>) -> Result<EffectiveConfig, Error> {
    let Some(choice) = discover::choose(asked)? else {
        return resolve(None, asked);
    };
    let file = choice.file;
    let text = match vitalsign_base::files::read_text(&file, MAX_BYTES) {
        Ok(text) => text,
        Err(source) => return Err(Error::Unreadable { file, source }),
    };
    resolve(Some((&ConfigText { file, text }, choice.by)), asked)
}

/// What holds without a configuration file. Opens nothing.
///
/// # Errors
/// [`Error`] when what the command line asks for is wrong.
pub fn defaults(asked: &ConfigRequest<'_>) -> Result<EffectiveConfig, Error> {
    resolve(None, asked)
}

fn resolve(file: Option<(&ConfigText, ValueSource)>, asked: &ConfigRequest<'_>) -> Result<EffectiveConfig, Error> {
    effective::resolve(file, asked, &builtins()).map_err(Error::Wrong)
}

/// Every check that is not a plugin, in name order.
fn builtins() -> Vec<CheckInfo> {
    let mut rows: Vec<CheckInfo> = crate::checks::rows().chain([crate::backup::ROW]).collect();
    rows.sort_by_key(|row| row.name);
    rows
}

/// The JSON Schema of the configuration.
#[must_use]
pub fn schema() -> serde_json::Value {
    raw::schema(&builtins())
}

/// Every settled value with its origin, in the order of the format.
#[must_use]
pub fn show(effective: &EffectiveConfig) -> &[EffectiveValue] {
    &effective.shown
}
