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
    let effective = effective(text, &usual()).unwrap();
    let [assertion] = effective.checks.sql.as_slice() else { panic!("{:?}", effective.checks.sql) };
    assert_eq!((assertion.name.as_str(), assertion.key.as_str()), ("orphans", "health.sql[0]"));
    assert_eq!((assertion.sql.as_str(), assertion.hint.as_deref()), ("SELECT 1", Some("look")));
    assert_eq!((assertion.thresholds.error, assertion.thresholds.warn_below), (Some(1.0), Some(-2.5)));
    assert_eq!(assertion.time, Duration::from_millis(50));
    let overrides = &effective.checks.checks["orphans"].overrides;
    assert_eq!((overrides.weight, overrides.timeout), (Some(Weight::Critical), Some(Duration::from_millis(70))));
    let shown: Vec<String> = render_text(show(&effective))
        .lines()
        .filter(|line| line.contains("sql[0]") || line.contains("orphans"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    health.sql[0].name "orphans" c.json:3:23
    health.sql[0].sql "SELECT 1" c.json:3:41
    health.sql[0].warn null default
    health.sql[0].error 1.0 c.json:3:62
    health.sql[0].warnBelow -2.5 c.json:3:78
    health.sql[0].errorBelow null default
    health.sql[0].hint "look" c.json:3:92
    health.sql[0].sqlTimeMs 50 default
    health.checks.orphans.enabled true default
    health.checks.orphans.critical true c.json:4:42
    health.checks.orphans.advisory false default
    health.checks.orphans.intervalSeconds 60 default
    health.checks.orphans.timeoutMs 70 c.json:4:61
    health.checks.orphans.failureThreshold 1 default
    health.checks.orphans.successThreshold 1 default
    health.checks.orphans.groups ["mine"] c.json:4:75
    "#);
}

#[test]
fn what_cannot_work_is_refused() {
    let with = |entries: &str| {
        let text =
            format!(r#"{{"health": {{"sql": [{entries}]}}, "plugins": [{{"name": "mine", "component": "m"}}]}}"#);
        effective(&text, &usual()).map_or_else(|wrong| wrong.to_string(), |_| "accepted".to_owned())
    };
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "SELECT 1"}"#), @"c.json:1:21: health.sql[0]: a threshold is missing: add `warn`, `error`, `warnBelow` or `errorBelow` (assertion `a`)");
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "SELECT 1", "warn": 2, "error": 1}"#), @"c.json:1:21: health.sql[0]: `warn` has to be less than `error`, or no number is ever only a warning (assertion `a`)");
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "SELECT 1", "warnbelow": 2}"#), @"c.json:1:54: health.sql[0].warnbelow: unknown key; did you mean `warnBelow`?");
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "", "error": "1"}"#), @"
c.json:1:42: health.sql[0].sql: this text must not be empty
c.json:1:55: health.sql[0].error: a number is expected, not text
");
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "SELECT 1", "error": 1, "sqlTimeMs": 0}"#), @"c.json:1:79: health.sql[0].sqlTimeMs: 0 is out of range; 1 to 60000 is allowed");
    insta::assert_snapshot!(with(r#"{"name": "disk", "sql": "SELECT 1", "error": 1}"#), @"c.json:1:30: health.sql[0].name: the name `disk` is used by a built-in check already; choose another one");
    insta::assert_snapshot!(with(r#"{"name": "mine", "sql": "SELECT 1", "error": 1}"#), @"c.json:1:93: plugins[0].name: the name `mine` is used by health.sql[0] already; choose another one");
    insta::assert_snapshot!(with(r#"{"name": "A b", "sql": "SELECT 1", "error": 1}"#), @"c.json:1:30: health.sql[0].name: `A b` is not a check name: use 1 to 63 lower-case letters, digits and inner hyphens");
    insta::assert_snapshot!(with(r#"{"name": "a", "sql": "SELECT 1", "error": 1}, {"name": "a", "sql": "SELECT 2", "error": 1}"#), @"c.json:1:76: health.sql[1].name: the name `a` is used by health.sql[0] already; choose another one");
    let nearly =
        r#"{"health": {"sql": [{"name": "orphans", "sql": "SELECT 1", "error": 1}], "checks": {"orphan": {}}}}"#;
    insta::assert_snapshot!(effective(nearly, &usual()).unwrap_err().to_string(), @"c.json:1:85: health.checks.orphan: no check has this name; did you mean `orphans`?");
    let own = r#"{"health": {"sql": [{"name": "a", "sql": "SELECT 1", "error": 1}], "checks": {"a": {"config": {}}}}}"#;
    insta::assert_snapshot!(effective(own, &usual()).unwrap_err().to_string(), @"c.json:1:95: health.checks.a.config: `a` is an assertion; everything of it stands in `health.sql[0]`");
}
