//! The capability `registry`: read-only SQL on the registry.
//!
//! Granted by `"registry": "read"`. One run gets the registry's handle, its limits and its deadline. What a statement may do
//! is decided in `sqlite`.

use wasmtime::component::{HasSelf, Linker};

use super::{Capability, RunContext, written};
use crate::{
    abi::{
        registry::{self, Error, Rows, SqliteFailure, Value},
        types::Grant,
    },
    settings::Grants,
};
use vitalsign_base::clock::Deadline;
use vitalsign_sqlite::{Database, QueryCaps, QueryError};

/// What one run may do with the registry.
pub(crate) struct RegistryAccess {
    registry: Option<Database>,
    caps: QueryCaps,
    deadline: Deadline,
    timed_out: bool,
}

impl RegistryAccess {
    /// Whether a query of this run ran into `sqlTimeMs`.
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out
    }
}

impl Capability for RegistryAccess {
    fn link<T: 'static>(linker: &mut Linker<T>, of: fn(&mut T) -> &mut Self) -> wasmtime::Result<()> {
        registry::add_to_linker::<T, HasSelf<Self>>(linker, of)
    }

    fn missing(asked: &Grant, grants: Grants) -> Option<Result<(), String>> {
        let is_given = grants.registry;
        matches!(asked, Grant::Registry).then(|| if is_given { Ok(()) } else { Err(written(asked)) })
    }

    fn for_run(run: &RunContext<'_>) -> Self {
        let limits = run.limits;
        let caps = QueryCaps { max_rows: limits.sql_rows, max_bytes: limits.sql_bytes, time: limits.sql_time };
        // Without a database every query is answered with `not-granted`.
        let registry = run.grants.registry.then(|| run.database.clone());
        Self { registry, caps, deadline: run.deadline, timed_out: false }
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
