//! Private copies of a database, on their way into or out of an archive.
//!
//! Nobody else knows of them, so they are opened without locks. Knows no archive.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Error, Snapshot, connection::open::ReadConnection, connection::watchdog::ReadLimit};
use vitalsign_base::clock::Deadline;

/// A copy that is open for looking.
pub struct PrivateCopy {
    open: ReadConnection,
    shown: PathBuf,
    limit: Duration,
}

impl PrivateCopy {
    /// Opens the copy at `path`, which nobody changes and which messages call `shown`; reads may take `limit` in all.
    ///
    /// # Errors
    /// Any [`Error`] of opening.
    pub fn open(path: &Path, shown: &Path, limit: Duration) -> Result<Self, Error> {
        let open = ReadConnection::private(path, shown)?;
        open.limiter.arm(ReadLimit { until: Deadline::after(limit), wal: None });
        Ok(Self { open, shown: shown.to_owned(), limit })
    }

    /// Asks questions of the copy.
    ///
    /// # Errors
    /// Any [`Error`] of reading, or what `look` returned.
    pub fn look<T>(&self, look: impl FnOnce(&Snapshot<'_>) -> Result<T, Error>) -> Result<T, Error> {
        look(&Snapshot::new(&self.open, &self.shown, Deadline::after(self.limit), self.limit))
    }
}
