//! Read transactions: begun within a limit, tried again when they were cut off by chance, and ended.
//!
//! Knows no question that is asked of a database.

use std::time::Duration;

use vitalsign_base::{
    clock::{Deadline, processor_time},
    files::{self, beside},
};

use super::{
    query::{self, QueryCaps, QueryError, Rows, Value},
    retry::{RetryCount, RetryReason},
    snapshot::Snapshot,
};
use crate::{
    connection::{
        busy_handler,
        database::Database,
        open::{ReadConnection, Trust},
        vfs,
        watchdog::{LimitReached, ReadLimit},
    },
    error::Error,
    file::{
        database_files::DatabaseFiles,
        header::{self, HEAD_BYTES},
    },
};

/// The longest a look holds a read transaction: the write-ahead log cannot be reset meanwhile.
pub const READ_BUDGET: Duration = Duration::from_millis(50);

/// The longest wait for a lock, however much time the read itself has.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

impl Database {
    /// Looks at the database in one consistent read transaction of at most [`READ_BUDGET`].
    ///
    /// `look` is called again when files changed under it, and when it was cut off because the processor or the disk kept it
    /// waiting. Waits for locks until shortly before the deadline.
    ///
    /// # Errors
    /// [`Error`] when the database is bad or could not be looked at, or what `look` itself returned.
    pub fn look<T>(
        &self,
        deadline: Deadline,
        mut look: impl FnMut(&Snapshot<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.retried_when_out_of_time(deadline, READ_BUDGET, || self.read_once(deadline, &mut look))
    }

    /// The same for whoever looks at a part, and at a smaller part when the first was too large: a look that was cut off is not
    /// repeated.
    ///
    /// # Errors
    /// As [`Database::look`]; [`Error::OutOfTime`] when the part was too large for one look.
    pub fn read_part<T>(
        &self,
        deadline: Deadline,
        mut look: impl FnMut(&Snapshot<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.retried(deadline, || self.read_once(deadline, &mut look))
    }

    fn read_once<T>(
        &self,
        deadline: Deadline,
        look: &mut dyn FnMut(&Snapshot<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let open = self.pool.take(Trust::Trusted)?;
        let budget = Budget { time: READ_BUDGET, wal_growth: None };
        let found = self.in_transaction(&open, deadline, budget, look);
        self.release(open, found)
    }

    /// Runs one foreign statement, read-only and capped, and gives its rows.
    ///
    /// A statement that was cut off because the processor or the disk kept it waiting is run again, in the first half of the
    /// time: whoever asked has to hear of the limit and say so before his own time is over.
    ///
    /// # Errors
    /// [`QueryError`] says whether the statement, the time or the database was at fault.
    pub fn query(&self, sql: &str, params: &[Value], caps: &QueryCaps, deadline: Deadline) -> Result<Rows, QueryError> {
        let retry_until = deadline.at_most(deadline.remaining() / 2);
        self.retried_when_out_of_time(retry_until, caps.time, || {
            let open = self.pool.take(Trust::Untrusted).map_err(QueryError::Unreadable)?;
            let found = query::run(&open, self.path(), sql, params, caps, deadline);
            self.release(open, found)
        })
    }

    /// The names of all tables and views, SQLite's own left out, in name order.
    ///
    /// # Errors
    /// See [`Database::look`].
    pub fn tables(&self, deadline: Deadline) -> Result<Vec<String>, Error> {
        self.look(deadline, |snapshot| snapshot.tables())
    }

    /// What `stat` says of the database and the files beside it. Opens nothing.
    ///
    /// # Errors
    /// [`Error`] when there is no such file, or it is no file.
    pub fn database_files(&self) -> Result<DatabaseFiles, Error> {
        DatabaseFiles::of(self.path())
    }

    /// Calls `attempt` until it succeeds or fails for good. One that ran out of its time has failed for good.
    pub(crate) fn retried<T, E: Retry>(
        &self,
        deadline: Deadline,
        attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        self.retried_by(deadline, None, attempt)
    }

    /// The same, but an attempt that was cut off after `limit` is repeated as `retry` says.
    fn retried_when_out_of_time<T, E: Retry>(
        &self,
        deadline: Deadline,
        limit: Duration,
        attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        self.retried_by(deadline, Some(limit), attempt)
    }

    fn retried_by<T, E: Retry>(
        &self,
        deadline: Deadline,
        limit: Option<Duration>,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut tries = RetryCount::default();
        loop {
            let before = processor_time();
            let error = match attempt() {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            let ran = processor_time().saturating_sub(before);
            let setback = match limit {
                Some(limit) if error.ran_out_of_time() => Some(RetryReason::of_cut(ran, limit)),
                _ => error.sqlite_error().filter(|trouble| trouble.is_passing()).map(|_| RetryReason::Overtaken),
            };
            match setback.filter(|_| !deadline.has_passed()).and_then(|setback| tries.after(setback)) {
                Some(pause) => std::thread::park_timeout(pause.min(deadline.remaining())),
                None => return Err(error.sqlite_error().map(|trouble| self.diagnose(trouble)).map_or(error, E::from)),
            }
        }
    }

    /// Decides whether what was read counts, and what becomes of the connection.
    pub(crate) fn release<T, E: Retry>(&self, open: ReadConnection, found: Result<T, E>) -> Result<T, E> {
        if !open.read_counts(self.path()) {
            return Err(E::from(Error::Changing(self.path().to_owned())));
        }
        let found = found.map_err(|error| match error.sqlite_error() {
            Some(trouble) => open.explained(self.path(), trouble).map_or(error, E::from),
            None => error,
        });
        let harmless = |trouble: &Error| matches!(trouble, Error::OutOfTime { .. } | Error::Other { .. });
        if open.may_linger
            && open.conn.is_autocommit()
            && found.as_ref().err().and_then(E::sqlite_error).is_none_or(harmless)
        {
            self.pool.put(open);
        }
        found
    }

    /// Runs `look` inside a read transaction whose allowance starts once the snapshot is taken.
    pub(crate) fn in_transaction<T>(
        &self,
        open: &ReadConnection,
        deadline: Deadline,
        budget: Budget,
        look: &mut dyn FnMut(&Snapshot<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // What is left after the wait is for the look itself, and for saying what was waited for.
        let patience = (deadline.remaining() * 9 / 10).min(LOCK_PATIENCE);
        let waiting = Deadline::after(patience);
        open.limiter.arm(ReadLimit { until: deadline, wal: None });
        // A read of its own comes first: it waits for locks and has SQLite read the schema, outside of the transaction.
        let ready = busy_handler::until(waiting, || touch(open));
        let begun = ready.map_err(|error| Error::of(self.path(), &error, patience).of_all_reads()).and_then(|()| {
            let begin = || open.conn.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([]));
            // A writer may have come between the two. Whoever waits for it holds nothing, so the allowance has not begun.
            let begun = busy_handler::until(waiting, || begin().and_then(|_| touch(open)));
            begun.map_err(|error| Error::of(self.path(), &error, patience))
        });
        let found = begun.and_then(|()| {
            let limit = deadline.remaining().min(budget.time);
            let until = deadline.at_most(budget.time);
            let wal = budget.wal_growth.map(|growth| {
                let path = beside(&open.database_files.real, "-wal");
                let now = files::stat(&path).ok().flatten().map_or(0, |wal| wal.bytes);
                (path, now.saturating_add(growth))
            });
            open.limiter.arm(ReadLimit { until, wal });
            look(&Snapshot::new(open, self.path(), until, limit))
        });
        let stop = open.limiter.disarm();
        if !open.conn.is_autocommit() {
            // Where this fails the connection is not used again: `release` sees that it is still in its transaction.
            drop(open.conn.prepare_cached("ROLLBACK").and_then(|mut rollback| rollback.execute([])));
        }
        let Err(Error::OutOfTime { path, .. } | Error::Other { path, .. }) = &found else { return found };
        match (stop, budget.wal_growth) {
            (Some(LimitReached::WalGrowth), Some(limit)) => Err(Error::WalGrew { path: path.clone(), limit }),
            // An interrupt while SQLite sets up a virtual table is no interrupt in its words: the table could not be made.
            (Some(_), _) => Err(Error::OutOfTime { path: path.clone(), limit: budget.time }),
            (None, _) => found,
        }
    }

    /// Says more exactly what SQLite only calls corrupt or not a database, by reading the file's first bytes.
    fn diagnose(&self, trouble: &Error) -> Error {
        let head = || {
            let database_files = self.database_files().ok().filter(|_| trouble.may_be_diagnosed())?;
            let head = vfs::head(&database_files.real, HEAD_BYTES).ok()?;
            Some(header::diagnose(self.path(), trouble, &head, database_files.database.bytes))
        };
        head().unwrap_or_else(|| trouble.clone())
    }
}

/// Reads next to nothing, which begins a read transaction.
fn touch(open: &ReadConnection) -> rusqlite::Result<()> {
    open.conn.prepare_cached("SELECT 1 FROM sqlite_schema LIMIT 1")?.exists([]).map(drop)
}

/// What one read transaction may use up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) time: Duration,
    /// Bytes that the write-ahead log may grow by meanwhile.
    pub(crate) wal_growth: Option<u64>,
}

/// An error that may stand for trouble with the database.
pub(crate) trait Retry: From<Error> {
    fn sqlite_error(&self) -> Option<&Error>;
    /// Whether the read ran out of its time.
    fn ran_out_of_time(&self) -> bool;
}

impl Retry for Error {
    fn sqlite_error(&self) -> Option<&Error> {
        Some(self)
    }

    fn ran_out_of_time(&self) -> bool {
        matches!(self, Self::OutOfTime { .. })
    }
}

impl Retry for QueryError {
    fn sqlite_error(&self) -> Option<&Error> {
        match self {
            Self::Unreadable(trouble) => Some(trouble),
            _ => None,
        }
    }

    fn ran_out_of_time(&self) -> bool {
        matches!(self, Self::TimeLimit)
    }
}
