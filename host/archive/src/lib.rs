//! Archives: a tar stream in independent compressed blocks, written and read on all cores.
//!
//! The only room that knows tar, gzip and zstd. What an archive holds is bytes under names to it; it knows no database, no
//! configuration and no place where archives are kept. The format stands in `docs/archive-format.md`.

mod compression;
mod member_name;
mod pipeline;

mod block;
mod flaw;
mod name;

mod metadata;
mod reader;

mod members;
mod write;

#[cfg(test)]
mod tests;

pub use compression::Compression;
pub use flaw::{Damage, Flaw, ReadError};
pub use member_name::{CONTENTS, INCLUDE, METADATA, SUMS, is_reserved};
pub use members::{MAX_INCLUDED, MAX_INCLUDED_NAME_BYTES, Member, Walked, walk};
pub use metadata::{Checksums, IncludedPath, MemberNames, Metadata, SqliteFacts};
pub use name::{BadTag, Stamp, Tag, file_name, parse_file_name};
pub use reader::{ArchiveReader, Counter, DATABASE_MAGIC};
pub use write::{Header, Writer, Written, WrittenMember};
