//! Reads that take long, in one transaction, with a budget of their own: backups and checks of the whole file.
//!
//! Whoever holds a read transaction pins the write-ahead log, so both its time and the growth of the log are limited.

use std::time::Duration;

use crate::{
    Database, Error,
    connection::open::{ReadConnection, Trust},
    read::snapshot::Snapshot,
    read::transaction::Budget,
};
use vitalsign_base::clock::Deadline;

/// For how long a read that may only be quiet is begun anew when a writer has overtaken it.
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// How often a quiet read may be overtaken before one joins those who use the database.
const QUIET_TRIES: u32 = 2;

/// What a long read may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionLimits {
    /// Its time.
    pub time: Duration,
    /// Bytes that the write-ahead log may grow by meanwhile.
    pub wal_growth: u64,
}

impl Database {
    /// Reads in one transaction until `read` is done or a limit is reached, and leaves no trace.
    ///
    /// `read` is called again when a writer came between it and a database that no log protects.
    ///
    /// # Errors
    /// [`Error::OutOfTime`] or [`Error::WalGrew`] when a limit ended it, any other trouble of reading, or what `read`
    /// itself returned.
    pub fn long_read<T>(
        &self,
        limits: TransactionLimits,
        read: impl FnMut(&Snapshot<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.held(limits, RESTART_LIMIT, |_| self.pool.take(Trust::Trusted), read)
    }

    /// The same, but after a few reads that writers have overtaken it joins those who use the database.
    ///
    /// # Errors
    /// As [`Database::long_read`].
    pub fn long_read_or_join<T>(
        &self,
        limits: TransactionLimits,
        read: impl FnMut(&Snapshot<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let open = |overtaken| match overtaken {
            0..QUIET_TRIES => self.pool.take(Trust::Trusted),
            _ => ReadConnection::joining(self.path()),
        };
        self.held(limits, limits.time, open, read)
    }

    /// `open` gives the connection to read on, and is told how often writers have overtaken the read so far.
    pub(crate) fn held<T>(
        &self,
        limits: TransactionLimits,
        restart_for: Duration,
        open: impl Fn(u32) -> Result<ReadConnection, Error>,
        mut read: impl FnMut(&Snapshot<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let until = Deadline::after(limits.time);
        let mut overtaken = 0;
        self.retried(until.at_most(restart_for), || {
            let found = open(overtaken).and_then(|open| {
                let budget = Budget { time: until.remaining(), wal_growth: Some(limits.wal_growth) };
                let found = self.in_transaction(&open, until, budget, &mut read);
                self.release(open, found)
            });
            overtaken += u32::from(matches!(found, Err(Error::Changing(_))));
            found
        })
    }
}
