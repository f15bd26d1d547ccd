//! A private copy of a database that is not in WAL mode, so that its writers wait for a copy and not for the compression.
//!
//! It lies beside the archive that is made of it and goes when that is done. Knows no archive.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use crate::backup::{Error, Progress, examination::CHECK_LIMIT};
use vitalsign_base::files;
use vitalsign_sqlite::{PrivateCopy, Snapshot};

/// Pages are gathered to so many bytes before they are written.
const GATHERED_BYTES: usize = 1 << 20;

/// The copy; dropping it removes it.
pub(crate) struct Spool {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Spool {
    /// A copy that was made of the files of a database, in a private folder.
    pub(crate) fn at(path: PathBuf, folder: tempfile::TempDir) -> Self {
        Self { path, _folder: folder }
    }

    /// Copies what the snapshot holds into a private folder in `out`. The outer error comes from the database, and the read may be started
    /// again after it; the inner error is final.
    pub(crate) fn of(
        snapshot: &Snapshot<'_>,
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<Result<Self, Error>, vitalsign_sqlite::Error> {
        let failed = |error| Error::io("write a copy of the database to", out, error);
        let begun = || -> io::Result<_> {
            let folder = files::temporary_folder(out)?;
            // SQLite follows no link on its way to what it reads here.
            let path = files::resolved(folder.path())?.join("database");
            let file = files::create_private(&path)?;
            Ok((Self { path, _folder: folder }, BufWriter::with_capacity(GATHERED_BYTES, file)))
        };
        let (spool, mut file) = match begun() {
            Ok(begun) => begun,
            Err(error) => return Ok(Err(failed(error))),
        };
        let facts = snapshot.facts()?;
        progress.begin("copying the database", facts.page_bytes * facts.pages);
        let (mut ended, mut done) = (Ok(()), 0);
        let read = snapshot.pages(|page| {
            ended = file.write_all(page);
            done += page.len() as u64;
            progress.at(done);
            ended.is_ok() && !progress.is_cancelled()
        });
        progress.end();
        read?;
        if progress.is_cancelled() {
            return Ok(Err(Error::Interrupted));
        }
        Ok(ended.and_then(|()| file.flush()).map(|()| spool).map_err(failed))
    }

    /// The copy as a file, and its size in bytes.
    pub(crate) fn opened(&self) -> io::Result<(File, u64)> {
        let file = files::open_regular(&self.path)?;
        let bytes = files::stat_of(&file)?.bytes;
        Ok((file, bytes))
    }

    /// Asks questions of the copy, of which nobody has to wait for the end.
    pub(crate) fn look<T>(
        &self,
        look: impl FnOnce(&Snapshot<'_>) -> Result<T, vitalsign_sqlite::Error>,
    ) -> Result<T, vitalsign_sqlite::Error> {
        PrivateCopy::open(&self.path, &self.path, CHECK_LIMIT)?.look(look)
    }
}
