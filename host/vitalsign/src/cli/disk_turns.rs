//! Who may use the disk with the archives: a backup at once, a verification only while there is none, and neither once the server ends.
//!
//! Knows neither backups nor verifications, only that the one does not wait long for the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

use crate::backup::Progress;

/// How long a backup waits for a verification to give way. One that takes longer hangs in its file system, and a backup that is not
/// made is worse than one that is slow.
const BACKUP_PATIENCE: Duration = Duration::from_secs(10);

/// How long the end of the server waits for a verification to remove the copy that it has unpacked.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// The turns of one server.
#[derive(Debug, Default)]
pub(super) struct DiskTurns {
    held: Arc<Mutex<()>>,
    is_wanted: AtomicBool,
    is_over: AtomicBool,
}

/// The turn of a backup, until it is dropped.
pub(super) struct BackupTurn<'a> {
    turns: &'a DiskTurns,
    // Dropped after the wish is taken back, so that a verification does not give way to a backup that is over.
    _held: Option<OwnedMutexGuard<()>>,
}

impl Drop for BackupTurn<'_> {
    fn drop(&mut self) {
        self.turns.is_wanted.store(false, Ordering::SeqCst);
    }
}

impl DiskTurns {
    /// The turn of a backup: a verification that is under way is asked to give way, and is waited for, but not for long.
    pub(super) async fn for_backup(&self) -> BackupTurn<'_> {
        self.is_wanted.store(true, Ordering::SeqCst);
        // Made before the wait, so that the wish is taken back also where the wait is given up.
        let mut turn = BackupTurn { turns: self, _held: None };
        turn._held = timeout(BACKUP_PATIENCE, Arc::clone(&self.held).lock_owned()).await.ok();
        if turn._held.is_none() {
            tracing::warn!(
                "a verification of archives has not stopped within {} s, so the backup begins beside it",
                BACKUP_PATIENCE.as_secs()
            );
        }
        turn
    }

    /// The turn of a verification, which waits for as long as a backup takes; `None` once the server ends.
    pub(super) async fn for_verification(&self) -> Option<OwnedMutexGuard<()>> {
        let held = Arc::clone(&self.held).lock_owned().await;
        (!self.is_over.load(Ordering::SeqCst)).then_some(held)
    }

    /// Asks verifications to end for good.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Waits until none is under way, or it has had its time.
    pub(super) async fn ended(&self) {
        self.end();
        // What hangs is left behind: the process ends all the same.
        drop(timeout(END_PATIENCE, self.held.lock()).await);
    }
}

/// What a verification asks now and then.
impl Progress for DiskTurns {
    fn begin(&self, _: &'static str, _: u64) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}

    fn is_cancelled(&self) -> bool {
        self.is_wanted.load(Ordering::SeqCst) || self.is_over.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_still<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
    }

    #[test]
    fn a_backup_goes_first_and_waits_for_nothing_that_hangs() {
        stand_still(async {
            let turns = DiskTurns::default();
            let verification = turns.for_verification().await.unwrap();
            assert!(!turns.is_cancelled());
            // This one never gives way: time passes by itself, since nothing else is there to do.
            let backup = turns.for_backup().await;
            assert!(turns.is_cancelled());
            drop(backup);
            assert!(!turns.is_cancelled());
            drop(verification);
            let backup = turns.for_backup().await;
            assert!(timeout(Duration::from_secs(3600), turns.for_verification()).await.is_err());
            drop(backup);
            assert!(turns.for_verification().await.is_some());
        });
    }

    #[test]
    fn the_end_waits_for_what_tidies_up_and_for_nothing_that_hangs() {
        stand_still(async {
            let turns = DiskTurns::default();
            let _hangs = turns.for_verification().await.unwrap();
            turns.ended().await;
            assert!(turns.is_cancelled());
            drop(_hangs);
            assert!(turns.for_verification().await.is_none());
        });
    }
}
