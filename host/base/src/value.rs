//! Check names, digests and sizes, each parsed and printed in one place.
//!
//! Knows nothing of checks, files, databases or time; it imports no other room.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The longest check name, in bytes: it becomes a metric label and a URL segment.
pub const MAX_NAME_BYTES: usize = 63;

/// The name of a check: lower-case letters, digits and inner hyphens, 1 to 63 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a check name: use 1 to 63 lower-case letters, digits and inner hyphens")]
pub struct BadName(String);

impl Name {
    /// Parses a name.
    ///
    /// # Errors
    /// [`BadName`] when the text breaks the rule above.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let edges = !text.starts_with('-') && !text.ends_with('-');
        if text.is_empty() || text.len() > MAX_NAME_BYTES || !edges || !text.bytes().all(inner) {
            return Err(BadName(printable(text, MAX_NAME_BYTES)));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// A SHA-256 digest, printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Computes the [`Digest`] of bytes that arrive in pieces.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes that were added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Why a text is not a [`Digest`].
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a SHA-256 digest: 64 hexadecimal digits are expected")]
pub struct BadDigest(String);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`BadDigest`] for any other text.
    pub fn parse(text: &str) -> Result<Self, BadDigest> {
        let bad = || BadDigest(printable(text, 80));
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;
    fn try_from(text: String) -> Result<Self, BadDigest> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// A number of bytes as people read it: `256.0 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    bytesize::ByteSize::b(count).display().iec().to_string()
}

/// A whole number with thin grouping, as people read it: `900,000`.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Any number, exactly, and grouped when it is whole: `-1,234`, `0.25`.
#[must_use]
pub fn decimal(number: f64) -> String {
    /// Up to here every whole number has its own value.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.abs() > EXACT {
        return format!("{number:e}");
    }
    if number.fract() != 0.0 || number.is_nan() {
        return number.to_string();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, positive and within 2^53")]
    let count = number.abs() as u64;
    format!("{}{}", if number < 0.0 { "-" } else { "" }, grouped(count))
}

/// A length of time as people read it: `250 ms`, `2.5 s`, `3 min 20 s`, `13 h 5 min`, `4 d 2 h`.
#[must_use]
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let two = |big: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {unit}"),
        _ => format!("{big} {unit} {small} {small_unit}"),
    };
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..10 => format!("{} s", (length.as_secs_f64() * 10.0).floor() / 10.0),
        10..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

/// `text` made safe to print: control characters escaped, cut to about `max_bytes` with an ellipsis.
///
/// Everything that comes from a plugin, a database or a file name passes here before it reaches a terminal.
#[must_use]
pub fn printable(text: &str, max_bytes: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max_bytes));
    for ch in text.chars() {
        if out.len() + ch.len_utf8() > max_bytes {
            out.push('…');
            break;
        }
        // Bidirectional overrides reorder what a terminal shows, so they count as control characters here.
        if ch.is_control() || matches!(ch, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            out.extend(ch.escape_default());
        } else {
            out.push(ch);
        }
    }
    out
}

/// The candidate nearest to `word`, when one is near enough to have been meant.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_rule() {
        for good in ["wal", "a", "foreign-keys", "x9", &"a".repeat(63)] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "ä", &"a".repeat(64)] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_print_what_they_parse() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::parse(&digest.to_string()).unwrap(), digest);
        for bad in ["", "ba78", &"g".repeat(64), &"é".repeat(32)] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn text_is_made_printable() {
        assert_eq!(printable("a\x1b[31m\n\u{202e}b", 80), "a\\u{1b}[31m\\n\\u{202e}b");
        assert_eq!(printable("äöü", 4), "äö…");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn any_number_is_written_exactly() {
        let numbers = [0.0, -0.0, -1234.0, 0.25, 1e15, 1e300, f64::INFINITY, f64::NAN].map(decimal);
        assert_eq!(numbers[..5], ["0", "0", "-1,234", "0.25", "1,000,000,000,000,000"]);
        assert_eq!(numbers[5..], ["1e300", "inf", "NaN"]);
    }

    #[test]
    fn spans_are_written_in_two_units_at_most() {
        let spans = [0, 250, 2_000, 2_559, 59_999, 60_000, 200_000, 47_100_000, 353_000_000].map(Duration::from_millis);
        let expected = ["0 ms", "250 ms", "2 s", "2.5 s", "59 s", "1 min", "3 min 20 s", "13 h 5 min", "4 d 2 h"];
        assert_eq!(spans.map(span), expected);
    }

    #[test]
    fn a_near_word_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("minFreByte", ["checks", "minFreeBytes"]), Some("minFreeBytes"));
        assert_eq!(nearest("zebra", ["checks", "minFreeBytes"]), None);
    }
}
