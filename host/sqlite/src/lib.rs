//! SQLite databases, opened for looking.
//!
//! The only room that knows rusqlite. Looking never creates or changes a file, and leaves none behind: how that is done
//! stands in `open`. Knows no check, no plugin and no report; what it cannot read it names as a [`Trouble`].

mod allow;
mod btree;
mod count;
mod damage;
mod dump;
mod examine;
mod foreign_keys;
mod ground;
mod hold;
mod linear;
mod log_chain;
mod log_sum;
mod looking;
mod occupancy;
mod open;
mod pool;
mod problem;
mod query;
mod retry;
mod rules;
pub mod sample;
mod settle;
mod shm;
mod site;
mod snapshot;
mod staged;
mod structure;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trouble;
mod truths;
mod version;
mod waiting;
mod watchdog;

// The scenes for tests are compiled into other crates too, and name this one.
#[cfg(test)]
extern crate self as vitalsign_sqlite;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use count::RowCount;
pub use damage::promised_bytes;
pub use dump::{Cell, Facts};
pub use examine::{Depth, Examined};
pub use foreign_keys::{ForeignKey, Parent, Slice, Sliced};
pub use ground::Ground;
pub use hold::HoldLimits;
pub use log_chain::BadFrame;
pub use problem::{Kind, Problem};
pub use query::{QueryCaps, QueryError, Rows, Value};
pub use settle::settle;
pub use shm::{Log, Pin, frame_bytes};
pub use site::{Obstacle, Site};
pub use snapshot::Snapshot;
pub use staged::Copy;
pub use structure::{Cancel, Part, Stopped, Structure};
pub use trouble::Trouble;
pub use truths::{Apart, SecondTruth};
pub use version::Version;

use damage::HEAD_BYTES;
use open::{Open, Trust};
use pool::Pool;
use retry::{Setback, Tries};
use vitalsign_base::{
    clock::{Deadline, processor_time},
    files::{self, beside},
};
use watchdog::{Allowance, Stop};

/// The longest a look holds a read transaction: the write-ahead log cannot be reset meanwhile.
pub const READ_BUDGET: Duration = Duration::from_millis(50);

/// The longest wait for a lock, however much time the read itself has.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// The version of the SQLite library in this binary, such as `3.54.1`.
#[must_use]
pub fn linked_version() -> &'static str {
    rusqlite::version()
}

/// A handle on one database, cheap to clone. Making one touches nothing.
#[derive(Clone)]
pub struct Registry {
    pool: Arc<Pool>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registry").field(&self.path()).finish()
    }
}

