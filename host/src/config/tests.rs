//! What the configuration says to people: every kind of mistake, every origin.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use serde_json::{Value, json};

use super::*;
use crate::{check::Schedule, checks::Row, plugin, serve};

/// The example of the contract, letter for letter.
const CONTRACT: &str = r#"{
  "dbPath": "var/registry.sqlite",
  "registry": { "expectedSchemaVersion": 1, "recordsTable": "records", "provenanceTable": "provenance" },
  "health": { "minFreeBytes": 268435456, "checks": { "disk": { "critical": true, "intervalSeconds": 15, "timeoutMs": 2000,
              "failureThreshold": 1, "successThreshold": 1, "groups": ["ready"], "config": {} } } },
  "plugins": [ { "name": "provenance-chain", "component": "plugins/provenance_chain.wasm", "config": {},
                 "grants": { "registry": "read", "http": [], "files": [], "secrets": [], "state": false },
                 "limits": { "timeoutMs": 2000, "memoryBytes": 67108864 } } ],
  "backup": { "dir": "artifacts/registry/backups", "compression": "gzip", "maxAgeSeconds": 93600, "keep": { "last": 7, "daily": 7, "weekly": 5, "monthly": 12 } },
  "server": { "listen": "127.0.0.1:8080", "details": "always" }
}"#;

/// Built-in checks of our own, so that what is tested here does not change with the real ones.
fn builtins() -> Vec<Row> {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only what it accepts matters")]
    struct WalConfig {
        /// Warn from so many pages.
        #[schemars(range(min = 0.5, max = 2.5))]
        warn_ratio: Option<f64>,
        /// An address, which no schema can judge.
        peer: Option<std::net::IpAddr>,
    }
    fn schedule() -> Schedule {
        Schedule {
            enabled: true,
            critical: true,
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(2),
            failure_threshold: 1,
            success_threshold: 1,
            groups: vec!["ready".to_owned()],
        }
    }
    ["disk", "wal"]
        .map(|name| Row {
            name,
            schedule,
            config_schema: schemars::SchemaGenerator::subschema_for::<WalConfig>,
            validate: |config| serde_path_to_error::deserialize::<_, WalConfig>(config).map(|_| ()),
        })
        .to_vec()
}

fn no_env(_: &str) -> Option<OsString> {
    None
}

const ASKED: Asked<'static> = Asked { root: Path::new("."), config: None, db: None, serve: None, env: &no_env };

fn settled(text: &str, asked: &Asked<'_>) -> Result<Settled, Mistakes> {
    let source = Source { file: "c.json".into(), text: text.to_owned() };
    settled::settle(Some((&source, Origin::Found)), asked, &builtins())
}

/// What is said about each text, one after the other.
fn said(texts: &[&str]) -> String {
    let mut out = String::new();
    for text in texts {
        let shown: String = text.chars().take(110).flat_map(|ch| ch.escape_debug()).collect();
        let wrong = settled(text, &ASKED).map(|_| "accepted".to_owned()).unwrap_or_else(|wrong| wrong.to_string());
        out.push_str(&format!("{}\n{wrong}\n\n", shown.replace("\\\"", "\"")));
    }
    out
}

#[test]
fn what_is_not_json_is_said_in_plain_words() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    insta::assert_snapshot!(said(&[
        "",
        " \n\t",
        "\u{feff}{}",
        "[]",
        "42",
        "{\"dbPath\": \"a\",}",
        "{\"plugins\": [1,]}",
        "{\n  // where it is\n  \"dbPath\": \"a\"\n}",
        "{\"dbPath\": \"a\" # note\n}",
        "{'dbPath': \"a\"}",
        "{dbPath: \"a\"}",
        "{\"dbPath\": 'a'}",
        "{\"dbPath\": a}",
        "{\"dbPath\" \"a\"}",
        "{\"dbPath\": \"a\" \"server\": {}}",
        "{\"dbPath\": \"a\"",
        "{\"dbPath\": \"a",
        "{\"dbPath\": \"a\nb\"}",
        "{\"dbPath\": \"\\q\"}",
        "{\"dbPath\": \"äöü\", oops}",
        "{} {}",
        "{\"health\": {\"minFreeBytes\": 01}}",
        "{\"health\": {\"minFreeBytes\": 1e999}}",
        deep.as_str(),
    ]), @"");
}

