//! A real SQLite database behind [`crate::registry`], for a plugin's own tests on the machine that builds it.
//!
//! Behind the feature `testing`; never part of a component. It keeps the host's rules that a check can trip over: only
//! granted checks may query, only plain reads pass, and rows beyond a limit are cut off and marked.

use std::{cell::RefCell, rc::Rc};

use rusqlite::{Connection, types};

use crate::{
    Check, Exported, Failure, Grant, Report,
    bindings::vitalsign::health::registry::{Error, Rows, SqliteFailure, Value},
};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Inner>>> = const { RefCell::new(None) };
}

struct Inner {
    connection: Connection,
    rows_per_query: usize,
    rows_in_time: i64,
}

/// A database in memory.
pub struct Database(Inner);

impl Database {
    /// A database made by a script of SQL.
    ///
    /// # Panics
    /// When SQLite refuses the script: the test is wrong.
    #[must_use]
    pub fn new(script: &str) -> Self {
        let connection = Connection::open_in_memory().expect("a database in memory opens");
        connection.execute_batch(script).expect("the test's script is SQL");
        Self(Inner { connection, rows_per_query: 10_000, rows_in_time: i64::MAX })
    }

    /// The same database behind a host whose `sqlRows` is this.
    #[must_use]
    pub fn rows_per_query(mut self, rows: usize) -> Self {
        self.0.rows_per_query = rows;
        self
    }

    /// The same database behind a host on which a page of more rows than this runs into `sqlTimeMs`.
    ///
    /// A page's size is the first parameter, as [`crate::pages`] gives it.
    #[must_use]
    pub fn rows_in_time(mut self, rows: i64) -> Self {
        self.0.rows_in_time = rows;
        self
    }

    /// Runs `body` with this database behind [`crate::registry`], and gives the database back.
    pub fn with<T>(self, body: impl FnOnce() -> T) -> T {
        let before = CURRENT.replace(Some(Rc::new(self.0)));
        let result = body();
        CURRENT.set(before);
        result
    }

    /// Runs a check as the host would: with its configuration as JSON text, and with the grants that it asks for.
    ///
    /// # Errors
    /// What the check returns.
    pub fn run<C: Check>(self, config: &str) -> Result<Report, Failure> {
        if C::grants().contains(&Grant::Registry) {
            self.with(|| Exported::<C>::run_with(config))
        } else {
            Exported::<C>::run_with(config)
        }
    }
}

/// What the host would answer.
pub(crate) fn ask(sql: &str, params: &[Value]) -> Result<Rows, Error> {
    let Some(database) = CURRENT.with_borrow(Clone::clone) else { return Err(Error::NotGranted) };
    if matches!(params.first(), Some(Value::Integer(rows)) if *rows > database.rows_in_time) {
        return Err(Error::Limit("sqlTimeMs".to_owned()));
    }
    let mut statement = database.connection.prepare(sql).map_err(|error| Error::Invalid(failure(&error)))?;
    if !statement.readonly() {
        return Err(Error::NotAllowed(SqliteFailure { code: 23, message: "not authorized".to_owned() }));
    }
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let params = rusqlite::params_from_iter(params.iter().map(to_sqlite));
    let mut found = statement.query(params).map_err(|error| Error::Invalid(failure(&error)))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(|error| Error::Other(failure(&error)))? {
        if rows.len() == database.rows_per_query {
            return Ok(Rows { columns, rows, truncated: true });
        }
        let values = (0..columns.len()).map(|column| row.get_ref(column).map_or(Value::Null, from_sqlite));
        rows.push(values.collect());
    }
    Ok(Rows { columns, rows, truncated: false })
}

fn failure(error: &rusqlite::Error) -> SqliteFailure {
    let code = error.sqlite_error().map_or(1, |error| error.extended_code);
    let message = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    SqliteFailure { code, message }
}

fn to_sqlite(value: &Value) -> types::Value {
    match value {
        Value::Null => types::Value::Null,
        Value::Integer(value) => types::Value::Integer(*value),
        Value::Real(value) => types::Value::Real(*value),
        Value::Text(value) => types::Value::Text(value.clone()),
        Value::Blob(value) => types::Value::Blob(value.clone()),
    }
}

fn from_sqlite(value: types::ValueRef<'_>) -> Value {
    match value {
        types::ValueRef::Null => Value::Null,
        types::ValueRef::Integer(value) => Value::Integer(value),
        types::ValueRef::Real(value) => Value::Real(value),
        types::ValueRef::Text(bytes) => {
            str::from_utf8(bytes).map_or_else(|_| Value::Blob(bytes.to_vec()), |text| Value::Text(text.to_owned()))
        }
        types::ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}
