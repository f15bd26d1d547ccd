//! What one plugin is configured with: its component, its grants, its limits.
//!
//! Knows nothing of how the configuration was written or found.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use vitalsign_base::value::Name;
use vitalsign_check::Schedule;

/// One plugin check, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSettings {
    /// The check's name in the report.
    pub name: Name,
    /// The component as it was written in the configuration, for messages.
    pub written: String,
    /// The component's file.
    pub component: PathBuf,
    /// The plugin's own configuration, handed to it as JSON.
    pub config: Value,
    /// What it may do.
    pub grants: Grants,
    /// What it may use up.
    pub limits: Limits,
    /// When it runs and what it weighs; its `timeout` equals [`Limits::time`].
    pub schedule: Schedule,
}

/// What a plugin may do. Nothing is granted by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Read-only SQL on the registry.
    pub registry: bool,
}

/// What a plugin may use up. Each limit is named in the message that says it was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `timeoutMs`: wall time of one run, host calls and sleeps included.
    pub time: Duration,
    /// `memoryBytes`: all linear memories of one run together.
    pub memory_bytes: usize,
    /// `tableElements`: the entries of all tables of one run together.
    pub table_elements: usize,
    /// `instances`: core instances in the component.
    pub instances: usize,
    /// `outputBytes`: the report that one run returns, as text.
    pub output_bytes: usize,
    /// `logBytes`: all log lines of one run together, standard output and error included.
    pub log_bytes: usize,
    /// `sqlRows`: rows that one query returns; more are cut off and marked.
    pub sql_rows: usize,
    /// `sqlBytes`: bytes of values that one query returns; more are cut off and marked.
    pub sql_bytes: usize,
    /// `sqlTimeMs`: wall time of one query, which is how long it may hold a read transaction.
    pub sql_time: Duration,
    /// `componentBytes`: the size of the component's file.
    pub component_bytes: u64,
    /// `compileTimeMs`: wall time to compile the component, once, before its code is cached.
    pub compile_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            time: Duration::from_secs(2),
            memory_bytes: 64 * MIB,
            // A JavaScript engine compiled to wasm has tables of some 20,000 entries.
            table_elements: 100_000,
            // Rust guests have up to five, JavaScript and Python ones up to forty.
            instances: 100,
            output_bytes: MIB,
            log_bytes: 64 * 1024,
            sql_rows: 10_000,
            sql_bytes: 4 * MIB,
            // A health check pins the WAL for 50 ms at most.
            sql_time: Duration::from_millis(50),
            // JavaScript and Python components are 12 to 18 MiB.
            component_bytes: 64 * MIB as u64,
            compile_time: Duration::from_secs(60),
        }
    }
}
