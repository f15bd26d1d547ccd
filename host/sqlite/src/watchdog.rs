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

use super::pool::Pool;
use vitalsign_base::{clock::Deadline, files};

/// How late a read may be ended. Shorter costs more wake-ups while reads are under way.
const STEP: Duration = Duration::from_millis(2);

/// After this many steps with nothing to do the thread sleeps until it is woken.
const QUIET_STEPS: u32 = 50;

/// What a read may use up.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    /// When it has to end.
    pub(super) until: Deadline,
    /// How far the write-ahead log may grow meanwhile: its path and the size in bytes at which the read ends.
    pub(super) wal: Option<(PathBuf, u64)>,
}

/// Why a read was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Time,
    WalGrowth,
}

#[derive(Debug, Default)]
struct State {
    allowance: Option<Allowance>,
    stop: Option<Stop>,
}

/// What one connection's current read may use, and the means to end it.
pub(super) struct Leash {
    state: Mutex<State>,
    handle: OnceLock<InterruptHandle>,
}

impl Leash {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), handle: OnceLock::new() })
    }

    /// Names the connection, and has the watchdog look after it.
    pub(super) fn tie(self: &Arc<Self>, handle: InterruptHandle) {
        if self.handle.set(handle).is_ok() {
            watchdog().register(self);
        }
    }

    /// From now on the connection's reads end when the allowance is used up.
    pub(super) fn arm(&self, allowance: Allowance) {
        *self.lock() = State { allowance: Some(allowance), stop: None };
        watchdog().wake();
    }

    /// Shortens the allowance of the current read, and gives it as it was: whoever asked has to [arm](Self::arm) it again.
    pub(super) fn shorten(&self, limit: Duration) -> Option<Allowance> {
        let mut state = self.lock();
        let whole = state.allowance.clone();
        if let Some(allowance) = &mut state.allowance {
            allowance.until = allowance.until.at_most(limit);
        }
        whole
    }

    /// The read is over. Says why it was ended, if it was; no interrupt comes after this.
    pub(super) fn disarm(&self) -> Option<Stop> {
        let mut state = self.lock();
        state.allowance = None;
        state.stop.take()
    }

    /// Whether the current read has used up its allowance.
    pub(super) fn is_used_up(&self) -> bool {
        Self::judge(&mut self.lock())
    }

    fn judge(state: &mut State) -> bool {
        let Some(allowance) = &state.allowance else { return false };
        if allowance.until.has_passed() {
            state.stop.get_or_insert(Stop::Time);
        } else if let Some((path, limit)) = &allowance.wal
            && files::stat(path).is_ok_and(|wal| wal.is_some_and(|wal| wal.bytes > *limit))
        {
            state.stop.get_or_insert(Stop::WalGrowth);
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
        state.allowance.is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread and what it looks after.
pub(super) struct Watchdog {
    leashes: Mutex<Vec<Weak<Leash>>>,
    pools: Mutex<Vec<Weak<Pool>>>,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// The process's watchdog, started when first asked for.
pub(super) fn watchdog() -> &'static Watchdog {
    static WATCHDOG: Watchdog = Watchdog {
        leashes: Mutex::new(Vec::new()),
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
    fn register(&self, leash: &Arc<Leash>) {
        let mut leashes = self.leashes.lock().unwrap_or_else(PoisonError::into_inner);
        leashes.retain(|leash| leash.strong_count() > 0);
        leashes.push(Arc::downgrade(leash));
    }

    /// Has idle connections of this pool closed after a while.
    pub(super) fn keep_tidy(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|other| other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), Arc::as_ptr(pool)));
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
        let leashes: Vec<_> = gather(&self.leashes);
        let pools: Vec<_> = gather(&self.pools);
        let armed = leashes.iter().filter(|leash| leash.look_after()).count();
        let idle = pools.iter().filter(|pool| pool.close_the_stale()).count();
        armed + idle > 0
    }
}

fn gather<T>(list: &Mutex<Vec<Weak<T>>>) -> Vec<Arc<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}
