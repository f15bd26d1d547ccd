//! Rows that break a `CHECK` of their table.
//!
//! SQLite keeps no `CHECK` of a database that it opened for reading only, so neither `quick_check` nor `integrity_check` looks at
//! them there. They are taken from the text of the schema and asked as a question. Knows nothing of other rules.

use crate::{
    Error, Problem,
    read::problem::ProblemKind,
    read::snapshot::{Snapshot, quoted, text},
};
use vitalsign_base::value::printable;

/// The longest of SQLite's sentences that is repeated, in bytes.
const MAX_WORDS_BYTES: usize = 200;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConstraintResult {
    /// One problem for each table with a row that breaks a rule.
    pub(crate) broken: Vec<Problem>,
    /// Why some could not be asked for.
    pub(crate) why_not: Option<String>,
}

impl Snapshot<'_> {
    /// Holds every row against the `CHECK`s of its table, in one table or in all of them.
    pub(crate) fn check_constraints(&self, only: Option<&str>) -> Result<ConstraintResult, Error> {
        let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND sql LIKE '%check%' \
                   AND (?1 IS NULL OR name = ?1 COLLATE NOCASE) ORDER BY name";
        let mut found = ConstraintResult::default();
        for (table, sql) in self.rows(sql, [only], |row| Ok((text(row, 0)?, text(row, 1)?)))? {
            let wrong: Vec<_> = conditions(&sql).iter().map(|condition| format!("NOT ({condition}\n)")).collect();
            if wrong.is_empty() {
                continue;
            }
            let sql = format!("SELECT 1 FROM {} WHERE {} LIMIT 1", quoted(&table), wrong.join(" OR "));
            let mut is_broken = false;
            let asked = self.each(&sql, |_| {
                is_broken = true;
                Ok(false)
            });
            match asked {
                // A function that only the registry's own program has.
                Err(Error::Other { detail, .. }) => {
                    let detail = printable(&detail, MAX_WORDS_BYTES);
                    found.why_not =
                        Some(format!("a rule of {} could not be checked: {detail}", printable(&table, 100)));
                }
                asked => asked?,
            }
            if is_broken {
                // As SQLite says it.
                let said = format!("CHECK constraint failed in {table}");
                found.broken.push(Problem { kind: ProblemKind::Rule, subject: Some(table), text: said });
            }
        }
        Ok(found)
    }
}

/// The conditions of all `CHECK`s in the text of a table. One with a subquery is none: SQLite allows it nowhere but in a schema
/// that was tampered with.
fn conditions(sql: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < sql.len() {
        let end = token_end(sql, at);
        let is_check = word(sql, at, end).eq_ignore_ascii_case("check");
        match is_check.then(|| in_parentheses(sql, end)).flatten() {
            Some((condition, after)) => {
                found.extend(condition);
                at = after;
            }
            None => at = end,
        }
    }
    found
}

fn word(sql: &str, at: usize, end: usize) -> &str {
    sql.get(at..end).unwrap_or_default()
}

/// What stands in the parentheses that begin at `at`, if it has no subquery, and where they end; `None` where none begin there.
fn in_parentheses(sql: &str, mut at: usize) -> Option<(Option<&str>, usize)> {
    let (mut depth, mut start, mut is_plain) = (0_usize, at, true);
    while at < sql.len() {
        let end = token_end(sql, at);
        let token = word(sql, at, end);
        let is_blank = token.trim().is_empty() || token.starts_with("--") || token.starts_with("/*");
        match token {
            "(" if depth == 0 => (depth, start) = (1, end),
            "(" => depth += 1,
            ")" if depth == 1 => return Some((sql.get(start..at).filter(|_| is_plain), end)),
            ")" => depth = depth.checked_sub(1)?,
            _ if depth == 0 && !is_blank => return None,
            _ => is_plain &= !token.eq_ignore_ascii_case("select"),
        }
        at = end;
    }
    None
}

/// Where the token that begins at `at` ends: a word, something in quotes (a doubled quote makes two of them), a comment, or one
/// character.
fn token_end(sql: &str, at: usize) -> usize {
    let rest = sql.as_bytes().get(at..).unwrap_or_default();
    let behind = |mark: &[u8], from: usize| {
        let tail = rest.get(from..).unwrap_or_default();
        let found = tail.windows(mark.len()).position(|window| window == mark);
        found.map_or(rest.len(), |found| from + found + mark.len())
    };
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii();
    let length = match rest {
        [quote @ (b'\'' | b'"' | b'`'), ..] => behind(&[*quote], 1),
        [b'[', ..] => behind(b"]", 1),
        [b'-', b'-', ..] => behind(b"\n", 2),
        [b'/', b'*', ..] => behind(b"*/", 2),
        _ => rest.iter().position(|byte| !is_of_word(byte)).unwrap_or(rest.len()).max(1),
    };
    at + length
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{PrivateCopy, testing::Scene};

    #[test]
    fn conditions_are_found_wherever_they_stand() {
        let of = |sql: &str| conditions(sql).into_iter().map(str::trim).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            of("CREATE TABLE t(a CHECK (a > 0), b, CONSTRAINT c check(b IN (1, 2) or b = ')'))"),
            ["a > 0", "b IN (1, 2) or b = ')'"]
        );
        assert_eq!(of("CREATE TABLE t(a CHECK -- so (\n /* ( */ (a <> 'it''s )' -- )\n))"), ["a <> 'it''s )' -- )"]);
        assert_eq!(of("CREATE TABLE \"check (\"([check ( b], `check`, ü CHECK (ü > 1))"), ["ü > 1"]);
        for none in [
            "",
            "CREATE TABLE t(a DEFAULT 'CHECK (a)')",
            "CHECK",
            "CHECK (",
            "CHECK a (b)",
            "t(a CHECK (1 IN (select 1)))",
        ] {
            assert_eq!(of(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn rows_that_break_a_rule_are_found_by_reading() {
        let scene = Scene::with(
            "CREATE TABLE t(a CHECK (a > 0), b); CREATE TABLE u(a CHECK (length(a) < 3), b CHECK (b IS NULL OR b <> a));
             CREATE TABLE v(a, CHECK (a > 5)); PRAGMA ignore_check_constraints = ON;
             INSERT INTO t VALUES (NULL, 1), (1, 1); INSERT INTO u VALUES ('x', 'x'); INSERT INTO v VALUES (9), (0)",
        );
        let copy = PrivateCopy::open(&scene.path(), &scene.path(), Duration::from_secs(600)).unwrap();
        let rules = |only| copy.look(|snapshot| snapshot.check_constraints(only)).unwrap();
        let texts = |found: ConstraintResult| found.broken.into_iter().map(|one| one.text).collect::<Vec<_>>();
        assert_eq!(texts(rules(None)), ["CHECK constraint failed in u", "CHECK constraint failed in v"]);
        assert_eq!(texts(rules(Some("V"))), ["CHECK constraint failed in v"]);
        assert_eq!(texts(rules(Some("t"))), [""; 0], "what is not known breaks no rule");
    }
}
