//! `vitalsign.lock`: the SHA-256 that each plugin's component must have.
//!
//! A JSON file beside the configuration: `{"version": 1, "plugins": {"NAME": "HEX", …}}`. Knows nothing of components.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::value::{Digest, Name};

/// The only version of the format.
const VERSION: u32 = 1;

/// The digests that plugins are pinned to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    plugins: BTreeMap<Name, Digest>,
}

/// Why a text is not a lock file.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It is not JSON of this shape.
    #[error("it is not a lock file")]
    Format(#[source] serde_json::Error),
    /// It was written by a later release.
    #[error("it has version {0}, and this release reads version {VERSION}")]
    Version(u32),
}

impl Lock {
    /// A lock that pins these plugins.
    #[must_use]
    pub fn new(plugins: BTreeMap<Name, Digest>) -> Self {
        Self { version: VERSION, plugins }
    }

    /// Reads a lock file's text.
    ///
    /// # Errors
    /// [`LockError`] when it is no lock file, or one of a later version.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lock: Self = serde_json::from_str(text).map_err(LockError::Format)?;
        if lock.version == VERSION { Ok(lock) } else { Err(LockError::Version(lock.version)) }
    }

    /// The lock file's text.
    #[must_use]
    pub fn render(&self) -> String {
        // A map of strings always serialises.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The digest that `plugin` is pinned to.
    #[must_use]
    pub fn digest(&self, plugin: &Name) -> Option<Digest> {
        self.plugins.get(plugin).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_reads_what_it_wrote() {
        let name = Name::parse("growth").unwrap();
        let lock = Lock::new(BTreeMap::from([(name.clone(), Digest::of(b"x"))]));
        let again = Lock::parse(&lock.render()).unwrap();
        assert_eq!(again, lock);
        assert_eq!(again.digest(&name), Some(Digest::of(b"x")));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "{}", "[]", r#"{"version":1}"#, r#"{"version":1,"plugins":{"a":"b"}}"#] {
            assert!(matches!(Lock::parse(bad), Err(LockError::Format(_))), "{bad}");
        }
        assert!(matches!(Lock::parse(r#"{"version":2,"plugins":{}}"#), Err(LockError::Version(2))));
    }
}
