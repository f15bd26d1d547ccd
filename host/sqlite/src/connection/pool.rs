//! Idle connections, kept for a moment because opening one costs more than most queries.
//!
//! Knows nothing of what is read. An idle connection holds no statement and no transaction; on a WAL database it still
//! holds the shared lock that every connection to one holds, which keeps the registry's last close from tidying its log
//! away. Hence the short moment.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    connection::open::{ReadConnection, Trust},
    connection::watchdog::{IdleConnections, watchdog},
    error::Error,
};
use vitalsign_base::clock::Stopwatch;

/// How long a connection stays open after its last use: long enough for the next query of the same round.
const LINGER: Duration = Duration::from_millis(100);

/// Idle connections kept at most: twice the checks that run at once on a small machine.
const MOST_IDLE: usize = 8;

/// The connections to one database.
pub(crate) struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<(ReadConnection, Stopwatch)>>,
}

impl Pool {
    pub(crate) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, idle: Mutex::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A connection that reads what is there now: an idle one, or a new one.
    pub(crate) fn take(&self, trust: Trust) -> Result<ReadConnection, Error> {
        loop {
            let idle = {
                let mut idle = self.lock();
                idle.iter().rposition(|(open, _)| open.trust == trust).map(|at| idle.swap_remove(at).0)
            };
            match idle {
                Some(open) if open.is_current(&self.path) => return Ok(open),
                Some(outdated) => drop(outdated),
                None => return ReadConnection::new(&self.path, trust),
            }
        }
    }

    /// Keeps a connection for the next one who needs it.
    pub(crate) fn put(self: &Arc<Self>, open: ReadConnection) {
        let first = {
            let mut idle = self.lock();
            if idle.len() >= MOST_IDLE {
                drop(idle);
                drop(open);
                return;
            }
            idle.push((open, Stopwatch::start()));
            idle.len() == 1
        };
        if first {
            let own: Arc<dyn IdleConnections> = Arc::<Self>::clone(self);
            watchdog().watch_pool(&own);
        }
    }

    /// Closes every idle connection.
    pub(crate) fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.lock());
        drop(idle);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(ReadConnection, Stopwatch)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleConnections for Pool {
    fn close_the_stale(&self) -> bool {
        let (stale, left) = {
            let mut idle = self.lock();
            let stale: Vec<_> = idle.extract_if(.., |(_, since)| since.elapsed() >= LINGER).collect();
            (stale, !idle.is_empty())
        };
        drop(stale);
        left
    }
}
