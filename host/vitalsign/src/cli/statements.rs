//! What `config check` says of the assertions in SQL: whether SQLite accepts their statements for this database.

use std::time::Duration;

use super::{CommandFailure, Exit};
use crate::{checks, config::EffectiveConfig};
use vitalsign_base::clock::Deadline;
use vitalsign_sqlite::Database;

/// The time for all statements together: each is only compiled, and what waits for a lock must not hold up the rest.
const TIME: Duration = Duration::from_secs(5);

/// Refuses statements that are wrong or would do more than read. Where the database cannot be read nothing is refused.
pub(super) fn accepted(effective: &EffectiveConfig) -> Result<(), CommandFailure> {
    let registry = Database::new(effective.db.clone());
    let refused = checks::refused_statements(&registry, &effective.checks.sql, Deadline::after(TIME));
    if refused.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = refused.into_iter().map(|(key, flaw)| format!("{key}: {flaw}")).collect();
    Err(CommandFailure::new(Exit::Config, told.join("\n"))
        .hint("correct the statement: an assertion is one statement that only reads"))
}
