//! A first configuration for the database in front of it.
//!
//! Writes down what was found and guesses nothing: what was not found stays at its default.

use serde_json::{Map, Value};

use super::defaults;

/// The name of a new configuration file, relative to the root.
pub const FILE: &str = super::CANDIDATES[1];

/// What was found in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// The database's path as it should stand in the configuration.
    pub db: String,
    /// Its `user_version`.
    pub schema_version: i64,
    /// The names of its tables.
    pub tables: Vec<String>,
}

/// A configuration for what was found: its schema version pinned unless it is 0, its tables named where they bear the
/// usual names.
///
/// It ends with a line break and passes the check.
#[must_use]
pub fn propose(facts: &DatabaseFacts) -> String {
    // SQLite compares table names without regard to ASCII case.
    let table = |usual: &str| facts.tables.iter().find(|name| name.eq_ignore_ascii_case(usual)).cloned();
    let registry = [
        // A program that never set a version has 0, and goes on not setting one: pinning it would say nothing.
        ("expectedSchemaVersion", (facts.schema_version != 0).then(|| Value::from(facts.schema_version))),
        ("recordsTable", table(defaults::RECORDS).map(Value::from)),
        ("provenanceTable", table(defaults::PROVENANCE).map(Value::from)),
    ];
    let registry: Map<String, Value> =
        registry.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    let mut config = serde_json::json!({ "dbPath": facts.db });
    if !registry.is_empty() {
        config["registry"] = registry.into();
    }
    format!("{config:#}\n")
}
