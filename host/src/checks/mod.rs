//! The built-in checks, one file each, and the table that lists them.
//!
//! Knows no configuration file, no schedule, no plugin and no archive; reaches databases only through `sqlite`.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::check::{Overrides, Schedule};

/// One built-in check, as configuration sees it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in the report and in `health.checks`.
    pub name: &'static str,
    /// When it runs unless the operator says otherwise.
    pub schedule: fn() -> Schedule,
    /// The JSON Schema of its own configuration.
    pub config_schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
    /// Whether a value is a configuration for it.
    pub validate: fn(&Value) -> Result<(), serde_path_to_error::Error<serde_json::Error>>,
}

/// The built-in checks, in the order in which they are listed.
#[must_use]
pub fn rows() -> Vec<Row> {
    ["wal", "schema", "disk", "records", "sqlite", "integrity", "foreign-keys"]
        .into_iter()
        .map(|name| Row {
            name,
            schedule: usual,
            config_schema: schemars::SchemaGenerator::subschema_for::<Nothing>,
            validate,
        })
        .collect()
}

/// The configuration of a check that has none.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn validate(config: &Value) -> Result<(), serde_path_to_error::Error<serde_json::Error>> {
    serde_path_to_error::deserialize::<_, Nothing>(config).map(|_| ())
}

fn usual() -> Schedule {
    Schedule {
        enabled: true,
        critical: true,
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(2),
        failure_threshold: 1,
        success_threshold: 1,
        groups: vec!["ready".to_owned()],
    }
}

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
    pub config: Value,
}
