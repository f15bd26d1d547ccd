//! One call into a guest: a fresh store with nothing in it, the limits around it, and what is made of the way it ended.
//!
//! Knows no file, no lock file and no schedule.

use std::{io, time::Duration};

use wasmtime::{PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi::I32Exit;

use super::{
    abi::{Check as Bindings, Description, Failure, Report},
    capability::RunContext,
    component::Loaded,
    engine::{self, plain},
    settings::{Grants, Limits, PluginSettings},
    store::{StoreData, store},
};
use vitalsign_base::{
    clock::Deadline,
    value::{self, Name},
};

/// Why a call into a guest gave no answer. The text goes on after the plugin's name.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// Its time was up.
    #[error("did not finish within its limit of {} ms (`plugins[].limits.timeoutMs`)", .0.as_millis())]
    Time(Duration),
    /// It ran into a limit, and did not survive it.
    #[error("ran into its limit of {value} (`plugins[].limits.{name}`)")]
    Limit {
        /// The limit's name in the configuration.
        name: &'static str,
        /// Its value, for people.
        value: String,
    },
    /// It trapped: a panic, a bad memory access, endless recursion.
    #[error("crashed: {0}")]
    Trap(String),
    /// It called `exit`.
    #[error("ended itself with exit code {0} instead of returning a result")]
    Exit(i32),
    /// The instance pool had no room for it, though its slot was free: its component is larger than any that was planned for.
    #[error("needs more memories or tables than this host has room for: {0}")]
    NoRoom(String),
    /// The system gave no memory for it.
    #[error(
        "could not be started, because the address space of this process is too small for it (RLIMIT_AS, `ulimit -v`): {0}"
    )]
    NoAddressSpace(String),
    /// All slots for plugin runs stayed taken until its time was up.
    #[error("was not started within {} ms, because {} plugin runs were under way", .0.as_millis(), engine::MAX_RUNS)]
    NoSlot(Duration),
}

impl GuestError {
    /// What to do now, for the plugin `name`.
    pub(super) fn hint(&self, name: &Name) -> String {
        match self {
            Self::Time(_) => {
                format!(
                    "Raise `plugins[].limits.timeoutMs` of the plugin {name} if it needs longer, or make the plugin faster."
                )
            }
            Self::Limit { name: limit, .. } => format!(
                "Raise `plugins[].limits.{limit}` of the plugin {name} if it needs more. If it should not, this is a fault in the plugin's code: report it to its author."
            ),
            Self::Trap(_) | Self::Exit(_) | Self::NoRoom(_) => {
                "This is a fault in the plugin's code. Report it to its author.".to_owned()
            }
            Self::NoAddressSpace(_) => "Raise the limit on the address space of this process.".to_owned(),
            Self::NoSlot(_) => {
                "Give the plugins longer intervals (`health.checks.NAME.intervalSeconds`) or shorter time limits."
                    .to_owned()
            }
        }
    }
}

/// Asks the guest what it is, with nothing granted.
pub(super) async fn describe(loaded: &Loaded, settings: &PluginSettings) -> Result<Description, GuestError> {
    let deadline = Deadline::after(settings.limits.time);
    let answer = call(loaded, settings, Grants::default(), deadline, async |bindings, store| {
        bindings.call_describe(store).await
    });
    answer.await.map(|(description, _)| description)
}

/// What a guest that was run has answered.
pub(super) struct GuestAnswer {
    pub(super) said: Result<Report, Failure>,
    /// Whether one of its queries ran into `sqlTimeMs`.
    pub(super) query_timed_out: bool,
}

/// Runs the guest once, with what it was granted.
pub(super) async fn run(
    loaded: &Loaded,
    settings: &PluginSettings,
    config: &str,
    deadline: Deadline,
) -> Result<GuestAnswer, GuestError> {
    let answer = call(loaded, settings, settings.grants, deadline, async |bindings, store| {
        bindings.call_run(store, config).await
    });
    answer.await.map(|(said, query_timed_out)| GuestAnswer { said, query_timed_out })
}

/// Calls a fresh instance; also gives whether a query ran into its time limit.
async fn call<T>(
    loaded: &Loaded,
    settings: &PluginSettings,
    grants: Grants,
    deadline: Deadline,
    act: impl AsyncFnOnce(&Bindings, &mut Store<StoreData>) -> wasmtime::Result<T>,
) -> Result<(T, bool), GuestError> {
    let (runtime, limits) = (&loaded.runtime, &settings.limits);
    let until = tokio::time::Instant::from_std(deadline.instant());
    let Ok(Ok(_slot)) = tokio::time::timeout_at(until, runtime.slots.acquire()).await else {
        return Err(GuestError::NoSlot(limits.time));
    };
    let _ticking = runtime.ticker.run();
    let run = RunContext { grants, limits, deadline, database: &runtime.registry };
    let mut store = store(&runtime.engine, &run);
    let ended = tokio::time::timeout_at(until, async {
        let bindings = loaded.ready.instantiate_async(&mut store).await?;
        act(&bindings, &mut store).await
    })
    .await;
    store.data().capabilities.log.publish(&settings.name);
    match ended {
        Ok(Ok(answer)) => Ok((answer, store.data().capabilities.registry.timed_out())),
        Ok(Err(error)) => Err(explain(&error, store.data(), limits)),
        Err(_) => Err(GuestError::Time(limits.time)),
    }
}

/// Why a call failed; if it ran into a limit, that limit.
fn explain(error: &wasmtime::Error, state: &StoreData, limits: &Limits) -> GuestError {
    if let Some(name) = state.meter.hit() {
        let value = match name {
            "memoryBytes" => value::bytes(limits.memory_bytes as u64),
            _ => format!("{} entries", limits.table_elements),
        };
        return GuestError::Limit { name, value };
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return GuestError::Exit(exit.0);
    }
    let said = plain(error);
    // Wasmtime has no public type for it.
    if said.contains("fuel allocated for hostcalls") {
        return GuestError::Limit { name: "outputBytes", value: value::bytes(limits.output_bytes as u64) };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return GuestError::NoRoom(said);
    }
    if let Some(refused) = state.meter.refused() {
        return GuestError::NoAddressSpace(refused.to_owned());
    }
    if is_out_of_memory(error, &said) {
        return GuestError::NoAddressSpace(said);
    }
    if said.contains("instance count too high") {
        return GuestError::Limit { name: "instances", value: limits.instances.to_string() };
    }
    let what = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => "it executed `unreachable`, as a panic does".to_owned(),
        Some(trap) => trap.to_string(),
        None => said,
    };
    GuestError::Trap(match state.capabilities.log.last_words() {
        Some(line) => format!("{what}; the last line it wrote: {line}"),
        None => what,
    })
}

/// Whether the system refused this process memory or address space.
fn is_out_of_memory(error: &wasmtime::Error, said: &str) -> bool {
    let refused = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::OutOfMemory)
    };
    // Wasmtime's own wrappers of `mmap` give its errno as text only.
    error.chain().any(refused) || said.contains("mmap") || said.contains("Cannot allocate memory")
}
