//! Rows as lines of JSON that lose nothing.
//!
//! Text is a string, NULL is `null`, numbers are numbers, 64-bit integers in full. What JSON has no word for is an object
//! with one key: `{"$blob": BASE64}`, `{"$text": BASE64}` for text that is not UTF-8, `{"$real": "Infinity"}` or
//! `"-Infinity"`. Columns of the same name get `:2`, `:3`… behind it. Knows no database and no file.

use std::{collections::BTreeSet, io::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use vitalsign_sqlite::Cell;

/// Bytes that are encoded at a time; a multiple of three, so that only the last piece is padded.
const BASE64_STEP_BYTES: usize = 48 * 1024;

/// Turns rows into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    keys: Vec<Vec<u8>>,
}

impl Lines {
    /// Adds the line of one row to `out`. The names are those of the first row.
    pub(crate) fn add(&mut self, names: &[String], cells: &[Cell<'_>], out: &mut Vec<u8>) {
        if self.keys.len() != names.len() {
            self.keys = keys(names);
        }
        out.push(b'{');
        for (at, (key, cell)) in self.keys.iter().zip(cells).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key);
            value(*cell, out);
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Each name as a key with its colon, unlike the others.
fn keys(names: &[String]) -> Vec<Vec<u8>> {
    let mut taken = BTreeSet::new();
    let unlike = |name: &String| {
        let mut candidates = std::iter::once(name.clone()).chain((2_u64..).map(|number| format!("{name}:{number}")));
        let free = candidates.find(|candidate| taken.insert(candidate.clone())).unwrap_or_default();
        // Text always serialises.
        let mut key = serde_json::to_vec(&free).unwrap_or_default();
        key.push(b':');
        key
    };
    names.iter().map(unlike).collect()
}

fn value(cell: Cell<'_>, out: &mut Vec<u8>) {
    // Writing to memory does not fail, so neither does any of this.
    let _ = match cell {
        Cell::Null => out.write_all(b"null"),
        Cell::Integer(number) => serde_json::to_writer(&mut *out, &number).map_err(Into::into),
        Cell::Real(number) if number.is_finite() => serde_json::to_writer(&mut *out, &number).map_err(Into::into),
        Cell::Real(number) => {
            let word = if number > 0.0 { "Infinity" } else { "-Infinity" };
            write!(out, r#"{{"$real":"{word}"}}"#)
        }
        Cell::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::to_writer(&mut *out, text).map_err(Into::into),
            Err(_) => write!(out, r#"{{"$text":"{}"}}"#, STANDARD.encode(bytes)),
        },
        Cell::Blob(bytes) => {
            out.extend_from_slice(br#"{"$blob":""#);
            // In pieces that need no padding: a large value is not held in memory once more.
            for piece in bytes.chunks(BASE64_STEP_BYTES) {
                out.extend_from_slice(STANDARD.encode(piece).as_bytes());
            }
            out.write_all(br#""}"#)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives() {
        let names: Vec<String> = ["a", "b\"", "a", "a:2", "a"].map(str::to_owned).to_vec();
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let row = [
            Cell::Null,
            Cell::Integer(i64::MAX),
            Cell::Text("x\0\u{1}\"ä".as_bytes()),
            Cell::Text(b"\xff"),
            Cell::Blob(&[0, 255]),
        ];
        lines.add(&names, &row, &mut out);
        let reals = [0.1, 1e300, -0.0, f64::INFINITY, f64::NEG_INFINITY].map(Cell::Real);
        lines.add(&names, &reals, &mut out);
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        {"a":null,"b\"":9223372036854775807,"a:2":"x\u0000\u0001\"ä","a:2:2":{"$text":"/w=="},"a:3":{"$blob":"AP8="}}
        {"a":0.1,"b\"":1e+300,"a:2":-0.0,"a:2:2":{"$real":"Infinity"},"a:3":{"$real":"-Infinity"}}
        "#);
    }
}