#[test]
fn what_departs_from_the_format_is_said_with_its_place() {
    insta::assert_snapshot!(said(&[
        // Keys.
        r#"{"dbpath": "a"}"#,
        r#"{"zebra": 1}"#,
        r#"{"health": {"minFreBytes": 1}}"#,
        r#"{"health": {"checks": {"disk": {"intervalSecond": 1}}}}"#,
        r#"{"health": {"checks": {"disk": {"config": {"warnRatios": 1}}}}}"#,
        r#"{"dbPath": "a", "dbPath": "b"}"#,
        r#"{"health": {"checks": {"disk": {}, "disk": {}}}}"#,
        r#"{"plugins": [{"name": "a"}]}"#,
        r#"{"a b.c\u001b": 1}"#,
        // Types.
        r#"{"dbPath": 1}"#,
        r#"{"dbPath": null}"#,
        r#"{"health": []}"#,
        r#"{"plugins": {}}"#,
        r#"{"plugins": ["a.wasm"]}"#,
        r#"{"health": {"minFreeBytes": "256"}}"#,
        r#"{"health": {"minFreeBytes": 1.5}}"#,
        r#"{"health": {"minFreeBytes": true}}"#,
        r#"{"health": {"checks": {"disk": {"critical": "yes"}}}}"#,
        r#"{"health": {"checks": {"disk": {"groups": [1]}}}}"#,
        r#"{"backup": {"compression": 5}}"#,
        // Ranges.
        r#"{"dbPath": ""}"#,
        r#"{"health": {"minFreeBytes": -1}}"#,
        r#"{"health": {"minFreeBytes": 99999999999999999999999}}"#,
        r#"{"registry": {"expectedSchemaVersion": 2147483648}}"#,
        r#"{"health": {"checks": {"disk": {"intervalSeconds": 0, "timeoutMs": 0, "failureThreshold": 0}}}}"#,
        r#"{"health": {"checks": {"disk": {"config": {"warnRatio": 0.25}}}}}"#,
        r#"{"plugins": [{"name": "a", "component": "a.wasm", "limits": {"memoryBytes": 1, "sqlTimeMs": 60001}}]}"#,
        r#"{"backup": {"compression": "gz", "maxAgeSeconds": 0, "keep": {"last": -1}}}"#,
        r#"{"server": {"details": "sometimes"}}"#,
    ]), @"");
}

#[test]
fn what_a_schema_cannot_judge_is_said_too() {
    insta::assert_snapshot!(said(&[
        r#"{"health": {"checks": {"dsk": {}}}}"#,
        r#"{"health": {"checks": {"zebra": {}}}}"#,
        r#"{"health": {"checks": {"disk": {"groups": ["ready", "Not A Group"]}}}}"#,
        r#"{"health": {"checks": {"disk": {"config": {"peer": "nowhere"}}}}}"#,
        r#"{"plugins": [{"name": "My Plugin", "component": "a.wasm"}]}"#,
        r#"{"plugins": [{"name": "disk", "component": "a.wasm"}]}"#,
        r#"{"plugins": [{"name": "a", "component": "a.wasm"}, {"name": "a", "component": "b.wasm"}]}"#,
        r#"{"plugins": [{"name": "a", "component": "a.wasm", "grants": {"http": ["https://example.org"], "state": true}}]}"#,
        r#"{"plugins": [{"name": "a", "component": "a.wasm", "grants": {"files": ["/"], "secrets": ["k"]}}]}"#,
        r#"{"plugins": [{"name": "a", "component": "a.wasm"}], "health": {"checks": {"a": {"timeoutMs": 5, "config": {}}}}}"#,
        r#"{"dbPath": "a\u0000b", "registry": {"recordsTable": "r\u0000"}}"#,
        r#"{"server": {"listen": "localhost:8080"}}"#,
        r#"{"server": {"details": "token"}}"#,
        r#"{"server": {"details": "token", "tokenFile": "t", "tokenEnv": "T"}}"#,
        r#"{"server": {"tokenFile": "t"}}"#,
        r#"{"server": {"details": "never", "tokenEnv": "T"}}"#,
        r#"{"server": {"details": "token", "tokenEnv": "T=secret"}}"#,
        r#"{"backup": {"keep": {}}}"#,
    ]), @"");
}

