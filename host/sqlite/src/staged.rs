//! Private copies of a database, on their way into or out of an archive.
//!
//! Nobody else knows of them, so they are opened without locks. Knows no archive.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Snapshot, Trouble, open::Open, watchdog::Allowance};
use vitalsign_base::clock::Deadline;

/// A copy that is open for looking.
pub struct Copy {
    open: Open,
    shown: PathBuf,
    limit: Duration,
}

impl Copy {
    /// Opens the copy at `path`, which nobody changes and which messages call `shown`; reads may take `limit` in all.
    ///
    /// # Errors
    /// Any [`Trouble`] of opening.
    pub fn open(path: &Path, shown: &Path, limit: Duration) -> Result<Self, Trouble> {
        let open = Open::as_it_lies(path, shown)?;
        open.leash.arm(Allowance { until: Deadline::after(limit), wal: None });
        Ok(Self { open, shown: shown.to_owned(), limit })
    }

    /// Asks questions of the copy.
    ///
    /// # Errors
    /// Any [`Trouble`] of reading, or what `look` returned.
    pub fn look<T>(&self, look: impl FnOnce(&Snapshot<'_>) -> Result<T, Trouble>) -> Result<T, Trouble> {
        look(&Snapshot::new(&self.open, &self.shown, Deadline::after(self.limit), self.limit))
    }
}
