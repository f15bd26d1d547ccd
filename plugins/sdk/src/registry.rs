//! Read-only SQL on the registry, with typed rows.
//!
//! Each query is a read transaction of its own, so two queries may see two states. The host limits each one: by default
//! 50 ms (`sqlTimeMs`), 10,000 rows (`sqlRows`) and 4 MiB (`sqlBytes`). Rows beyond a limit are an error unless they are
//! asked for with [`query_some`], so that a check cannot take a part for the whole. Count in SQL, and go through a large
//! table with [`crate::pages`].

pub use crate::bindings::vitalsign::health::registry::{Error, SqliteFailure, Value};
use crate::{Failure, bindings::vitalsign::health::registry as host};

/// Positional parameters for a query: `params![1, "schema", None::<i64>]` stand for `?1`, `?2` and `?3`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::registry::Value::from($value)),*] };
}

/// Runs one read-only statement with its positional parameters (`&[]`, or [`params!`](crate::params)) and gives all its rows.
///
/// # Errors
/// What SQLite or the host said; [`Error::Limit`] when there are more rows than one query may return. `?` makes the fitting
/// [`Failure`] of it.
pub fn query(sql: &str, params: &[Value]) -> Result<Rows, Error> {
    let rows = query_some(sql, params)?;
    if rows.truncated { Err(Error::Limit(ROWS_OR_BYTES.to_owned())) } else { Ok(rows) }
}

/// Runs one read-only statement and gives as many of its rows as one query may return; [`Rows::truncated`] says whether
/// that is all.
///
/// # Errors
/// What SQLite or the host said; `?` makes the fitting [`Failure`] of it.
pub fn query_some(sql: &str, params: &[Value]) -> Result<Rows, Error> {
    ask(sql, params).map(|rows| Rows { columns: rows.columns, rows: rows.rows, truncated: rows.truncated })
}

/// What [`query`] names when rows are missing: the host does not say which of the two limits it was.
const ROWS_OR_BYTES: &str = "sqlRows or sqlBytes";

/// The one number that a statement gives: the first column of its first row, `None` when that is NULL or there is no row.
///
/// # Errors
/// As [`query`]; also when what it gives is not a number.
pub fn number(sql: &str, params: &[Value]) -> Result<Option<f64>, Failure> {
    use crate::Number as _;
    // Only the first row counts, so the others may be missing.
    let rows = query_some(sql, params)?;
    let Some(row) = rows.iter().next() else { return Ok(None) };
    match row.value(0)? {
        Value::Null => Ok(None),
        Value::Integer(number) => Ok(Some(number.number())),
        Value::Real(number) => Ok(Some(*number)),
        _ => Err(row.wrong(0, "a number")),
    }
}

#[cfg(target_family = "wasm")]
use host::query as ask;

#[cfg(not(target_family = "wasm"))]
fn ask(sql: &str, params: &[Value]) -> Result<host::Rows, Error> {
    #[cfg(feature = "testing")]
    return crate::testing::ask(sql, params);
    #[cfg(not(feature = "testing"))]
    {
        let _ = (sql, params);
        Err(Error::Unreadable("there is no host outside a component; see the feature `testing`".to_owned()))
    }
}

/// `name` as a quoted SQL identifier, for any characters in it.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a quoted SQL string, for statements that take no parameters, such as the condition of a
/// [`Search`](crate::pages::Search).
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What a query gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The names of the columns, in order; names may repeat.
    pub columns: Vec<String>,
    /// The rows, each with one value a column.
    pub rows: Vec<Vec<Value>>,
    /// Whether rows are missing here because the limit `sqlRows` or `sqlBytes` was reached. Only [`query_some`] and
    /// [`crate::pages`] return such rows.
    pub truncated: bool,
}

