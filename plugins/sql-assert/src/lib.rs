//! A check: assertions written as SQL in its configuration, each a number against its thresholds.
//!
//! Knows no table and no rule of its own.

use schemars::JsonSchema;
use serde::Deserialize;
use vitalsign_plugin::{
    Check, Failure, Grant, Report, Status,
    registry::{self, Value},
};

/// How many of the rows that an assertion counts are named in its message.
const SAMPLES: usize = 3;

/// The assertions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The assertions, at least one.
    assertions: Vec<Assertion>,
}

/// One statement and what its number has to be. At least one of `warn`, `error`, `atLeast` and `expect` is needed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Assertion {
    /// What it is called in the report: lower-case letters, digits and inner hyphens. Unique.
    name: String,
    /// One statement that only reads.
    sql: String,
    /// What the number is.
    #[serde(default)]
    number: Number,
    /// From this number on it is a warning.
    warn: Option<f64>,
    /// From this number on it is an error.
    error: Option<f64>,
    /// Below this number it is an error.
    at_least: Option<f64>,
    /// Anything but this number is an error.
    expect: Option<f64>,
    /// The unit of the number.
    #[serde(default)]
    unit: String,
    /// What to do when the assertion does not hold.
    hint: Option<String>,
}

/// Where an assertion's number comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Number {
    /// The first column of the first row.
    #[default]
    Value,
    /// The number of rows. The message names the first column of the first few.
    Rows,
}

/// The check.
pub struct SqlAssert;

impl Check for SqlAssert {
    type Config = Config;
    const NAME: &'static str = "sql-assert";
    const SUMMARY: &'static str = "Assertions written as SQL hold.";

    fn grants() -> Vec<Grant> {
        vec![Grant::Registry]
    }

    fn run(config: Config) -> Result<Report, Failure> {
        validate(&config.assertions)?;
        let mut report = Report::new("");
        for assertion in &config.assertions {
            match measure(assertion) {
                Ok(number) => judge(&mut report, assertion, &number),
                // One statement that fails hides none of the others.
                Err(failure) => {
                    let name = assertion.name.as_str();
                    report.unknown(name, format!("{name} could not be looked at: {}", failure.reason())).subject(name);
                }
            }
        }
        report.summary = summary(&report, config.assertions.len());
        Ok(report)
    }
}

/// What a statement gave.
struct Measured {
    value: f64,
    /// Whether the number is at least `value`, because the host cut the rows off.
    at_least: bool,
    /// Some of the rows that were counted.
    samples: Vec<String>,
}

fn measure(assertion: &Assertion) -> Result<Measured, Failure> {
    if assertion.number == Number::Value {
        let value = registry::number(&assertion.sql, &[])?;
        let value = value.ok_or_else(|| Failure::Other("it gave no number: no row, or NULL".to_owned()))?;
        return Ok(Measured { value, at_least: false, samples: Vec::new() });
    }
    let rows = registry::query_some(&assertion.sql, &[])?;
    let samples = rows.iter().take(SAMPLES).map(|row| row.value(0).map(shown)).collect::<Result<_, _>>()?;
    Ok(Measured { value: vitalsign_plugin::Number::number(rows.len()), at_least: rows.truncated, samples })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Text(value) => value.clone(),
        Value::Blob(value) => format!("{} bytes", value.len()),
    }
}

fn judge(report: &mut Report, assertion: &Assertion, measured: &Measured) {
    let value = measured.value;
    let measure = report.measure(assertion.name.replace('-', "_"), value, assertion.unit.as_str());
    measure.warn = assertion.warn;
    measure.error = assertion.error;

    let broken = [
        (Status::Error, assertion.error.filter(|most| value >= *most), "it is an error from"),
        // A number that is only known to be at least so much may still be high enough, or the one that is expected.
        (Status::Error, assertion.at_least.filter(|least| value < *least && !measured.at_least), "it must be at least"),
        (Status::Error, assertion.expect.filter(|exact| differs(measured, *exact)), "it must be"),
        (Status::Warn, assertion.warn.filter(|most| value >= *most), "it is a warning from"),
    ];
    let number = number(assertion, measured);
    let name = assertion.name.as_str();
    let found = broken.into_iter().find_map(|(status, bound, rule)| Some((status, bound?, rule)));
    let finding = match found {
        Some((status, bound, rule)) => report.finding(status, name, format!("{name} is {number}; {rule} {bound}")),
        None if measured.at_least => {
            let message = format!("{name} is {number}, and more rows were cut off by the host");
            report.unknown(name, message).hint("count in SQL instead, or raise `sqlRows`")
        }
        None => return,
    };
    finding.subject(name);
    if let Some(hint) = &assertion.hint {
        finding.hint(hint);
    }
}

