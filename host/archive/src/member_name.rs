//! The names of the members that every archive has, and of the folder for all others.
//!
//! Does not know what is in them.

/// The name of the first member.
pub const METADATA: &str = "metadata.json";
/// The name of the last member.
pub const SUMS: &str = "SHA256SUMS";

/// The folder of the members that are neither the database nor made of it.
pub const INCLUDE: &str = "include";
/// The member that describes those.
pub const CONTENTS: &str = "include.json";

/// Whether a database of this file name goes under another in the archive.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    [METADATA, SUMS, CONTENTS, "provenance.jsonl"].iter().any(|own| own.eq_ignore_ascii_case(name))
}
