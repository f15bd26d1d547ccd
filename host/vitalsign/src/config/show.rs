//! The settled configuration as a list: each value with where it comes from.
//!
//! Knows nothing of what the values mean.

use std::{fmt, path::Path};

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{
    json_cursor::Cursor,
    position::{FilePosition, Position},
};
use vitalsign_base::value::printable;

/// The longest value that the text form shows, in bytes; JSON output has it all.
const MAX_VALUE_BYTES: usize = 200;
/// The widest column before the text form stops aligning to it, in characters.
const MAX_COLUMN: usize = 60;

/// Where a settled value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
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

impl ValueSource {
    /// Where the value at `cursor` comes from.
    pub(super) fn of(cursor: &Cursor<'_>) -> Self {
        cursor.written().map_or(Self::Default, |(source, at)| Self::File(source.file.display().to_string(), at))
    }
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file, at) => {
                write!(f, "{}:{}:{}", printable(file, FilePosition::MAX_FILE_BYTES), at.line, at.column)
            }
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::Found => f.write_str("found"),
        }
    }
}

impl Serialize for ValueSource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// One settled value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EffectiveValue {
    /// The key path; in parentheses for what has no key in the file.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where it comes from.
    pub origin: ValueSource,
}

/// Collects every settled value on its way to where it is used, so that none can be left out.
#[derive(Debug, Default)]
pub(super) struct EffectiveValues(pub(super) Vec<EffectiveValue>);

impl EffectiveValues {
    /// Notes the value of the key at `cursor`.
    pub(super) fn note(&mut self, cursor: &Cursor<'_>, value: impl Into<Value>) {
        self.entry(cursor.path(), value, ValueSource::of(cursor));
    }

    /// Notes a path.
    pub(super) fn path(&mut self, key: &str, path: &Path, origin: ValueSource) {
        self.entry(key, path.display().to_string(), origin);
    }

    /// Notes a value from elsewhere than the key's place in the file.
    pub(super) fn entry(&mut self, key: &str, value: impl Into<Value>, origin: ValueSource) {
        self.0.push(EffectiveValue { key: key.to_owned(), value: value.into(), origin });
    }
}

/// The list for reading: key, value and origin in three columns.
#[must_use]
pub fn render_text(rows: &[EffectiveValue]) -> String {
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
