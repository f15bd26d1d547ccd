//! How archives are compressed, and how that is named.

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
