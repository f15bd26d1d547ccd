//! What can be wrong with an archive, with one exact sentence for each.
//!
//! The sentences do not name the file: the caller puts its path in front.

use std::{fmt, io, ops::Range};

use vitalsign_base::value::{bytes, printable};

/// The most damaged places that are listed; more of them would not change the result.
pub(super) const MAX_DAMAGES: usize = 100;

/// A place whose bytes are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The member that holds it; `None` between members and past the last that could be read.
    pub member: Option<String>,
    /// The bytes concerned: of the member, or else of the unpacked stream.
    pub range: Range<u64>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.range.end.saturating_sub(1).max(self.range.start);
        match &self.member {
            Some(member) => write!(f, "`{}`, bytes {} to {last}", printable(member, 200), self.range.start),
            None => write!(f, "bytes {} to {last} of the unpacked archive", self.range.start),
        }
    }
}

/// Why an archive cannot be used. `Display` is a sentence that goes on after the archive's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It has no bytes.
    #[error("is empty (0 bytes)")]
    Empty,
    /// Its first bytes show another file format.
    #[error("is not a backup archive: {0}")]
    Foreign(String),
    /// It ends too early.
    #[error("is incomplete: it ends after {}, but more data must follow", bytes(*.0))]
    CutOff(u64),
    /// Its compressed data is damaged, and nothing after that place can be read.
    #[error("is damaged from byte {at} on: {why}")]
    Broken {
        /// The first byte that is not valid.
        at: u64,
        /// What the decoder says.
        why: String,
    },
    /// Blocks whose checksums do not hold.
    #[error("is damaged: {}", listed(.0))]
    Damaged(Vec<Damage>),
    /// Its members do not match its sums.
    #[error("does not match its {sums}: {}", listed(.damages), sums = super::member_name::SUMS)]
    Differs {
        /// The members concerned, in whole.
        damages: Vec<Damage>,
    },
    /// It is not laid out as a backup archive.
    #[error("is not a valid backup archive: {0}")]
    Refused(String),
}

fn listed(damages: &[Damage]) -> String {
    const MAX_SHOWN: usize = 5;
    let shown: Vec<_> = damages.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
    let more = match damages.len().saturating_sub(MAX_SHOWN) {
        0 => String::new(),
        more if damages.len() >= MAX_DAMAGES => format!("; and at least {more} more"),
        more => format!("; and {more} more"),
    };
    shown.join("; ") + &more
}

/// Why reading an archive ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The archive is at fault.
    #[error("{0}")]
    Flaw(Flaw),
    /// The system is at fault while the archive was read.
    #[error("cannot be read")]
    Io(#[source] io::Error),
}

impl From<Flaw> for ReadError {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

impl From<io::Error> for ReadError {
    /// Takes a flaw out of the error that brought it through [`io::Read`].
    fn from(error: io::Error) -> Self {
        match error.downcast::<Flaw>() {
            Ok(flaw) => Self::Flaw(flaw),
            Err(error) => Self::Io(error),
        }
    }
}

impl From<Flaw> for io::Error {
    fn from(flaw: Flaw) -> Self {
        Self::new(io::ErrorKind::InvalidData, flaw)
    }
}
