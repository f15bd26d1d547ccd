//! Assertions written in SQL: each statement gives one number, which is held against thresholds.
//!
//! Each assertion of the configuration is a check of its own, whose name the operator chooses. Its statement runs as foreign
//! SQL does: it can only read, and is stopped by its time. Knows no table and no rule of its own.

use std::{sync::Arc, time::Duration};

use super::{CheckSettings, almost, finding};
use vitalsign_base::{
    clock::Deadline,
    value::{Name, decimal, printable, span},
};
use vitalsign_check::{
    BoxFuture, Check, Context, Outcome, Schedule, Spec, every,
    report::{Finding, Measure, Origin, Status, Weight},
};
use vitalsign_sqlite::{Database, QueryCaps, QueryError, Rows, Value};

/// The time that one statement has when the operator does not say: as long as any look may hold its read transaction.
pub const USUAL_TIME: Duration = vitalsign_sqlite::READ_BUDGET;

/// Rows that are read: one is expected, and the second shows that there are more.
const MAX_ROWS: usize = 2;

/// Bytes that are read: far more than one number, so that a message can say what came instead of it.
const MAX_BYTES: usize = 64 * 1024;

/// How often a statement that was stopped by its time is run: a machine that was busy once is not the statement's fault, and
/// each further run reads as much again.
const MAX_TRIES: u32 = 3;

/// The longest part of a text or of a column's name that a message repeats, in bytes.
const MAX_SHOWN_BYTES: usize = 80;

/// One assertion, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// The check's name in the report.
    pub name: Name,
    /// The key of its entry in the configuration, for messages: `health.sql[0]`.
    pub key: String,
    /// The statement.
    pub sql: String,
    /// Which numbers are bad.
    pub thresholds: Thresholds,
    /// The time that one run of the statement may take.
    pub time: Duration,
    /// What to do when the number is bad.
    pub hint: Option<String>,
}

/// Which numbers are bad: those from a threshold on, and those below one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// From this number on it is a warning.
    pub warn: Option<f64>,
    /// From this number on it is an error.
    pub error: Option<f64>,
    /// Below this number it is a warning.
    pub warn_below: Option<f64>,
    /// Below this number it is an error.
    pub error_below: Option<f64>,
}

/// How a number stands: its status, the code of the finding, and the rule in words.
type ThresholdResult = (Status, &'static str, String);

impl Thresholds {
    /// Why no check can be made of them: nothing would ever be found, or a threshold would never be seen.
    #[must_use]
    pub fn flaw(&self) -> Option<String> {
        let least = [self.warn, self.error].into_iter().flatten().reduce(f64::min);
        let most = [self.warn_below, self.error_below].into_iter().flatten().reduce(f64::max);
        let hidden = |warn: &str, error: &str, than: &str| {
            Some(format!("`{warn}` has to be {than} than `{error}`, or no number is ever only a warning"))
        };
        if matches!((self.warn, self.error), (Some(warn), Some(error)) if warn >= error) {
            return hidden("warn", "error", "less");
        }
        if matches!((self.warn_below, self.error_below), (Some(warn), Some(error)) if warn <= error) {
            return hidden("warnBelow", "errorBelow", "more");
        }
        match (most, least) {
            (None, None) => Some("a threshold is missing: add `warn`, `error`, `warnBelow` or `errorBelow`".to_owned()),
            (Some(below), Some(from)) if below >= from => {
                let (below, from) = (decimal(below), decimal(from));
                Some(format!("no number would be good: each is below {below}, or {from} and more"))
            }
            _ => None,
        }
    }

    /// The worst that the thresholds say of `number`.
    fn judge(&self, number: f64) -> Option<ThresholdResult> {
        let from = |threshold: Option<f64>| threshold.filter(|threshold| number >= *threshold);
        let below = |threshold: Option<f64>| threshold.filter(|threshold| number < *threshold);
        let rule_from = |at: f64, word| format!("from {} on it is {word}", decimal(at));
        let rule_below = |at: f64, word| format!("below {} it is {word}", decimal(at));
        from(self.error)
            .map(|at| (Status::Error, "above", rule_from(at, "an error")))
            .or_else(|| below(self.error_below).map(|at| (Status::Error, "below", rule_below(at, "an error"))))
            .or_else(|| from(self.warn).map(|at| (Status::Warn, "above", rule_from(at, "a warning"))))
            .or_else(|| below(self.warn_below).map(|at| (Status::Warn, "below", rule_below(at, "a warning"))))
    }
}

/// When an assertion runs and what it weighs, unless the operator says otherwise.
#[must_use]
pub fn schedule() -> Schedule {
    every(60, Weight::Ordinary)
}

/// What SQLite does not accept of the statements, each with the key of its statement. None is run; nothing is said where the
/// database cannot be read.
#[must_use]
pub fn refused(registry: &Database, assertions: &[Assertion], deadline: Deadline) -> Vec<(String, String)> {
    let caps = QueryCaps { max_rows: 1, max_bytes: MAX_BYTES, time: USUAL_TIME };
    let flaw = |assertion: &Assertion| {
        // To explain a statement, SQLite compiles it, under the same rules.
        match registry.query(&format!("EXPLAIN {}", assertion.sql), &[], &caps, deadline) {
            Err(QueryError::Invalid { message, .. }) => {
                Some(format!("SQLite does not accept the statement: {message}"))
            }
            Err(QueryError::NotAllowed { message, .. }) => Some(format!("the statement is not allowed: {message}")),
            _ => None,
        }
    };
    assertions.iter().filter_map(|one| Some((format!("{}.sql", one.key), flaw(one)?))).collect()
}

/// The check that an assertion is.
pub(super) fn build(registry: &Database, assertion: &Assertion, changes: Option<&CheckSettings>) -> Arc<dyn Check> {
    let schedule = changes.map_or_else(schedule, |check| schedule().with(&check.overrides));
    let spec = Spec { name: assertion.name.clone(), origin: Origin::Builtin, schedule };
    Arc::new(SqlCheck { spec, registry: registry.clone(), assertion: assertion.clone() })
}

struct SqlCheck {
    spec: Spec,
    registry: Database,
    assertion: Assertion,
}

impl Check for SqlCheck {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { self.look(almost(context.deadline)) })
    }
}