/// Whether the number is certainly not `exact`.
fn differs(measured: &Measured, exact: f64) -> bool {
    if measured.at_least { measured.value > exact } else { (measured.value - exact).abs() > f64::EPSILON * exact.abs() }
}

fn number(assertion: &Assertion, measured: &Measured) -> String {
    let Measured { value, at_least, samples } = measured;
    let rows = if assertion.number == Number::Rows { if *value == 1.0 { " row" } else { " rows" } } else { "" };
    let unit =
        if assertion.unit.is_empty() || !rows.is_empty() { String::new() } else { format!(" {}", assertion.unit) };
    let least = if *at_least { "at least " } else { "" };
    let first = if samples.is_empty() { String::new() } else { format!(" ({}{})", samples.join(", "), more(measured)) };
    format!("{least}{value}{rows}{unit}{first}")
}

fn more(measured: &Measured) -> &'static str {
    let all = vitalsign_plugin::Number::number(measured.samples.len());
    if measured.value > all || measured.at_least { ", …" } else { "" }
}

fn summary(report: &Report, all: usize) -> String {
    let names: Vec<_> = report.findings.iter().map(|finding| finding.code.as_str()).collect();
    match (names.len(), all) {
        (0, 1) => "the assertion holds".to_owned(),
        (0, all) => format!("all {all} assertions hold"),
        (not, all) => format!("{not} of {all} assertions not known to hold: {}", names.join(", ")),
    }
}

fn validate(assertions: &[Assertion]) -> Result<(), Failure> {
    let wrong = |at: usize, what: &str| Err(Failure::Misconfigured(format!("assertions[{at}]{what}")));
    if assertions.is_empty() {
        return Err(Failure::Misconfigured("assertions: at least one is needed".to_owned()));
    }
    for (at, assertion) in assertions.iter().enumerate() {
        let Assertion { name, warn, error, at_least, expect, .. } = assertion;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let edges = !name.starts_with('-') && !name.ends_with('-');
        if name.is_empty() || name.len() > 63 || !edges || !name.bytes().all(plain) {
            return wrong(at, ".name: use 1 to 63 lower-case letters, digits and inner hyphens");
        }
        if assertions[..at].iter().any(|earlier| earlier.name == *name) {
            return wrong(at, &format!(".name: `{name}` was used before"));
        }
        if [warn, error, at_least, expect].iter().all(|bound| bound.is_none()) {
            return wrong(at, &format!(": `{name}` needs one of `warn`, `error`, `atLeast` and `expect`"));
        }
        if let (Some(warn), Some(error)) = (warn, error)
            && warn >= error
        {
            return wrong(at, &format!(".warn: {warn} would never be seen, since `error` is {error}"));
        }
    }
    Ok(())
}

vitalsign_plugin::export!(SqlAssert);

#[cfg(test)]
mod tests {
    use vitalsign_plugin::testing::Database;

    use super::*;

    fn database() -> Database {
        Database::new(
            "CREATE TABLE records(id TEXT PRIMARY KEY, kind TEXT);
             INSERT INTO records VALUES('a', 'schema'), ('b', 'model'), ('c', 'odd'), ('d', 'odd'), ('e', NULL);",
        )
    }

