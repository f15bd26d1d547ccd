//! `metadata.json` and `SHA256SUMS`: what an archive says of itself.
//!
//! Older archives of the same registry say less; every key is optional when read. Knows no database beyond these facts.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    flaw::Flaw,
    member_name::{INCLUDE, METADATA, SUMS},
};
use vitalsign_base::value::{Digest, printable};

/// The version of the format that is written here, without and with members below `include/`. A program that knows only the first
/// must not restore half of an archive.
const FORMAT_VERSION: u64 = 1;
const INCLUDE_VERSION: u64 = 2;

/// The keys that hold text in every version of the format.
const TEXTS: [&str; 3] = ["createdAt", "tool", "source"];

/// The names of the members; `null` for what is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberNames {
    /// The database.
    #[serde(default)]
    pub database: Option<String>,
    /// Its write-ahead log, in an archive of raw copies.
    #[serde(default)]
    pub wal: Option<String>,
    /// The index of the log, in an archive of raw copies.
    #[serde(default)]
    pub shm: Option<String>,
    /// Its rollback journal, in an archive of raw copies that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// The export of the provenance table.
    #[serde(default)]
    pub provenance: Option<String>,
}

/// What SQLite says of the database, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SqliteFacts {
    /// The library that read it, such as `3.54.1`.
    pub version: String,
    /// Bytes a page.
    pub page_size: u64,
    /// Pages.
    pub page_count: u64,
    /// `PRAGMA user_version`.
    pub user_version: i64,
    /// `PRAGMA application_id`.
    pub application_id: i64,
    /// `wal`, or `delete` for every kind of rollback journal.
    pub journal_mode: String,
    /// `UTF-8`, `UTF-16le` or `UTF-16be`.
    pub encoding: String,
    /// `PRAGMA auto_vacuum`: 0 none, 1 full, 2 incremental.
    pub auto_vacuum: i64,
}

/// What else of the registry is in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncludedPath {
    /// Its name below `include/`.
    pub name: String,
    /// The path that it was read from.
    pub path: String,
}

/// The content of `metadata.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The version of the archive's format; absent in older ones.
    pub format_version: Option<u64>,
    /// When the backup was begun, in UTC.
    pub created_at: Option<String>,
    /// What made it.
    pub tool: Option<String>,
    /// The path of the database that was backed up.
    pub source: Option<String>,
    /// The machine or the container on which the backup was made.
    pub host: Option<String>,
    /// What tells the database from others of the same path.
    pub identity: Option<String>,
    /// The names of the members; absent in some older archives.
    pub files: Option<MemberNames>,
    /// What SQLite says of the database.
    pub sqlite: Option<SqliteFacts>,
    /// Rows in the records table; `null` without one.
    pub records: Option<u64>,
    /// Rows in the provenance table; `null` without one.
    pub provenance_rows: Option<u64>,
    /// What is wrong with the database although no row is lost; absent where nothing is known to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Why rows that were committed before the backup are missing; absent in an archive that has everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// What else of the registry is in the archive; absent where there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<IncludedPath>,
}

impl Metadata {
    /// Metadata of the format that is written here.
    #[must_use]
    pub fn new() -> Self {
        Self { format_version: Some(FORMAT_VERSION), ..Self::default() }
    }

    /// The same with members below `include/`, if there are any.
    #[must_use]
    pub fn including(self, include: Vec<IncludedPath>) -> Self {
        let format_version = if include.is_empty() { self.format_version } else { Some(INCLUDE_VERSION) };
        Self { format_version, include, ..self }
    }

