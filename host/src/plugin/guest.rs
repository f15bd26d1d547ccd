//! One call into a guest: a fresh store with nothing in it, the walls round it, and what is made of the way it ended.
//!
//! Knows no file, no lock and no schedule.

use std::time::Duration;

use wasmtime::{
    PoolConcurrencyLimitError, Store, Trap, UpdateDeadline,
    component::{HasSelf, Linker, ResourceTable},
};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

use super::{
    Runtime,
    abi::{self, Check as Bindings, Description, Failure, Report},
    load::{Loaded, plain},
    log_grant::{Journal, Stdio},
    meter::Meter,
    registry_grant::RegistryGrant,
    settings::{Limits, PluginSettings},
};
use crate::{
    clock::Deadline,
    sqlite::{QueryCaps, Registry},
    value,
};

/// WASI resources (streams, pollables) that one run may hold.
const MAX_RESOURCES: usize = 10_000;

/// The longest that `describe` may take: it only says what is written in the guest, and start-up waits for it.
const DESCRIBE_LIMIT: Duration = Duration::from_millis(500);

/// Random bytes that one WASI call may ask for.
const MAX_RANDOM_BYTES: u64 = 64 * 1024;

/// Why a call into a guest gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// Its time was up.
    #[error("did not finish within {} ms, which is its limit timeoutMs", .0.as_millis())]
    Time(Duration),
    /// It ran into a limit, and did not survive it.
    #[error("ran into its limit {name} ({value})")]
    Limit {
        /// The limit's name in the configuration.
        name: &'static str,
        /// Its value, for people.
        value: String,
    },
    /// It trapped: a panic, a bad memory access, endless recursion.
    #[error("trapped: {0}")]
    Trap(String),
    /// It called `exit`.
    #[error("ended itself with exit code {0}")]
    Exit(i32),
    /// The instance pool had no room for it, though its slot was free: its component is larger than any that was planned for.
    #[error("does not fit into the instance pool: {0}")]
    NoRoom(String),
    /// All slots for plugin runs stayed taken until its time was up.
    #[error("found no free slot in {} ms: {} plugin runs were under way", .0.as_millis(), super::engine::MAX_RUNS)]
    NoSlot(Duration),
}

/// What a store holds for one run.
pub(super) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    meter: Meter,
    registry: RegistryGrant,
    journal: Journal,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl abi::types::Host for State {}

/// Links everything that a guest can import.
///
/// # Errors
/// When two of the things linked have the same name, which a release never has.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    abi::types::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    abi::registry::add_to_linker::<_, HasSelf<RegistryGrant>>(linker, |state: &mut State| &mut state.registry)?;
    abi::log::add_to_linker::<_, HasSelf<Journal>>(linker, |state: &mut State| &mut state.journal)
}

fn store(runtime: &Runtime, limits: &Limits, registry: Option<Registry>, deadline: Deadline) -> Store<State> {
    let journal = Journal::new(limits.log_bytes);
    let mut wasi = WasiCtx::builder();
    wasi.stdout(Stdio(journal.clone()))
        .stderr(Stdio(journal.clone()))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(MAX_RANDOM_BYTES);
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_RESOURCES);
    let caps = QueryCaps { max_rows: limits.sql_rows, max_bytes: limits.sql_bytes, time: limits.sql_time };
    let state = State {
        wasi: wasi.build(),
        table,
        meter: Meter::new(limits),
        registry: RegistryGrant::new(registry, caps, deadline),
        journal,
    };
    let mut store = Store::new(&runtime.engine, state);
    store.limiter(|state| &mut state.meter);
    store.set_hostcall_fuel(limits.output_bytes);
    store.set_max_component_handles(MAX_RESOURCES);
    // An endless loop yields at each tick, so that dropping the run ends it.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    store
}

/// Asks the guest what it is, with nothing granted. Called outside any asynchronous task.
pub(super) fn describe(
    runtime: &Runtime,
    loaded: &Loaded,
    settings: &PluginSettings,
) -> Result<Description, GuestError> {
    let limit = settings.limits.time.min(DESCRIBE_LIMIT);
    let deadline = Deadline::after(limit);
    runtime.handle.block_on(call(runtime, loaded, settings, None, deadline, async |bindings, store| {
        bindings.call_describe(store).await
    }))
}

/// Runs the guest once, with what it was granted.
pub(super) async fn run(
    runtime: &Runtime,
    loaded: &Loaded,
    settings: &PluginSettings,
    config: &str,
    deadline: Deadline,
) -> Result<Result<Report, Failure>, GuestError> {
    let registry = settings.grants.registry.then(|| runtime.registry.clone());
    call(runtime, loaded, settings, registry, deadline, async |bindings, store| bindings.call_run(store, config).await)
        .await
}

async fn call<T>(
    runtime: &Runtime,
    loaded: &Loaded,
    settings: &PluginSettings,
    registry: Option<Registry>,
    deadline: Deadline,
    act: impl AsyncFnOnce(&Bindings, &mut Store<State>) -> wasmtime::Result<T>,
) -> Result<T, GuestError> {
    let limits = &settings.limits;
    let until = tokio::time::Instant::from_std(deadline.instant());
    let Ok(Ok(_slot)) = tokio::time::timeout_at(until, runtime.slots.acquire()).await else {
        return Err(GuestError::NoSlot(limits.time));
    };
    let _ticking = runtime.ticker.run();
    let mut store = store(runtime, limits, registry, deadline);
    let ended = tokio::time::timeout_at(until, async {
        let bindings = loaded.pre.instantiate_async(&mut store).await?;
        act(&bindings, &mut store).await
    })
    .await;
    store.data().journal.publish(&settings.name);
    match ended {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(explain(&error, store.data(), limits)),
        Err(_) => Err(GuestError::Time(limits.time)),
    }
}

/// Why a call failed, in the words of the limit that it ran into where there is one.
fn explain(error: &wasmtime::Error, state: &State, limits: &Limits) -> GuestError {
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
    if said.contains("instance count too high") {
        return GuestError::Limit { name: "instances", value: limits.instances.to_string() };
    }
    let what = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => "it gave up (`unreachable`), as a panic does".to_owned(),
        Some(trap) => trap.to_string(),
        None => said,
    };
    GuestError::Trap(match state.journal.last_words() {
        Some(words) => format!("{what}; its last words: {words}"),
        None => what,
    })
}
