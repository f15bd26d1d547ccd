//! SQLite databases, opened for looking.
//!
//! The only room that knows rusqlite. Looking never creates or changes a file, and leaves none behind: how that is done
//! stands in `open`. Knows no check, no plugin and no report; what it cannot read it names as a [`Trouble`].

mod allow;
mod btree;
mod count;
mod damage;
mod dump;
mod foreign_keys;
mod ground;
mod hold;
mod linear;
mod log_chain;
mod looking;
mod occupancy;
mod open;
mod pool;
mod problem;
mod query;
mod quick_check;
pub mod sample;
mod settle;
mod shm;
mod snapshot;
mod staged;
mod structure;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod trouble;
mod watchdog;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use count::RowCount;
pub use dump::{Cell, Facts};
pub use foreign_keys::{ForeignKey, Parent, Slice, Sliced};
pub use ground::Ground;
pub use hold::HoldLimits;
pub use log_chain::BadFrame;
pub use problem::{Kind, Problem};
pub use query::{QueryCaps, QueryError, Rows, Value};
pub use quick_check::Problems;
pub use settle::settle;
pub use shm::Pending;
pub use snapshot::Snapshot;
pub use staged::Copy;
pub use structure::{Cancel, Part, Stopped, Structure};
pub use trouble::Trouble;

use crate::{
    clock::Deadline,
    files::{self, beside},
};
use damage::HEAD_BYTES;
use open::{Open, Trust};
use pool::Pool;
use watchdog::{Allowance, Stop};

/// The longest a look holds a read transaction: the write-ahead log cannot be reset meanwhile.
pub const READ_BUDGET: Duration = Duration::from_millis(50);

/// The longest wait for a lock, however much time the read itself has.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// How often a look starts over when the ground moved under it: for about a second, by the pauses below.
const MOST_TRIES: u32 = 30;

/// The pause before a look starts over: none the first time, then longer each time by about what a small commit takes.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// How long a few bytes of a file are waited for while connections of this process are open on it.
const ALONE_PATIENCE: Duration = Duration::from_millis(20);

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

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.pool.path()
    }

    /// Looks at the database in one consistent read transaction of at most [`READ_BUDGET`].
    ///
    /// `look` is called again when the ground moved under it. Waits for locks until shortly before the deadline.
    ///
    /// # Errors
    /// [`Trouble`] when the database is bad or could not be looked at, or what `look` itself returned.
    pub fn look<T>(
        &self,
        deadline: Deadline,
        mut look: impl FnMut(&Snapshot<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.retried(deadline, || {
            let open = self.pool.take(Trust::Ours)?;
            let budget = Budget { time: READ_BUDGET, wal_growth: None };
            let found = self.in_transaction(&open, deadline, budget, &mut look);
            self.settle(open, found)
        })
    }

    /// Runs one foreign statement, read-only and capped, and gives its rows.
    ///
    /// # Errors
    /// [`QueryError`] says whether the statement, the time or the database was at fault.
    pub fn query(&self, sql: &str, params: &[Value], caps: &QueryCaps, deadline: Deadline) -> Result<Rows, QueryError> {
        self.retried(deadline, || {
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

    /// Bytes free on the file system of the database, whether it exists or not: its nearest existing folder counts.
    ///
    /// # Errors
    /// When the system will not say.
    pub fn free_bytes(&self) -> Result<u64, Trouble> {
        let real = std::fs::canonicalize(self.path()).unwrap_or_else(|_| self.path().to_owned());
        let folder = real.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        files::free_bytes(folder).map_err(|error| Trouble::Io { path: folder.to_owned(), detail: error.to_string() })
    }

    /// Pages in the write-ahead log that are not yet in the database.
    ///
    /// # Errors
    /// [`Trouble`] when there is no such file.
    pub fn wal_pages_pending(&self, page_bytes: u64) -> Result<Pending, Trouble> {
        let ground = self.ground()?;
        self.pool.close_idle();
        Ok(shm::pending(&ground, page_bytes, ALONE_PATIENCE))
    }

    /// Calls `attempt` until it succeeds or fails for good.
    fn retried<T, E: Retry>(&self, deadline: Deadline, mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let passes = |error: &E| error.trouble().is_some_and(Trouble::is_passing);
        for tried in 1.. {
            match attempt() {
                Err(error) if tried < MOST_TRIES && !deadline.has_passed() && passes(&error) => {
                    std::thread::park_timeout((RETRY_PAUSE * (tried - 1)).min(deadline.remaining()));
                }
                Err(error) => return Err(error.trouble().map(|trouble| self.sharpen(trouble)).map_or(error, E::from)),
                found => return found,
            }
        }
        attempt()
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
        open.leash.arm(Allowance { until: deadline, wal: None });
        // A read of its own comes first: it waits for locks and has SQLite read the schema, outside of the transaction.
        let ready = open.conn.busy_timeout(patience).and_then(|()| touch(open));
        let found = ready.map_err(|error| Trouble::of(self.path(), &error, patience)).and_then(|()| {
            let limit = deadline.remaining().min(budget.time);
            let until = deadline.at_most(budget.time);
            let wal = budget.wal_growth.map(|growth| {
                let path = beside(&open.ground.real, "-wal");
                let now = files::stat(&path).ok().flatten().map_or(0, |wal| wal.bytes);
                (path, now.saturating_add(growth))
            });
            open.leash.arm(Allowance { until, wal });
            let begun =
                open.conn.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([])).and_then(|_| touch(open));
            begun.map_err(|error| Trouble::of(self.path(), &error, limit))?;
            look(&Snapshot::new(open, self.path(), until, limit))
        });
        let stop = open.leash.disarm();
        if !open.conn.is_autocommit() {
            // Where this fails the connection is not used again: `settle` sees that it is still in its transaction.
            drop(open.conn.prepare_cached("ROLLBACK").and_then(|mut rollback| rollback.execute([])));
        }
        match (found, stop, budget.wal_growth) {
            (Err(Trouble::OutOfTime { path, .. }), Some(Stop::WalGrowth), Some(limit)) => {
                Err(Trouble::WalGrew { path, limit })
            }
            (found, ..) => found,
        }
    }

    /// Says more exactly what SQLite only calls corrupt or not a database, by reading the file's first bytes.
    fn sharpen(&self, trouble: &Trouble) -> Trouble {
        let head = || {
            let ground = self.ground().ok().filter(|_| trouble.may_be_sharpened())?;
            self.pool.close_idle();
            let read = || files::read_at(&ground.real, 0, HEAD_BYTES).ok();
            let head = occupancy::when_alone(ground.database.id, ALONE_PATIENCE, read).flatten()?;
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
}

impl Retry for Trouble {
    fn trouble(&self) -> Option<&Trouble> {
        Some(self)
    }
}

impl Retry for QueryError {
    fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Unreadable(trouble) => Some(trouble),
            _ => None,
        }
    }
}