impl Rows {
    /// The rows, with typed access.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The first row.
    ///
    /// # Errors
    /// [`Failure::Other`] when there is none.
    pub fn first(&self) -> Result<Row<'_>, Failure> {
        self.iter().next().ok_or_else(|| Failure::Other("a query that has to give a row gave none".to_owned()))
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

impl<'a> Row<'a> {
    /// The value in a column, counted from 0.
    ///
    /// # Errors
    /// [`Failure::Other`] when there is no such column.
    pub fn value(&self, column: usize) -> Result<&'a Value, Failure> {
        let have = self.values.len();
        self.values.get(column).ok_or_else(|| Failure::Other(format!("there is no column {column}: a row has {have}")))
    }

    /// The value in a column as `T`: `i64`, `f64`, `&str`, `&[u8]`, or an `Option` of those for a column that may be NULL.
    ///
    /// # Errors
    /// [`Failure::Other`] that names the column, what it holds and what is expected.
    pub fn get<T: Read<'a>>(&self, column: usize) -> Result<T, Failure> {
        T::read(self.value(column)?).ok_or_else(|| self.wrong(column, T::NAME))
    }

    /// The integer in a column.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn integer(&self, column: usize) -> Result<i64, Failure> {
        self.get(column)
    }

    /// The number in a column, be it stored as an integer or as a double.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn real(&self, column: usize) -> Result<f64, Failure> {
        self.get(column)
    }

    /// The text in a column.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn text(&self, column: usize) -> Result<&'a str, Failure> {
        self.get(column)
    }

    fn wrong(&self, column: usize, expected: &str) -> Failure {
        let holds = self.values.get(column).map_or("nothing", |value| match value {
            Value::Null => "NULL",
            Value::Integer(_) => "an integer",
            Value::Real(_) => "a double",
            Value::Text(_) => "text",
            Value::Blob(_) => "bytes",
        });
        let name = self.columns.get(column).map_or("", String::as_str);
        Failure::Other(format!("column {column} (`{name}`) holds {holds} where {expected} is expected"))
    }
}

/// A type that a column is read as.
pub trait Read<'a>: Sized {
    /// What a message calls it.
    const NAME: &'static str;

    /// The value as this type, when it is one.
    fn read(value: &'a Value) -> Option<Self>;
}

macro_rules! read {
    ($($type:ty, $name:literal, $($pattern:pat => $value:expr),+;)*) => {
        $(impl<'a> Read<'a> for $type {
            const NAME: &'static str = $name;

            fn read(value: &'a Value) -> Option<Self> {
                match value {
                    $($pattern => Some($value),)+
                    _ => None,
                }
            }
        })*
    };
}

read! {
    i64, "an integer", Value::Integer(value) => *value;
    f64, "a number", Value::Real(value) => *value, Value::Integer(value) => crate::Number::number(*value);
    &'a str, "text", Value::Text(value) => value;
    &'a [u8], "bytes", Value::Blob(value) => value;
}

impl<'a, T: Read<'a>> Read<'a> for Option<T> {
    const NAME: &'static str = T::NAME;

    fn read(value: &'a Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::read(value).map(Some),
        }
    }
}

macro_rules! values {
    ($($type:ty => $value:ident $case:ident $into:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                Self::$case($into)
            }
        })*
    };
}

values! {
    i64 => value Integer value;
    i32 => value Integer value.into();
    u32 => value Integer value.into();
    bool => value Integer value.into();
    f64 => value Real value;
    String => value Text value;
    &String => value Text value.clone();
    &str => value Text value.to_owned();
    Vec<u8> => value Blob value;
    &[u8] => value Blob value.to_vec();
}