    fn one(rest: &str) -> Report {
        database().run::<SqlAssert>(&format!(r#"{{"assertions":[{{"name":"odd-kinds",{rest}}}]}}"#)).unwrap()
    }

    fn misconfigured(config: &str) -> String {
        match database().run::<SqlAssert>(config) {
            Err(Failure::Misconfigured(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_number_within_its_thresholds_is_only_measured() {
        let report = one(r#""sql":"SELECT count(*) FROM records","warn":6,"error":7,"unit":"rows""#);
        assert_eq!((report.summary.as_str(), report.findings.len()), ("the assertion holds", 0));
        let measure = &report.measures[0];
        assert_eq!((measure.name.as_str(), measure.value, measure.unit.as_str()), ("odd_kinds", 5.0, "rows"));
        assert_eq!((measure.warn, measure.error), (Some(6.0), Some(7.0)));
    }

    #[test]
    fn thresholds_count_from_their_own_number_on_and_the_worst_is_told() {
        let said = |bounds: &str| {
            let report = one(&format!(r#""sql":"SELECT 5",{bounds}"#));
            report.findings.first().map(|finding| (finding.status, finding.message.clone()))
        };
        let is = |status, text: &str| Some((status, format!("odd-kinds is 5; {text}")));
        assert_eq!(said(r#""warn":5"#), is(Status::Warn, "it is a warning from 5"));
        assert_eq!(said(r#""warn":5.5"#), None);
        assert_eq!(said(r#""warn":3,"error":5"#), is(Status::Error, "it is an error from 5"));
        assert_eq!(said(r#""atLeast":6"#), is(Status::Error, "it must be at least 6"));
        assert_eq!(said(r#""atLeast":5"#), None);
        assert_eq!(said(r#""expect":4"#), is(Status::Error, "it must be 4"));
        assert_eq!(said(r#""expect":5"#), None);
        assert_eq!(said(r#""expect":0"#), is(Status::Error, "it must be 0"));
    }

    #[test]
    fn counted_rows_are_named() {
        let report =
            one(r#""sql":"SELECT id FROM records WHERE kind = 'odd'","number":"rows","error":1,"hint":"fix the kind""#);
        assert_eq!(report.findings[0].message, "odd-kinds is 2 rows (c, d); it is an error from 1");
        assert_eq!(report.findings[0].hint.as_deref(), Some("fix the kind"));
        let report = one(r#""sql":"SELECT id FROM records","number":"rows","error":1"#);
        assert_eq!(report.findings[0].message, "odd-kinds is 5 rows (a, b, c, …); it is an error from 1");
    }

    #[test]
    fn rows_that_were_cut_off_never_pass_for_few() {
        let run = |bounds: &str| {
            let sql = r#""sql":"SELECT id FROM records","number":"rows""#;
            let config = format!(r#"{{"assertions":[{{"name":"few",{sql},{bounds}}}]}}"#);
            database().rows_per_query(2).run::<SqlAssert>(&config).unwrap().findings.remove(0)
        };
        assert_eq!(run(r#""error":2"#).message, "few is at least 2 rows (a, b, …); it is an error from 2");
        for bounds in [r#""error":4"#, r#""expect":5"#, r#""atLeast":3"#] {
            assert_eq!(run(bounds).status, Status::Unknown, "{bounds}");
        }
        assert_eq!(run(r#""expect":1"#).status, Status::Error);
    }

    #[test]
    fn one_statement_that_fails_hides_no_other() {
        let report = database()
            .run::<SqlAssert>(
                r#"{"assertions":[{"name":"gone","sql":"SELECT count(*) FROM gone","error":1},
                                  {"name":"nothing","sql":"SELECT max(id) FROM records WHERE 0","error":1},
                                  {"name":"text","sql":"SELECT 'x'","error":1},
                                  {"name":"write","sql":"DELETE FROM records","error":1},
                                  {"name":"bad","sql":"SELECT 1","error":1}]}"#,
            )
            .unwrap();
        let lines: Vec<_> = report.findings.iter().map(|f| format!("{:?} {}", f.status, f.message)).collect();
        assert_eq!(
            lines.join("\n"),
            "Status::Unknown gone could not be looked at: a statement does not fit this database: no such table: gone\n\
             Status::Unknown nothing could not be looked at: it gave no number: no row, or NULL\n\
             Status::Unknown text could not be looked at: column 0 (`'x'`) holds text where a number is expected\n\
             Status::Unknown write could not be looked at: a statement is not a plain read: not authorized\n\
             Status::Error bad is 1; it is an error from 1"
        );
        assert_eq!(report.summary, "5 of 5 assertions not known to hold: gone, nothing, text, write, bad");
    }

    #[test]
    fn a_wrong_configuration_is_refused() {
        let with = |rest: &str| misconfigured(&format!(r#"{{"assertions":[{{"sql":"SELECT 1",{rest}}}]}}"#));
        assert_eq!(misconfigured(r#"{"assertions":[]}"#), "assertions: at least one is needed");
        assert!(with(r#""name":"A","warn":1"#).starts_with("assertions[0].name: use 1 to 63"));
        assert!(with(r#""name":"a""#).starts_with("assertions[0]: `a` needs one of"));
        assert!(with(r#""name":"a","warn":2,"error":2"#).starts_with("assertions[0].warn: 2 would never be seen"));
        assert!(
            with(r#""name":"a","warn":1,"number":"row""#).starts_with("assertions[0].number: unknown variant `row`")
        );
        let one = r#"{"name":"a","sql":"SELECT 1","warn":1}"#;
        assert_eq!(
            misconfigured(&format!(r#"{{"assertions":[{one},{one}]}}"#)),
            "assertions[1].name: `a` was used before"
        );
    }
}