impl Registry {
    /// A handle on the database at `path`, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { pool: Pool::new(path) }
    }

    /// Closes the connections that are kept for the next look, which otherwise happens a little later by itself.
    pub fn close_idle(&self) {
        self.pool.close_idle();
    }

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.pool.path()
    }

    /// Looks at the database in one consistent read transaction of at most [`READ_BUDGET`].
    ///
    /// `look` is called again when files changed under it, and when it was cut off because the processor or the disk kept it
    /// waiting. Waits for locks until shortly before the deadline.
    ///
    /// # Errors
    /// [`Trouble`] when the database is bad or could not be looked at, or what `look` itself returned.
    pub fn look<T>(
        &self,
        deadline: Deadline,
        mut look: impl FnMut(&Snapshot<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.retried_when_cut(deadline, READ_BUDGET, || self.look_once(deadline, &mut look))
    }

    /// The same for whoever looks at a part, and at a smaller part when the first was too large: a look that was cut off is not
    /// repeated.
    ///
    /// # Errors
    /// As [`Registry::look`]; [`Trouble::OutOfTime`] when the part was too large for one look.
    pub fn look_at_part<T>(
        &self,
        deadline: Deadline,
        mut look: impl FnMut(&Snapshot<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.retried(deadline, || self.look_once(deadline, &mut look))
    }

    fn look_once<T>(
        &self,
        deadline: Deadline,
        look: &mut dyn FnMut(&Snapshot<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let open = self.pool.take(Trust::Ours)?;
        let budget = Budget { time: READ_BUDGET, wal_growth: None };
        let found = self.in_transaction(&open, deadline, budget, look);
        self.settle(open, found)
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
        self.retried_when_cut(retry_until, caps.time, || {
            let open = self.pool.take(Trust::Foreign).map_err(QueryError::Unreadable)?;
            let found = query::run(&open, self.path(), sql, params, caps, deadline);
            self.settle(open, found)
        })
    }

    /// The names of all tables and views, SQLite's own left out, in name order.
    ///
    /// # Errors
    /// See [`Registry::look`].
    pub fn tables(&self, deadline: Deadline) -> Result<Vec<String>, Trouble> {
        self.look(deadline, |snapshot| snapshot.tables())
    }

    /// What `stat` says of the database and the files beside it. Opens nothing.
    ///
    /// # Errors
    /// [`Trouble`] when there is no such file, or it is no file.
    pub fn ground(&self) -> Result<Ground, Trouble> {
        Ground::of(self.path())
    }

    /// Calls `attempt` until it succeeds or fails for good. One that ran out of its time has failed for good.
    fn retried<T, E: Retry>(&self, deadline: Deadline, attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        self.retried_by(deadline, None, attempt)
    }

    /// The same, but an attempt that was cut off after `limit` is repeated as `retry` says.
    fn retried_when_cut<T, E: Retry>(
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
        let mut tries = Tries::default();
        loop {
            let before = processor_time();
            let error = match attempt() {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            let ran = processor_time().saturating_sub(before);
            let setback = match limit {
                Some(limit) if error.is_cut() => Some(Setback::of_cut(ran, limit)),
                _ => error.trouble().filter(|trouble| trouble.is_passing()).map(|_| Setback::Overtaken),
            };
            match setback.filter(|_| !deadline.has_passed()).and_then(|setback| tries.after(setback)) {
                Some(pause) => std::thread::park_timeout(pause.min(deadline.remaining())),
                None => return Err(error.trouble().map(|trouble| self.sharpen(trouble)).map_or(error, E::from)),
            }
        }
    }

    /// Decides whether what was read counts, and what becomes of the connection.
    fn settle<T, E: Retry>(&self, open: Open, found: Result<T, E>) -> Result<T, E> {
        if !open.read_counts(self.path()) {
            return Err(E::from(Trouble::Changing(self.path().to_owned())));
        }
        let found = found.map_err(|error| match error.trouble() {
            Some(trouble) => open.explained(self.path(), trouble).map_or(error, E::from),
            None => error,
        });
        let harmless = |trouble: &Trouble| matches!(trouble, Trouble::OutOfTime { .. } | Trouble::Other { .. });
        if open.may_linger
            && open.conn.is_autocommit()
            && found.as_ref().err().and_then(E::trouble).is_none_or(harmless)
        {
            self.pool.put(open);
        }
        found
    }

    /// Runs `look` inside a read transaction whose allowance starts once the snapshot is taken.
    fn in_transaction<T>(
        &self,
        open: &Open,
        deadline: Deadline,
        budget: Budget,
        look: &mut dyn FnMut(&Snapshot<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        // What is left after the wait is for the look itself, and for saying what was waited for.
        let patience = (deadline.remaining() * 9 / 10).min(LOCK_PATIENCE);
        let waiting = Deadline::after(patience);
        open.leash.arm(Allowance { until: deadline, wal: None });
        // A read of its own comes first: it waits for locks and has SQLite read the schema, outside of the transaction.
        let ready = waiting::until(waiting, || touch(open));
        let begun = ready.map_err(|error| Trouble::of(self.path(), &error, patience).of_all_reads()).and_then(|()| {
            let begin = || open.conn.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([]));
            // A writer may have come between the two. Whoever waits for it holds nothing, so the allowance has not begun.
            let begun = waiting::until(waiting, || begin().and_then(|_| touch(open)));
            begun.map_err(|error| Trouble::of(self.path(), &error, patience))
        });
        let found = begun.and_then(|()| {
            let limit = deadline.remaining().min(budget.time);
            let until = deadline.at_most(budget.time);
            let wal = budget.wal_growth.map(|growth| {
                let path = beside(&open.ground.real, "-wal");
                let now = files::stat(&path).ok().flatten().map_or(0, |wal| wal.bytes);
                (path, now.saturating_add(growth))
            });
            open.leash.arm(Allowance { until, wal });
            look(&Snapshot::new(open, self.path(), until, limit))
        });
        let stop = open.leash.disarm();
        if !open.conn.is_autocommit() {
            // Where this fails the connection is not used again: `settle` sees that it is still in its transaction.
            drop(open.conn.prepare_cached("ROLLBACK").and_then(|mut rollback| rollback.execute([])));
        }
        let Err(Trouble::OutOfTime { path, .. } | Trouble::Other { path, .. }) = &found else { return found };
        match (stop, budget.wal_growth) {
            (Some(Stop::WalGrowth), Some(limit)) => Err(Trouble::WalGrew { path: path.clone(), limit }),
            // An interrupt while SQLite sets up a virtual table is no interrupt in its words: the table could not be made.
            (Some(_), _) => Err(Trouble::OutOfTime { path: path.clone(), limit: budget.time }),
            (None, _) => found,
        }
    }

    /// Says more exactly what SQLite only calls corrupt or not a database, by reading the file's first bytes.
    fn sharpen(&self, trouble: &Trouble) -> Trouble {
        let head = || {
            let ground = self.ground().ok().filter(|_| trouble.may_be_sharpened())?;
            let head = looking::head(&ground.real, HEAD_BYTES).ok()?;
            Some(damage::sharpen(self.path(), trouble, &head, ground.database.bytes))
        };
        head().unwrap_or_else(|| trouble.clone())
    }
}

/// Reads next to nothing, which begins a read transaction.
fn touch(open: &Open) -> rusqlite::Result<()> {
    open.conn.prepare_cached("SELECT 1 FROM sqlite_schema LIMIT 1")?.exists([]).map(drop)
}

/// What one read transaction may use up.
#[derive(Clone, Copy, Debug)]
struct Budget {
    time: Duration,
    /// Bytes that the write-ahead log may grow by meanwhile.
    wal_growth: Option<u64>,
}

/// An error that may stand for trouble with the database.
trait Retry: From<Trouble> {
    fn trouble(&self) -> Option<&Trouble>;
    /// Whether the read ran out of its time.
    fn is_cut(&self) -> bool;
}

impl Retry for Trouble {
    fn trouble(&self) -> Option<&Trouble> {
        Some(self)
    }

    fn is_cut(&self) -> bool {
        matches!(self, Self::OutOfTime { .. })
    }
}

impl Retry for QueryError {
    fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Unreadable(trouble) => Some(trouble),
            _ => None,
        }
    }

    fn is_cut(&self) -> bool {
        matches!(self, Self::TimeLimit)
    }
}
