//! Plugins through the whole binary: the good ones, and every way to be bad. Each bad one is one precise entry; every other
//! check is unharmed, the process lives, and nothing is written.

use std::fs;

use serde_json::{Value, json};

use crate::env::{GUESTS, Place, entry};

/// A plugin as it stands in a configuration.
fn plugin(name: &str, component: &str, config: Value) -> Value {
    let component =
        if component.contains('/') { component.into() } else { GUESTS.join(component).display().to_string() };
    json!({ "name": name, "component": component, "config": config, "grants": { "registry": "read" } })
}

fn hostile(config: Value) -> Value {
    plugin("hostile", "hostile.wasm", config)
}

/// A component made of text: a check whose whole answer is zeros, with `imports` and `extra` core items of a test's own.
fn made_of_text(imports: &str, extra: &str, run: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            {imports}
            (type $status' (enum "ok" "warn" "error" "unknown" "skipped"))
            (import "vitalsign:health/types@1.0.0" (instance $types
                (type $s (enum "ok" "warn" "error" "unknown" "skipped"))
                (export "status" (type $status (eq $s)))
                (type $f (record (field "status" $status) (field "code" string) (field "message" string)
                    (field "subject" (option string)) (field "hint" (option string))))
                (export "finding" (type $finding (eq $f)))
                (type $m (record (field "name" string) (field "value" f64) (field "unit" string)
                    (field "warn" (option f64)) (field "error" (option f64))))
                (export "measure" (type $measure (eq $m)))
                (type $r (record (field "summary" string) (field "findings" (list $finding)) (field "measures" (list $measure))))
                (export "report" (type $report (eq $r)))
                (type $x (variant (case "unavailable" string) (case "misconfigured" string) (case "denied" string) (case "other" string)))
                (export "failure" (type $failure (eq $x)))
                (type $g (variant (case "registry") (case "state") (case "secret" string) (case "http" string) (case "files" string)))
                (export "grant" (type $grant (eq $g)))
                (type $d (record (field "name" string) (field "summary" string) (field "config-schema" string) (field "grants" (list $grant))))
                (export "description" (type $description (eq $d)))))
            (alias export $types "report" (type $report))
            (alias export $types "failure" (type $failure))
            (alias export $types "description" (type $description))
            (core module $m
                (memory (export "memory") 1)
                {extra}
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (func (export "describe") (result i32) i32.const 0)
                (func (export "run") (param i32 i32) (result i32) {run} i32.const 0))
            (core instance $i (instantiate $m))
            (func (export "describe") (result $description)
                (canon lift (core func $i "describe") (memory $i "memory")))
            (func (export "run") (param "config" string) (result (result $report (error $failure)))
                (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    wat::parse_str(text).unwrap()
}

/// Checks a registry with this one plugin and shows what its entry says, after making sure that nothing else suffered.
fn says(plugin: Value) -> String {
    let place = Place::with_registry(50);
    says_in(&place, plugin)
}

fn says_in(place: &Place, plugin: Value) -> String {
    let name = plugin["name"].as_str().unwrap().to_owned();
    place.configure(|config| config["plugins"] = json!([plugin]));
    let before = place.listing();
    let ran = place.run(["check", "--format", "json"]);
    assert_eq!(place.listing(), before, "nothing was written");
    assert!(!ran.stderr.contains("a bug"), "{}", ran.stderr);
    let report = ran.report();
    for other in ["wal", "schema", "disk", "records", "sqlite", "foreign-keys"] {
        assert_eq!(entry(&report, other)["status"], "ok", "{other} is unharmed: {report:#}");
    }
    assert_eq!(report["registry"]["records"], 50);
    let entry = entry(&report, &name);
    let guests = GUESTS.display().to_string();
    let line = |finding: &Value| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {} → {}\n", text("status"), text("code"), text("message"), text("hint"))
    };
    let findings: String = entry["findings"].as_array().unwrap().iter().map(line).collect();
    let head = format!("{}: {}\n", entry["status"].as_str().unwrap(), entry["summary"].as_str().unwrap());
    let text = if findings.is_empty() { head } else { findings };
    let folder = place.folder().display().to_string();
    text.replace(&guests, "[guests]").replace(&folder, "[folder]").replace(" → \n", "\n")
}

#[test]
fn a_good_plugin_is_a_check_like_any_other() {
    let place = Place::with_registry(300);
    place.configure(|config| {
        config["plugins"] = json!([
            plugin("provenance-chain", "provenance_chain.wasm", json!({})),
            plugin(
                "sql-assert",
                "sql_assert.wasm",
                json!({ "assertions": [
                { "name": "records", "sql": "SELECT count(*) FROM records", "error": 1000 }] })
            ),
        ]);
    });
    let ran = place.run(["check", "--format", "json"]);
    let report = ran.report();
    assert_eq!((ran.code, &report["status"]), (0, &json!("ok")), "{report:#}");
    let chain = entry(&report, "provenance-chain");
    assert_eq!(chain["origin"]["kind"], "plugin");
    assert_eq!(chain["origin"]["digest"].as_str().unwrap().len(), 64);
}
