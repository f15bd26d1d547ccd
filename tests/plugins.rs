//! Plugins through the whole binary: the good ones, and every way to be bad. Each bad one is one precise entry; every other
//! check is unharmed, the process lives, and nothing is written.

use std::fs;

use serde_json::{Value, json};

use crate::env::{GUESTS, TestEnv, entry};

/// A plugin as it stands in a configuration.
pub fn plugin(name: &str, component: &str, config: Value) -> Value {
    let component =
        if component.contains('/') { component.into() } else { GUESTS.join(component).display().to_string() };
    json!({ "name": name, "component": component, "config": config, "grants": { "registry": "read" } })
}

pub fn hostile(config: Value) -> Value {
    plugin("hostile", "hostile.wasm", config)
}

/// A component made of text: a check whose whole answer is zeros, with `imports` and `extra` core items of a test's own.
pub fn made_of_text(imports: &str, extra: &str, run: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            {imports}
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
                (canon lift (core func $i "describe") (memory (core memory $i "memory"))))
            (func (export "run") (param "config" string) (result (result $report (error $failure)))
                (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#
    );
    wat::parse_str(text).unwrap()
}

/// Checks a registry with this one plugin and shows what its entry says, after making sure that nothing else suffered.
fn says(plugin: Value) -> String {
    let place = TestEnv::with_registry(50);
    says_in(&place, plugin)
}

