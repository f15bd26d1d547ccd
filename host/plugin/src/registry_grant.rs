//! The capability `registry`: read-only SQL on the registry.
//!
//! Granted by `"registry": "read"`. One run gets the registry's handle, its limits and its deadline. What a statement may do
//! is decided in `sqlite`.

use super::abi::registry::{self, Error, Rows, SqliteFailure, Value};
use vitalsign_base::clock::Deadline;
use vitalsign_sqlite::{Database, QueryCaps, QueryError};

/// What one run may do with the registry.
pub(super) struct RegistryAccess {
    registry: Option<Database>,
    caps: QueryCaps,
    deadline: Deadline,
    timed_out: bool,
}

impl RegistryAccess {
    /// A grant for one run; `None` answers every query with `not-granted`.
    pub(super) fn new(registry: Option<Database>, caps: QueryCaps, deadline: Deadline) -> Self {
        Self { registry, caps, deadline, timed_out: false }
    }

    /// Whether a query of this run ran into `sqlTimeMs`.
    pub(super) fn timed_out(&self) -> bool {
        self.timed_out
    }
}

impl registry::Host for RegistryAccess {
    fn query(&mut self, sql: String, params: Vec<Value>) -> Result<Rows, Error> {
        let Some(registry) = &self.registry else { return Err(Error::NotGranted) };
        let params: Vec<_> = params.into_iter().map(inward).collect();
        let rows = registry.query(&sql, &params, &self.caps, self.deadline).map_err(|error| {
            self.timed_out |= matches!(error, QueryError::TimeLimit);
            outward_error(error)
        })?;
        Ok(Rows {
            columns: rows.columns,
            rows: rows.rows.into_iter().map(|row| row.into_iter().map(outward).collect()).collect(),
            truncated: rows.truncated,
        })
    }
}

fn inward(value: Value) -> vitalsign_sqlite::Value {
    match value {
        Value::Null => vitalsign_sqlite::Value::Null,
        Value::Integer(number) => vitalsign_sqlite::Value::Integer(number),
        Value::Real(number) => vitalsign_sqlite::Value::Real(number),
        Value::Text(text) => vitalsign_sqlite::Value::Text(text),
        Value::Blob(bytes) => vitalsign_sqlite::Value::Blob(bytes),
    }
}

fn outward(value: vitalsign_sqlite::Value) -> Value {
    match value {
        vitalsign_sqlite::Value::Null => Value::Null,
        vitalsign_sqlite::Value::Integer(number) => Value::Integer(number),
        vitalsign_sqlite::Value::Real(number) => Value::Real(number),
        vitalsign_sqlite::Value::Text(text) => Value::Text(text),
        vitalsign_sqlite::Value::Blob(bytes) => Value::Blob(bytes),
    }
}

fn outward_error(error: QueryError) -> Error {
    let failure = |code, message| SqliteFailure { code, message };
    match error {
        QueryError::NotAllowed { code, message } => Error::NotAllowed(failure(code, message)),
        QueryError::Invalid { code, message } => Error::Invalid(failure(code, message)),
        QueryError::Busy { code, message } => Error::Busy(failure(code, message)),
        QueryError::Other { code, message } => Error::Other(failure(code, message)),
        QueryError::TimeLimit => Error::Limit("sqlTimeMs".to_owned()),
        QueryError::Unreadable(reason) => Error::Unreadable(reason.to_string()),
    }
}
