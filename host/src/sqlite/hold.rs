//! Reads that take long, in one transaction, with a budget of their own: backups and checks of the whole file.
//!
//! Whoever holds a read transaction pins the write-ahead log, so both its time and the growth of the log are limited.

use std::time::Duration;

use super::{
    Budget, Registry, Trouble,
    open::{Open, Trust},
    snapshot::Snapshot,
};
use crate::clock::Deadline;

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
        self.held(limits, RESTART_LIMIT, u32::MAX, read)
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
        self.held(limits, limits.time, QUIET_TRIES, read)
    }

    fn held<T>(
        &self,
        limits: HoldLimits,
        restart_for: Duration,
        quiet_tries: u32,
        mut read: impl FnMut(&Snapshot<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let until = Deadline::after(limits.time);
        let mut overtaken = 0;
        self.retried(until.at_most(restart_for), || {
            let open = if overtaken < quiet_tries { self.pool.take(Trust::Ours) } else { Open::joining(self.path()) };
            let found = open.and_then(|open| {
                let budget = Budget { time: until.remaining(), wal_growth: Some(limits.wal_growth) };
                let found = self.in_transaction(&open, until, budget, &mut read);
                self.settle(open, found)
            });
            overtaken += u32::from(matches!(found, Err(Trouble::Changing(_))));
            found
        })
    }
}
