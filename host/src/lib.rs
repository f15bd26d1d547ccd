//! Vitalsign watches a registry kept in SQLite, with built-in checks and with the users' own as sandboxed WebAssembly
//! components, and merges both into one report.
//!
//! The modules stand on floors, lowest first, set apart by blank lines below. A module imports only from lower floors;
//! modules on one floor do not know each other. `floors` tests it.

pub mod value;

pub mod clock;
pub mod files;

pub mod archive;
pub mod report;
pub mod sqlite;

pub mod check;

pub mod backup;
pub mod checks;
pub mod plugin;
pub mod render;
pub mod run;

pub mod serve;

pub mod config;

pub mod cli;

#[cfg(test)]
mod floors;