impl SqlCheck {
    fn look(&self, deadline: Deadline) -> Outcome {
        match self.ask(deadline) {
            Ok(rows) => match number(&rows) {
                Ok(number) => self.judged(number),
                Err(instead) => Outcome::of(self.no_number(&instead)),
            },
            Err(error) => Outcome::of(self.failed(&error)),
        }
    }

    fn ask(&self, deadline: Deadline) -> Result<Rows, QueryError> {
        let caps = QueryCaps { max_rows: MAX_ROWS, max_bytes: MAX_BYTES, time: self.assertion.time };
        let ask = || self.registry.query(&self.assertion.sql, &[], &caps, deadline);
        for _ in 1..MAX_TRIES {
            match ask() {
                Err(QueryError::TimeLimit) if !deadline.has_passed() => {}
                found => return found,
            }
        }
        ask()
    }

    fn judged(&self, number: f64) -> Outcome {
        let Assertion { key, thresholds, hint, .. } = &self.assertion;
        let shown = decimal(number);
        let outcome = match thresholds.judge(number) {
            None => Outcome::new(format!("the statement gives {shown}")),
            Some((status, code, rule)) => {
                let hint = hint
                    .clone()
                    .unwrap_or_else(|| format!("run the statement in `{key}.sql` by hand to see what it counts"));
                let message = format!("the statement gives {shown}; {rule}");
                Outcome::of(Finding::new(status, code, message).hint(hint))
            }
        };
        let measure = Measure::new("value", number, "");
        Outcome { measures: vec![Measure { warn: thresholds.warn, error: thresholds.error, ..measure }], ..outcome }
    }

    fn no_number(&self, instead: &str) -> Finding {
        let message = format!("the statement gives {instead}; one row with one number is expected");
        let hint = format!(
            "correct `{}.sql`: `SELECT count(*) FROM …` always gives one number, and `coalesce(…, 0)` replaces NULL",
            self.assertion.key
        );
        Finding::new(Status::Unknown, "no-number", message).hint(hint)
    }

