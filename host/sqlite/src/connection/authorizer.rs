//! What a foreign statement may do: read. Everything else is refused while it is compiled, before it runs.
//!
//! SQLite asks for each thing that a statement would do. What is not listed here is refused, so a new kind of action in
//! a new SQLite is refused too.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{
    Connection,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
};

/// The longest text, BLOB or row that a foreign statement may make or read, in bytes.
pub(crate) const LARGEST_VALUE: i32 = 1024 * 1024;

/// SQLite's limits for foreign statements. Each is far above what a check needs and bounds one kind of bomb.
const LIMITS: [(Limit, i32); 10] = [
    (Limit::SQLITE_LIMIT_LENGTH, LARGEST_VALUE),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 * 1024),
    (Limit::SQLITE_LIMIT_COLUMN, 1000),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 1000),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Pragmas that say something of the schema and change nothing, whatever they are given.
const DESCRIBING_PRAGMAS: [&str; 8] = [
    "data_version",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// Pragmas that only read as long as they are given no value.
const READING_PRAGMAS: [&str; 7] =
    ["application_id", "encoding", "freelist_count", "page_count", "page_size", "schema_version", "user_version"];

/// Tables that show raw pages or the inside of the process.
const HIDDEN_TABLES: [&str; 5] = ["sqlite_dbpage", "dbstat", "sqlite_stmt", "bytecode", "tables_used"];

/// Functions that compute from what they are given, in time in proportion to it (some are replaced in `functions` for that), and
/// reach nothing else. `json_patch` is not here: its time grows with the square of its input.
const FUNCTIONS: &[&str] = &[
    "->",
    "->>",
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "avg",
    "bm25",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "glob",
    "group_concat",
    "hex",
    "highlight",
    "if",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_error_position",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "jsonb",
    "jsonb_array",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "match",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "pi",
    "pow",
    "power",
    "printf",
    "quote",
    "radians",
    "random",
    "randomblob",
    "rank",
    "regexp",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "sin",
    "sinh",
    "snippet",
    "soundex",
    "sqlite_version",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "subtype",
    "sum",
    "tan",
    "tanh",
    "time",
    "timediff",
    "total",
    "trim",
    "trunc",
    "typeof",
    "unhex",
    "unicode",
    "unistr",
    "unistr_quote",
    "unixepoch",
    "unlikely",
    "upper",
    "zeroblob",
];

/// Has every statement of the connection judged; what is refused is noted in words.
pub(crate) fn install_authorizer(conn: &mut Connection, refused: &Arc<Mutex<Option<String>>>) -> rusqlite::Result<()> {
    for (limit, value) in LIMITS {
        conn.set_limit(limit, value)?;
    }
    let refused = Arc::clone(refused);
    conn.authorizer(Some(move |context: AuthContext<'_>| match judge(&context.action) {
        None => Authorization::Allow,
        Some(what) => {
            *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
            Authorization::Deny
        }
    }))
}

/// What is refused, in words; `None` for what may be done.
fn judge(action: &AuthAction<'_>) -> Option<String> {
    let listed = |list: &[&str], name: &str| list.iter().any(|entry| entry.eq_ignore_ascii_case(name));
    Some(match action {
        AuthAction::Select | AuthAction::Recursive => return None,
        AuthAction::Read { table_name, .. } => {
            let lower = table_name.to_ascii_lowercase();
            let pragma = lower.strip_prefix("pragma_");
            if !listed(&HIDDEN_TABLES, &lower)
                && pragma.is_none_or(|pragma| listed(&DESCRIBING_PRAGMAS, pragma) || listed(&READING_PRAGMAS, pragma))
            {
                return None;
            }
            format!("reading `{table_name}`")
        }
        AuthAction::Function { function_name } if listed(FUNCTIONS, function_name) => return None,
        AuthAction::Function { function_name } => format!("the function `{function_name}`"),
        AuthAction::Pragma { pragma_name, pragma_value } => {
            if listed(&DESCRIBING_PRAGMAS, pragma_name)
                || (pragma_value.is_none() && listed(&READING_PRAGMAS, pragma_name))
            {
                return None;
            }
            format!("PRAGMA `{pragma_name}`")
        }
        AuthAction::Insert { table_name } => format!("INSERT into `{table_name}`"),
        AuthAction::Update { table_name, .. } => format!("UPDATE of `{table_name}`"),
        AuthAction::Delete { table_name } => format!("DELETE from `{table_name}`"),
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => "ATTACH and DETACH".to_owned(),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => "transaction control".to_owned(),
        _ => "changing the schema".to_owned(),
    })
}
