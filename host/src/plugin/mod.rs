//! Plugins: users' checks as sandboxed WebAssembly components.
//!
//! The only room that knows wasmtime. Knows no configuration file, no schedule and no output format.

mod abi;
mod cache;
mod check;
mod compile;
mod engine;
mod guest;
mod load;
mod lock;
mod log_grant;
mod meter;
mod registry_grant;
mod settings;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use tokio::{runtime::Handle, sync::Semaphore};
use wasmtime::{Engine, component::Linker};

pub use compile::{CHILD_COMMAND, child_main};
pub use engine::{MAX_INSTANCES, MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS};
pub use load::{HOST_VERSION, LoadError, OFFERED, digest_of};
pub use lock::{Lock, LockError};
pub use settings::{Grants, Limits, PluginSettings};

use crate::{
    check::{Check, Spec},
    report::Origin,
    sqlite::Registry,
    value::Digest,
};

/// Plugins that are loaded at the same time: compiling takes a core each.
const LOADERS: usize = 2;

/// What all plugins share: made once, used by every run.
pub struct Runtime {
    engine: Engine,
    linker: Linker<guest::State>,
    ticker: engine::Ticker,
    cache: Option<cache::Cache>,
    compiler: PathBuf,
    slots: Semaphore,
    registry: Registry,
    handle: Handle,
    /// Components that are ready, so that several plugins of one component are loaded once.
    ready: Mutex<HashMap<Digest, abi::CheckPre<guest::State>>>,
}

/// Why no plugin can run on this machine.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine does not start.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// The system gives no thread.
    #[error("the WebAssembly engine's ticker does not start")]
    Ticker(#[source] io::Error),
}

impl Runtime {
    /// A runtime whose guests read `registry`, compiled by `compiler` (this same binary), with compiled code kept in `cache`.
    ///
    /// A cache that cannot be used is said in the log and done without.
    ///
    /// # Errors
    /// [`RuntimeError`] when no plugin can run on this machine.
    pub fn new(
        registry: Registry,
        compiler: PathBuf,
        cache: Option<&Path>,
        handle: Handle,
    ) -> Result<Arc<Self>, RuntimeError> {
        let refuse = |error: wasmtime::Error| RuntimeError::Engine(load::plain(&error));
        let engine = engine::running().map_err(refuse)?;
        let ticker = engine::Ticker::start(&engine).map_err(RuntimeError::Ticker)?;
        let mut linker = Linker::new(&engine);
        guest::link(&mut linker).map_err(refuse)?;
        let cache = cache.and_then(|folder| match cache::Cache::open(folder) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!(
                    "compiled code is not kept, since {} cannot be used ({error}): plugins are compiled at every start",
                    folder.display()
                );
                None
            }
        });
        let slots = Semaphore::new(engine::MAX_RUNS);
        let ready = Mutex::default();
        Ok(Arc::new(Self { engine, linker, ticker, cache, compiler, slots, registry, handle, ready }))
    }

    /// Loads plugins, a few at a time, into one check each, in the order given. One that cannot be loaded is a check that says why.
    ///
    /// Blocks until all are loaded or have hit their limits; call it outside any asynchronous task.
    #[must_use]
    pub fn load(self: &Arc<Self>, plugins: &[PluginSettings], lock: Option<&Lock>) -> Vec<Arc<dyn Check>> {
        let queue = Mutex::new(plugins.iter().enumerate());
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..LOADERS.min(plugins.len()) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some((at, settings)) = next else { break };
                        let check = self.load_one(settings, lock);
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((at, check));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, check)| check).collect()
    }

    /// The JSON Schema that a plugin gives for its configuration. It is loaded for that, and not kept.
    ///
    /// # Errors
    /// [`LoadError`] when it cannot be loaded.
    pub fn config_schema(&self, settings: &PluginSettings, lock: Option<&Lock>) -> Result<String, LoadError> {
        let (digest, bytes) = load::read(settings, lock);
        match (digest, bytes?) {
            (Some(digest), bytes) => Ok(load::load(self, settings, digest, &bytes)?.config_schema),
            (None, _) => Err(LoadError::NotWasm { path: settings.written.clone() }),
        }
    }

    fn load_one(self: &Arc<Self>, settings: &PluginSettings, lock: Option<&Lock>) -> Arc<dyn Check> {
        let (digest, bytes) = load::read(settings, lock);
        let spec = Spec {
            name: settings.name.clone(),
            origin: Origin::Plugin { component: settings.written.clone(), digest },
            schedule: settings.schedule.clone(),
        };
        let loaded = bytes.and_then(|bytes| match digest {
            Some(digest) => load::load(self, settings, digest, &bytes),
            None => Err(LoadError::NotWasm { path: settings.written.clone() }),
        });
        match loaded {
            Ok(loaded) => Arc::new(check::PluginCheck {
                spec,
                settings: settings.clone(),
                config: settings.config.to_string(),
                runtime: Arc::clone(self),
                loaded,
            }),
            Err(error) => Arc::new(check::BrokenCheck { spec, error }),
        }
    }
}
