//! Places in a configuration file: line, column, and the text around them.
//!
//! Does not know what is wrong there.

use std::{fmt, path::PathBuf};

use vitalsign_base::value::printable;

/// Characters of a line that are shown on each side of a mistake; a minified file is one line.
const EXCERPT_CHARS: usize = 60;

/// A configuration file's text and its name.
#[derive(Clone, Debug)]
pub struct ConfigText {
    /// The file, for opening it.
    pub file: PathBuf,
    /// The file's content.
    pub text: String,
}

impl ConfigText {
    /// The place `at` in this file, with the line around it.
    pub(super) fn place(&self, at: Position) -> FilePosition {
        let line = self.text.lines().nth(at.line.saturating_sub(1)).unwrap_or_default();
        let skip = at.column.saturating_sub(1 + EXCERPT_CHARS);
        let excerpt: String = line.chars().skip(skip).take(2 * EXCERPT_CHARS).collect();
        let caret = at.column.saturating_sub(1 + skip);
        FilePosition { file: self.file.clone(), at, excerpt: excerpt.replace('\t', " "), caret }
    }
}

/// A place in a text, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePosition {
    /// The file.
    pub file: PathBuf,
    /// The line and column.
    pub at: Position,
    /// The part of the line around it.
    pub excerpt: String,
    /// Where in `excerpt` it is, in characters from 0.
    pub caret: usize,
}

impl FilePosition {
    /// The longest file name in a message, in bytes.
    pub(super) const MAX_FILE_BYTES: usize = 4096;
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = printable(&self.file.display().to_string(), Self::MAX_FILE_BYTES);
        write!(f, "{file}:{}:{}", self.at.line, self.at.column)
    }
}
