//! `include.json`: what below `include/` in an archive is what.
//!
//! Folders and links are described here and are no members, so that an archive holds regular files only, and a sum covers the
//! description too. Knows no disk.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use vitalsign_archive::{CONTENTS, Flaw, INCLUDE, SqliteFacts};
use vitalsign_base::value::printable;

/// Faults that are written down.
pub(crate) const MAX_FAULTS: usize = 20;

/// What a path that is included was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::backup) enum IncludedKind {
    /// A SQLite database.
    Database,
    /// Any other file.
    File,
    /// A folder with all that is in it.
    Folder,
    /// Nothing was there, or nothing that can be in an archive.
    Missing,
}

/// The content of `include.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Contents {
    /// The paths that were included.
    pub(in crate::backup) entries: Vec<IncludedEntry>,
    /// The databases among the files, by the names of their members.
    pub(in crate::backup) databases: BTreeMap<String, IncludedDatabase>,
    /// What is wrong with any of it.
    pub(in crate::backup) faults: Vec<String>,
    /// What no archive holds, such as sockets.
    pub(in crate::backup) left_out: Vec<String>,
}

/// A path that was included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::backup) struct IncludedEntry {
    pub(in crate::backup) name: String,
    pub(in crate::backup) kind: IncludedKind,
    /// Every folder, itself included, seen from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::backup) folders: Vec<Folder>,
    /// Every symbolic link, seen from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::backup) links: Vec<Link>,
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::backup) struct Folder {
    /// Its path, empty for the one that was included.
    pub(in crate::backup) path: String,
    pub(in crate::backup) mode: u32,
    pub(in crate::backup) uid: u32,
    pub(in crate::backup) gid: u32,
    /// Seconds since 1970.
    pub(in crate::backup) modified: u64,
}

/// A symbolic link that leads to a place in the same folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::backup) struct Link {
    pub(in crate::backup) path: String,
    pub(in crate::backup) target: String,
    pub(in crate::backup) uid: u32,
    pub(in crate::backup) gid: u32,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::backup) struct IncludedDatabase {
    pub(in crate::backup) sqlite: SqliteFacts,
    /// Rows in all of its tables; `None` where one of them cannot be counted.
    pub(in crate::backup) rows: Option<u64>,
    /// Why it was not checked, or its indexes were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::backup) not_checked: Option<String>,
}

impl Contents {
    /// The text of the member.
    pub(crate) fn render(&self) -> String {
        // A struct of text and numbers always serialises.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Notes what is wrong, up to a limit.
    pub(crate) fn fault(&mut self, fault: &str) {
        match self.faults.len() {
            0..MAX_FAULTS => self.faults.push(printable(fault, MAX_TEXT_BYTES)),
            MAX_FAULTS => self.faults.push("and more".to_owned()),
            _ => {}
        }
    }

    /// Notes what is not in the archive and is not missed there, up to a limit.
    pub(crate) fn leaves_out(&mut self, what: &str) {
        match self.left_out.len() {
            0..MAX_FAULTS => self.left_out.push(printable(what, MAX_TEXT_BYTES)),
            MAX_FAULTS => self.left_out.push("and more".to_owned()),
            _ => {}
        }
    }

    /// Reads the member, and refuses a description that names a place outside of what was included.
    ///
    /// # Errors
    /// [`Flaw::Refused`].
    pub(in crate::backup) fn parse(text: &[u8]) -> Result<Self, Flaw> {
        let refused = |why: String| Flaw::Refused(format!("its `{CONTENTS}` {why}"));
        let found: Self = serde_json::from_slice(text)
            .map_err(|error| refused(format!("cannot be read: {}", printable(&error.to_string(), MAX_TEXT_BYTES))))?;
        for entry in &found.entries {
            let mut taken = BTreeSet::new();
            let known: BTreeSet<_> = entry.folders.iter().map(|folder| folder.path.as_str()).collect();
            let folders = entry.folders.iter().map(|folder| &folder.path);
            for path in folders.chain(entry.links.iter().map(|link| &link.path)) {
                let is_whole = path.is_empty() && entry.kind == IncludedKind::Folder;
                // What is above must be a folder: below a link it would be made where that leads, and from there lead on.
                let is_below = path.rsplit_once('/').is_none_or(|(above, _)| known.contains(above));
                if !(is_whole || is_inside(path)) || !is_below || !taken.insert(path) {
                    return Err(refused(format!(
                        "has the path `{}`, which is not safe",
                        printable(path, MAX_TEXT_BYTES)
                    )));
                }
            }
            for link in &entry.links {
                if link.path.is_empty() || !stays_inside(&link.path, &link.target) {
                    let target = printable(&link.target, MAX_TEXT_BYTES);
                    return Err(refused(format!("has a link to `{target}`, which leads out of its folder")));
                }
            }
            let is_folder = entry.kind == IncludedKind::Folder;
            if is_folder != entry.folders.iter().any(|folder| folder.path.is_empty())
                || !(is_folder || entry.folders.is_empty() && entry.links.is_empty())
            {
                let name = printable(&entry.name, MAX_TEXT_BYTES);
                return Err(refused(format!("describes `{name}` in two ways")));
            }
        }
        Ok(found)
    }

    /// All folders, named as members are.
    pub(crate) fn folders(&self) -> BTreeSet<String> {
        let of =
            |entry: &IncludedEntry| entry.folders.iter().map(|one| named(&entry.name, &one.path)).collect::<Vec<_>>();
        self.entries.iter().flat_map(of).collect()
    }

    /// All links, named as members are.
    pub(crate) fn links(&self) -> impl Iterator<Item = String> {
        self.entries.iter().flat_map(|entry| entry.links.iter().map(|one| named(&entry.name, &one.path)))
    }

    /// Whether a member of this name may be in the archive.
    pub(in crate::backup) fn has(&self, member: &str) -> bool {
        let Some(inside) = member.strip_prefix(INCLUDE).and_then(|rest| rest.strip_prefix('/')) else { return false };
        self.entries.iter().any(|entry| match (inside.strip_prefix(&entry.name), entry.kind) {
            (Some(""), IncludedKind::Database | IncludedKind::File) => true,
            (Some(rest), IncludedKind::Folder) => rest.starts_with('/'),
            _ => false,
        })
    }
}

/// The longest text out of an archive that is repeated.
const MAX_TEXT_BYTES: usize = 500;

/// What a member at a path in a folder that was included would be called.
fn named(name: &str, path: &str) -> String {
    let slash = if path.is_empty() { "" } else { "/" };
    format!("{INCLUDE}/{name}{slash}{path}")
}

/// Whether a path stays below where it is seen from.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && super::can_be_named(part))
}

