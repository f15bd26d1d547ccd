//! Private copies of a database, on their way into or out of an archive.
//!
//! Nobody else knows of them, so they are opened without locks. Knows no archive.

use std::{path::Path, time::Duration};

use super::{Snapshot, Trouble, open::Open, watchdog::Allowance};
use crate::clock::Deadline;

/// A copy that is open for looking: its file may be removed from now on.
pub struct Copy {
    open: Open,
    limit: Duration,
}

impl Copy {
    /// Opens the copy at `path`, which nobody changes; reads may take `limit` in all.
    ///
    /// # Errors
    /// Any [`Trouble`] of opening.
    pub fn open(path: &Path, limit: Duration) -> Result<Self, Trouble> {
        let open = Open::as_it_lies(path)?;
        open.leash.arm(Allowance { until: Deadline::after(limit), wal: None });
        Ok(Self { open, limit })
    }

    /// Asks questions of the copy.
    ///
    /// # Errors
    /// Any [`Trouble`] of reading, or what `look` returned.
    pub fn look<T>(&self, path: &Path, look: impl FnOnce(&Snapshot<'_>) -> Result<T, Trouble>) -> Result<T, Trouble> {
        look(&Snapshot::new(&self.open, path, Deadline::after(self.limit), self.limit))
    }
}