#[test]
fn details_for_everybody_need_a_flag_where_somebody_else_can_connect() {
    let text = r#"{"server": {"listen": "0.0.0.0:8080"}}"#;
    let serve = |flags| settled(text, &Asked { serve: Some(flags), ..ASKED });
    insta::assert_snapshot!(serve(ServeFlags::default()).unwrap_err().render(), @"");
    assert!(serve(ServeFlags { allow_public_details: true, ..ServeFlags::default() }).is_ok());
    assert!(settled(text, &ASKED).is_ok(), "a command that does not serve has nothing to refuse");
    for listen in ["[::]:80", "192.0.2.1:80"] {
        let flags = ServeFlags { listen: Some(listen.parse().unwrap()), ..ServeFlags::default() };
        let wrong = settled("{}", &Asked { serve: Some(flags), ..ASKED }).unwrap_err().to_string();
        assert!(wrong.contains("--allow-public-details"), "{wrong}");
    }
    for harmless in [
        r#"{"server": {"listen": "[::1]:8080"}}"#,
        r#"{"server": {"listen": "[::ffff:127.0.0.1]:8080"}}"#,
        r#"{"server": {"listen": "0.0.0.0:8080", "details": "never"}}"#,
        r#"{"server": {"listen": "0.0.0.0:8080", "details": "token", "tokenFile": "t"}}"#,
    ] {
        let asked = Asked { serve: Some(ServeFlags::default()), ..ASKED };
        assert!(settled(harmless, &asked).is_ok(), "{harmless}");
    }
}

#[test]
fn a_mistake_is_shown_in_its_line() {
    let text = "{\n\t\"dbPath\": \"ä\", \"helth\": {}\n}";
    insta::assert_snapshot!(settled(text, &ASKED).unwrap_err().render(), @"");
    let long =
        format!("{{\"dbPath\": \"{}\", \"helth\": {{}}, \"$schema\": \"{}\"}}", "x".repeat(400), "y".repeat(400));
    insta::assert_snapshot!(settled(&long, &ASKED).unwrap_err().render(), @"");
}

#[test]
fn mistakes_come_in_the_order_of_the_file_and_not_by_the_thousand() {
    let keys: Vec<String> = (0..1000).map(|n| format!("\"key{n}\": {n}")).collect();
    let wrong = settled(&format!("{{{}}}", keys.join(",\n")), &ASKED).unwrap_err();
    assert_eq!(wrong.told().len(), 20);
    assert_eq!(wrong.told()[0].place.as_ref().unwrap().at, Position { line: 1, column: 2 });
    assert!(wrong.to_string().ends_with("\nand 980 more"));
}

#[test]
fn the_contract_is_accepted_letter_for_letter() {
    let settled = settled(CONTRACT, &ASKED).unwrap();
    assert_eq!(settled.db, Path::new("var/registry.sqlite"));
    assert_eq!(settled.lock_file, Path::new("vitalsign.lock"));
    assert_eq!(settled.checks.expected_schema_version, Some(1));
    assert_eq!(settled.checks.min_free_bytes, 268_435_456);
    let disk = &settled.checks.checks["disk"];
    assert_eq!((disk.overrides.critical, disk.overrides.interval), (Some(true), Some(Duration::from_secs(15))));
    assert_eq!(disk.config, json!({}));
    let [plugin] = settled.plugins.as_slice() else { panic!("one plugin") };
    assert_eq!((plugin.name.as_str(), plugin.grants), ("provenance-chain", plugin::Grants { registry: true }));
    assert_eq!(plugin.limits, plugin::Limits::default());
    assert_eq!(plugin.schedule.timeout, plugin.limits.time);
    assert!(!plugin.schedule.critical);
    let keep = Keep { last: 7, daily: 7, weekly: 5, monthly: 12, ..Keep::default() };
    assert_eq!(settled.backup.keep, Some(keep));
    assert_eq!(settled.backup.max_age, Some(Duration::from_secs(93_600)));
    assert_eq!(settled.server.details, serve::Details::Always);
}

#[test]
fn values_are_taken_as_they_are_written() {
    let settled = settled(r#"{"dbPath": "${HOME}/$x/~/a", "$schema": "./s.json"}"#, &ASKED).unwrap();
    assert_eq!(settled.db, Path::new("${HOME}/$x/~/a"));
}

#[test]
fn a_plugin_is_scheduled_like_any_check() {
    let text = r#"{"plugins": [{"name": "mine", "component": "m.wasm", "limits": {"timeoutMs": 30}}],
                   "health": {"checks": {"mine": {"critical": true, "intervalSeconds": 5, "enabled": false}}}}"#;
    let settled = settled(text, &Asked { root: Path::new("/srv"), ..ASKED }).unwrap();
    let plugin = &settled.plugins[0];
    assert_eq!((plugin.written.as_str(), plugin.component.as_path()), ("m.wasm", Path::new("/srv/m.wasm")));
    assert_eq!(plugin.config, json!({}), "a config type whose fields all have defaults reads this, and not null");
    assert_eq!((plugin.schedule.critical, plugin.schedule.enabled), (true, false));
    assert_eq!(plugin.schedule.interval, Duration::from_secs(5));
    assert_eq!(plugin.schedule.timeout, Duration::from_millis(30));
}