fn says_in(place: &TestEnv, plugin: Value) -> String {
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
    let place = TestEnv::with_registry(300);
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

#[test]
fn files_that_are_no_plugin() {
    let place = TestEnv::with_registry(50);
    place.write("text.wasm", "#!/bin/sh\necho hello\n");
    place.write("empty.wasm", "");
    place.write("module.wasm", wat::parse_str("(module)").unwrap());
    place.write("component.wasm", wat::parse_str("(component)").unwrap());
    place.write("broken.wasm", [wat::parse_str("(component)").unwrap(), vec![0xff; 40]].concat());
    place.write("folder.wasm/x", "");
    let mut said = String::new();
    for name in ["missing", "folder", "empty", "text", "module", "component", "broken"] {
        said += &says_in(&place, plugin(name, &format!("./{name}.wasm"), json!({})));
    }
    insta::assert_snapshot!(said, @"
    unknown component-unreadable: the component ./missing.wasm cannot be read (No such file or directory (os error 2)) → Check `plugins[].component` of the plugin missing and the permissions of the file.
    unknown component-unreadable: the component ./folder.wasm cannot be read (it is a directory) → Check `plugins[].component` of the plugin folder and the permissions of the file.
    unknown not-wasm: ./empty.wasm is not WebAssembly → Set `plugins[].component` of the plugin empty to the .wasm file that its build made.
    unknown not-wasm: ./text.wasm is not WebAssembly → Set `plugins[].component` of the plugin text to the .wasm file that its build made.
    unknown core-module: ./module.wasm is a core WebAssembly module, not a component → Build it for a target that makes components, such as wasm32-wasip2.
    unknown not-a-check: the component ./component.wasm does not export `describe`: it is not a Vitalsign check → Build the component for the world `check` of vitalsign:health.
    unknown not-compiled: the component ./broken.wasm does not compile: failed to parse WebAssembly module: malformed section id (at offset 0x8) → Rebuild the component with a current toolchain.
    ");
}

#[test]
fn components_for_another_host() {
    let place = TestEnv::with_registry(50);
    let import = |name: &str| format!(r#"(import "{name}" (instance (export "f" (func))))"#);
    place.write("later.wasm", made_of_text(&import("vitalsign:health/registry@2.0.0"), "", ""));
    place.write("minor.wasm", made_of_text(&import("vitalsign:health/registry@1.7.0"), "", ""));
    place.write("http.wasm", made_of_text(&import("wasi:http/outgoing-handler@0.2.3"), "", ""));
    place.write("own.wasm", made_of_text(&import("acme:tools/paging"), "", ""));
    place.write("same.wasm", made_of_text(&import("vitalsign:health/log@1.0.0"), "", ""));
    let mut said = String::new();
    for name in ["later", "minor", "http", "own", "same"] {
        said += &says_in(&place, plugin(name, &format!("./{name}.wasm"), json!({})));
    }
    insta::assert_snapshot!(said, @"
    unknown wit-version: the component ./later.wasm was built for vitalsign:health 2.0.0; this host offers 1.0.0 → Rebuild the plugin against the WIT package vitalsign:health@1.0.0, or use the version of Vitalsign that it was built for.
    unknown wit-version: the component ./minor.wasm was built for vitalsign:health 1.7.0; this host offers 1.0.0 → Rebuild the plugin against the WIT package vitalsign:health@1.0.0, or use the version of Vitalsign that it was built for.
    unknown missing-import: the component ./http.wasm imports `wasi:http/outgoing-handler@0.2.3`, which this host does not offer → Rebuild the plugin without this import; docs/plugins.md lists what a plugin can import.
    unknown missing-import: the component ./own.wasm imports `acme:tools/paging`, which this host does not offer → Rebuild the plugin without this import; docs/plugins.md lists what a plugin can import.
    unknown wit-mismatch: the component ./same.wasm does not fit this host: component imports instance `vitalsign:health/log@1.0.0`, but a matching implementation was not found in the linker: instance export `f` has the wrong type: function implementation is missing → Rebuild the plugin against the WIT package vitalsign:health@1.0.0, or use the version of Vitalsign that it was built for.
    ");
}

#[test]
fn guests_that_break() {
    let mut said = String::new();
    for mode in ["trap", "panic", "deep", "allocate", "output"] {
        said += &says(hostile(json!({ "mode": mode })));
    }
    // With room for a hundred megabytes of its own, they still do not come across.
    let mut output = hostile(json!({ "mode": "output" }));
    output["limits"] = json!({ "memoryBytes": 1_000_000_000 });
    said += &says(output);
    let endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t";
    let many = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 300) SELECT n FROM t";
    for sql in ["SELECT colour FROM records", "DELETE FROM records", endless, many] {
        let mut statement = hostile(json!({ "mode": "statement", "sql": [sql] }));
        statement["limits"] = json!({ "sqlRows": 200 });
        said += &says(statement);
    }
    for kind in ["unavailable", "misconfigured", "denied", "other"] {
        said += &says(hostile(json!({ "mode": "error", "kind": kind })));
    }
    said += &says(hostile(json!({ "mode": "nonsense" })));
    insta::assert_snapshot!(said, @"
    unknown trapped: the plugin crashed: it executed `unreachable`, as a panic does → This is a fault in the plugin's code. Report it to its author.
    unknown trapped: the plugin crashed: it executed `unreachable`, as a panic does; the last line it wrote: this guest panics on purpose → This is a fault in the plugin's code. Report it to its author.
    unknown trapped: the plugin crashed: wasm trap: out of bounds memory access → This is a fault in the plugin's code. Report it to its author.
    unknown limit: the plugin ran into its limit of 64.0 MiB (`plugins[].limits.memoryBytes`) → Raise `plugins[].limits.memoryBytes` of the plugin hostile if it needs more. If it should not, this is a fault in the plugin's code: report it to its author.
    unknown limit: the plugin ran into its limit of 64.0 MiB (`plugins[].limits.memoryBytes`) → Raise `plugins[].limits.memoryBytes` of the plugin hostile if it needs more. If it should not, this is a fault in the plugin's code: report it to its author.
    unknown limit: the plugin ran into its limit of 1.0 MiB (`plugins[].limits.outputBytes`) → Raise `plugins[].limits.outputBytes` of the plugin hostile if it needs more. If it should not, this is a fault in the plugin's code: report it to its author.
    unknown could-not-look: the plugin could not look: its code says: a statement does not fit this database: no such column: colour → The reason comes from the plugin's code, not from its configuration or its grants. Report it to its author.
    unknown could-not-look: the plugin could not look: its code says: a statement is not a plain read: DELETE from `records` (checks may only read) → The reason comes from the plugin's code, not from its configuration or its grants. Report it to its author.
    unknown could-not-look: the plugin could not look: a query was too slow: a query ran into the limit `plugins[].limits.sqlTimeMs` → A query took longer than `plugins[].limits.sqlTimeMs` of the plugin hostile allows. Give the query an index or split it; raise the limit only if a longer read transaction does no harm.
    unknown could-not-look: the plugin could not look: its code says: a query has more rows than `plugins[].limits.sqlRows` or `plugins[].limits.sqlBytes` allow: count in SQL, or read in pages → The reason comes from the plugin's code, not from its configuration or its grants. Report it to its author.
    unknown unavailable: the plugin could not look: what it looks at is not available: on purpose
    unknown misconfigured: the plugin could not look: it refuses its configuration: on purpose → Correct `plugins[].config` of the plugin hostile.
    unknown denied: the plugin could not look: it was not granted what it needs: on purpose → Add what it needs to `plugins[].grants` of the plugin hostile, or remove the plugin.
    unknown could-not-look: the plugin could not look: its code says: on purpose → The reason comes from the plugin's code, not from its configuration or its grants. Report it to its author.
    unknown misconfigured: the plugin could not look: it refuses its configuration: mode: unknown variant `nonsense`, expected one of `ok`, `trap`, `panic`, `spin`, `sleep`, `allocate`, `error`, `output`, `log-flood`, `log-line`, `stdout-flood`, `sql`, `statement`, `env`, `bad-strings`, `deep` → Correct `plugins[].config` of the plugin hostile.
    ");
}

#[test]
fn guests_that_do_not_come_back() {
    let mut said = String::new();
    let endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t";
    for config in [
        json!({ "mode": "spin" }),
        json!({ "mode": "sleep", "ms": 3_600_000 }),
        json!({ "mode": "sql", "sql": [endless] }),
    ] {
        // The query runs into a limit of its own, also on a busy machine.
        let time = if config["mode"] == "sql" { 60_000 } else { 300 };
        let mut plugin = hostile(config);
        plugin["limits"] = json!({ "timeoutMs": time });
        said += &says(plugin);
    }
    for guest in ["describe_spins", "describe_traps", "describe_lies"] {
        let component = GUESTS.join("examples").join(guest).with_extension("wasm");
        let mut plugin = plugin("bad-describe", &component.display().to_string(), json!({}));
        plugin["limits"] = json!({ "timeoutMs": 300 });
        said += &says(plugin);
    }
    insta::assert_snapshot!(said, @r#"
    unknown timed-out: the plugin did not finish within its limit of 300 ms (`plugins[].limits.timeoutMs`) → Raise `plugins[].limits.timeoutMs` of the plugin hostile if it needs longer, or make the plugin faster.
    unknown timed-out: the plugin did not finish within its limit of 300 ms (`plugins[].limits.timeoutMs`) → Raise `plugins[].limits.timeoutMs` of the plugin hostile if it needs longer, or make the plugin faster.
    unknown sql: Error::Limit("sqlTimeMs")
    unknown describe-failed: the component [guests]/examples/describe_spins.wasm could not describe itself: it did not finish within its limit of 300 ms (`plugins[].limits.timeoutMs`) → Raise `plugins[].limits.timeoutMs` of the plugin bad-describe if it needs longer, or make the plugin faster.
    unknown describe-failed: the component [guests]/examples/describe_traps.wasm could not describe itself: it crashed: it executed `unreachable`, as a panic does; the last line it wrote: this guest does not say what it is → This is a fault in the plugin's code. Report it to its author.
    unknown describe-failed: the component [guests]/examples/describe_lies.wasm could not describe itself: it ran into its limit of 1.0 MiB (`plugins[].limits.outputBytes`) → Raise `plugins[].limits.outputBytes` of the plugin bad-describe if it needs more. If it should not, this is a fault in the plugin's code: report it to its author.
    "#);
}

#[test]
fn all_memories_of_a_guest_are_counted_together() {
    let place = TestEnv::with_registry(50);
    // Two memories of 40 MiB each, under a limit of 64 MiB.
    let grow = "(drop (memory.grow 0 (i32.const 640))) (if (i32.eq (memory.grow 1 (i32.const 640)) (i32.const -1)) (then unreachable))";
    place.write("two.wasm", made_of_text("", "(memory 1)", grow));
    let two = plugin("two", "./two.wasm", json!({}));
    insta::assert_snapshot!(says_in(&place, two.clone()), @"unknown limit: the plugin ran into its limit of 64.0 MiB (`plugins[].limits.memoryBytes`) → Raise `plugins[].limits.memoryBytes` of the plugin two if it needs more. If it should not, this is a fault in the plugin's code: report it to its author.");
    let mut roomy = two;
    roomy["limits"] = json!({ "memoryBytes": 100_000_000 });
    place.configure(|config| config["plugins"] = json!([roomy]));
    assert_eq!(entry(&place.check(), "two")["status"], "ok");
}

#[test]
fn what_a_guest_says_is_capped_and_printable() {
    let mut strings = hostile(json!({ "mode": "bad-strings" }));
    strings["limits"] = json!({ "outputBytes": 10_000_000 });
    insta::assert_snapshot!(says(strings), @r"
    error unnamed: \u{1b}[31mred\u{1b}[0m\r\nnew line\u{0}nul\u{202e}reversed\u{7f} → \u{1b}[31mred\u{1b}[0m\r\nnew line\u{0}nul\u{202e}reversed\u{7f}
    warn unnamed: the plugin gives no message
    warn unnamed: mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm…
    unknown bad-measure: the plugin measured nan as NaN, which is not a number
    unknown bad-measure: the plugin measured infinite as inf, which is not a number
    ");
    let place = TestEnv::with_registry(50);
    for mode in ["log-flood", "stdout-flood"] {
        let mut floods = hostile(json!({ "mode": mode, "bytes": 20_000_000 }));
        floods["limits"] = json!({ "timeoutMs": 60_000 });
        place.configure(|config| config["plugins"] = json!([floods]));
        let ran = place.run(["check", "--format", "json", "-v"]);
        assert_eq!(entry(&ran.report(), "hostile")["status"], "ok", "{mode}: {}", ran.stdout);
        assert!(ran.stderr.len() < 300_000, "{mode}: {} bytes of log", ran.stderr.len());
        assert!(ran.stderr.contains("the rest is dropped"), "{mode}: {}", &ran.stderr[..2000.min(ran.stderr.len())]);
    }
}

#[test]
fn sql_that_is_not_a_plain_read() {
    let mut said = String::new();
    for sql in [
        "DELETE FROM records",
        "DROP TABLE records",
        "INSERT INTO records (id) VALUES ('x')",
        "CREATE TEMP TABLE t (a)",
        "ATTACH ':memory:' AS m",
        "ATTACH '/etc/passwd' AS m",
        "PRAGMA writable_schema = 1",
        "PRAGMA journal_mode = delete",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "VACUUM INTO 'copy.sqlite'",
        "BEGIN",
        "SELECT load_extension('x')",
        "SELECT 1; DELETE FROM records",
        "SELECT data FROM sqlite_dbpage",
        "SELECT",
        "",
        "SELECT ?1",
        "SELECT length(zeroblob(2000000000))",
        "SELECT count(*) FROM no_such_table",
    ] {
        said += &format!("{sql}\n  {}", says(hostile(json!({ "mode": "sql", "sql": [sql] }))));
    }
    insta::assert_snapshot!(said, @r#"
    DELETE FROM records
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "DELETE from `records` (checks may only read)" })
    DROP TABLE records
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "DELETE from `sqlite_master` (checks may only read)" })
    INSERT INTO records (id) VALUES ('x')
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "INSERT into `records` (checks may only read)" })
    CREATE TEMP TABLE t (a)
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "INSERT into `sqlite_temp_master` (checks may only read)" })
    ATTACH ':memory:' AS m
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "ATTACH and DETACH (checks may only read)" })
    ATTACH '/etc/passwd' AS m
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "ATTACH and DETACH (checks may only read)" })
    PRAGMA writable_schema = 1
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "PRAGMA `writable_schema` (checks may only read)" })
    PRAGMA journal_mode = delete
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "PRAGMA `journal_mode` (checks may only read)" })
    PRAGMA wal_checkpoint(TRUNCATE)
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "PRAGMA `wal_checkpoint` (checks may only read)" })
    VACUUM INTO 'copy.sqlite'
      unknown sql: Error::NotAllowed(SqliteFailure { code: 8, message: "checks may only read" })
    BEGIN
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "transaction control (checks may only read)" })
    SELECT load_extension('x')
      unknown sql: Error::NotAllowed(SqliteFailure { code: 1, message: "the function `load_extension` (checks may only read)" })
    SELECT 1; DELETE FROM records
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "DELETE from `records` (checks may only read)" })
    SELECT data FROM sqlite_dbpage
      unknown sql: Error::NotAllowed(SqliteFailure { code: 23, message: "reading `sqlite_dbpage` (checks may only read)" })
    SELECT
      unknown sql: Error::Invalid(SqliteFailure { code: 1, message: "incomplete input" })

      unknown sql: Error::Invalid(SqliteFailure { code: 1, message: "there is no statement that gives rows" })
    SELECT ?1
      unknown sql: Error::Invalid(SqliteFailure { code: 1, message: "the statement has 1 parameters, 0 were given" })
    SELECT length(zeroblob(2000000000))
      unknown sql: Error::Other(SqliteFailure { code: 18, message: "string or blob too big" })
    SELECT count(*) FROM no_such_table
      unknown sql: Error::Invalid(SqliteFailure { code: 1, message: "no such table: no_such_table" })
    "#);
}

