//! From a component's bytes to a component that is ready to run: taken from the cache or compiled, then compared with what
//! this host offers.
//!
//! The work on one component is done once, whoever asks for it and however many do, and goes on when they stop waiting.
//! Knows no file, no lock file and no grants.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::spawn_blocking, time::timeout};
use wasmtime::component::Component;

use super::{
    abi::CheckPre,
    cache::load_code,
    compile::{self, CompileError},
    engine::plain,
    runtime::Runtime,
    settings::PluginSettings,
    store::StoreData,
};
use vitalsign_base::{
    clock::Stopwatch,
    value::{self, Digest, Name, printable},
};

/// The version of `vitalsign:health` that this host offers.
pub const HOST_VERSION: &str = "1.0.0";

/// The package that plugins are written against.
const PACKAGE: &str = "vitalsign:health/";

/// The version of WASI that this host offers, as it begins.
const WASI_VERSION: &str = "0.2";

/// How long compiling goes on before the log says so.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// How long storing compiled code in the cache may take; a file system that hangs must not keep the plugin from running.
const STORE_LIMIT: Duration = Duration::from_secs(10);

/// When a component that ran into a limit of the compiler is compiled again: the machine may have been busy.
const TRY_AGAIN_AFTER: Duration = Duration::from_mins(10);

/// A component that is linked with what this host offers.
pub(super) type LinkedComponent = CheckPre<StoreData>;

/// Why a component cannot be used. The text goes on after its name.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// It could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It was built against a version of the contract that this host does not offer.
    #[error("was built for vitalsign:health {guest}; this host offers {HOST_VERSION}")]
    Version {
        /// The version that it wants.
        guest: String,
    },
    /// It was built for another version of WASI.
    #[error("imports `{import}`; this host offers WASI {WASI_VERSION} only")]
    Wasi {
        /// What it wants.
        import: String,
    },
    /// It wants an interface that this host does not offer.
    #[error("imports `{import}`, which this host does not offer")]
    Import {
        /// What it wants.
        import: String,
    },
    /// It is a component, but not a check.
    #[error("does not export `{export}`: it is not a Vitalsign check")]
    Export {
        /// What is missing.
        export: &'static str,
    },
    /// The names of what it imports and exports are right, but their types are not.
    #[error("does not fit this host: {difference}")]
    Mismatch {
        /// What wasmtime says.
        difference: String,
    },
    /// A bug of ours.
    #[error("could not be made ready to run, because of a bug in Vitalsign")]
    Panicked,
}

impl ComponentError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Compile(_) | Self::Panicked => "not-compiled",
            Self::Version { .. } => "wit-version",
            Self::Wasi { .. } | Self::Import { .. } => "missing-import",
            Self::Export { .. } => "not-a-check",
            Self::Mismatch { .. } => "wit-mismatch",
        }
    }

    /// What to do now, for the plugin `name`.
    #[must_use]
    pub fn hint(&self, name: &Name) -> String {
        match self {
            Self::Compile(CompileError::TooSlow(_)) => format!(
                "Raise `plugins[].limits.compileTimeMs` of the plugin {name} if you trust the component, or give this process more processor time. It is tried again after {} minutes and at the next start.",
                TRY_AGAIN_AFTER.as_secs() / 60
            ),
            Self::Compile(CompileError::Died { .. }) => {
                "Give this process more memory: the limits are RLIMIT_AS (`ulimit -v`) and that of the container. If it has enough, report the component to its author.".into()
            }
            Self::Compile(CompileError::Process(_)) => "Check that this process may start other processes.".into(),
            Self::Compile(CompileError::Refused(_)) => "Rebuild the component with a current toolchain.".into(),
            Self::Version { .. } | Self::Mismatch { .. } => format!(
                "Rebuild the plugin against the WIT package vitalsign:health@{HOST_VERSION}, or use the version of Vitalsign that it was built for."
            ),
            Self::Wasi { .. } => {
                format!("Build the component for WASI {WASI_VERSION} (for Rust, the target wasm32-wasip2).")
            }
            Self::Import { .. } => {
                "Rebuild the plugin without this import; docs/plugins.md lists what a plugin can import.".into()
            }
            Self::Export { .. } => "Build the component for the world `check` of vitalsign:health.".into(),
            Self::Panicked => "Report it to the authors of Vitalsign.".into(),
        }
    }

    /// Whether the same component may turn out better now.
    fn may_pass(&self, since: Stopwatch, limit: Duration) -> bool {
        match self {
            Self::Compile(CompileError::TooSlow(given)) if limit > *given => true,
            Self::Compile(CompileError::Refused(_)) => false,
            Self::Compile(_) | Self::Panicked => since.elapsed() >= TRY_AGAIN_AFTER,
            _ => false,
        }
    }
}