    fn failed(&self, error: &QueryError) -> Finding {
        let Assertion { key, time, name, .. } = &self.assertion;
        match error {
            QueryError::Invalid { message, .. } => {
                let message = format!("SQLite does not accept the statement: {message}");
                Finding::new(Status::Unknown, "misconfigured", message)
                    .hint(format!("correct `{key}.sql`, or bring the database to the schema that it was written for"))
            }
            QueryError::NotAllowed { message, .. } => {
                let message = format!("the statement is not allowed: {message}");
                Finding::new(Status::Unknown, "misconfigured", message)
                    .hint(format!("correct `{key}.sql`: an assertion is one statement that only reads"))
            }
            QueryError::Busy { message, .. } => {
                let message = format!("the database stayed locked by another process: {message}");
                Finding::new(Status::Unknown, "locked", message)
                    .hint("find the process that holds the lock (`fuser` on the file) and end its transaction")
            }
            QueryError::TimeLimit if *time < self.spec.schedule.timeout => {
                let message = format!(
                    "the statement was stopped: it takes longer than the {} that `{key}.sqlTimeMs` allows",
                    span(*time)
                );
                Finding::new(Status::Unknown, "limit", message).hint(format!(
                    "give the statement an index that it can use, or raise `{key}.sqlTimeMs`; while it runs, the \
                     write-ahead log cannot be reset"
                ))
            }
            QueryError::TimeLimit => {
                let message = format!(
                    "the statement was stopped: it takes longer than the {} that `health.checks.{name}.timeoutMs` allows",
                    span(self.spec.schedule.timeout)
                );
                Finding::new(Status::Unknown, "limit", message).hint(format!(
                    "give the statement an index that it can use, or raise `health.checks.{name}.timeoutMs`"
                ))
            }
            QueryError::Unreadable(error) => finding(error),
            QueryError::Other { code, message } => {
                let message = format!("SQLite could not run the statement: {message} (code {code})");
                Finding::new(Status::Unknown, "sqlite", message)
                    .hint("look the code up at https://sqlite.org/rescode.html")
            }
        }
    }
}

/// The one number that a statement gave, or what it gave instead.
fn number(rows: &Rows) -> Result<f64, String> {
    let shown = |text: &str| printable(text, MAX_SHOWN_BYTES);
    match (rows.columns.as_slice(), rows.rows.as_slice()) {
        ([_], [row]) if !rows.truncated => match row.first() {
            Some(Value::Integer(number)) => Ok(rounded(*number)),
            Some(Value::Real(number)) => Ok(*number),
            Some(Value::Text(text)) => Err(format!("text (`{}`)", shown(text))),
            Some(Value::Blob(bytes)) => Err(format!("a BLOB of {} bytes", bytes.len())),
            Some(Value::Null) | None => Err("NULL".to_owned()),
        },
        ([_], []) if rows.truncated => Err(format!("a value of more than {MAX_BYTES} bytes")),
        ([_], []) => Err("no row".to_owned()),
        ([_], _) => Err("more than one row".to_owned()),
        (columns, _) => {
            let names: Vec<_> = columns.iter().take(3).map(|name| format!("`{}`", shown(name))).collect();
            let more = if columns.len() > names.len() { ", …" } else { "" };
            Err(format!("{} columns ({}{more})", columns.len(), names.join(", ")))
        }
    }
}

