//! The lock that keeps two backups or restores of one database apart.

use crate::backup::{Error, Progress, Silent};
use std::{
    io::{self},
    path::{Path, PathBuf},
    thread::park_timeout,
    time::Duration,
};
use vitalsign_base::{
    clock::Deadline,
    files::{ProcessLock, Stat, beside},
};
/// The time between two attempts to take the lock.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Lets one backup, restore or undo of a database run at a time. The lock is released when its process ends, even by a kill.
pub(crate) fn lock(real: &Path, stat: &Stat, scratch: &Path) -> Result<ProcessLock, Error> {
    lock_within(Duration::ZERO, real, stat, scratch, &Silent)
}

/// Whether a backup or a restore of the database at the real path is under way, as far as its own lock file shows.
pub(crate) fn is_locked(real: &Path) -> bool {
    ProcessLock::is_held(&lock_of(real))
}

/// The same, but waits at most `wait` for the one before.
pub(crate) fn lock_within(
    wait: Duration,
    real: &Path,
    stat: &Stat,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<ProcessLock, Error> {
    let until = Deadline::after(wait);
    loop {
        if let Some(lock) = try_lock(real, stat, scratch)? {
            return Ok(lock);
        }
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if until.has_passed() {
            let what = format!("another backup or restore of {} is running; nothing was changed", real.display());
            let hint =
                "wait until it has ended, then try again; a lock file that a killed process left behind blocks nothing";
            return Err(Error::refused(what, hint));
        }
        park_timeout(LOCK_POLL.min(until.remaining()));
    }
}

pub(crate) fn lock_of(real: &Path) -> PathBuf {
    beside(real, ".vitalsign-lock")
}

fn try_lock(real: &Path, stat: &Stat, scratch: &Path) -> Result<Option<ProcessLock>, Error> {
    let own = lock_of(real);
    match ProcessLock::take(&own) {
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            let other = scratch.join(format!("vitalsign-{}-{}.lock", stat.id.device, stat.id.inode));
            ProcessLock::take(&other).map_err(|error| Error::io("lock", &other, error))
        }
        taken => taken.map_err(|error| Error::io("lock", &own, error)),
    }
}
