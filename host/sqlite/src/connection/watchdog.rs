//! Ends reads that run past their time, and closes connections that nobody uses any more.
//!
//! SQLite's progress handler is called between opcodes, and one opcode can take long (a count, a cold disk): so a
//! thread interrupts from outside as well. There is one such thread a process. It sleeps while nothing is under way.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::Thread,
    time::Duration,
};

use rusqlite::InterruptHandle;

use vitalsign_base::{clock::Deadline, files};

/// How late a read may be ended. Shorter costs more wake-ups while reads are under way.
const STEP: Duration = Duration::from_millis(2);

/// After this many steps with nothing to do the thread sleeps until it is woken.
const QUIET_STEPS: u32 = 50;

/// What a read may use up.
#[derive(Clone, Debug)]
pub(crate) struct ReadLimit {
    /// When it has to end.
    pub(crate) until: Deadline,
    /// How far the write-ahead log may grow meanwhile: its path and the size in bytes at which the read ends.
    pub(crate) wal: Option<(PathBuf, u64)>,
}

/// Why a read was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitReached {
    Time,
    WalGrowth,
}

#[derive(Debug, Default)]
struct LimiterState {
    read_limit: Option<ReadLimit>,
    stop: Option<LimitReached>,
}

/// What one connection's current read may use, and the means to end it.
pub(crate) struct ReadLimiter {
    state: Mutex<LimiterState>,
    handle: OnceLock<InterruptHandle>,
}

impl ReadLimiter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), handle: OnceLock::new() })
    }

    /// Names the connection, and has the watchdog look after it.
    pub(crate) fn attach(self: &Arc<Self>, handle: InterruptHandle) {
        if self.handle.set(handle).is_ok() {
            watchdog().register(self);
        }
    }

    /// From now on the connection's reads end when the allowance is used up.
    pub(crate) fn arm(&self, read_limit: ReadLimit) {
        *self.lock() = LimiterState { read_limit: Some(read_limit), stop: None };
        watchdog().wake();
    }

    /// Shortens the allowance of the current read, and gives it as it was: whoever asked has to [arm](Self::arm) it again.
    pub(crate) fn shorten(&self, limit: Duration) -> Option<ReadLimit> {
        let mut state = self.lock();
        let whole = state.read_limit.clone();
        if let Some(read_limit) = &mut state.read_limit {
            read_limit.until = read_limit.until.at_most(limit);
        }
        whole
    }

    /// The read is over. Says why it was ended, if it was; no interrupt comes after this.
    pub(crate) fn disarm(&self) -> Option<LimitReached> {
        let mut state = self.lock();
        state.read_limit = None;
        state.stop.take()
    }

    /// Whether the current read has used up its allowance.
    pub(crate) fn is_used_up(&self) -> bool {
        Self::judge(&mut self.lock())
    }

    fn judge(state: &mut LimiterState) -> bool {
        let Some(read_limit) = &state.read_limit else { return false };
        if read_limit.until.has_passed() {
            state.stop.get_or_insert(LimitReached::Time);
        } else if let Some((path, limit)) = &read_limit.wal
            && files::stat(path).is_ok_and(|wal| wal.is_some_and(|wal| wal.bytes > *limit))
        {
            state.stop.get_or_insert(LimitReached::WalGrowth);
        }
        state.stop.is_some()
    }

    /// Interrupts the read when it has used up its allowance; says whether one is under way.
    fn look_after(&self) -> bool {
        // The lock is held while interrupting, so that the interrupt cannot hit the connection's next read.
        let mut state = self.lock();
        if Self::judge(&mut state)
            && let Some(handle) = self.handle.get()
        {
            handle.interrupt();
        }
        state.read_limit.is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections that are kept for the next read, and closed when none comes.
pub(crate) trait IdleConnections: Send + Sync {
    /// Closes what has been idle for too long; says whether anything is left.
    fn close_the_stale(&self) -> bool;
}

/// The thread and what it looks after.
pub(crate) struct Watchdog {
    limiters: Mutex<Vec<Weak<ReadLimiter>>>,
    pools: Mutex<Vec<Weak<dyn IdleConnections>>>,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// The process's watchdog, started when first asked for.
pub(crate) fn watchdog() -> &'static Watchdog {
    static WATCHDOG: Watchdog = Watchdog {
        limiters: Mutex::new(Vec::new()),
        pools: Mutex::new(Vec::new()),
        asleep: AtomicBool::new(false),
        thread: OnceLock::new(),
    };
    static START: std::sync::Once = std::sync::Once::new();
    START.call_once(|| {
        match std::thread::Builder::new().name("sqlite-watchdog".to_owned()).spawn(|| WATCHDOG.run()) {
            Ok(thread) => drop(WATCHDOG.thread.set(thread.thread().clone())),
            // Reads still end by the progress handler; only single long opcodes are not cut short.
            Err(error) => tracing::warn!("no thread for the SQLite watchdog: {error}"),
        }
    });
    &WATCHDOG
}

impl Watchdog {
    fn register(&self, limiter: &Arc<ReadLimiter>) {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        limiters.retain(|limiter| limiter.strong_count() > 0);
        limiters.push(Arc::downgrade(limiter));
    }

    /// Has idle connections of this pool closed after a while.
    pub(crate) fn watch_pool(&self, pool: &Arc<dyn IdleConnections>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|other| other.strong_count() > 0 && !std::ptr::addr_eq(other.as_ptr(), Arc::as_ptr(pool)));
        pools.push(Arc::downgrade(pool));
    }

    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn run(&self) {
        let mut quiet = 0;
        loop {
            quiet = if self.round() { 0 } else { quiet + 1 };
            if quiet < QUIET_STEPS {
                std::thread::park_timeout(STEP);
                continue;
            }
            // Whoever begins a read sees the flag, or is seen by this last round: both go through the lock of its state.
            self.asleep.store(true, Ordering::SeqCst);
            if !self.round() {
                std::thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            quiet = 0;
        }
    }

    /// Looks after everything once; says whether anything is under way.
    fn round(&self) -> bool {
        // Strong handles are gathered first: dropping the last one closes connections, which must not happen under a lock.
        let limiters: Vec<_> = gather(&self.limiters);
        let pools: Vec<_> = gather(&self.pools);
        let armed = limiters.iter().filter(|limiter| limiter.look_after()).count();
        let idle = pools.iter().filter(|pool| pool.close_the_stale()).count();
        armed + idle > 0
    }
}

fn gather<T: ?Sized>(list: &Mutex<Vec<Weak<T>>>) -> Vec<Arc<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}
