//! Mistakes in a configuration, and how they are told.
//!
//! Knows nothing of which mistakes there are.

use std::fmt;

use super::position::{ConfigText, FilePosition, Position};
use vitalsign_base::value::printable;

/// The longest line of source shown, in bytes.
const MAX_EXCERPT_BYTES: usize = 480;

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands; absent when no file is to blame.
    pub place: Option<FilePosition>,
    /// The key path, such as `plugins[0].limits.timeoutMs`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// A mistake whose line has not been looked up yet.
#[derive(Debug)]
pub(super) struct UnlocatedMistake {
    at: Position,
    key: String,
    message: String,
}

impl UnlocatedMistake {
    pub(super) fn at(at: Position, key: &str, message: impl Into<String>) -> Self {
        Self { at, key: key.to_owned(), message: message.into() }
    }
}

impl Mistake {
    /// The mistake with the line it stands on and a caret below it.
    #[must_use]
    pub fn render(&self) -> String {
        let Some(place) = &self.place else { return self.to_string() };
        let line = place.at.line.to_string();
        let before: String = place.excerpt.chars().take(place.caret).collect();
        // Escapes are wider than what they stand for, so the caret is placed after them.
        let indent = printable(&before, MAX_EXCERPT_BYTES).chars().count();
        let excerpt = printable(&place.excerpt, MAX_EXCERPT_BYTES);
        let gap = line.len();
        format!("{self}\n  {line} | {excerpt}\n  {:gap$} | {:indent$}^", "", "")
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All that is wrong in a configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    told: Vec<Mistake>,
    untold: usize,
}

impl Mistakes {
    /// Mistakes that are told at once; a file that is not a configuration at all could have thousands.
    pub(super) const MAX_TOLD: usize = 20;

    /// The first of `all` with their places in `source`; looking a line up is too slow to do it for thousands.
    pub(super) fn new(mut all: Vec<UnlocatedMistake>, source: Option<&ConfigText>) -> Self {
        all.sort_by_key(|mistake| mistake.at);
        let untold = all.len().saturating_sub(Self::MAX_TOLD);
        let told = all.into_iter().take(Self::MAX_TOLD).map(|UnlocatedMistake { at, key, message }| Mistake {
            place: source.map(|source| source.place(at)),
            key,
            message,
        });
        Self { told: told.collect(), untold }
    }

    /// The mistakes, without those beyond the first twenty.
    #[must_use]
    pub fn told(&self) -> &[Mistake] {
        &self.told
    }

    fn lines(&self, line: fn(&Mistake) -> String) -> String {
        let mut lines: Vec<String> = self.told.iter().map(line).collect();
        if self.untold > 0 {
            lines.push(format!("and {} more", self.untold));
        }
        lines.join("\n")
    }

    /// Every mistake with the line it stands on and a caret below it.
    #[must_use]
    pub fn render(&self) -> String {
        self.lines(Mistake::render)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines(Mistake::to_string))
    }
}