#[test]
fn every_settled_value_is_shown_with_its_origin() {
    let text = r#"{
  "registry": { "expectedSchemaVersion": 3 },
  "health": { "checks": { "wal": { "timeoutMs": 100, "config": { "warnRatio": 2 } } } },
  "plugins": [ { "name": "mine", "component": "m.wasm" } ],
  "backup": { "keep": { "last": 2 } },
  "server": { "details": "token", "tokenEnv": "TOKEN" }
}"#;
    let asked = Asked { db: Some(Path::new("other.db")), root: Path::new("/srv"), ..ASKED };
    insta::assert_snapshot!(render_text(show(&settled(text, &asked).unwrap())), @"");
}

#[test]
fn without_a_file_everything_is_at_its_default() {
    let dir = tempfile::tempdir().unwrap();
    let settled = load(&Asked { root: dir.path(), ..ASKED }).unwrap();
    assert_eq!(settled.config_file, None);
    assert_eq!(settled.db, dir.path().join("var/registry.sqlite"));
    assert_eq!(settled.lock_file, dir.path().join("vitalsign.lock"));
    assert_eq!(settled.backup.dir, dir.path().join("artifacts/registry/backups"));
    assert_eq!(settled.backup.keep, None);
    assert_eq!(settled.server.listen.to_string(), "127.0.0.1:8080");
    assert!(show(&settled).iter().all(|row| row.origin == Origin::Default), "{:#?}", show(&settled));
    assert!(settled.plugins.is_empty());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "files for the test")]
fn the_file_is_found_where_the_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let write = |name: &str| {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), "{}").unwrap();
    };
    let chosen = |config: Option<&str>, variable: &'static str| {
        let env = move |name: &str| (name == VARIABLE).then(|| OsString::from(variable));
        let settled = load(&Asked { root, config: config.map(Path::new), env: &env, ..ASKED }).unwrap();
        let by = show(&settled)[0].origin.to_string();
        (settled.config_file.unwrap().strip_prefix(root).unwrap().display().to_string(), by)
    };
    let is = |name: &str, by: &str| (name.to_owned(), by.to_owned());
    write("registry.config.json");
    assert_eq!(chosen(None, ""), is("registry.config.json", "found"));
    write("app/config/registry.config.json");
    assert_eq!(chosen(None, ""), is("app/config/registry.config.json", "found"));
    write("by/variable.json");
    assert_eq!(chosen(None, "by/variable.json"), is("by/variable.json", "VITALSIGN_CONFIG"));
    write("by/flag.json");
    assert_eq!(chosen(Some("by/flag.json"), "by/variable.json"), is("by/flag.json", "--config"));
    let settled = load(&Asked { root, config: Some(Path::new("by/flag.json")), ..ASKED }).unwrap();
    assert_eq!(settled.lock_file, root.join("by/vitalsign.lock"), "beside the configuration");
    assert_eq!(settled.db, root.join("var/registry.sqlite"), "relative to the root, not to the configuration");
}

/// What is said, causes and hint included, with the folder's name taken out.
fn told(root: &Path, config: Option<&str>, env: &dyn Fn(&str) -> Option<OsString>) -> String {
    let error = load(&Asked { root, config: config.map(Path::new), env, ..ASKED }).unwrap_err();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}\n{}\n", error.hint().unwrap_or("-")).replace(&root.display().to_string(), "ROOT")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "files for the test")]
fn a_file_that_cannot_be_read_is_never_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("folder")).unwrap();
    fs::write(root.join("latin1.json"), b"{\"dbPath\": \"\xe4\"}").unwrap();
    fs::write(root.join("huge.json"), " ".repeat(1 << 20) + "{}").unwrap();
    fs::write(root.join("wrong.json"), "{\"dbPat\": \"\"}").unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("registry.config.json")).unwrap();
    let variable = |_: &str| Some(OsString::from("missing.json"));
    let all = [
        told(root, Some("missing.json"), &no_env),
        told(root, None, &variable),
        told(root, Some("folder"), &no_env),
        told(root, Some("/dev/null"), &no_env),
        told(root, Some("latin1.json"), &no_env),
        told(root, Some("huge.json"), &no_env),
        told(root, Some("wrong.json"), &no_env),
        told(root, None, &no_env),
    ];
    insta::assert_snapshot!(all.concat(), @"");
    fs::remove_file(root.join("registry.config.json")).unwrap();
    std::os::unix::fs::symlink("real.json", root.join("registry.config.json")).unwrap();
    fs::write(root.join("real.json"), "{\"dbPath\": \"x\"}").unwrap();
    assert_eq!(load(&Asked { root, ..ASKED }).unwrap().db, root.join("x"), "a link that leads to a file is one");
    fs::write(root.join("app"), "a file where a folder could be").unwrap();
    assert!(load(&Asked { root, ..ASKED }).is_ok());
}