impl From<&Value> for Value {
    fn from(value: &Value) -> Self {
        value.clone()
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Error {
    /// What happened, in one sentence for people.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::NotGranted => {
                "the registry is not granted to this check: set \"grants\": { \"registry\": \"read\" }".into()
            }
            Self::NotAllowed(failure) => format!("a statement is not a plain read: {}", failure.message),
            Self::Invalid(failure) => format!("a statement does not fit this database: {}", failure.message),
            Self::Busy(failure) => format!("the database is busy: {}", failure.message),
            Self::Limit(name) if name == ROWS_OR_BYTES => {
                "a query has more rows than `plugins[].limits.sqlRows` or `plugins[].limits.sqlBytes` allow: count in SQL, or read in pages".into()
            }
            Self::Limit(name) => format!("a query ran into the limit `plugins[].limits.{name}`"),
            Self::Unreadable(message) => message.clone(),
            Self::Other(failure) => format!("{} (SQLite code {})", failure.message, failure.code),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.message();
        match error {
            Error::NotGranted => Self::Denied(message),
            Error::Busy(_) | Error::Unreadable(_) => Self::Unavailable(message),
            // The statement stands in the plugin's code. A check whose configuration holds statements says so itself.
            Error::NotAllowed(_) | Error::Invalid(_) | Error::Limit(_) | Error::Other(_) => Self::Other(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let values = vec![Value::Integer(7), Value::from("a"), Value::Null, Value::from(1.5), Value::from(vec![1])];
        let columns = ["seq", "digest", "prev", "share", "raw"].map(str::to_owned).to_vec();
        Rows { columns, rows: vec![values], truncated: false }
    }

    fn other(result: Result<impl std::fmt::Debug, Failure>) -> String {
        match result {
            Err(Failure::Other(message)) => message,
            result => panic!("{result:?}"),
        }
    }

    #[test]
    fn columns_are_read_as_what_they_hold() {
        let rows = rows();
        let row = rows.first().unwrap();
        assert_eq!((row.integer(0).unwrap(), row.real(0).unwrap(), row.text(1).unwrap()), (7, 7.0, "a"));
        assert_eq!(row.get::<Option<&str>>(2).unwrap(), None);
        assert_eq!(row.get::<Option<&str>>(1).unwrap(), Some("a"));
        assert_eq!((row.real(3).unwrap(), row.get::<&[u8]>(4).unwrap()), (1.5, &[1][..]));
    }

    #[test]
    fn a_wrong_column_is_named() {
        let rows = rows();
        let row = rows.first().unwrap();
        assert_eq!(other(row.text(0)), "column 0 (`seq`) holds an integer where text is expected");
        assert_eq!(other(row.integer(2)), "column 2 (`prev`) holds NULL where an integer is expected");
        assert_eq!(other(row.get::<Option<i64>>(1)), "column 1 (`digest`) holds text where an integer is expected");
        assert_eq!(other(row.integer(9)), "there is no column 9: a row has 5");
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(identifier("a\"b; DROP"), "\"a\"\"b; DROP\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[cfg(feature = "testing")]
    #[test]
    fn a_part_is_not_taken_for_the_whole() {
        let database = crate::testing::Database::new("CREATE TABLE t(a); INSERT INTO t VALUES(1), (2), (3);");
        database.rows_per_query(2).with(|| {
            let error = query("SELECT a FROM t", &[]).unwrap_err();
            assert!(matches!(&error, Error::Limit(name) if name == "sqlRows or sqlBytes"));
            assert!(error.message().contains("count in SQL"), "{}", error.message());
            let some = query_some("SELECT a FROM t", &[]).unwrap();
            assert_eq!((some.len(), some.truncated), (2, true));
            assert_eq!(number("SELECT a FROM t", &[]).unwrap(), Some(1.0));
        });
    }

    #[test]
    fn each_error_becomes_the_fitting_failure() {
        let failure = || SqliteFailure { code: 5, message: "database is locked".into() };
        let all = [
            (Error::NotGranted, "Denied"),
            (Error::NotAllowed(failure()), "Other"),
            (Error::Invalid(failure()), "Other"),
            (Error::Busy(failure()), "Unavailable"),
            (Error::Limit("sqlTimeMs".into()), "Other"),
            (Error::Unreadable("no file".into()), "Unavailable"),
            (Error::Other(failure()), "Other"),
        ];
        for (error, kind) in all {
            let message = error.message();
            assert_eq!(format!("{:?}", Failure::from(error)), format!("Failure::{kind}({message:?})"));
        }
    }

    #[test]
    fn parameters_take_what_people_write() {
        let params: &[Value] = params![1, 2_i64, "a", None::<i64>, true];
        assert_eq!(
            params,
            [Value::Integer(1), Value::Integer(2), Value::Text("a".into()), Value::Null, Value::Integer(1)]
        );
    }
}
