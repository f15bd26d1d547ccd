//! Assertions written in SQL: how they settle, and what is wrong with them.

use super::*;

#[test]
fn an_assertion_is_scheduled_like_any_check() {
    let text = r#"{
  "health": {
    "sql": [{ "name": "orphans", "sql": "SELECT 1", "error": 1, "warnBelow": -2.5, "hint": "look" }],
    "checks": { "orphans": { "critical": true, "timeoutMs": 70, "groups": ["mine"] } }
  }
}"#;
    let settled = settled(text, &usual()).unwrap();
    let [assertion] = settled.checks.sql.as_slice() else { panic!("{:?}", settled.checks.sql) };
    assert_eq!((assertion.name.as_str(), assertion.key.as_str()), ("orphans", "health.sql[0]"));
    assert_eq!((assertion.sql.as_str(), assertion.hint.as_deref()), ("SELECT 1", Some("look")));
    assert_eq!((assertion.thresholds.error, assertion.thresholds.warn_below), (Some(1.0), Some(-2.5)));
    assert_eq!(assertion.time, Duration::from_millis(50));
    let overrides = &settled.checks.checks["orphans"].overrides;
    assert_eq!((overrides.critical, overrides.timeout), (Some(true), Some(Duration::from_millis(70))));
    let shown: Vec<String> = render_text(show(&settled))
        .lines()
        .filter(|line| line.contains("sql[0]") || line.contains("orphans"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @"");
}

#[test]
fn what_cannot_work_is_refused() {
    let with = |entries: &str| {
        let text = format!(r#"{{"health": {{"sql": [{entries}]}}, "plugins": [{{"name": "mine", "component": "m"}}]}}"#);
        settled(&text, &usual()).map_or_else(|wrong| wrong.to_string(), |_| "accepted".to_owned())
    };
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "SELECT 1"}"#), @"");
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "SELECT 1", "warn": 2, "error": 1}"#), @"");
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "SELECT 1", "warnbelow": 2}"#), @"");
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "", "error": "1"}"#), @"");
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "SELECT 1", "error": 1, "sqlTimeMs": 0}"#), @"");
    insta::assert_snapshot!(with(r#"{"name": "disk", "sql": "SELECT 1", "error": 1}"#), @"");
    insta::assert_snapshot!(with(r#"{"name": "mine", "sql": "SELECT 1", "error": 1}"#), @"");
    insta::assert_snapshot!(with(r#"{"name": "A b", "sql": "SELECT 1", "error": 1}"#), @"");
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "SELECT 1", "error": 1}, {"name": "a", "sql": "SELECT 2", "error": 1}"#), @"");
    let nearly = r#"{"health": {"sql": [{"name": "orphans", "sql": "SELECT 1", "error": 1}], "checks": {"orphan": {}}}}"#;
    insta::assert_snapshot!(settled(nearly, &usual()).unwrap_err().to_string(), @"");
    let own = r#"{"health": {"sql": [{"name": "a", "sql": "SELECT 1", "error": 1}], "checks": {"a": {"config": {}}}}}"#;
    insta::assert_snapshot!(settled(own, &usual()).unwrap_err().to_string(), @"");
}
