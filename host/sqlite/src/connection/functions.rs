//! Text functions that take time in proportion to their input, in place of SQLite's own.
//!
//! SQLite's `instr`, `replace` and `trim` compare at every position, so on long values one call can take minutes, and a
//! call cannot be interrupted. These give the same answers for text, BLOBs and integers. Knows no statement.

use std::collections::HashSet;

use memchr::memmem;
use rusqlite::{
    Connection,
    functions::{Context, FunctionFlags},
    types::{Value, ValueRef},
};

use crate::connection::authorizer::LARGEST_VALUE;

/// Puts the functions in place of SQLite's on this connection.
pub(crate) fn install(conn: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    conn.create_scalar_function("instr", 2, flags, instr)?;
    conn.create_scalar_function("replace", 3, flags, replace)?;
    conn.create_scalar_function("trim", 2, flags, |context| trim(context, true, true))?;
    conn.create_scalar_function("ltrim", 2, flags, |context| trim(context, true, false))?;
    conn.create_scalar_function("rtrim", 2, flags, |context| trim(context, false, true))
}

fn failed(message: &str) -> rusqlite::Error {
    rusqlite::Error::UserFunctionError(message.into())
}

/// The bytes of an argument; `None` for NULL.
fn bytes(value: ValueRef<'_>) -> rusqlite::Result<Option<Vec<u8>>> {
    Ok(Some(match value {
        ValueRef::Null => return Ok(None),
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        // How SQLite writes a REAL as text is its own secret.
        ValueRef::Real(_) => return Err(failed("a REAL has to be CAST to TEXT before it is searched here")),
    }))
}

fn text(bytes: Vec<u8>) -> rusqlite::Result<Option<Value>> {
    String::from_utf8(bytes).map(|text| Some(Value::Text(text))).map_err(|_| failed("the text is not UTF-8"))
}

/// The position of the second argument in the first, from 1; 0 when it is not there. In bytes for BLOBs, else in characters.
fn instr(context: &Context<'_>) -> rusqlite::Result<Option<i64>> {
    let blobs = (0..2).all(|at| matches!(context.get_raw(at), ValueRef::Blob(_)));
    let (Some(within), Some(sought)) = (bytes(context.get_raw(0))?, bytes(context.get_raw(1))?) else {
        return Ok(None);
    };
    // Text is searched character by character, and none begins in the middle of another.
    let midway = !blobs && sought.first().is_some_and(|byte| byte & 0xc0 == 0x80);
    let Some(at) = memmem::find(&within, &sought).filter(|_| !midway) else { return Ok(Some(0)) };
    let before = within.iter().take(at);
    let count = if blobs { before.count() } else { before.filter(|byte| **byte & 0xc0 != 0x80).count() };
    Ok(i64::try_from(count).ok().map(|count| count + 1))
}

/// The first argument with every occurrence of the second replaced by the third.
fn replace(context: &Context<'_>) -> rusqlite::Result<Option<Value>> {
    let argument = |at| bytes(context.get_raw(at));
    let (Some(within), Some(from), Some(to)) = (argument(0)?, argument(1)?, argument(2)?) else { return Ok(None) };
    if from.is_empty() {
        return text(within);
    }
    let most = usize::try_from(LARGEST_VALUE).unwrap_or_default();
    let mut out = Vec::with_capacity(within.len());
    let mut rest = 0;
    for at in memmem::find_iter(&within, &from) {
        out.extend_from_slice(within.get(rest..at).unwrap_or_default());
        out.extend_from_slice(&to);
        rest = at + from.len();
        if out.len() > most {
            return Err(failed("string or blob too big"));
        }
    }
    out.extend_from_slice(within.get(rest..).unwrap_or_default());
    text(out)
}

/// The first argument without the characters of the second at its start, its end, or both.
fn trim(context: &Context<'_>, start: bool, end: bool) -> rusqlite::Result<Option<Value>> {
    let (Some(whole), Some(unwanted)) = (bytes(context.get_raw(0))?, bytes(context.get_raw(1))?) else {
        return Ok(None);
    };
    let (Ok(whole), Ok(unwanted)) = (String::from_utf8(whole), String::from_utf8(unwanted)) else {
        return Err(failed("the text is not UTF-8"));
    };
    let unwanted: HashSet<char> = unwanted.chars().collect();
    let mut left = whole.as_str();
    if start {
        left = left.trim_start_matches(|letter| unwanted.contains(&letter));
    }
    if end {
        left = left.trim_end_matches(|letter| unwanted.contains(&letter));
    }
    Ok(Some(Value::Text(left.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SQLite's own function and ours give for the same call.
    fn both(call: &str) -> (rusqlite::Result<Value>, rusqlite::Result<Value>) {
        let theirs = Connection::open_in_memory().unwrap();
        let ours = Connection::open_in_memory().unwrap();
        install(&ours).unwrap();
        let ask = |conn: &Connection| conn.query_row(&format!("SELECT {call}"), [], |row| row.get(0));
        (ask(&theirs), ask(&ours))
    }

    #[test]
    fn the_answers_are_sqlite_s_own() {
        for call in [
            "instr('abcabc', 'ca')",
            "instr('äöü', 'ü')",
            "instr(x'c3a4c3b6', x'b6')",
            "instr('abc', '')",
            "instr('', 'a')",
            "instr(NULL, 'a')",
            "instr('a', NULL)",
            "instr(12345, 34)",
            "instr('ä', x'a4')",
            "replace('aXbXc', 'X', '--')",
            "replace('aaa', 'aa', 'b')",
            "replace('abc', '', 'x')",
            "replace(NULL, 'a', 'b')",
            "replace(1212, 2, 3)",
            "replace('äöä', 'ä', '')",
            "replace('', 'a', 'b')",
            "trim('xxabcxx', 'x')",
            "ltrim('xyabcxy', 'yx')",
            "rtrim('abcäöä', 'öä')",
            "trim('', 'x')",
            "trim('abc', '')",
            "trim(NULL, 'x')",
            "trim('x', NULL)",
            "trim(1001, 1)",
            "trim('  a  ')",
            "typeof(replace(x'6161', 'a', 'b'))",
        ] {
            let (theirs, ours) = both(call);
            assert_eq!(theirs.unwrap(), ours.unwrap(), "{call}");
        }
    }

    #[test]
    fn long_values_are_searched_at_once() {
        // Quadratic, each of these would be 10^11 steps and more.
        for call in [
            "instr(zeroblob(1000000), CAST(zeroblob(500000) AS BLOB) || x'01')",
            "length(replace(hex(zeroblob(400000)), hex(zeroblob(200000)) || '1', ''))",
            "length(trim(hex(zeroblob(400000)), hex(zeroblob(300000)) || '1'))",
        ] {
            let ours = Connection::open_in_memory().unwrap();
            install(&ours).unwrap();
            ours.query_row(&format!("SELECT {call}"), [], |row| row.get::<_, i64>(0)).unwrap();
        }
    }
}
