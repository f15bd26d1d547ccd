//! What one run is: a fresh store with its limits and its capabilities, and nothing else in it.
//!
//! Knows no component and no schedule.

use wasmtime::{
    Engine, Store, UpdateDeadline,
    component::{HasSelf, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::{
    abi,
    capability::{Capabilities, HasCapabilities, RunContext, Stdio},
    meter::Meter,
};

/// WASI resources (streams, pollables) that one run may hold.
const MAX_RESOURCES: usize = 10_000;

/// Random bytes that one WASI call may ask for.
const MAX_RANDOM_BYTES: u64 = 64 * 1024;

/// What a store holds for one run.
pub(super) struct StoreData {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(super) meter: Meter,
    pub(super) capabilities: Capabilities,
}

impl WasiView for StoreData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl HasCapabilities for StoreData {
    fn capabilities(&mut self) -> &mut Capabilities {
        &mut self.capabilities
    }
}

impl abi::types::Host for StoreData {}

/// Links everything that a guest can import.
///
/// # Errors
/// When two of the things linked have the same name, which never happens in a release.
pub(super) fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    abi::types::add_to_linker::<_, HasSelf<StoreData>>(linker, |state| state)?;
    Capabilities::link(linker)
}

/// The store of one run.
pub(super) fn store(engine: &Engine, run: &RunContext<'_>) -> Store<StoreData> {
    let capabilities = Capabilities::for_run(run);
    let mut wasi = WasiCtx::builder();
    wasi.stdout(Stdio(capabilities.log.clone()))
        .stderr(Stdio(capabilities.log.clone()))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(MAX_RANDOM_BYTES);
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_RESOURCES);
    let state = StoreData { wasi: wasi.build(), table, meter: Meter::new(run.limits), capabilities };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.meter);
    store.set_hostcall_fuel(run.limits.output_bytes);
    store.set_max_component_handles(MAX_RESOURCES);
    // An endless loop yields at each tick, so that dropping the run's future ends it.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    store
}
