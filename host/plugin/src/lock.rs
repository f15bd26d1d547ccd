//! `vitalsign.lock`: the SHA-256 that each plugin's component must have.
//!
//! A JSON file beside the configuration: `{"version": 1, "plugins": {"NAME": "HEX", …}}`. Knows nothing of components.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};

use vitalsign_base::value::{Digest, Name};

/// The only version of the format.
const VERSION: u32 = 1;

/// The digests that plugins are pinned to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    #[serde(deserialize_with = "each_once")]
    plugins: BTreeMap<Name, Digest>,
}

/// Reads the pins and refuses a name that stands there twice: a reviewer may read the one and this program the other.
fn each_once<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Name, Digest>, D::Error> {
    struct Pins;

    impl<'de> Visitor<'de> for Pins {
        type Value = BTreeMap<Name, Digest>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with a SHA-256 for each plugin")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut pins = BTreeMap::new();
            while let Some((name, digest)) = entries.next_entry::<Name, Digest>()? {
                if let Some(_other) = pins.insert(name.clone(), digest) {
                    return Err(A::Error::custom(format_args!("the plugin {name} is pinned twice")));
                }
            }
            Ok(pins)
        }
    }

    from.deserialize_map(Pins)
}

/// What the lock file says of one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockEntry {
    /// There is no lock file.
    Unpinned,
    /// There is one, and it does not name the plugin.
    Missing,
    /// The component must have this digest.
    To(Digest),
}

impl LockEntry {
    /// What `lock` says of `plugin`.
    #[must_use]
    pub fn of(plugin: &Name, lock: Option<&LockFile>) -> Self {
        match lock {
            None => Self::Unpinned,
            Some(lock) => lock.plugins.get(plugin).map_or(Self::Missing, |digest| Self::To(*digest)),
        }
    }
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

impl LockFile {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_reads_what_it_wrote() {
        let name = Name::parse("growth").unwrap();
        let lock = LockFile::new(BTreeMap::from([(name.clone(), Digest::of(b"x"))]));
        let again = LockFile::parse(&lock.render()).unwrap();
        assert_eq!(again, lock);
        assert_eq!(LockEntry::of(&name, Some(&again)), LockEntry::To(Digest::of(b"x")));
        assert_eq!(LockEntry::of(&Name::parse("other").unwrap(), Some(&again)), LockEntry::Missing);
        assert_eq!(LockEntry::of(&name, None), LockEntry::Unpinned);
    }

    #[test]
    fn a_plugin_that_is_pinned_twice_is_refused() {
        let pin = |digit: &str| format!(r#""a":"{}""#, digit.repeat(64));
        for (one, two) in [("0", "1"), ("1", "0"), ("1", "1")] {
            let text = format!(r#"{{"version":1,"plugins":{{{},{}}}}}"#, pin(one), pin(two));
            let error = LockFile::parse(&text).unwrap_err();
            assert!(
                matches!(&error, LockError::Format(cause) if cause.to_string().contains("the plugin a is pinned twice"))
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "{}", "[]", r#"{"version":1}"#, r#"{"version":1,"plugins":{"a":"b"}}"#] {
            assert!(matches!(LockFile::parse(bad), Err(LockError::Format(_))), "{bad}");
        }
        assert!(matches!(LockFile::parse(r#"{"version":2,"plugins":{}}"#), Err(LockError::Version(2))));
    }
}