    /// The text of the member.
    #[must_use]
    pub fn render(&self) -> String {
        // A struct of text and numbers always serialises.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads the member.
    ///
    /// # Errors
    /// [`Flaw::Refused`] for what is not JSON of this shape, and for a version that is not known here.
    pub fn parse(text: &[u8]) -> Result<Self, Flaw> {
        let refused = |why: String| Flaw::Refused(format!("its `{METADATA}` {why}"));
        let unreadable =
            |error: serde_json::Error| refused(format!("cannot be read: {}", printable(&error.to_string(), 200)));
        let mut found: Value = serde_json::from_slice(text).map_err(unreadable)?;
        let Some(keys) = found.as_object_mut() else { return Err(refused("is not a JSON object".to_owned())) };
        match keys.get("formatVersion") {
            Some(version) if version.as_u64() == Some(INCLUDE_VERSION) => {}
            // There it is a key that later programs may have added, and means nothing.
            Some(version) if version.as_u64() == Some(FORMAT_VERSION) => drop(keys.remove("include")),
            None | Some(Value::Null) => {
                // Other tools may store anything under the other keys, and a restore needs none of them.
                keys.retain(|key, value| match key.as_str() {
                    "files" => value.is_object(),
                    key => value.is_string() && TEXTS.contains(&key),
                });
            }
            Some(other) => {
                return Err(refused(format!(
                    "has formatVersion {}, but this version of Vitalsign supports {INCLUDE_VERSION} at most; use a newer version",
                    printable(&other.to_string(), 40)
                )));
            }
        }
        serde_json::from_value(found).map_err(unreadable)
    }
}

/// The digests of members by name, as `sha256sum` writes and reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksums(pub BTreeMap<String, Digest>);

impl Checksums {
    /// The text of the member: one line each, in name order.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (name, digest)| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{digest}  {name}");
            text
        })
    }

    /// Reads the member. A leading `./` of a name is taken off, since that is how the names of members are compared.
    ///
    /// # Errors
    /// [`Flaw::Refused`] for a line that is not of this form, or a name that is there twice.
    pub fn parse(text: &[u8]) -> Result<Self, Flaw> {
        Self::of_members(text, |name| name.rsplit('/').next().unwrap_or(name))
    }

    /// Reads the member of an archive that has members below `include/`, whose names keep their folders.
    ///
    /// # Errors
    /// As [`Checksums::parse`].
    pub fn parse_included(text: &[u8]) -> Result<Self, Flaw> {
        Self::of_members(text, |name| {
            let name = name.strip_prefix("./").unwrap_or(name);
            let is_below = |name: &str| name.strip_prefix(INCLUDE).is_some_and(|rest| rest.starts_with('/'));
            match name.split_once('/') {
                _ if is_below(name) => name,
                Some((_, rest)) if is_below(rest) => rest,
                _ => name.rsplit('/').next().unwrap_or(name),
            }
        })
    }

    fn of_members(text: &[u8], member: impl Fn(&str) -> &str) -> Result<Self, Flaw> {
        let refused = |line: &str| {
            Flaw::Refused(format!("its `{SUMS}` has a line that is not valid: `{}`", printable(line, 120)))
        };
        let text = std::str::from_utf8(text).map_err(|_| Flaw::Refused(format!("its `{SUMS}` is not UTF-8 text")))?;
        let mut sums = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (digest, name) = line.split_at_checked(64).ok_or_else(|| refused(line))?;
            let name = name.strip_prefix("  ").or_else(|| name.strip_prefix(" *")).ok_or_else(|| refused(line))?;
            let digest = Digest::parse(digest).map_err(|_| refused(line))?;
            // Where a folder was packed, the sums name its files by their paths.
            let name = member(name);
            if name.is_empty() || sums.insert(name.to_owned(), digest).is_some() {
                return Err(refused(line));
            }
        }
        Ok(Self(sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_as_it_is_written_and_older_ones_too() {
        let files = MemberNames { database: Some("r.sqlite".to_owned()), ..MemberNames::default() };
        let new = Metadata { files: Some(files), records: Some(3), ..Metadata::new() };
        assert_eq!(Metadata::parse(new.render().as_bytes()).unwrap(), new);
        let old = Metadata::parse(
            br#"{"createdAt":"2025-10-27T16:43:49Z","source":"var/registry.sqlite","sqlite":"3.45","x":1}"#,
        )
        .unwrap();
        assert_eq!((old.format_version, old.files), (None, None));
        for (text, word) in
            [("", "cannot be read"), ("[]", "not a JSON object"), (r#"{"formatVersion":3}"#, "formatVersion 3")]
        {
            let error = Metadata::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn sums_are_those_of_sha256sum() {
        let digest = Digest::of(b"x");
        let sums = Checksums([("b".to_owned(), digest), ("a b".to_owned(), digest)].into());
        let text = sums.render();
        assert_eq!(text, format!("{digest}  a b\n{digest}  b\n"));
        assert_eq!(Checksums::parse(text.as_bytes()).unwrap(), sums);
        assert_eq!(Checksums::parse(format!("{digest} *./b\n").as_bytes()).unwrap().0.len(), 1);
        for bad in ["x", &format!("{digest} b"), &format!("{digest}  "), &format!("{digest}  b\n{digest}  ./b")] {
            assert!(Checksums::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