/// How far the work on one component is.
#[derive(Clone)]
enum ComponentState {
    /// It is looked for in the cache.
    Looking,
    /// It is being compiled or waits for its turn, since then.
    Compiling(Stopwatch),
    Ready(LinkedComponent),
    /// It cannot be used, as was found then.
    Unusable(Arc<ComponentError>, Stopwatch),
}

/// The components that were asked for, by their digest.
#[derive(Default)]
pub(super) struct Components(Mutex<HashMap<Digest, watch::Receiver<ComponentState>>>);

/// A plugin that is ready to run.
pub(super) struct Loaded {
    pub(super) runtime: Arc<Runtime>,
    pub(super) ready: LinkedComponent,
}

/// A component that was read and compared with the lock file.
pub(super) struct ComponentBytes {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

/// Makes a component ready to run, or waits for whoever does so already. `compiling` is called when it has to be compiled.
///
/// # Errors
/// Why it cannot be used.
pub(super) async fn ready(
    runtime: &Arc<Runtime>,
    components: &Components,
    settings: &PluginSettings,
    read: ComponentBytes,
    compiling: impl Fn(Stopwatch),
) -> Result<LinkedComponent, Arc<ComponentError>> {
    let mut work = join(runtime, components, settings, read);
    loop {
        match &*work.borrow_and_update() {
            ComponentState::Looking => {}
            ComponentState::Compiling(since) => compiling(*since),
            ComponentState::Ready(ready) => return Ok(ready.clone()),
            ComponentState::Unusable(unfit, _) => return Err(Arc::clone(unfit)),
        }
        // The sender is gone without a result only when the work has panicked.
        work.changed().await.map_err(|_| Arc::new(ComponentError::Panicked))?;
    }
}

/// The work on a component: that which is known or under way, or else begun here as a task of its own.
fn join(
    runtime: &Arc<Runtime>,
    components: &Components,
    settings: &PluginSettings,
    read: ComponentBytes,
) -> watch::Receiver<ComponentState> {
    let mut known = components.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(work) = known.get(&read.digest) {
        let useful = match &*work.borrow() {
            ComponentState::Looking | ComponentState::Compiling(_) => work.has_changed().is_ok(),
            ComponentState::Ready(_) => true,
            ComponentState::Unusable(unfit, since) => !unfit.may_pass(*since, settings.limits.compile_time),
        };
        if useful {
            return work.clone();
        }
    }
    let (tell, work) = watch::channel(ComponentState::Looking);
    known.insert(read.digest, work.clone());
    let (runtime, name, limit) = (Arc::clone(runtime), settings.name.clone(), settings.limits.compile_time);
    tokio::spawn(async move {
        let result = match make(&runtime, &name, read, limit, &tell).await {
            Ok(ready) => ComponentState::Ready(ready),
            Err(unfit) => ComponentState::Unusable(Arc::new(unfit), Stopwatch::start()),
        };
        tell.send_replace(result);
    });
    work
}

/// Takes the component from the cache or compiles it, and links it with what this host offers.
async fn make(
    runtime: &Arc<Runtime>,
    name: &Name,
    read: ComponentBytes,
    limit: Duration,
    tell: &watch::Sender<ComponentState>,
) -> Result<LinkedComponent, ComponentError> {
    let digest = read.digest;
    let looking = Arc::clone(runtime);
    let cached = move || looking.cache.as_ref().and_then(|cache| cache.load(&looking.engine, digest));
    let component = match runtime.in_turn(cached).await.ok_or(ComponentError::Panicked)? {
        Some(component) => component,
        None => {
            tell.send_replace(ComponentState::Compiling(Stopwatch::start()));
            // The semaphore is never closed; without a permit the work would still be right.
            let _turn = runtime.compilers.acquire().await;
            compile(runtime, name, read, limit).await?
        }
    };
    fits(runtime, &component)?;
    let mismatch = |error: wasmtime::Error| ComponentError::Mismatch { difference: plain(&error) };
    let linked = runtime.linker.instantiate_pre(&component).map_err(mismatch)?;
    CheckPre::new(linked).map_err(mismatch)
}

async fn compile(
    runtime: &Arc<Runtime>,
    name: &Name,
    read: ComponentBytes,
    limit: Duration,
) -> Result<Component, ComponentError> {
    let ComponentBytes { digest, bytes } = read;
    let size = value::bytes(bytes.len() as u64);
    let worker = Arc::clone(runtime);
    let mut work = spawn_blocking(move || {
        compile::in_child(&worker.compiler, worker.layout, &Arc::new(bytes), limit).map(Arc::new)
    });
    let early = timeout(SILENT_FOR, &mut work).await;
    let ended = match early {
        Ok(ended) => ended,
        Err(_) => {
            let how_often = match runtime.cache {
                Some(_) => "once",
                None => "at every start, because there is no folder to keep it in",
            };
            // A target of its own, because the command line shows this although nothing is wrong.
            tracing::info!(
                target: "vitalsign::progress",
                "compiling the component of the plugin {name} ({size}); this happens {how_often}"
            );
            work.await
        }
    };
    let code: Arc<Vec<u8>> = ended.map_err(|_| ComponentError::Panicked)??;
    tracing::debug!("compiled the component of the plugin {name}, SHA-256 {digest}");
    store(runtime, name, digest, Arc::clone(&code)).await;
    load_code(&runtime.engine, &code).map_err(|error| CompileError::Refused(plain(&error)).into())
}

/// Keeps compiled code for the next start. It is on the disk before the plugin runs, since the process may end after that.
async fn store(runtime: &Arc<Runtime>, name: &Name, digest: Digest, code: Arc<Vec<u8>>) {
    let keeper = Arc::clone(runtime);
    let keep = spawn_blocking(move || {
        keeper.cache.as_ref().map_or(Ok(()), |cache| cache.store(&keeper.engine, digest, &code))
    });
    let reason = match timeout(STORE_LIMIT, keep).await {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(error))) => error,
        Ok(Err(_)) => io::Error::other("a bug in Vitalsign"),
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    tracing::warn!(
        "the compiled code of the plugin {name} could not be stored ({reason}); the next start compiles it again"
    );
}

