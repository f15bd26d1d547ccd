//! What all plugins share while they run: the engine, the linker, the cache of compiled code, and who may work when.
//!
//! Made once, when the first plugin is loaded. Knows no plugin.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};
use wasmtime::{Engine, component::Linker};

use super::{
    cache::CodeCache,
    engine::{self, MemoryLayout, Ticker},
    store::{self, StoreData},
};
use vitalsign_sqlite::Database;

/// Components that are read or taken from the cache at one time: each is held in memory meanwhile.
const MAX_READERS: usize = 4;

/// How long a reader counts among [`MAX_READERS`]. One that takes longer waits for a slow or hung file system, and must not
/// keep other plugins from being loaded.
const READER_COUNTS: Duration = Duration::from_millis(250);

/// Components that are compiled at one time: each takes every core and up to a gigabyte.
const MAX_COMPILERS: usize = 2;

/// What all plugins share.
pub(super) struct Runtime {
    pub(super) engine: Engine,
    pub(super) layout: MemoryLayout,
    pub(super) linker: Linker<StoreData>,
    pub(super) ticker: Ticker,
    pub(super) cache: Option<CodeCache>,
    pub(super) compiler: PathBuf,
    pub(super) registry: Database,
    /// One permit for each run that may be under way.
    pub(super) slots: Semaphore,
    pub(super) compilers: Semaphore,
    readers: Semaphore,
}

/// Why no plugin can run on this machine.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine does not start.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// The system gives no thread.
    #[error("the WebAssembly engine does not start, because the system gives no thread: {0}")]
    Ticker(io::Error),
    /// A bug of ours.
    #[error("the WebAssembly engine does not start, because of a bug in Vitalsign")]
    Panicked,
}

impl Runtime {
    /// Starts the engine and opens the cache. A cache that cannot be used is named in the log and done without.
    ///
    /// # Errors
    /// [`RuntimeError`] when no plugin can run on this machine.
    pub(super) fn new(
        registry: Database,
        compiler: PathBuf,
        cache: Option<PathBuf>,
    ) -> Result<Arc<Self>, RuntimeError> {
        let refuse = |error: wasmtime::Error| RuntimeError::Engine(engine::plain(&error));
        let (engine, layout) = engine::running().map_err(refuse)?;
        let ticker = Ticker::start(&engine).map_err(RuntimeError::Ticker)?;
        let mut linker = Linker::new(&engine);
        store::link(&mut linker).map_err(refuse)?;
        let cache = cache.and_then(|folder| match CodeCache::open(&folder) {
            Ok(cache) => Some(cache),
            Err(error) => {
                let folder = folder.display();
                tracing::warn!(
                    "the compiled code of plugins is not kept, because {folder} cannot be used ({error}); every start compiles them again"
                );
                None
            }
        });
        Ok(Arc::new(Self {
            engine,
            layout,
            linker,
            ticker,
            cache,
            compiler,
            registry,
            slots: Semaphore::new(engine::MAX_RUNS),
            compilers: Semaphore::new(MAX_COMPILERS),
            readers: Semaphore::new(MAX_READERS),
        }))
    }

    /// Does blocking work on files, a few at a time; `None` when it panics.
    pub(super) async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // The semaphore is never closed; without a permit the work would still be right.
        let turn = self.readers.acquire().await;
        let mut work = spawn_blocking(work);
        let early = timeout(READER_COUNTS, &mut work).await;
        drop(turn);
        match early {
            Ok(done) => done.ok(),
            Err(_) => work.await.ok(),
        }
    }
}
