//! Paths: the folder of a file, where links lead, whether two paths are one file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::stat::stat;

/// The folder that holds `path`, as it is written.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path of a file beside `path` whose name goes on with `suffix`.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Where `path` leads when every link is followed; for a file that is not there, where it would be made.
///
/// # Errors
/// What the system says, such as for a folder that is not there.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.file_name()) {
        (Err(error), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(fs::canonicalize(folder_of(path))?.join(name))
        }
        (found, _) => found,
    }
}

/// The same, also for a link to a file that is not there: the place where it leads.
///
/// # Errors
/// What the system says, such as for a folder that is not there, or when there are more links than the system follows.
pub fn link_destination(path: &Path) -> io::Result<PathBuf> {
    /// As many as Linux itself follows.
    const MAX_LINKS: u32 = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => return resolved(&path),
        }
    }
    Err(io::Error::other("it leads through too many symbolic links"))
}

/// Whether `path` itself is a symbolic link.
#[must_use]
pub fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Whether both lead to one file, by any name, or would if they were made.
#[must_use]
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    match (stat(a), stat(b)) {
        (Ok(Some(a)), Ok(Some(b))) => a.id == b.id,
        _ => matches!((resolved(a), resolved(b)), (Ok(a), Ok(b)) if a == b),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::write_new, *};

    #[test]
    fn one_file_is_known_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write_new(&at("a"), "").unwrap();
        fs::hard_link(at("a"), at("hard")).unwrap();
        std::os::unix::fs::symlink(".", at("loop")).unwrap();
        assert!(is_same_file(&at("a"), &at("hard")) && is_same_file(&at("a"), &at("loop/a")));
        assert!(is_same_file(&at("made-later"), &at("loop/made-later")));
        assert!(!is_same_file(&at("a"), &at("b")) && !is_same_file(&at("b"), &at("c")));
    }
}
