//! What else of a registry goes into its archives: other databases, files and folders, below `include/` in the archive.
//!
//! `rules` says what may be included, `gather` writes it into an archive, `contents` is its description there, `lay` reads and
//! checks it again, `put` brings it back with the database. Each included database is a consistent copy of itself; between two of
//! them, and the files, nothing is promised but their order: they are read after the database of the registry, whose rows then
//! find the files that they name. Knows no configuration.

pub(crate) mod contents;
pub(crate) mod rules;

use std::path::{Component, Path, PathBuf};

pub use rules::wrongly_included;

use vitalsign_archive::IncludedPath;

/// The longest name below `include/`.
const MAX_NAME_BYTES: usize = 255;

/// A path that is included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// Its name in archives: the path as it is written, without what leads to the root.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Include {
    /// The path `written` in a configuration, which is found at `path`.
    ///
    /// # Errors
    /// A sentence that says why it cannot have a name in an archive.
    pub fn new(written: &str, path: &Path) -> Result<Self, String> {
        let mut parts = Vec::new();
        for part in Path::new(written).components() {
            match part {
                Component::Normal(part) => parts.push(part.to_string_lossy()),
                Component::ParentDir => return Err("it contains `..`; write an absolute path instead".to_owned()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        let name = parts.join("/");
        if name.is_empty() {
            return Err(
                "this is the folder where relative paths start; name the databases, files and folders in it".to_owned()
            );
        }
        if name.len() > MAX_NAME_BYTES || !can_be_named(&name) {
            return Err(format!(
                "an archive cannot hold this name; use at most {MAX_NAME_BYTES} bytes, no backslash and no control character"
            ));
        }
        // Without a slash at its end, which only a folder could have.
        Ok(Self { name, path: path.components().collect() })
    }

    /// What the metadata say.
    pub(crate) fn stated(&self) -> IncludedPath {
        IncludedPath { name: self.name.clone(), path: self.path.display().to_string() }
    }
}

/// Whether a member may have this name: `sha256sum` writes a backslash or a line break in its own way.
pub(crate) fn can_be_named(name: &str) -> bool {
    !name.contains('\\') && !name.chars().any(char::is_control)
}
