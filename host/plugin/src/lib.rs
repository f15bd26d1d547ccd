//! Plugins: checks that users write, as sandboxed WebAssembly components.
//!
//! The only module that uses wasmtime. Knows no configuration file, no schedule and no output format. Nothing is read,
//! compiled or started before a plugin's check is about to run for the first time, so a plugin that is configured and not
//! asked for costs nothing.

mod abi;
mod engine;
mod lock;
mod settings;

mod capability;
mod compile;
mod meter;

mod cache;
mod store;

mod runtime;

mod component;

mod guest;

mod load;

mod check;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

pub use compile::{CHILD_COMMAND, child_main};
pub use component::{ComponentError, HOST_VERSION, OFFERED};
pub use engine::{MAX_INSTANCES, MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS};
pub use load::{LoadError, digest_of};
pub use lock::{LockEntry, LockError, LockFile};
pub use runtime::RuntimeError;
pub use settings::{Grants, Limits, PluginSettings};

use component::Components;
use runtime::Runtime;
use vitalsign_check::Check;
use vitalsign_sqlite::Database;

/// Everything that plugins are loaded and run with. Making it starts nothing.
pub struct Plugins {
    registry: Database,
    compiler: PathBuf,
    cache: Option<PathBuf>,
    /// What the log says when the first plugin is loaded, and not before.
    notices: Mutex<Vec<String>>,
    runtime: OnceCell<Arc<Runtime>>,
    components: Components,
}

impl Plugins {
    /// Plugins that read `registry`, are compiled by `compiler` (this same binary), and whose compiled code is kept in
    /// the folder `cache`. `notices` are warnings for the log, written when the first plugin is loaded.
    #[must_use]
    pub fn new(registry: Database, compiler: PathBuf, cache: Option<PathBuf>, notices: Vec<String>) -> Arc<Self> {
        Arc::new(Self {
            registry,
            compiler,
            cache,
            notices: Mutex::new(notices),
            runtime: OnceCell::new(),
            components: Components::default(),
        })
    }

    /// One check for each plugin, in the order given. A plugin is loaded by [`Check::prepare`]; one that cannot be loaded
    /// is a check that says why.
    #[must_use]
    pub fn checks(self: &Arc<Self>, plugins: &[PluginSettings], lock: Option<&LockFile>) -> Vec<Arc<dyn Check>> {
        let check = |settings: &PluginSettings| -> Arc<dyn Check> {
            let pin = LockEntry::of(&settings.name, lock);
            Arc::new(check::PluginCheck::new(Arc::clone(self), settings.clone(), pin))
        };
        plugins.iter().map(check).collect()
    }

    /// The JSON Schema that a plugin gives for its configuration. The plugin is loaded for that, as for a run.
    ///
    /// # Errors
    /// [`LoadError`] when it cannot be loaded.
    pub async fn config_schema(
        self: &Arc<Self>,
        settings: &PluginSettings,
        lock: Option<&LockFile>,
    ) -> Result<String, LoadError> {
        let pin = LockEntry::of(&settings.name, lock);
        let (_, description) = load::load(self, &Arc::new(settings.clone()), pin, |_| ()).await?;
        Ok(description.config_schema)
    }

    /// What all plugins run on, made at the first call. A failure is not kept: the next call tries again.
    async fn runtime(self: &Arc<Self>) -> Result<&Arc<Runtime>, RuntimeError> {
        self.runtime
            .get_or_try_init(async || {
                for notice in std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner)) {
                    tracing::warn!("{notice}");
                }
                let (registry, compiler, cache) = (self.registry.clone(), self.compiler.clone(), self.cache.clone());
                // It opens the cache folder, which may block.
                let made = tokio::task::spawn_blocking(|| Runtime::new(registry, compiler, cache)).await;
                made.unwrap_or(Err(RuntimeError::Panicked))
            })
            .await
    }
}
