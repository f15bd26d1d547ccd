//! Foreign SQL: one statement, judged by `authorizer`, ended when its time is over, its answer capped while it is read.
//!
//! Knows no plugin. A value too large for the cap is never copied.

use std::{path::Path, sync::PoisonError, time::Duration};

use rusqlite::{
    ToSql, ffi,
    types::{ToSqlOutput, ValueRef},
};

use crate::{
    connection::busy_handler,
    connection::open::{ReadConnection, ReadMode},
    connection::watchdog::{LimitReached, ReadLimit},
    error::{Error, codes, words},
};
use vitalsign_base::{clock::Deadline, value::printable};

/// What each value counts against [`QueryCaps::max_bytes`] besides its own bytes: about what it takes in memory.
const VALUE_OVERHEAD: usize = 16;

/// One value of a row, or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text. What SQLite holds as text but is not UTF-8 comes as a [`Value::Blob`].
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// How much a foreign statement may give and take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryCaps {
    /// Rows read at most.
    pub max_rows: usize,
    /// Bytes of values read at most; each value counts 16 more.
    pub max_bytes: usize,
    /// Wall-clock time at most.
    pub time: Duration,
}

/// What a foreign statement gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The columns' names, which may repeat.
    pub columns: Vec<String>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<Value>>,
    /// Whether there was more than the caps allow.
    pub truncated: bool,
}

/// Why a foreign statement gave no rows. `code` is SQLite's extended result code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It would do more than read.
    #[error("not allowed: {message}")]
    NotAllowed {
        /// SQLite's code.
        code: i32,
        /// What is not allowed.
        message: String,
    },
    /// It is not valid SQL for this database, or not one statement, or its parameters do not fit.
    #[error("invalid SQL: {message}")]
    Invalid {
        /// SQLite's code.
        code: i32,
        /// What is wrong.
        message: String,
    },
    /// Another process held a lock for as long as could be waited.
    #[error("the database is busy: {message}")]
    Busy {
        /// SQLite's code.
        code: i32,
        /// SQLite's words.
        message: String,
    },
    /// It ran out of its time.
    #[error("the query ran into its time limit")]
    TimeLimit,
    /// The database itself could not be read.
    #[error(transparent)]
    Unreadable(#[from] Error),
    /// Anything else.
    #[error("SQLite: {message} (code {code})")]
    Other {
        /// SQLite's code.
        code: i32,
        /// SQLite's words.
        message: String,
    },
}

/// Runs the statement on an open, foreign connection.
pub(crate) fn run(
    open: &ReadConnection,
    path: &Path,
    sql: &str,
    params: &[Value],
    caps: &QueryCaps,
    deadline: Deadline,
) -> Result<Rows, QueryError> {
    *open.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    if open.way == ReadMode::Rollback {
        // Only here a writer shuts readers out. Waiting for it is not the statement's fault, and holds up no log.
        wait_for_writers(open, path, deadline)?;
    }
    let until = deadline.at_most(caps.time);
    let limit = until.remaining();
    open.limiter.arm(ReadLimit { until, wal: None });
    let found = busy_handler::until(until, || read(open, sql, params, caps));
    let stopped = open.limiter.disarm();
    found.map_err(|error| match (error, stopped) {
        (StatementError::Plain(error), _) => error,
        (StatementError::Sqlite(error), Some(LimitReached::Time)) if may_be_interrupt(&error) => QueryError::TimeLimit,
        // Reading a log through that a crash has left behind ends so.
        (StatementError::Sqlite(error), _) if until.has_passed() && needs_recovery(&error) => QueryError::TimeLimit,
        (StatementError::Sqlite(error), _) => {
            let refused = open.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
            classify(path, &error, refused, limit)
        }
    })
}

/// Waits until the database can be read, for most of the time that is left.
fn wait_for_writers(open: &ReadConnection, path: &Path, deadline: Deadline) -> Result<(), QueryError> {
    let patience = deadline.remaining() * 9 / 10;
    open.limiter.arm(ReadLimit { until: deadline, wal: None });
    let read = || open.conn.prepare_cached("SELECT 1 FROM sqlite_schema LIMIT 1")?.exists([]);
    let free = busy_handler::until(Deadline::after(patience), read);
    open.limiter.disarm();
    free.map(|_| ()).map_err(|error| classify(path, &error, None, patience))
}

