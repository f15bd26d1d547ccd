//! A writer at a steady pace, as a registry in use has one, and how long each of its commits takes.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use crate::registry::Rows;

/// A thousand commits a second.
const PACE: Duration = Duration::from_millis(1);

/// A transaction that was committed.
pub(crate) struct Commit {
    /// When it was done, seen from the writer's start.
    pub(crate) at: Duration,
    /// From the transaction's begin to its end.
    pub(crate) took: Duration,
}

/// A thread that writes until it is ended.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Commit>>,
}

impl Writer {
    pub(crate) fn start(database: &Path) -> Self {
        // Rows of its own for every writer: records have to differ.
        static SEED: AtomicU64 = AtomicU64::new(1000);
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        let database = Connection::open(database).unwrap();
        // What a registry in WAL mode usually has; the cache is SQLite's own default, which this build lowers.
        database
            .execute_batch("PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2000; PRAGMA busy_timeout = 5000")
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let commits = write(&database, seed, &stopped);
            // The next one begins with an empty log.
            database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            database.close().unwrap();
            commits
        });
        Self { stop, thread }
    }

    /// Ends it and gives its commits.
    pub(crate) fn end(self) -> Vec<Commit> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn write(database: &Connection, seed: u64, stopped: &AtomicBool) -> Vec<Commit> {
    let mut rows = Rows::new(seed);
    let mut commits = Vec::new();
    let start = Instant::now();
    let mut due = start;
    while !stopped.load(Ordering::Relaxed) {
        let row = rows.next();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += PACE;
        let begun = Instant::now();
        database.execute_batch("BEGIN IMMEDIATE").unwrap();
        row.insert(database).unwrap();
        database.execute_batch("COMMIT").unwrap();
        commits.push(Commit { at: start.elapsed(), took: begun.elapsed() });
    }
    commits
}
