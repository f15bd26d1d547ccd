//! What may be included in the archives of a registry: nothing that is in them anyway, or that holds them, and nothing twice.
//!
//! Looks at links and names only; opens nothing.

use std::path::{Path, PathBuf};

use super::Include;
use crate::backup::side_files::SIDES;
use vitalsign_base::files::{self, FolderEntry};

/// Which of the paths cannot be included with the database `db` into archives in `dir`, and why.
///
/// Where links count, they are followed, and an included path must be none. Where only words do, no change on the disk can make a
/// configuration wrong, which other commands need as well.
#[must_use]
pub fn wrongly_included(include: &[Include], db: &Path, dir: &Path, links_count: bool) -> Vec<(usize, String)> {
    let real = |path: &Path| if links_count { real(path) } else { as_written(path) };
    let (db, dir) = (real(db), real(dir));
    let paths: Vec<_> = include.iter().map(|one| real(&one.path)).collect();
    let mut wrong = Vec::new();
    for (index, (one, path)) in include.iter().zip(&paths).enumerate() {
        let others = || include.iter().zip(&paths).enumerate().filter(|(other, _)| *other != index);
        let twice = others().find(|(other, (it, its))| *other < index && (it.name == one.name || *its == path));
        let above = others().find(|(_, (_, its))| path != *its && path.starts_with(its));
        let why = if links_count && matches!(files::node(&one.path), Ok(Some(FolderEntry::Link(_)))) {
            "it is a symbolic link; write the path that it leads to".to_owned()
        } else if belongs_to(path, &db) {
            "it is the database of the registry, or belongs to it, and every archive contains that anyway; remove it"
                .to_owned()
        } else if db.starts_with(path) {
            "the database of the registry lies in it, and cannot be in an archive twice; name what else is in it"
                .to_owned()
        } else if dir.starts_with(path) {
            "the folder for archives lies in it, so each archive would contain those before it; name what else is in it"
                .to_owned()
        } else if path.starts_with(&dir) {
            "it lies in the folder for archives; include nothing from there".to_owned()
        } else if let Some((_, (it, _))) = twice {
            format!("it is the same as `{}` before it; remove one of the two", it.name)
        } else if let Some((_, (it, _))) = above {
            format!("it lies in `{}`, which is included as a whole; remove one of the two", it.name)
        } else {
            continue;
        };
        wrong.push((index, why));
    }
    wrong
}

/// Whether a path is that of the database, or of a file or a folder that SQLite or this program keeps beside it.
fn belongs_to(path: &Path, db: &Path) -> bool {
    let (Some(name), Some(own)) = (path.file_name(), db.file_name()) else { return false };
    let rest = name.as_encoded_bytes().strip_prefix(own.as_encoded_bytes());
    let is_side = rest.is_some_and(|rest| {
        let begins = |start: &&str| rest.starts_with(start.as_bytes());
        rest.is_empty() || SIDES.iter().chain(&[".vitalsign-", ".replaced-"]).any(begins)
    });
    path.parent() == db.parent() && is_side
}

/// The path from the root of the file system, without looking at that.
fn as_written(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The path with all links resolved as far as there is anything.
pub(crate) fn real(path: &Path) -> PathBuf {
    let path = as_written(path);
    for above in path.ancestors() {
        if let Ok(found) = files::resolved(above) {
            let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
            return if rest.as_os_str().is_empty() { found } else { found.join(rest) };
        }
    }
    path
}
