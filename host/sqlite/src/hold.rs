//! Reads that take long, in one transaction, with a budget of their own: backups and checks of the whole file.
//!
//! Whoever holds a read transaction pins the write-ahead log, so both its time and the growth of the log are limited.

use std::time::Duration;

use super::{
    Budget, Registry, Trouble,
    open::{Open, Trust},
    snapshot::Snapshot,
};
use vitalsign_base::clock::Deadline;

/// For how long a read that may only be quiet is begun anew when a writer has overtaken it.
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// How often a quiet read may be overtaken before one joins those who use the database.
const QUIET_TRIES: u32 = 2;

/// What a long read may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLimits {
    /// Its time.
    pub time: Duration,
    /// Bytes that the write-ahead log may grow by meanwhile.
    pub wal_growth: u64,
}

impl Registry {
    /// Reads in one transaction until `read` is done or a limit is reached, and leaves no trace.
    ///
    /// `read` is called again when a writer came between it and a database that no log protects.
    ///
    /// # Errors
    /// [`Trouble::OutOfTime`] or [`Trouble::WalGrew`] when a limit ended it, any other trouble of reading, or what `read`
    /// itself returned.
    pub fn hold<T>(
        &self,
        limits: HoldLimits,
        read: impl FnMut(&Snapshot<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.held(limits, RESTART_LIMIT, |_| self.pool.take(Trust::Ours), read)
    }

    /// The same, but after a few reads that writers have overtaken it joins those who use the database.
    ///
    /// # Errors
    /// As [`Registry::hold`].
    pub fn hold_or_join<T>(
        &self,
        limits: HoldLimits,
        read: impl FnMut(&Snapshot<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let open = |overtaken| match overtaken {
            0..QUIET_TRIES => self.pool.take(Trust::Ours),
            _ => Open::joining(self.path()),
        };
        self.held(limits, limits.time, open, read)
    }

    /// `open` gives the connection to read on, and is told how often writers have overtaken the read so far.
    pub(super) fn held<T>(
        &self,
        limits: HoldLimits,
        restart_for: Duration,
        open: impl Fn(u32) -> Result<Open, Trouble>,
        mut read: impl FnMut(&Snapshot<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let until = Deadline::after(limits.time);
        let mut overtaken = 0;
        self.retried(until.at_most(restart_for), || {
            let found = open(overtaken).and_then(|open| {
                let budget = Budget { time: until.remaining(), wal_growth: Some(limits.wal_growth) };
                let found = self.in_transaction(&open, until, budget, &mut read);
                self.settle(open, found)
            });
            overtaken += u32::from(matches!(found, Err(Trouble::Changing(_))));
            found
        })
    }
}
