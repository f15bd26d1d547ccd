//! The rule of the chain, row by row.
//!
//! Knows nothing of SQL or of reports.

use std::{borrow::Cow, fmt};

use sha2::{Digest as _, Sha256};

/// What one provenance row says.
pub(crate) struct Link<'a> {
    pub(crate) record: Option<&'a str>,
    pub(crate) digest: Option<Cow<'a, str>>,
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
    Unlinked { named: Option<String>, before: String },
    /// Its digest is not that of its content.
    WrongDigest { stored: String, computed: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDigest => write!(f, "the row has no digest"),
            Self::BeginningMissing(named) => write!(f, "it is the first row, yet it follows {}", Short(named)),
            Self::Unlinked { named: None, before } => {
                write!(f, "it follows nothing, while the row before it has {}", Short(before))
            }
            Self::Unlinked { named: Some(named), before } => {
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

/// What came before the next row.
enum Before {
    Nothing,
    Digest(String),
    /// A row without digest: told once, so the next row is not blamed for it.
    Unknown,
}

/// A chain that is being followed.
pub(crate) struct Chain {
    recompute: bool,
    before: Before,
}

impl Chain {
    pub(crate) fn new(recompute: bool) -> Self {
        Self { recompute, before: Before::Nothing }
    }

    /// Takes the next row; says what is wrong with it.
    pub(crate) fn follow(&mut self, link: &Link<'_>) -> Option<Fault> {
        let named = link.before.as_deref().filter(|digest| !digest.is_empty());
        let Some(digest) = link.digest.as_deref().filter(|digest| !digest.is_empty()) else {
            self.before = Before::Unknown;
            return Some(Fault::NoDigest);
        };
        let unlinked = match &self.before {
            Before::Nothing => named.map(|named| Fault::BeginningMissing(named.to_owned())),
            Before::Digest(before) if named != Some(before) => {
                Some(Fault::Unlinked { named: named.map(str::to_owned), before: before.clone() })
            }
            Before::Digest(_) | Before::Unknown => None,
        };
        let wrong = || self.recompute.then(|| wrong_digest(digest, named, link.record)).flatten();
        let fault = unlinked.or_else(wrong);
        self.remember(digest);
        fault
    }

    /// Keeps the digest in the text that holds the one before it: a walk of a million rows allocates once.
    fn remember(&mut self, digest: &str) {
        if let Before::Digest(text) = &mut self.before {
            text.clear();
            text.push_str(digest);
        } else {
            self.before = Before::Digest(digest.to_owned());
        }
    }
}

fn wrong_digest(stored: &str, named: Option<&str>, record: Option<&str>) -> Option<Fault> {
    let mut hasher = Sha256::new();
    hasher.update(named.unwrap_or_default());
    hasher.update(record.unwrap_or_default());
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

    fn link<'a>(record: &'a str, digest: &'a str, before: &'a str) -> Link<'a> {
        Link { record: Some(record), digest: Some(digest.into()), before: Some(before.into()) }
    }

    fn follow(recompute: bool, links: &[Link<'_>]) -> Vec<Option<String>> {
        let mut chain = Chain::new(recompute);
        links.iter().map(|link| chain.follow(link).map(|fault| fault.to_string())).collect()
    }

    #[test]
    fn a_whole_chain_has_no_fault() {
        assert_eq!(follow(false, &[link("a", "1", ""), link("b", "2", "1"), link("c", "3", "2")]), [None, None, None]);
        assert_eq!(follow(false, &[]), []);
    }

    #[test]
    fn each_break_is_told_once_and_at_its_row() {
        let faults = follow(false, &[link("a", "1", ""), link("c", "3", "2"), link("d", "4", "3"), link("e", "5", "")]);
        assert_eq!(faults[1].as_deref(), Some("it follows 2, while the row before it has 1"));
        assert_eq!(faults[3].as_deref(), Some("it follows nothing, while the row before it has 4"));
        assert_eq!((&faults[0], &faults[2]), (&None, &None));
        assert_eq!(follow(false, &[link("b", "2", "1")]), [Some("it is the first row, yet it follows 1".into())]);
    }

    #[test]
    fn a_row_without_digest_is_blamed_alone() {
        let faults = follow(false, &[link("a", "1", ""), link("b", "", "1"), link("c", "3", "2"), link("d", "4", "3")]);
        assert_eq!(faults, [None, Some("the row has no digest".into()), None, None]);
    }

    #[test]
    fn digests_are_computed_again_when_asked() {
        let first = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        let second = hex(&Sha256::digest(format!("{first}b")));
        let rows = |first| [link("a", first, ""), link("b", &second, first)];
        assert_eq!(follow(true, &rows(first)), [None, None]);
        let upper = first.to_uppercase();
        assert_eq!(follow(true, &rows(&upper))[0], None);
        let faults = follow(true, &[link("x", first, "")]);
        assert_eq!(faults[0].as_deref(), Some("its digest is ca978112ca1b…, while its content gives 2d711642b726…"));
    }
}
