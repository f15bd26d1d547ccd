//! Vitalsign watches a registry kept in SQLite, with built-in checks and with the users' own as sandboxed WebAssembly
//! components, and merges both into one report.
//!
//! The modules are listed in layers, lowest layer first, with a blank line between two layers. A module imports only from
//! lower layers, and modules of one layer do not import each other. `cargo test -p xtask` checks this.

pub mod backup;
pub mod checks;
pub mod render;
pub mod run;

pub mod serve;

pub mod config;

pub mod cli;

#[cfg(test)]
#[path = "../../sqlite/src/testing.rs"]
mod testing;
