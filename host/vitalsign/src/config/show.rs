//! The settled configuration as a list: each value with where it comes from.
//!
//! Knows nothing of what the values mean.

use std::{fmt, path::Path};

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{
    locate::{Position, Spot},
    mistake::Place,
};
use vitalsign_base::value::printable;

/// The longest value that the text form shows, in bytes; JSON output has it all.
const MAX_VALUE_BYTES: usize = 200;
/// The widest column before the text form stops aligning to it, in characters.
const MAX_COLUMN: usize = 60;

/// Where a settled value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said otherwise.
    Default,
    /// Written in the configuration file, at this line and column.
    File(String, Position),
    /// A flag on the command line.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// Found in its usual place.
    Found,
}

impl Origin {
    /// Where the value at `spot` comes from.
    pub(super) fn of(spot: &Spot<'_>) -> Self {
        spot.written().map_or(Self::Default, |(source, at)| Self::File(source.file.display().to_string(), at))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file, at) => write!(f, "{}:{}:{}", printable(file, Place::MAX_FILE_BYTES), at.line, at.column),
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::Found => f.write_str("found"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// One settled value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The key path; in parentheses for what has no key in the file.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// Collects every settled value on its way to where it is used, so that none can be left out.
#[derive(Debug, Default)]
pub(super) struct Ledger(pub(super) Vec<Shown>);

impl Ledger {
    /// Notes the value of the key at `spot`.
    pub(super) fn note(&mut self, spot: &Spot<'_>, value: impl Into<Value>) {
        self.entry(spot.path(), value, Origin::of(spot));
    }

    /// Notes a path.
    pub(super) fn path(&mut self, key: &str, path: &Path, origin: Origin) {
        self.entry(key, path.display().to_string(), origin);
    }

    /// Notes a value from elsewhere than the key's place in the file.
    pub(super) fn entry(&mut self, key: &str, value: impl Into<Value>, origin: Origin) {
        self.0.push(Shown { key: key.to_owned(), value: value.into(), origin });
    }
}

/// The list for reading: key, value and origin in three columns.
#[must_use]
pub fn render_text(rows: &[Shown]) -> String {
    let cells: Vec<[String; 3]> = rows
        .iter()
        .map(|row| [row.key.clone(), printable(&row.value.to_string(), MAX_VALUE_BYTES), row.origin.to_string()])
        .collect();
    let width = |column: fn(&[String; 3]) -> &String| {
        cells.iter().map(|row| column(row).chars().count()).filter(|width| *width <= MAX_COLUMN).max().unwrap_or(0)
    };
    let (keys, values) = (width(|row| &row[0]), width(|row| &row[1]));
    let mut out = String::new();
    for [key, value, origin] in &cells {
        out.push_str(&format!("{key:keys$}  {value:values$}  {origin}\n"));
    }
    out
}