enum StatementError {
    Plain(QueryError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for StatementError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn invalid(message: impl Into<String>) -> StatementError {
    StatementError::Plain(QueryError::Invalid { code: ffi::SQLITE_ERROR, message: message.into() })
}

fn read(open: &ReadConnection, sql: &str, params: &[Value], caps: &QueryCaps) -> Result<Rows, StatementError> {
    let mut statement = open.conn.prepare_cached(sql)?;
    if !statement.readonly() {
        let message = "checks may only read".to_owned();
        return Err(StatementError::Plain(QueryError::NotAllowed { code: ffi::SQLITE_READONLY, message }));
    }
    if statement.column_count() == 0 {
        return Err(invalid("there is no statement that gives rows"));
    }
    let wanted = statement.parameter_count();
    if wanted != params.len() {
        return Err(invalid(format!("the statement has {wanted} parameters, {} were given", params.len())));
    }
    for (at, value) in params.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, value)?;
    }
    let mut out = Rows { columns: Vec::new(), rows: Vec::new(), truncated: false };
    let mut room = caps.max_bytes;
    let mut rows = statement.raw_query();
    'rows: while let Some(row) = rows.next()? {
        if out.rows.len() >= caps.max_rows {
            out.truncated = true;
            break;
        }
        let count = row.as_ref().column_count();
        let mut values = Vec::with_capacity(count);
        for column in 0..count {
            let value = row.get_ref(column)?;
            let Some(left) = room.checked_sub(VALUE_OVERHEAD + length(value)) else {
                out.truncated = true;
                break 'rows;
            };
            room = left;
            values.push(copied(value));
        }
        out.rows.push(values);
    }
    drop(rows);
    // Names are read last: SQLite compiles a statement anew when the schema changed since.
    out.columns = (0..statement.column_count()).map(|column| column_name(&statement, column)).collect();
    Ok(out)
}

/// The name of a column. rusqlite panics on one that is not UTF-8, which a hostile database can hold.
fn column_name(statement: &rusqlite::Statement<'_>, column: usize) -> String {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| statement.column_name(column).map(str::to_owned)))
        .ok()
        .and_then(Result::ok)
        .unwrap_or_else(|| "?".to_owned())
}

fn length(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 0,
    }
}

fn copied(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Blob(bytes.to_vec()),
        },
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// Whether an interrupt may be behind an error. One that comes while SQLite sets up a virtual table, such as a pragma that is
/// read like a table, is told as a plain error: the table could not be made.
fn may_be_interrupt(error: &rusqlite::Error) -> bool {
    codes(error).is_some_and(|(primary, _)| matches!(primary, ffi::SQLITE_INTERRUPT | ffi::SQLITE_ERROR))
}

fn needs_recovery(error: &rusqlite::Error) -> bool {
    codes(error).is_some_and(|(_, extended)| extended == ffi::SQLITE_READONLY_RECOVERY)
}

fn classify(path: &Path, error: &rusqlite::Error, refused: Option<String>, limit: Duration) -> QueryError {
    let Some((primary, code)) = codes(error) else {
        return QueryError::Invalid { code: ffi::SQLITE_ERROR, message: words(error) };
    };
    let message = words(error);
    match primary {
        ffi::SQLITE_AUTH | ffi::SQLITE_ERROR if refused.is_some() => {
            let what = printable(&refused.unwrap_or_default(), 200);
            QueryError::NotAllowed { code, message: format!("{what} (checks may only read)") }
        }
        ffi::SQLITE_AUTH => QueryError::NotAllowed { code, message },
        ffi::SQLITE_READONLY if code == ffi::SQLITE_READONLY => QueryError::NotAllowed { code, message },
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => QueryError::Busy { code, message },
        ffi::SQLITE_ERROR | ffi::SQLITE_RANGE | ffi::SQLITE_MISMATCH | ffi::SQLITE_MISUSE => {
            QueryError::Invalid { code, message }
        }
        ffi::SQLITE_TOOBIG | ffi::SQLITE_NOMEM | ffi::SQLITE_SCHEMA | ffi::SQLITE_CONSTRAINT => {
            QueryError::Other { code, message }
        }
        _ => QueryError::Unreadable(Error::of(path, error, limit)),
    }
}
