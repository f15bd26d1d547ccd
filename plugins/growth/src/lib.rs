//! A check: compares numbers with the baseline in its configuration, above all to find rows that went missing.
//!
//! Knows no table: every number comes from a statement in the configuration. Keeps nothing between runs.

use schemars::JsonSchema;
use serde::Deserialize;
use vitalsign_plugin::{Check, Failure, Grant, Report, registry};

/// What to measure, and how far it may be from what it was.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The numbers to compare, at least one.
    measures: Vec<Growing>,
}

/// One number with its baseline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Growing {
    /// What it is called in the report: lower-case letters, digits and underscores. Unique.
    name: String,
    /// A statement whose first row begins with the number.
    sql: String,
    /// What the number was when all was well. Above 0.
    baseline: f64,
    /// When it was that. Only for the reader of the report.
    at: Option<String>,
    /// How far it may have shrunk before that is an error, in percent of the baseline. 0 when left out: any loss counts.
    #[serde(default)]
    max_shrink_percent: f64,
    /// How far it may have grown before that is a warning, in percent of the baseline. No bound when left out.
    max_growth_percent: Option<f64>,
    /// The unit of the number.
    #[serde(default = "rows")]
    unit: String,
}

fn rows() -> String {
    "rows".to_owned()
}

/// The check.
pub struct Growth;

impl Check for Growth {
    type Config = Config;
    const NAME: &'static str = "growth";
    const SUMMARY: &'static str = "Numbers are near their baseline: nothing was lost, nothing grew out of bounds.";

    fn grants() -> Vec<Grant> {
        vec![Grant::Registry]
    }

    fn run(config: Config) -> Result<Report, Failure> {
        validate(&config.measures)?;
        let mut report = Report::new("");
        let mut lines = Vec::new();
        for measure in &config.measures {
            match registry::number(&measure.sql, &[]) {
                Ok(Some(value)) => lines.push(compare(&mut report, measure, value)),
                Ok(None) => {
                    let name = &measure.name;
                    report
                        .unknown(
                            "no-number",
                            format!("the statement of {name} in the configuration gave no number: no row, or NULL"),
                        )
                        .subject(name);
                }
                // One statement that fails hides none of the others.
                Err(failure) => {
                    let name = &measure.name;
                    report
                        .unknown(
                            "no-number",
                            format!("the statement of {name} in the configuration failed: {}", failure.reason()),
                        )
                        .subject(name);
                }
            }
        }
        report.summary = if lines.is_empty() { "no statement gave a number".to_owned() } else { lines.join(", ") };
        Ok(report)
    }
}

/// Compares one number with its baseline and says how it stands in a few words.
fn compare(report: &mut Report, measure: &Growing, value: f64) -> String {
    let Growing { name, baseline, unit, .. } = measure;
    let percent = (value - baseline) / baseline * 100.0;
    let since = measure.at.as_ref().map(|at| format!(" of {at}")).unwrap_or_default();
    let line = format!("{name} {value} ({percent:+.1} %)");
    report.measure(name.as_str(), value, unit.as_str());
    report.measure(format!("{name}_growth"), percent, "percent");
    if -percent > measure.max_shrink_percent {
        let lost = baseline - value;
        let message =
            format!("{name} is {value}: {lost} {unit} fewer than the baseline{since}, {baseline} ({percent:+.1} %)");
        report
            .error("shrunk", message)
            .subject(name)
            .hint("Find out what removed them. Restore a backup if nothing should have; otherwise lower the baseline.");
    }
    if measure.max_growth_percent.is_some_and(|most| percent > most) {
        let message = format!("{name} is {value}, against a baseline{since} of {baseline} ({percent:+.1} %)");
        report
            .warn("grew", message)
            .subject(name)
            .hint("Find out what writes so much. If it is as intended, raise the baseline.");
    }
    line
}

fn validate(measures: &[Growing]) -> Result<(), Failure> {
    let wrong = |at: usize, what: &str| Err(Failure::Misconfigured(format!("measures[{at}].{what}")));
    if measures.is_empty() {
        return Err(Failure::Misconfigured("measures: at least one is needed".to_owned()));
    }
    for (at, measure) in measures.iter().enumerate() {
        let name = &measure.name;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            return wrong(at, "name: use 1 to 63 lower-case letters, digits and underscores");
        }
        if measures[..at].iter().any(|earlier| earlier.name == *name) {
            return wrong(at, &format!("name: `{name}` was used before"));
        }
        if !(measure.baseline > 0.0 && measure.baseline.is_finite()) {
            return wrong(at, "baseline: a number above 0 is needed, since growth is in percent of it");
        }
        if measure.max_shrink_percent < 0.0 {
            return wrong(at, "maxShrinkPercent: 0 or more is needed");
        }
        if measure.max_growth_percent.is_some_and(|most| most < 0.0) {
            return wrong(at, "maxGrowthPercent: 0 or more is needed");
        }
    }
    Ok(())
}

