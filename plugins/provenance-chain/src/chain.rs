//! The rule of the chain, for one row and the one before it.
//!
//! Knows nothing of SQL or of reports.

use std::{borrow::Cow, fmt};

use sha2::{Digest as _, Sha256};

/// What one provenance row says, and what the row before it does.
pub(crate) struct Link<'a> {
    pub(crate) record: Option<Cow<'a, str>>,
    pub(crate) digest: Option<Cow<'a, str>>,
    /// The digest that it names as the one before.
    pub(crate) named: Option<Cow<'a, str>>,
    /// The digest of the row before: empty when this is the first row, `None` when that row has none.
    pub(crate) before: Option<Cow<'a, str>>,
}

/// What is wrong with a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It has no digest, so nothing can follow it.
    NoDigest,
    /// It is the first row, yet names one before it.
    BeginningMissing(String),
    /// It does not name the row before it.
    Unlinked { named: String, before: String },
    /// Its digest is not that of its content.
    WrongDigest { stored: String, computed: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDigest => write!(f, "the row has no digest"),
            Self::BeginningMissing(named) => write!(f, "it is the first row, yet it follows {}", Short(named)),
            Self::Unlinked { named, before } if named.is_empty() => {
                write!(f, "it follows nothing, while the row before it has {}", Short(before))
            }
            Self::Unlinked { named, before } => {
                write!(f, "it follows {}, while the row before it has {}", Short(named), Short(before))
            }
            Self::WrongDigest { stored, computed } => {
                write!(f, "its digest is {}, while its content gives {}", Short(stored), Short(computed))
            }
        }
    }
}

/// A digest as people compare it: its first 12 characters.
struct Short<'a>(&'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        chars.by_ref().take(12).try_for_each(|char| write!(f, "{char}"))?;
        if chars.next().is_some() { write!(f, "…") } else { Ok(()) }
    }
}

impl Link<'_> {
    /// What is wrong with the row; `recompute` says whether its digest is computed again.
    pub(crate) fn fault(&self, recompute: bool) -> Option<Fault> {
        let Some(digest) = self.digest.as_deref().filter(|digest| !digest.is_empty()) else {
            return Some(Fault::NoDigest);
        };
        let named = self.named.as_deref().unwrap_or_default();
        match self.before.as_deref() {
            Some(before) if before != named => Some(self.unlinked()),
            _ if recompute => wrong_digest(digest, named, self.record.as_deref().unwrap_or_default()),
            // A row without digest is told once: the row behind it is not blamed for it.
            _ => None,
        }
    }

    /// That the row does not follow the one before it.
    pub(crate) fn unlinked(&self) -> Fault {
        let named = self.named.as_deref().unwrap_or_default().to_owned();
        match self.before.as_deref().unwrap_or_default() {
            "" => Fault::BeginningMissing(named),
            before => Fault::Unlinked { named, before: before.to_owned() },
        }
    }
}

fn wrong_digest(stored: &str, named: &str, record: &str) -> Option<Fault> {
    let mut hasher = Sha256::new();
    hasher.update(named);
    hasher.update(record);
    let computed = hex(&hasher.finalize());
    (!computed.eq_ignore_ascii_case(stored)).then(|| Fault::WrongDigest { stored: stored.to_owned(), computed })
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(before: Option<&str>, named: &str, digest: &str) -> Option<String> {
        link("a", before, named, digest).fault(false).map(|fault| fault.to_string())
    }

    fn link<'a>(record: &'a str, before: Option<&'a str>, named: &'a str, digest: &'a str) -> Link<'a> {
        let [record, digest, named] = [record, digest, named].map(|text| Some(Cow::Borrowed(text)));
        Link { record, digest, named, before: before.map(Cow::Borrowed) }
    }

    #[test]
    fn a_row_that_names_the_one_before_it_is_whole() {
        assert_eq!(fault(Some(""), "", "1"), None);
        assert_eq!(fault(Some("1"), "1", "2"), None);
    }

    #[test]
    fn each_break_is_told_in_its_own_words() {
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(fault(Some("1"), "2", "3"), said("it follows 2, while the row before it has 1"));
        assert_eq!(fault(Some("4"), "", "5"), said("it follows nothing, while the row before it has 4"));
        assert_eq!(fault(Some(""), "1", "2"), said("it is the first row, yet it follows 1"));
        assert_eq!(fault(Some("1"), "1", ""), said("the row has no digest"));
    }

    #[test]
    fn the_row_behind_one_without_digest_is_not_blamed() {
        assert_eq!(fault(None, "2", "3"), None);
    }

    #[test]
    fn digests_are_computed_again_when_asked() {
        let first = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        let second = hex(&Sha256::digest(format!("{first}b")));
        assert_eq!(link("a", Some(""), "", first).fault(true), None);
        assert_eq!(link("a", Some(""), "", &first.to_uppercase()).fault(true), None);
        assert_eq!(link("b", Some(first), first, &second).fault(true), None);
        let fault = link("x", Some(""), "", first).fault(true).unwrap().to_string();
        assert_eq!(fault, "its digest is ca978112ca1b…, while its content gives 2d711642b726…");
    }
}
