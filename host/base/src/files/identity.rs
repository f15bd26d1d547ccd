//! What tells a file from another one of the same path on another machine.
//!
//! Knows no database. Writes nothing: it only asks what the system knows of a file.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::UNIX_EPOCH};

use super::read_text;
use crate::value::Digest;

/// Digits of an identity: two files never share them by chance.
const DIGITS: usize = 32;

const MAX_MACHINE_ID_BYTES: u64 = 256;

/// An identity of the file at `path`; `None` where there is none.
///
/// It is made of the inode, the time of the file's birth and the machine's id. It survives changes of the content, another name of
/// the file, and a container that starts again with another host name on the same volume. A copy of the file has another one.
/// Where the file system does not know when the file was born, the name of the host stands in for it.
#[must_use]
pub fn identity(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let born = found.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or_else(host_name, |at| at.as_nanos().to_string());
    let machine = read_text(Path::new("/etc/machine-id"), MAX_MACHINE_ID_BYTES).unwrap_or_default();
    let text = format!("{}\n{born}\n{}", found.ino(), machine.trim());
    let mut digits = Digest::of(text.as_bytes()).to_string();
    digits.truncate(DIGITS);
    Some(digits)
}

/// The name of this machine, or of this container.
#[must_use]
pub fn host_name() -> String {
    // The kernel itself says it, also where `/proc` is not mounted.
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether a text looks like an identity from here, and not like a name that somebody gave.
#[must_use]
pub fn is_identity(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_changes_and_renames_and_no_copy_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two, three) = (folder.path().join("1"), folder.path().join("2"), folder.path().join("3"));
        fs::write(&one, "a").unwrap();
        let first = identity(&one);
        assert!(is_identity(first.as_ref().unwrap()) && !is_identity("payments"));
        fs::write(&one, "b").unwrap();
        fs::rename(&one, &two).unwrap();
        assert_eq!(identity(&two), first);
        fs::copy(&two, &three).unwrap();
        assert_ne!(identity(&three), first);
        assert_eq!(identity(&one), None);
    }
}
