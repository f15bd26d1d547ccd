//! Archives: a tar stream in independent compressed blocks, written and read on all cores.
//!
//! The only room that knows tar, gzip and zstd. What an archive holds is bytes under names to it; it knows no database, no
//! configuration and no place where archives are kept. The format stands in `docs/archive-format.md`.

mod block;
mod flaw;
mod members;
mod metadata;
mod name;
mod pipeline;
mod reader;
#[cfg(test)]
mod tests;
mod write;

pub use flaw::{Damage, Flaw, ReadError};
pub use members::{MAX_INCLUDED, MAX_INCLUDED_NAME_BYTES, Member, Walked, walk};
pub use metadata::{
    CONTENTS, Checksums, INCLUDE, IncludedPath, METADATA, MemberNames, Metadata, SUMS, SqliteFacts, is_reserved,
};
pub use name::{BadTag, Stamp, Tag, file_name, parse_file_name};
pub use reader::{ArchiveReader, Counter, DATABASE_MAGIC};
pub use write::{Header, Writer, Written, WrittenMember};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How archives are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Compression {
    /// `.tar.gz`, which every tar opens.
    #[default]
    Gzip,
    /// `.tar.zst`, faster.
    Zstd,
    /// `.tar`, not compressed.
    None,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Zstd, Self::None];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::None => "none",
        }
    }

    /// The ending of an archive's name.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Gzip => ".tar.gz",
            Self::Zstd => ".tar.zst",
            Self::None => ".tar",
        }
    }

    /// The default level. On rows of JSON, gzip's level 1 (by libdeflate) compresses better than `gzip -6`, at six times its speed
    /// on each core; zstd's level 2 compresses as well as its level 3, and is half as fast again.
    #[must_use]
    pub fn usual_level(self) -> u8 {
        match self {
            Self::Gzip => 1,
            Self::Zstd => 2,
            Self::None => 0,
        }
    }

    /// The highest level there is.
    #[must_use]
    pub fn highest_level(self) -> u8 {
        match self {
            Self::Gzip => 12,
            Self::Zstd => 19,
            Self::None => 0,
        }
    }
}