/// Every property in `schema` with its key path.
fn properties(schema: &Value, path: &str, out: &mut Vec<(String, Value)>) {
    for (key, one) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        out.push((path.clone(), one.clone()));
        properties(one, &path, out);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let Some(inner) = schema.get(key) {
            properties(inner, &format!("{path}{mark}"), out);
        }
    }
}

#[test]
fn the_schema_describes_every_key_and_bounds_every_number() {
    for schema in [schema(), raw::schema(&builtins())] {
        let mut all = Vec::new();
        properties(&schema, "", &mut all);
        assert!(all.len() > 60, "{}", all.len());
        for (path, one) in &all {
            assert!(one["description"].as_str().is_some_and(|text| text.len() > 8), "{path} is not described");
            // `$schema` is not read, and what a check's own configuration bounds is its own affair.
            if path != "$schema" && !path.contains(".config") && !path.ends_with(".name") {
                let bounded = match one["type"].as_str() {
                    Some("integer") => one.get("minimum").is_some() && one.get("maximum").is_some(),
                    Some("string") => one.get("maxLength").is_some() || one.get("oneOf").is_some(),
                    Some("array") => one.get("maxItems").is_some(),
                    _ => true,
                };
                assert!(bounded, "{path} has no bounds: {one}");
            }
        }
        let text = schema.to_string();
        assert!(!text.contains("\"null\"") && !text.contains("$ref") && !text.contains("uint"), "{text}");
        assert_eq!(schema["title"], "Vitalsign configuration");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}

#[test]
fn the_schema_knows_every_key_of_the_contract_and_every_built_in_check() {
    fn walk(value: &Value, schema: &Value, path: &str) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    let own =
                        schema.pointer(&format!("/properties/{key}")).or_else(|| schema.get("additionalProperties"));
                    let own = own.unwrap_or_else(|| panic!("{path}.{key} is unknown"));
                    walk(value, own, &format!("{path}.{key}"));
                }
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, &schema["items"], &format!("{path}[]"))),
            _ => {}
        }
    }
    let schema = schema();
    walk(&serde_json::from_str(CONTRACT).unwrap(), &schema, "");
    for row in crate::checks::rows() {
        let one = &schema["properties"]["health"]["properties"]["checks"]["properties"][row.name];
        assert!(one["properties"]["config"]["description"].is_string(), "{}", row.name);
    }
}

#[test]
fn the_defaults_in_the_schema_are_the_settled_ones() {
    let text = r#"{"plugins": [{"name": "mine", "component": "m.wasm"}], "backup": {"keep": {"last": 1}}}"#;
    let settled = settled(text, &ASKED).unwrap();
    let mut all = Vec::new();
    properties(&raw::schema(&builtins()), "", &mut all);
    let mut compared = 0;
    for row in show(&settled).iter().filter(|row| row.origin == Origin::Default) {
        let path = row.key.replace("[0]", "[]");
        if let Some(default) = all.iter().find(|(key, _)| *key == path).and_then(|(_, one)| one.get("default")) {
            assert_eq!(default, &row.value, "{path}");
            compared += 1;
        }
    }
    assert_eq!(compared, 25);
}

#[test]
fn a_proposed_configuration_passes_the_check() {
    let tables = ["Records", "other", "provenance"].map(str::to_owned).to_vec();
    let full = propose(&Found { db: "data/my \"db\".sqlite".to_owned(), schema_version: 7, tables });
    insta::assert_snapshot!(full, @"");
    let bare = propose(&Found { db: "x".to_owned(), ..Found::default() });
    insta::assert_snapshot!(bare, @"");
    assert!(full.ends_with("}\n"));
    assert_eq!(settled(&full, &ASKED).unwrap().checks.records_table, "Records");
    assert_eq!(settled(&bare, &ASKED).unwrap().checks.records_table, "records");
}