vitalsign_plugin::export!(Growth);

#[cfg(test)]
mod tests {
    use vitalsign_plugin::{Status, testing::Database};

    use super::*;

    fn run(config: &str) -> Result<Report, Failure> {
        Database::new(
            "CREATE TABLE records(id INTEGER PRIMARY KEY);
             WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 90) INSERT INTO records SELECT i FROM n;",
        )
        .run::<Growth>(config)
    }

    fn one(rest: &str) -> Report {
        run(&format!(r#"{{"measures":[{{"name":"records","sql":"SELECT count(*) FROM records",{rest}}}]}}"#)).unwrap()
    }

    fn misconfigured(config: &str) -> String {
        match run(config) {
            Err(Failure::Misconfigured(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn any_loss_is_an_error_by_default() {
        let report = one(r#""baseline":100,"at":"2026-01-01""#);
        assert_eq!(report.summary, "records 90 (-10.0 %)");
        assert_eq!((report.findings.len(), report.findings[0].status), (1, Status::Error));
        assert_eq!(
            report.findings[0].message,
            "records is 90: 10 rows fewer than the baseline of 2026-01-01, 100 (-10.0 %)"
        );
    }

    #[test]
    fn a_loss_within_bounds_is_none() {
        assert_eq!(one(r#""baseline":100,"maxShrinkPercent":10"#).findings, []);
        assert_eq!(one(r#""baseline":90"#).findings, []);
    }

    #[test]
    fn growth_counts_only_with_a_bound() {
        assert_eq!(one(r#""baseline":10"#).findings, []);
        assert_eq!(one(r#""baseline":60,"maxGrowthPercent":50"#).findings, []);
        let report = one(r#""baseline":50,"maxGrowthPercent":50"#);
        assert_eq!((report.findings[0].status, report.findings[0].code.as_str()), (Status::Warn, "grew"));
        assert_eq!((report.measures[0].value, report.measures[1].value), (90.0, 80.0));
    }

    #[test]
    fn one_statement_that_fails_hides_no_other() {
        let report = run(r#"{"measures":[{"name":"a","sql":"SELECT count(*) FROM gone","baseline":1},
                            {"name":"b","sql":"SELECT NULL","baseline":1},
                            {"name":"c","sql":"SELECT 'x'","baseline":1},
                            {"name":"d","sql":"SELECT 1","baseline":1}]}"#)
        .unwrap();
        let messages: Vec<_> =
            report.findings.iter().map(|finding| (finding.status, finding.message.as_str())).collect();
        assert_eq!(
            messages,
            [
                (
                    Status::Unknown,
                    "the statement of a in the configuration failed: a statement does not fit this database: no such table: gone"
                ),
                (Status::Unknown, "the statement of b in the configuration gave no number: no row, or NULL"),
                (
                    Status::Unknown,
                    "the statement of c in the configuration failed: column 0 (`'x'`) holds text where a number is expected"
                ),
            ]
        );
        assert_eq!(report.summary, "d 1 (+0.0 %)");
    }

    #[test]
    fn a_wrong_configuration_is_refused() {
        assert_eq!(misconfigured("{}"), "missing field `measures`");
        assert_eq!(misconfigured(r#"{"measures":[]}"#), "measures: at least one is needed");
        let with = |rest: &str| misconfigured(&format!(r#"{{"measures":[{{"name":"a","sql":"SELECT 1",{rest}}}]}}"#));
        assert!(with(r#""baseline":0"#).starts_with("measures[0].baseline: a number above 0"));
        assert!(with(r#""baseline":1,"maxShrinkPercent":-1"#).starts_with("measures[0].maxShrinkPercent: 0 or more"));
        assert!(with(r#""baseline":1,"maxGrowth":1"#).contains("unknown field `maxGrowth`"));
        let twice = r#"{"name":"a","sql":"SELECT 1","baseline":1}"#;
        assert_eq!(
            misconfigured(&format!(r#"{{"measures":[{twice},{twice}]}}"#)),
            "measures[1].name: `a` was used before"
        );
        let spelt = r#"{"measures":[{"name":"A","sql":"SELECT 1","baseline":1}]}"#;
        assert!(misconfigured(spelt).starts_with("measures[0].name: use 1 to 63"));
    }
}
