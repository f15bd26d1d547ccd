//! Reports made readable: one file a format, each a pure function of a report.
//!
//! Knows no check, no file and no terminal; whoever prints decides on width and colour.

pub mod json;
pub mod text;

#[cfg(test)]
mod samples;

use vitalsign_base::value;
use vitalsign_check::report::Report;

pub use text::TextStyle;

/// The formats of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Text,
    /// For a program.
    Json,
}

/// Why a text is not a [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no format `{word}`; there are: {known}")]
pub struct NoSuchFormat {
    word: String,
    known: String,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The word for it on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// Writes the report in this format, with a newline at the end.
    #[must_use]
    pub fn render(self, report: &Report, style: &TextStyle) -> String {
        match self {
            Self::Text => text::render(report, style),
            Self::Json => json::pretty(report),
        }
    }
}

impl std::str::FromStr for Format {
    type Err = NoSuchFormat;

    fn from_str(word: &str) -> Result<Self, NoSuchFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == word).ok_or_else(|| NoSuchFormat {
            word: value::printable(word, 40),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_word() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
            assert!(format.render(&samples::mixed(), &TextStyle::default()).ends_with('\n'));
        }
        assert_eq!(
            "yaml".parse::<Format>().unwrap_err().to_string(),
            "there is no format `yaml`; there are: text, json"
        );
    }
}
