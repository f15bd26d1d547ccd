//! The names of archives: `registry-backup-<stamp>[-<tag>]<ending>`.
//!
//! The stamp is the time in UTC to the second, `2025-10-27T16-43-49Z`. Where that name is taken, `-2`, `-3`… stand before
//! the `Z`. Nothing here looks at a disk.

use std::fmt;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::Compression;
use vitalsign_base::value::printable;

/// What every name begins with.
const PREFIX: &str = "registry-backup-";

/// The longest tag in bytes: with it a name stays far below the 255 that file systems allow.
pub(super) const MAX_TAG_BYTES: usize = 100;

const FORMAT: &str = "%Y-%m-%dT%H-%M-%S";

/// What a user adds to an archive's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

/// Why a text is not a [`Tag`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid tag: use 1 to {MAX_TAG_BYTES} letters, digits, `.`, `_` and `-`, without `..`, and begin with a letter or digit"
)]
pub struct BadTag(String);

impl Tag {
    /// Parses a tag.
    ///
    /// # Errors
    /// [`BadTag`] for anything that could lead out of a folder, hide a file, or confuse a shell.
    pub fn parse(text: &str) -> Result<Self, BadTag> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let good = first && text.len() <= MAX_TAG_BYTES && text.bytes().all(inner) && !text.contains("..");
        if good { Ok(Self(text.to_owned())) } else { Err(BadTag(printable(text, 40))) }
    }

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// When an archive was begun, and how many of that second came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The time, to the second.
    pub at: Timestamp,
    /// 1 for the first archive of that second.
    pub number: u32,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.to_zoned(TimeZone::UTC).strftime(FORMAT).to_string();
        match self.number {
            0 | 1 => write!(f, "{at}Z"),
            number => write!(f, "{at}-{number}Z"),
        }
    }
}

impl Stamp {
    /// Reads a stamp at the start of `text`; gives what follows as well.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let (written, rest) = text.split_once('Z')?;
        let (at, number) = match written.get(..19)? {
            at if at.len() == written.len() => (at, 1),
            at => (at, written.get(19..)?.strip_prefix('-')?.parse().ok().filter(|number| *number > 1)?),
        };
        let at = DateTime::strptime(FORMAT, at).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some((Self { at, number }, rest))
    }
}

/// The name of an archive.
#[must_use]
pub fn file_name(stamp: Stamp, tag: Option<&Tag>, compression: Compression) -> String {
    let tag = tag.map(|tag| format!("-{}", tag.as_str())).unwrap_or_default();
    format!("{PREFIX}{stamp}{tag}{}", compression.ending())
}

/// What an archive's name says; `None` for any other file.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<(Stamp, Option<Tag>, Compression)> {
    let rest = name.strip_prefix(PREFIX)?;
    let compression = Compression::ALL.into_iter().find(|kind| rest.ends_with(kind.ending()))?;
    let (stamp, tag) = Stamp::parse(rest.strip_suffix(compression.ending())?)?;
    let tag = match tag {
        "" => None,
        tag => Some(Tag::parse(tag.strip_prefix('-')?).ok()?),
    };
    Some((stamp, tag, compression))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_they_are_made() {
        let at: Timestamp = "2025-10-27T16:43:49Z".parse().unwrap();
        let tag = Tag::parse("nightly").unwrap();
        let name = file_name(Stamp { at, number: 1 }, Some(&tag), Compression::Gzip);
        assert_eq!(name, "registry-backup-2025-10-27T16-43-49Z-nightly.tar.gz");
        for number in [1, 2, 30] {
            for tag in [None, Some(tag.clone())] {
                for compression in Compression::ALL {
                    let stamp = Stamp { at, number };
                    let name = file_name(stamp, tag.as_ref(), compression);
                    assert_eq!(parse_file_name(&name), Some((stamp, tag.clone(), compression)), "{name}");
                }
            }
        }
        for other in [
            "registry-backup-2025-10-27T16-43-49Z.zip",
            "registry-backup-2025-10-27T16-43-49.tar.gz",
            "registry-backup-2025-13-27T16-43-49Z.tar.gz",
            "registry-backup-2025-10-27T16-43-49-1Z.tar.gz",
            "registry-backup-2025-10-27T16-43-49Z.tar.gz.json",
            "registry-backup-ä.tar.gz",
            "registry-backup-2025-10-27T16-43-4ä9Z.tar.gz",
            "other.tar.gz",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_tag_stays_in_its_folder() {
        for good in ["a", "before-upgrade_2.0", &"x".repeat(MAX_TAG_BYTES)] {
            assert!(Tag::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../a", "a..b", "-a", ".a", "a b", "ä", "a\n", &"x".repeat(300)] {
            assert!(Tag::parse(bad).is_err(), "{bad}");
        }
    }
}
