//! The wasmtime engine: its settings, its instance pool, and the ticker that makes endless loops yield.
//!
//! Knows no plugin. The settings here are part of the key of the code cache: a changed setting is a changed key.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use vitalsign_base::value::printable;

/// Plugin runs that may be under way at once. The pool has room for this many of the largest, so it cannot run full.
pub(super) const MAX_RUNS: usize = 64;

/// The most that `memoryBytes` may be set to: the size that the pool reserves address space for.
pub const MAX_MEMORY_BYTES: usize = 1 << 30;

/// The most that `tableElements` may be set to.
pub const MAX_TABLE_ELEMENTS: usize = 1_000_000;

/// How often a guest that does not return is made to yield: far shorter than any time limit, far longer than a yield takes.
const TICK: Duration = Duration::from_millis(5);

/// Memories and tables that one component may have. JavaScript and Python guests have two to four of each; the rest is headroom.
const MAX_MEMORIES_PER_COMPONENT: u32 = 16;
const MAX_TABLES_PER_COMPONENT: u32 = 32;

/// Address space that a memory of the compact layout has to grow into before it is moved, which copies it: a quarter of the
/// default `memoryBytes`, and little beside any usual `ulimit -v`.
const COMPACT_GROWTH_BYTES: u64 = 16 << 20;

/// Core instances that one component may have at the most; `instances` is at or below it.
pub const MAX_INSTANCES: usize = 200;

/// How a guest's memories are laid out in the address space. Compiled code depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryLayout {
    /// Each memory has 4 GiB of address space reserved, from a pool: no bounds checks, and the fastest start of a run.
    Reserved,
    /// Each memory takes what it uses, and every access is checked: for processes whose address space is limited.
    Compact,
}

impl MemoryLayout {
    /// The byte that names this layout to the process that compiles.
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Self::Reserved => 0,
            Self::Compact => 1,
        }
    }

    /// The layout that a byte names.
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Reserved, Self::Compact].into_iter().find(|layout| layout.to_byte() == byte)
    }
}

/// Settings that decide what compiled code looks like: the same in the process that compiles and in the one that runs.
fn code_settings(layout: MemoryLayout) -> Config {
    let mut config = Config::new();
    if layout == MemoryLayout::Compact {
        config.memory_reservation(0).memory_guard_size(0).memory_reservation_for_growth(COMPACT_GROWTH_BYTES);
    }
    config
        // One result type for all guests of WASI 0.2: without concurrency a call is several times cheaper.
        .concurrency_support(false)
        .epoch_interruption(true)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        // Nothing unwinds through a guest here: its traps are reported by kind.
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(None);
    config
}

fn pool() -> PoolingAllocationConfig {
    let runs = u32::try_from(MAX_RUNS).unwrap_or(u32::MAX);
    let instances = u32::try_from(MAX_INSTANCES).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(runs)
        .total_stacks(runs)
        .total_gc_heaps(runs)
        .total_core_instances(runs * instances)
        .max_core_instances_per_component(instances)
        .total_memories(runs * MAX_MEMORIES_PER_COMPONENT)
        .max_memories_per_component(MAX_MEMORIES_PER_COMPONENT)
        .max_memories_per_module(MAX_MEMORIES_PER_COMPONENT)
        .max_memory_size(MAX_MEMORY_BYTES)
        .total_tables(runs * MAX_TABLES_PER_COMPONENT)
        .max_tables_per_component(MAX_TABLES_PER_COMPONENT)
        .max_tables_per_module(MAX_TABLES_PER_COMPONENT)
        .table_elements(MAX_TABLE_ELEMENTS)
        // A megabyte that stays resident in each warm slot saves the page faults of small guests.
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// An engine that runs guests, from a pool where the address space has room for one, and the layout of its memories.
///
/// # Errors
/// What wasmtime says when neither layout works on this machine.
pub(super) fn running() -> wasmtime::Result<(Engine, MemoryLayout)> {
    let mut config = code_settings(MemoryLayout::Reserved);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    match Engine::new(&config) {
        Ok(engine) => Ok((engine, MemoryLayout::Reserved)),
        Err(refusal) => {
            tracing::info!("plugins run somewhat slower, because there is no address space for a pool ({refusal:#})");
            Ok((Engine::new(&code_settings(MemoryLayout::Compact))?, MemoryLayout::Compact))
        }
    }
}

/// An engine that only compiles, for memories of this layout.
///
/// # Errors
/// What wasmtime says when it has no compiler for this machine.
pub(super) fn compiling(layout: MemoryLayout) -> wasmtime::Result<Engine> {
    Engine::new(&code_settings(layout))
}

/// The part of a cache key that stands for the engine: its version, settings and target.
pub(super) fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Advances the engine's epoch while any guest runs, and sleeps while none does.
pub(super) struct Ticker {
    shared: Arc<TickerState>,
    thread: Thread,
}

#[derive(Default)]
struct TickerState {
    runs: AtomicUsize,
    asleep: AtomicBool,
}

impl Ticker {
    /// Starts the engine's one ticker; it ends with the engine.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(TickerState::default());
        let engine = engine.weak();
        let ticking = Arc::clone(&shared);
        let handle = thread::Builder::new().name("epoch-ticker".into()).spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::park_timeout(TICK);
                if ticking.runs.load(Ordering::SeqCst) == 0 {
                    ticking.asleep.store(true, Ordering::SeqCst);
                    // A run that began in between has seen `asleep` or is seen here; one of the two wakes the ticker.
                    if ticking.runs.load(Ordering::SeqCst) == 0 {
                        thread::park();
                    }
                    ticking.asleep.store(false, Ordering::SeqCst);
                }
            }
        })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Keeps the ticker awake for as long as the guard lives.
    pub(super) fn run(&self) -> RunGuard<'_> {
        self.shared.runs.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        RunGuard(self)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}

/// One guest that runs.
pub(super) struct RunGuard<'a>(&'a Ticker);

impl Drop for RunGuard<'_> {
    fn drop(&mut self) {
        self.0.shared.runs.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What wasmtime says, in one line, causes included.
pub(super) fn plain(error: &wasmtime::Error) -> String {
    printable(&format!("{error:#}").replace('\n', " "), 500)
}