/// Compares what the component imports and exports with what this host offers and needs, by name and version.
fn fits(runtime: &Runtime, component: &Component) -> Result<(), ComponentError> {
    let kind = component.component_type();
    for (name, _) in kind.imports(&runtime.engine) {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        if interface.starts_with(PACKAGE) && !serves(version, HOST_VERSION) {
            return Err(ComponentError::Version { guest: printable(version, 40) });
        }
        if interface.starts_with("wasi:") && !version.is_empty() && !version.starts_with(WASI_VERSION) {
            return Err(ComponentError::Wasi { import: printable(name, 200) });
        }
        if !OFFERED.contains(&interface) {
            return Err(ComponentError::Import { import: printable(name, 200) });
        }
    }
    for export in ["describe", "run"] {
        if kind.get_export(&runtime.engine, export).is_none() {
            return Err(ComponentError::Export { export });
        }
    }
    Ok(())
}

/// Whether a host of version `offered` serves a guest that was built for version `wanted`: the same major, no later minor.
fn serves(wanted: &str, offered: &str) -> bool {
    let parts = |text: &str| -> Option<(u32, u32)> {
        let mut numbers = text.split('.').map(|part| part.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    match (parts(wanted), parts(offered)) {
        (Some((major, minor)), Some((host_major, host_minor))) => major == host_major && minor <= host_minor,
        _ => false,
    }
}

/// Every interface that a plugin can import, without its version.
pub const OFFERED: &[&str] = &[
    "vitalsign:health/log",
    "vitalsign:health/registry",
    "vitalsign:health/types",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_serves_its_own_major_up_to_its_minor() {
        for (wanted, offered, expected) in [
            ("1.0.0", "1.0.0", true),
            ("1.0.7", "1.0.0", true),
            ("1.0.0", "1.2.0", true),
            ("1.1.0", "1.0.0", false),
            ("2.0.0", "1.0.0", false),
            ("0.9.0", "1.0.0", false),
            ("", "1.0.0", false),
            ("one", "1.0.0", false),
        ] {
            assert_eq!(serves(wanted, offered), expected, "{wanted} on {offered}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let (now, second) = (Stopwatch::start(), Duration::from_secs(1));
        let slow = ComponentError::Compile(CompileError::TooSlow(second));
        assert!(slow.may_pass(now, 2 * second), "a longer limit is another try");
        assert!(!slow.may_pass(now, second), "the same limit has to wait");
        assert!(!ComponentError::Compile(CompileError::Refused(String::new())).may_pass(now, 2 * second));
        assert!(!ComponentError::Export { export: "run" }.may_pass(now, 2 * second));
    }
}
