//! Plugins: users' checks as sandboxed WebAssembly components.
//!
//! The only room that knows wasmtime. Knows no configuration file, no schedule and no output format.

mod settings;

pub use settings::{Grants, Limits, PluginSettings};
