//! Paths as they are written down beside a database: seen from its folder, so that they hold in a copy of the folder as well.
//!
//! A path that leads out of the folder may lead to the files of the original, so it only counts where it was written. Touches no file.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path as text: it need not be UTF-8, and JSON has nothing else.
pub(crate) fn as_text<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}

/// A path seen from the folder of a database.
///
/// As JSON it is text, or the numbers of its bytes where it is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelativePath(PathBuf);

impl RelativePath {
    /// `path` seen from `folder`; both are absolute, with links resolved.
    pub(crate) fn of(path: &Path, folder: &Path) -> Self {
        let common = path.components().zip(folder.components()).take_while(|(one, other)| one == other).count();
        let up = folder.components().skip(common).map(|_| Component::ParentDir);
        Self(up.chain(path.components().skip(common)).collect())
    }

    /// The path that it means beside a database in `folder`.
    pub(crate) fn at(&self, folder: &Path) -> PathBuf {
        let mut path = folder.to_owned();
        for part in self.0.components() {
            match part {
                Component::ParentDir => drop(path.pop()),
                part => path.push(part),
            }
        }
        path
    }

    /// Whether it leads out of the folder.
    pub(crate) fn leads_out(&self) -> bool {
        self.0.is_absolute() || self.0.components().next() == Some(Component::ParentDir)
    }

    pub(crate) fn is_in(&self, folder: &Self) -> bool {
        self.0.starts_with(&folder.0)
    }

    /// The folder itself, as it is written down to know it again.
    pub(crate) fn whole(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// As it is written down.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn is(&self, folder: &Path) -> bool {
        self.0 == folder
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathText {
    Text(String),
    Bytes(Vec<u8>),
}

impl Serialize for RelativePath {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let written = match self.0.to_str() {
            Some(text) => PathText::Text(text.to_owned()),
            None => PathText::Bytes(self.0.as_os_str().as_bytes().to_vec()),
        };
        written.serialize(to)
    }
}

impl<'de> Deserialize<'de> for RelativePath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match PathText::deserialize(from)? {
            PathText::Text(text) => Self(text.into()),
            PathText::Bytes(bytes) => Self(OsString::from_vec(bytes).into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_holds_in_a_copy_of_its_folder() {
        for (path, seen, copied, leads_out) in [
            ("/srv/var/log.jsonl", "log.jsonl", "/copy/var/log.jsonl", false),
            (
                "/srv/var/r.db.replaced-1/database",
                "r.db.replaced-1/database",
                "/copy/var/r.db.replaced-1/database",
                false,
            ),
            ("/srv/logs/log.jsonl", "../logs/log.jsonl", "/copy/logs/log.jsonl", true),
            ("/data/log.jsonl", "../../data/log.jsonl", "/data/log.jsonl", true),
        ] {
            let nearby = RelativePath::of(Path::new(path), Path::new("/srv/var"));
            assert_eq!(serde_json::to_string(&nearby).unwrap(), format!("{seen:?}"));
            assert_eq!(nearby.at(Path::new("/srv/var")), Path::new(path));
            assert_eq!((nearby.at(Path::new("/copy/var")), nearby.leads_out()), (copied.into(), leads_out));
        }
        let odd = RelativePath(OsString::from_vec(b"r\xff.db".to_vec()).into());
        let text = serde_json::to_string(&odd).unwrap();
        assert_eq!((text.as_str(), serde_json::from_str(&text).unwrap()), ("[114,255,46,100,98]", odd));
        // As an older version has written it.
        assert!(serde_json::from_str::<RelativePath>("\"/srv/var/log.jsonl\"").unwrap().leads_out());
    }
}