#[test]
fn rows_and_bytes_are_capped_and_marked() {
    let numbers = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 300) SELECT n FROM t";
    let mut rows = hostile(json!({ "mode": "sql", "sql": [numbers] }));
    rows["limits"] = json!({ "sqlRows": 2 });
    let mut bytes = hostile(json!({ "mode": "sql", "sql": ["SELECT hex(zeroblob(5000)) FROM records"] }));
    bytes["limits"] = json!({ "sqlBytes": 4096 });
    insta::assert_snapshot!(says(rows) + &says(bytes), @"
    ok: 2 rows (truncated), first [Value::Integer(1)]
    ok: 0 rows (truncated), first
    ");
}

#[test]
fn statements_that_would_take_for_ever_or_everything() {
    let mut said = String::new();
    let wide = vec!["CAST(zeroblob(1000000) AS TEXT)"; 900].join(", ");
    for sql in [
        // Single calls that cannot be interrupted.
        "SELECT instr(zeroblob(1000000), CAST(zeroblob(500000) AS BLOB) || x'01') FROM records",
        "SELECT length(replace(hex(zeroblob(400000)), hex(zeroblob(200000)) || '1', '')) FROM records",
        "SELECT length(trim(hex(zeroblob(400000)), hex(zeroblob(300000)))) FROM records",
        "SELECT json_patch('{}', '{}')",
        "SELECT zeroblob(2000000)",
        // Memory that no opcode count bounds.
        &format!("SELECT {wide}"),
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n + 1 FROM t) SELECT n FROM t ORDER BY random()",
    ] {
        let mut plugin = hostile(json!({ "mode": "sql", "sql": [sql] }));
        // What is looked at here is the statement's own limit. Taking memory for the first time is slow on a busy machine.
        plugin["limits"] = json!({ "sqlTimeMs": 1000, "timeoutMs": 20_000 });
        said += &format!("{:.60}\n  {}", sql, says(plugin));
    }
    insta::assert_snapshot!(said, @r#"
    SELECT instr(zeroblob(1000000), CAST(zeroblob(500000) AS BLO
      ok: 50 rows, first [Value::Integer(0)]
    SELECT length(replace(hex(zeroblob(400000)), hex(zeroblob(20
      ok: 50 rows, first [Value::Integer(800000)]
    SELECT length(trim(hex(zeroblob(400000)), hex(zeroblob(30000
      ok: 50 rows, first [Value::Integer(0)]
    SELECT json_patch('{}', '{}')
      unknown sql: Error::NotAllowed(SqliteFailure { code: 1, message: "the function `json_patch` (checks may only read)" })
    SELECT zeroblob(2000000)
      unknown sql: Error::Other(SqliteFailure { code: 18, message: "string or blob too big" })
    SELECT CAST(zeroblob(1000000) AS TEXT), CAST(zeroblob(100000
      unknown sql: Error::Other(SqliteFailure { code: 7, message: "out of memory" })
    WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n + 1 FROM t) 
      unknown sql: Error::Limit("sqlTimeMs")
    "#);
}

#[test]
fn many_memories_leave_room_for_others() {
    let place = TestEnv::with_registry(50);
    let memories = "(memory 1)".repeat(15);
    place.write("wide.wasm", made_of_text("", &memories, "(loop $l (br $l))"));
    place.configure(|config| {
        let wide = |at: usize| {
            let mut one = plugin(&format!("wide-{at}"), "./wide.wasm", json!({}));
            one["limits"] = json!({ "timeoutMs": 1500 });
            one
        };
        let mut plugins: Vec<_> = (0..30).map(wide).collect();
        plugins.push(hostile(json!({ "mode": "ok" })));
        config["plugins"] = json!(plugins);
    });
    let report = place.check();
    assert_eq!(entry(&report, "hostile")["status"], "ok", "{}", entry(&report, "hostile"));
    for at in 0..30 {
        assert_eq!(entry(&report, &format!("wide-{at}"))["findings"][0]["code"], "timed-out");
    }
}

#[test]
fn nothing_is_granted_by_default() {
    insta::assert_snapshot!(says(hostile(json!({ "mode": "env" }))), @"ok: variables: refused: none; arguments: refused: none; current folder: refused: none; folder /: refused: No such file or directory (os error 44); folder .: refused: No such file or directory (os error 44); /etc/passwd: refused: No such file or directory (os error 44); /proc/self/environ: refused: No such file or directory (os error 44); registry.sqlite: refused: No such file or directory (os error 44); var/registry.sqlite: refused: No such file or directory (os error 44); writing: refused: No such file or directory (os error 44); tcp: refused: Permission denied (os error 2); udp: refused: Permission denied (os error 2); names: refused: failed to lookup address information: Non-recoverable error; standard input: refused: empty");
    let mut without = hostile(json!({ "mode": "sql", "sql": ["SELECT 1"] }));
    without["grants"] = json!({});
    insta::assert_snapshot!(says(without), @"unknown sql: Error::NotGranted");
    let mut needs = plugin("provenance-chain", "provenance_chain.wasm", json!({}));
    needs["grants"] = json!({});
    insta::assert_snapshot!(says(needs), @r#"unknown grant-missing: the plugin provenance-chain needs the grant "registry": "read" and does not have it → Add "registry": "read" to `plugins[].grants` of the plugin provenance-chain, or remove the plugin."#);
}

#[test]
fn the_lock_file_decides_what_runs() {
    let place = TestEnv::with_registry(50);
    fs::copy(GUESTS.join("hostile.wasm"), place.path("p.wasm")).unwrap();
    let here = plugin("p", "./p.wasm", json!({ "mode": "ok" }));
    place.configure(|config| config["plugins"] = json!([here]));
    assert_eq!(entry(&place.check(), "p")["status"], "ok", "without a lock file nothing is pinned");
    let locked = place.run(["plugin", "lock"]);
    assert_eq!((locked.code, locked.stdout.trim()), (0, "vitalsign.lock"), "{}", locked.stderr);
    assert_eq!(entry(&place.check(), "p")["status"], "ok");
    assert_eq!(place.run(["plugin", "lock", "--check"]).code, 0);

    fs::copy(GUESTS.join("growth.wasm"), place.path("p.wasm")).unwrap();
    let digest = vitalsign_base::value::Digest::of(&fs::read(GUESTS.join("growth.wasm")).unwrap()).to_string();
    let was = vitalsign_base::value::Digest::of(&fs::read(GUESTS.join("hostile.wasm")).unwrap()).to_string();
    let said = says_in(&place, here).replace(&digest, "[growth]").replace(&was, "[hostile]");
    insta::assert_snapshot!(said, @"error digest-mismatch: the component ./p.wasm has the SHA-256 [growth], but the lock file pins [hostile]: it was changed or replaced → If the change is yours, run `vitalsign plugin lock`. If not, find out who replaced the file.");
    assert_eq!(place.run(["plugin", "lock", "--check"]).code, 1);

    let other = plugin("other", "hostile.wasm", json!({ "mode": "ok" }));
    insta::assert_snapshot!(says_in(&place, other), @"unknown not-locked: the plugin other is not in the lock file → Run `vitalsign plugin lock` if this plugin is meant to be here.");
    place.write("vitalsign.lock", "{}");
    let ran = place.run(["check"]);
    insta::assert_snapshot!(format!("{}: {}", ran.code, ran.stderr), @"
    3: vitalsign: vitalsign.lock: it is not a lock file: missing field `version` at line 1 column 2
      → restore it from version control, or write it again with `vitalsign plugin lock`
    ");
}

#[test]
fn compiled_code_that_was_tampered_with_is_compiled_again() {
    let place = TestEnv::with_registry(50);
    place.configure(|config| config["plugins"] = json!([hostile(json!({ "mode": "ok" }))]));
    assert_eq!(place.run(["plugin", "lock"]).code, 0);
    let cache = place.path("cache");
    let check = || {
        let output = place.command(["check", "--format", "json"]).env("VITALSIGN_CACHE_DIR", &cache).output().unwrap();
        let ran = place.finish(output);
        assert_eq!(entry(&ran.report(), "hostile")["status"], "ok");
        // A busy machine takes longer than a second to compile, and says so.
        let warnings = ran.stderr.lines().filter(|line| !line.contains("INFO compiling the component"));
        warnings.map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!(check(), "");
    let code: Vec<_> = fs::read_dir(&cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "code"))
        .collect();
    assert_eq!(code.len(), 1);
    let genuine = fs::read(&code[0]).unwrap();
    let mut tampered = genuine.clone();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    fs::write(&code[0], &tampered).unwrap();
    assert!(check().contains("is not what was stored there"));
    assert_eq!(fs::read(&code[0]).unwrap(), genuine, "it was compiled again");
    assert_eq!(check(), "");

    // A folder that others can write to is not trusted at all.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(check().contains("must be a folder that belongs to the current user and has mode 0700"));
}
