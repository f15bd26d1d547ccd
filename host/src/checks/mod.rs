//! The built-in checks, one file each, and the table that lists them.
//!
//! Knows no configuration file, no schedule, no plugin and no archive; reaches databases only through `sqlite`.

use std::collections::BTreeMap;

use crate::check::Overrides;

/// What the built-in checks are configured with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The `user_version` that the database should have; absent, the schema check is skipped.
    pub expected_schema_version: Option<i64>,
    /// The table that holds the records.
    pub records_table: String,
    /// The table that holds the provenance.
    pub provenance_table: String,
    /// Fewer free bytes than this on the database's file system is an error.
    pub min_free_bytes: u64,
    /// What the operator changed of each built-in check, by name.
    pub checks: BTreeMap<String, CheckSettings>,
}

/// What the operator changed of one check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckSettings {
    /// Changes to its schedule.
    pub overrides: Overrides,
    /// Its own configuration, as JSON; `null` when absent.
    pub config: serde_json::Value,
}
