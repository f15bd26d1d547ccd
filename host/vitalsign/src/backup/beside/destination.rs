//! A path that a restore writes to, and the file that is there.

use crate::backup::Error;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};
use vitalsign_base::files::{self, Stat};
/// What the name of a file or a folder ends with that is not in its place yet, or not any more.
pub(crate) const STAGED: &str = ".vitalsign-restoring";

/// Where a file goes.
pub(crate) struct Destination {
    /// Links resolved.
    pub(crate) real: PathBuf,
    /// What is there.
    pub(crate) stat: Option<Stat>,
    /// The nearest parent folder that exists: everything that is created below it is in the same file system.
    pub(crate) base: PathBuf,
}

impl Destination {
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::io("use", path, error);
        let absolute = std::path::absolute(path).map_err(failed)?;
        let (base, missing) = nearest(&absolute).map_err(failed)?;
        let real = match missing.as_os_str().is_empty() {
            true => base.clone(),
            false => base.join(&missing),
        };
        if real.file_name().is_none() || absolute.as_os_str().as_encoded_bytes().ends_with(b"/") {
            let what = format!("{} is not the path of a file; nothing was changed", path.display());
            return Err(Error::refused(what, "name a file"));
        }
        if files::is_link(&real) {
            let what =
                format!("{} is a symbolic link to a file that does not exist; nothing was changed", path.display());
            return Err(Error::refused(what, "restore to the path that the link points to, or remove the link"));
        }
        let stat = files::stat(&real).map_err(failed)?;
        let base = match (&stat, real.parent()) {
            (Some(_), Some(parent)) => parent.to_owned(),
            _ => base,
        };
        Ok(Self { real, stat, base })
    }

    pub(crate) fn name(&self) -> &OsStr {
        self.real.file_name().unwrap_or_default()
    }

    /// The path of the staging folder, or of the staged file.
    pub(crate) fn staged(&self) -> PathBuf {
        staged_beside(&self.base.join(self.name()))
    }

    pub(crate) fn make_folder(&self, owner: Option<(u32, u32)>) -> Result<(), Error> {
        let folder = self.real.parent().unwrap_or(Path::new("/"));
        files::folder(folder, owner).map_err(|error| Error::io("create the folder", folder, error))
    }

    /// Gives a new file the owner, the rights and the attributes that it will have here.
    pub(crate) fn give(&self, file: &Path, archived: Option<(u32, u32, u32)>) -> Result<(), Error> {
        let (owner, mode) = self.rights(archived);
        files::set_owner_and_mode(file, owner, mode)
            .map_err(|error| Error::io("set the owner and mode of", &self.real, error))?;
        if self.stat.is_none() {
            return Ok(());
        }
        let lost = files::copy_attributes(&self.real, file)
            .map_err(|error| Error::io("set the access control list of", &self.real, error))?;
        if !lost.is_empty() {
            tracing::warn!("{} loses its extended attributes {}", self.real.display(), lost.join(", "));
        }
        Ok(())
    }

    /// The owner and mode of the new file: those of the old one, else those in the archive, without execute bits. In a folder with
    /// rules of its own for new files, the new file is for its owner alone.
    pub(crate) fn rights(&self, archived: Option<(u32, u32, u32)>) -> (Option<(u32, u32)>, u32) {
        const USUAL_MODE: u32 = 0o600;
        let (mode, uid, gid) = archived.unwrap_or((USUAL_MODE, 0, 0));
        let mode = if files::has_default_list(&self.base) { USUAL_MODE } else { mode & 0o666 };
        match self.stat {
            Some(old) => (Some((old.uid, old.gid)), old.mode & 0o777),
            // Only root can set an owner, as with `tar`.
            None if files::is_root() && uid != 0 => (Some((uid, gid)), mode),
            None => (files::owner_for_new_file(&self.base.join(self.name()), None), mode),
        }
    }
}

/// The deepest part of `path` that exists, links resolved, and what comes after it.
fn nearest(path: &Path) -> std::io::Result<(PathBuf, PathBuf)> {
    let mut missing = PathBuf::new();
    for ancestor in path.ancestors() {
        if files::is_link(ancestor) || files::stat(ancestor)?.is_some() {
            // A link that leads nowhere stays as it is: the caller refuses it.
            let real = files::resolved(ancestor).unwrap_or_else(|_| ancestor.to_owned());
            return Ok((real, missing));
        }
        let name = ancestor.file_name().unwrap_or_default();
        missing = if missing.as_os_str().is_empty() { name.into() } else { Path::new(name).join(&missing) };
    }
    Err(rustix::io::Errno::NOENT.into())
}

/// Where the new file for `path` is made ready: a file, or a folder.
pub(crate) fn staged_beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(STAGED);
    path.with_file_name(name)
}