/// Above 2^53 the last digits are lost: thresholds are written in the same kind of number.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn rounded(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, testing::*};
    use super::*;
    use crate::testing::Scene;
    use vitalsign_check::Overrides;

    /// What the assertion says of the registry.
    fn said(sql: &str, thresholds: Thresholds) -> String {
        with(&assertion(sql, thresholds))
    }

    fn assertion(sql: &str, thresholds: Thresholds) -> Assertion {
        Assertion {
            name: Name::parse("orphans").unwrap(),
            key: "health.sql[0]".to_owned(),
            sql: sql.to_owned(),
            thresholds,
            // Long enough for every statement here on a machine that is busy with other tests.
            time: Duration::from_secs(20),
            hint: None,
        }
    }

    fn with(assertion: &Assertion) -> String {
        let scene = Scene::with(REGISTRY);
        let overrides = Overrides { timeout: Some(Duration::from_secs(60)), ..Overrides::default() };
        let mut settings = Settings { sql: vec![assertion.clone()], ..settings() };
        settings.checks.insert("orphans".to_owned(), CheckSettings { overrides, ..CheckSettings::default() });
        run_with(&scene, "orphans", &settings)
    }

    fn from(warn: f64, error: f64) -> Thresholds {
        Thresholds { warn: Some(warn), error: Some(error), ..Thresholds::default() }
    }

    fn below(warn: f64, error: f64) -> Thresholds {
        Thresholds { warn_below: Some(warn), error_below: Some(error), ..Thresholds::default() }
    }

    #[test]
    fn a_number_is_held_against_the_thresholds() {
        const COUNT: &str = "SELECT count(*) FROM records";
        insta::assert_snapshot!(said(COUNT, from(4.0, 5.0)), @"
        ok: the statement gives 3
        * value = 3
        ");
        insta::assert_snapshot!(said(COUNT, from(3.0, 4.0)), @"
        warn: the statement gives 3; from 3 on it is a warning
        - warn above: the statement gives 3; from 3 on it is a warning
          run the statement in `health.sql[0].sql` by hand to see what it counts
        * value = 3
        ");
        insta::assert_snapshot!(said(COUNT, below(4.0, 3.0)), @"
        warn: the statement gives 3; below 4 it is a warning
        - warn below: the statement gives 3; below 4 it is a warning
          run the statement in `health.sql[0].sql` by hand to see what it counts
        * value = 3
        ");
        insta::assert_snapshot!(said(COUNT, below(10.0, 3.5)), @"
        error: the statement gives 3; below 3.5 it is an error
        - error below: the statement gives 3; below 3.5 it is an error
          run the statement in `health.sql[0].sql` by hand to see what it counts
        * value = 3
        ");
        let hinted = Assertion { hint: Some("fix it".to_owned()), ..assertion(COUNT, from(1.0, 2.0)) };
        insta::assert_snapshot!(with(&hinted), @"
        error: the statement gives 3; from 2 on it is an error
        - error above: the statement gives 3; from 2 on it is an error
          fix it
        * value = 3
        ");
    }

    #[test]
    fn each_edge_belongs_to_the_side_that_the_words_say() {
        let both = Thresholds { warn: Some(20.0), error: Some(30.0), ..below(10.0, 5.0) };
        let status = |number| both.judge(number).map_or((Status::Ok, ""), |(status, code, _)| (status, code));
        for (number, expected) in [
            (f64::NEG_INFINITY, (Status::Error, "below")),
            (4.9, (Status::Error, "below")),
            (5.0, (Status::Warn, "below")),
            (9.9, (Status::Warn, "below")),
            (10.0, (Status::Ok, "")),
            (19.9, (Status::Ok, "")),
            (20.0, (Status::Warn, "above")),
            (30.0, (Status::Error, "above")),
            (f64::INFINITY, (Status::Error, "above")),
        ] {
            assert_eq!(status(number), expected, "{number}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_healthy() {
        let instead = |sql: &str| {
            let text = said(sql, from(1.0, 2.0));
            let line = text.lines().next().unwrap().to_owned();
            assert!(text.contains("- unknown no-number: ") && text.contains("correct `health.sql[0].sql`"), "{text}");
            line.strip_prefix("unknown: the statement gives ")
                .and_then(|line| line.strip_suffix("; one row with one number is expected"))
                .unwrap_or_else(|| panic!("{line}"))
                .to_owned()
        };
        assert_eq!(instead("SELECT id FROM records WHERE 0"), "no row");
        assert_eq!(instead("SELECT max(id) FROM records WHERE 0"), "NULL");
        assert_eq!(instead("SELECT '12'"), "text (`12`)");
        assert_eq!(instead("SELECT x'0102'"), "a BLOB of 2 bytes");
        assert_eq!(instead("SELECT 1 UNION ALL SELECT 2"), "more than one row");
        assert_eq!(instead("SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3"), "more than one row");
        assert_eq!(instead("SELECT zeroblob(100000)"), "a value of more than 65536 bytes");
        assert_eq!(instead("SELECT 1 AS a, 2 AS b"), "2 columns (`a`, `b`)");
        assert_eq!(instead("SELECT 1, 2, 3, '\x1b[2J' AS \"\x1b\""), "4 columns (`1`, `2`, `3`, …)");
    }

    #[test]
    fn a_statement_that_cannot_be_run_is_not_healthy_and_says_what_to_correct() {
        insta::assert_snapshot!(said("SELECT count(*) FROM gone", from(1.0, 2.0)), @"
        unknown: SQLite does not accept the statement: no such table: gone
        - unknown misconfigured: SQLite does not accept the statement: no such table: gone
          correct `health.sql[0].sql`, or bring the database to the schema that it was written for
        ");
        insta::assert_snapshot!(said("SELEKT 1", from(1.0, 2.0)), @r#"
        unknown: SQLite does not accept the statement: near "SELEKT": syntax error
        - unknown misconfigured: SQLite does not accept the statement: near "SELEKT": syntax error
          correct `health.sql[0].sql`, or bring the database to the schema that it was written for
        "#);
        insta::assert_snapshot!(said("DELETE FROM records RETURNING 1", from(1.0, 2.0)), @"
        unknown: the statement is not allowed: DELETE from `records` (checks may only read)
        - unknown misconfigured: the statement is not allowed: DELETE from `records` (checks may only read)
          correct `health.sql[0].sql`: an assertion is one statement that only reads
        ");
        insta::assert_snapshot!(said("SELECT load_extension('x')", from(1.0, 2.0)), @"
        unknown: the statement is not allowed: the function `load_extension` (checks may only read)
        - unknown misconfigured: the statement is not allowed: the function `load_extension` (checks may only read)
          correct `health.sql[0].sql`: an assertion is one statement that only reads
        ");
        insta::assert_snapshot!(said("", from(1.0, 2.0)), @"
        unknown: SQLite does not accept the statement: there is no statement that gives rows
        - unknown misconfigured: SQLite does not accept the statement: there is no statement that gives rows
          correct `health.sql[0].sql`, or bring the database to the schema that it was written for
        ");
    }

    #[test]
    fn a_database_that_cannot_be_read_is_not_healthy() {
        let settings = Settings { sql: vec![assertion("SELECT count(*) FROM records", from(1.0, 2.0))], ..settings() };
        for (case, scene) in odd_scenes() {
            let outcome = scene.unchanged(|registry| outcome(registry, "orphans", &settings));
            assert!(outcome.status() >= Status::Unknown, "{case}: {outcome:?}");
            assert!(outcome.findings.iter().all(|finding| finding.hint.is_some()), "{case}: {outcome:?}");
        }
    }

    #[test]
    fn statements_are_judged_without_being_run() {
        let scene = Scene::with(REGISTRY);
        let all = ["SELECT count(*) FROM records", "DELETE FROM records", "SELECT nothing", "-- x\nSELECT 1"];
        let all = all.map(|sql| assertion(sql, from(1.0, 2.0)));
        let told = scene.unchanged(|registry| refused(registry, &all, Deadline::after(Duration::from_secs(60))));
        let told: Vec<_> = told.into_iter().map(|(key, flaw)| format!("{key}: {flaw}")).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        health.sql[0].sql: the statement is not allowed: DELETE from `records` (checks may only read)
        health.sql[0].sql: SQLite does not accept the statement: near "nothing": syntax error
        "#);
        let gone = Database::new(scene.folder().join("gone.sqlite"));
        assert!(refused(&gone, &all, Deadline::after(Duration::from_secs(60))).is_empty());
    }

    #[test]
    fn a_statement_that_never_ends_is_stopped_by_the_limit_that_the_message_names() {
        const ENDLESS: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
        let short = Assertion { time: Duration::from_millis(5), ..assertion(ENDLESS, from(1.0, 2.0)) };
        insta::assert_snapshot!(with(&short), @"
        unknown: the statement was stopped: it takes longer than the 5 ms that `health.sql[0].sqlTimeMs` allows
        - unknown limit: the statement was stopped: it takes longer than the 5 ms that `health.sql[0].sqlTimeMs` allows
          give the statement an index that it can use, or raise `health.sql[0].sqlTimeMs`; while it runs, the write-ahead log cannot be reset
        ");
    }

    #[test]
    fn thresholds_that_cannot_work_are_told() {
        let flaw = |thresholds: Thresholds| thresholds.flaw().unwrap_or_default();
        insta::assert_snapshot!(flaw(Thresholds::default()), @"a threshold is missing: add `warn`, `error`, `warnBelow` or `errorBelow`");
        insta::assert_snapshot!(flaw(from(2.0, 2.0)), @"`warn` has to be less than `error`, or no number is ever only a warning");
        insta::assert_snapshot!(flaw(below(2.0, 2.0)), @"`warnBelow` has to be more than `errorBelow`, or no number is ever only a warning");
        insta::assert_snapshot!(flaw(Thresholds { error: Some(5.0), error_below: Some(5.0), ..Thresholds::default() }), @"no number would be good: each is below 5, or 5 and more");
        assert_eq!(from(1.0, 2.0).flaw(), None);
        assert_eq!(below(2.0, 1.0).flaw(), None);
        assert!(Thresholds { warn: Some(2.0), ..below(2.0, 1.0) }.flaw().is_some());
        assert_eq!(Thresholds { warn: Some(3.0), ..below(2.0, 1.0) }.flaw(), None);
        let exactly = Thresholds { error: Some(6.0), error_below: Some(5.0), ..Thresholds::default() };
        assert_eq!((exactly.flaw(), exactly.judge(5.0)), (None, None));
    }
}