/// Whether a link at `path`, seen from a folder, leads to a place in that folder, whatever other links are in it: all its `..` come
/// first, where they lead through real folders.
pub(crate) fn stays_inside(path: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || !super::can_be_named(target) {
        return false;
    }
    let mut parts = target.split('/').filter(|part| !matches!(*part, "" | ".")).peekable();
    let mut up = 0;
    while parts.next_if_eq(&"..").is_some() {
        up += 1;
    }
    up < path.split('/').count() && parts.all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_their_folder() {
        for (path, target, stays) in [
            ("a", "b", true),
            ("a", "./b/c", true),
            ("x/a", "../b", true),
            ("x/a", "..", true),
            ("a", "..", false),
            ("a", "b/../../c", false),
            ("x/a", "b/../c", false),
            ("x/a", "../../b", false),
            ("a", "/etc/passwd", false),
            ("a", "", false),
        ] {
            assert_eq!(stays_inside(path, target), stays, "{path} -> {target}");
        }
    }

    #[test]
    fn a_description_that_leads_out_is_refused() {
        let text = |path: &str, target: &str| {
            format!(
                r#"{{"entries":[{{"name":"u","kind":"folder","folders":[{{"path":"","mode":493,"uid":0,"gid":0,"modified":0}},
                {{"path":"{path}","mode":493,"uid":0,"gid":0,"modified":0}}],"links":[{{"path":"l","target":"{target}","uid":0,"gid":0}}]}}]}}"#
            )
        };
        assert!(Contents::parse(text("sub", "sub/x").as_bytes()).is_ok());
        for (path, target) in
            [("..", "x"), ("a/../b", "x"), ("/a", "x"), ("", "x"), ("l", "x"), ("a", "../x"), ("a", "/x")]
        {
            assert!(Contents::parse(text(path, target).as_bytes()).is_err(), "{path} {target}");
        }
        // Each of these links stays in the folder by its own name, and below the one before it leads out.
        for above in ["l", "sub/none"] {
            assert!(Contents::parse(text(&format!("{above}/x"), "sub").as_bytes()).is_err(), "{above}");
            let link = format!(r#"{{"path":"{above}/x","target":"../..","uid":0,"gid":0}},{{"path":"l""#);
            let text = text("sub", "sub").replace(r#"{"path":"l""#, &link);
            assert!(Contents::parse(text.as_bytes()).is_err(), "{above}");
        }
    }
}
