//! `vitalsign check` and the startup gate on registries in every state, good and odd.

use std::{fs, os::unix::fs::symlink};

use serde_json::{Value, json};

use crate::{
    env::{TestEnv, entry},
    other::OtherProcess,
};

/// The text without what differs from run to run: times, and the room on this machine's disk.
fn settled(text: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for word in text.split(' ') {
        let number = out.last().is_some_and(|last| last.parse::<f64>().is_ok());
        let stand_in = match word.trim_end_matches(',') {
            time if time.starts_with("2026-") => "[time]",
            "GiB" | "TiB" if number => "[size]",
            "ms" | "s" if number => "[duration]",
            _ => "",
        };
        if stand_in.is_empty() {
            out.push(word);
        } else {
            out.truncate(out.len() - usize::from(number));
            out.push(stand_in);
        }
    }
    out.join(" ").replace(&format!(" on {}", vitalsign_base::files::host_name()), " on [host]")
}

/// One check of `db`: the exit code and each sentence once, with proof that looking changed nothing.
fn says(place: &TestEnv, db: &str) -> String {
    let before = place.listing();
    let ran = place.run(["check", "--format", "json", "--db", db]);
    assert_eq!(place.listing(), before, "looking changed something");
    let report = ran.report();
    let sentences = |key: &str| -> Vec<String> {
        let all = report[key].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
        let mut messages: Vec<_> = all.map(|one| settled(one.split_once(": ").unwrap().1)).collect();
        messages.sort();
        messages.dedup();
        messages
    };
    let mut text = format!("exit {}, {}\n", ran.code, report["status"].as_str().unwrap());
    for (key, mark) in [("errors", "  error"), ("warnings", "  warn ")] {
        for sentence in sentences(key) {
            text += &format!("{mark} {sentence}\n");
        }
    }
    text
}

#[test]
fn a_healthy_registry() {
    let place = TestEnv::with_registry(42);
    place.configure(|_| ());
    let before = place.listing();
    let ran = place.run(["check", "--format", "json"]);
    assert_eq!(place.listing(), before);
    let report = ran.report();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let registry = &report["registry"];
    assert_eq!(
        (&registry["driver"], &registry["wal"], &registry["journal_mode"], &registry["schema_version"]),
        (&json!("sqlite"), &json!(true), &json!("wal"), &json!(1))
    );
    assert_eq!((&registry["expected_schema_version"], &registry["records"]), (&json!(1), &json!(42)));
    assert_eq!((&registry["disk"]["thresholdBytes"], &registry["disk"]["healthy"]), (&json!(1), &json!(true)));
    assert!(registry["disk"]["freeMegabytes"].is_u64());
    assert_eq!((&report["warnings"], &report["errors"]), (&json!([]), &json!([])));
    let names: Vec<_> = report["checks"].as_array().unwrap().iter().map(|check| check["name"].clone()).collect();
    assert_eq!(names, ["backup", "disk", "foreign-keys", "integrity", "records", "schema", "sqlite", "wal"]);
}

#[test]
fn odd_files_get_an_exact_sentence() {
    let place = TestEnv::with_registry(2000);
    fs::create_dir(place.path("folder.db")).unwrap();
    place.write("empty.db", "");
    let whole = fs::read(place.path("registry.sqlite")).unwrap();
    place.write("cut.db", &whole[..whole.len() / 2 + 100]);
    place.write("text.db", "this is not a database\n".repeat(500));
    // Bytes without any pattern, in whole pages: what an encrypted database looks like from outside.
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..8192)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    place.write("sealed.db", noise);
    symlink("nowhere", place.path("dangling.db")).unwrap();
    let mut said = String::new();
    for db in
        ["missing.db", "no/such/folder.db", "folder.db", "empty.db", "cut.db", "text.db", "sealed.db", "dangling.db"]
    {
        said += &format!("{db}: {}", says(&place, db));
    }
    insta::assert_snapshot!(said, @"
    missing.db: exit 1, error
      error could not be checked, because it depends on the database: see the check `integrity`
      error there is no database at `missing.db`
      warn  could not be checked, because it depends on the database: see the check `integrity`
    no/such/folder.db: exit 1, error
      error could not be checked, because it depends on the database: see the check `integrity`
      error there is no database at `no/such/folder.db`
      warn  could not be checked, because it depends on the database: see the check `integrity`
    folder.db: exit 1, error
      error `folder.db` is a directory, not a database
      error could not be checked, because it depends on the database: see the check `integrity`
      warn  could not be checked, because it depends on the database: see the check `integrity`
    empty.db: exit 1, error
      error `empty.db` is empty (0 bytes): it holds no database yet
      error could not be checked, because it depends on the database: see the check `integrity`
      warn  could not be checked, because it depends on the database: see the check `integrity`
    cut.db: exit 1, error
      error `cut.db` is truncated: its header promises 2.6 MiB, the file has 1.3 MiB
      error could not be checked, because it depends on the database: see the check `foreign-keys`
    text.db: exit 1, error
      error `text.db` is not a SQLite database
      error could not be checked, because it depends on the database: see the check `foreign-keys`
    sealed.db: exit 1, error
      error `sealed.db` looks encrypted (no SQLite header, and its bytes look random)
      error could not be checked, because it depends on the database: see the check `integrity`
      warn  could not be checked, because it depends on the database: see the check `integrity`
    dangling.db: exit 1, error
      error could not be checked, because it depends on the database: see the check `integrity`
      error there is no database at `dangling.db`
      warn  could not be checked, because it depends on the database: see the check `integrity`
    ");
    assert!(!place.path("missing.db").exists());
}

#[test]
fn states_that_another_program_left_or_holds() {
    let mut said = String::new();
    let mut note = |what: &str, text: String| said += &format!("{what}: {text}");

    let place = TestEnv::with_registry(20);
    let mut other = OtherProcess::open(&place.path("registry.sqlite"), "");
    other.sql("INSERT INTO records SELECT 'x', kind, name, version, payload, created_at FROM records LIMIT 1");
    note("a live writer", says(&place, "registry.sqlite"));
    let report = place.run(["check", "--format", "json", "--db", "registry.sqlite"]).report();
    assert_eq!(report["registry"]["records"], 21, "what lies in the write-ahead log counts");
    other.sql("BEGIN EXCLUSIVE");
    note("a writer in WAL mode", says(&place, "registry.sqlite"));
    other.kill();
    note("a killed writer", says(&place, "registry.sqlite"));
    let report = place.run(["check", "--format", "json", "--db", "registry.sqlite"]).report();
    assert_eq!(report["registry"]["records"], 21, "what lies in the write-ahead log counts");
    fs::remove_file(place.path("registry.sqlite-shm")).unwrap();
    note("a -wal without its -shm", says(&place, "registry.sqlite"));

    let place = TestEnv::with_registry(20);
    let mut other = OtherProcess::open(&place.path("registry.sqlite"), "");
    other.sql("PRAGMA journal_mode = DELETE");
    note("a rollback journal", says(&place, "registry.sqlite"));
    other.sql("BEGIN EXCLUSIVE");
    note("locked", says(&place, "registry.sqlite"));
    other.sql("PRAGMA cache_size = 1");
    other.sql("UPDATE records SET payload = payload || payload || payload || payload");
    other.kill();
    note("a hot journal", says(&place, "registry.sqlite"));
    insta::assert_snapshot!(said, @"
    a live writer: exit 0, ok
    a writer in WAL mode: exit 0, ok
    a killed writer: exit 0, ok
    a -wal without its -shm: exit 1, error
      error `registry.sqlite` has a `-wal` file without its `-shm` file, and reading it would create one
      error could not be checked, because it depends on the database: see the check `integrity`
      warn  could not be checked, because it depends on the database: see the check `integrity`
    a rollback journal: exit 0, warn
      warn  the journal mode is `delete`, not `wal`: while somebody writes, nobody can read
    locked: exit 1, error
      error `registry.sqlite` is locked by another process, and stayed locked for [duration]
      error could not be checked, because it depends on the database: see the check `schema`
      warn  could not be checked, because it depends on the database: see the check `schema`
    a hot journal: exit 1, error
      error `registry.sqlite` has a hot journal: a write was cut off, and nobody has rolled it back yet
      error could not be checked, because it depends on the database: see the check `integrity`
      warn  could not be checked, because it depends on the database: see the check `integrity`
    ");
}

#[test]
fn a_database_of_another_shape_is_fine() {
    let place = TestEnv::empty();
    OtherProcess::open(&place.path("o'd d?#%.sqlite"), "CREATE TABLE things (a, b)").close();
    insta::assert_snapshot!(says(&place, "o'd d?#%.sqlite"), @"
    exit 0, warn
      warn  the journal mode is `delete`, not `wal`: while somebody writes, nobody can read
    ");
}

#[test]
fn a_schema_that_is_not_the_expected_one_fails_the_check() {
    let place = TestEnv::with_registry(3);
    place.configure(|config| config["registry"]["expectedSchemaVersion"] = json!(2));
    let ran = place.run(["check"]);
    assert_eq!(ran.code, 1);
    let text = ran.stdout.lines().take(8).map(settled).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(text, @"
    ERROR    1 of 8 checks failed: schema
             registry.sqlite on [host]

    error    schema        the schema version is 1, and 2 is expected
             → run the registry's migrations, or correct `registry.expectedSchemaVersion`
    ok       disk          [size] free, at least 1 B are wanted
    ok       foreign-keys  1 foreign key holds for 3 rows
    ok       integrity     structure and indexes are intact; looked through in [duration]
    ");
}

#[test]
fn fail_on_only_and_output() {
    let place = TestEnv::with_registry(3);
    place.configure(|config| config["registry"] = json!({ "expectedSchemaVersion": 1, "recordsTable": "records" }));
    fs::hard_link(place.path("registry.sqlite"), place.path("second-name.sqlite")).unwrap();
    assert_eq!(place.run(["check"]).code, 0, "a warning is not an error");
    assert_eq!(place.run(["check", "--fail-on", "warn"]).code, 1);
    let only = place.run(["check", "--only", "integrity", "--format", "json"]).report();
    assert_eq!(only["checks"].as_array().unwrap().len(), 1);
    assert_eq!(entry(&only, "integrity")["status"], "ok");
    let ran = place.run(["check", "--format", "json", "--output", "report.json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    let written: Value = serde_json::from_slice(&fs::read(place.path("report.json")).unwrap()).unwrap();
    assert_eq!(written["status"], "warn");
    let ran = place.run(["check", "--only", "intergity"]);
    insta::assert_snapshot!(format!("{}: {}", ran.code, ran.stderr), @"2: vitalsign: there is no check `intergity`; did you mean `integrity`?");
    let ran = place.run(["check", "--wait", "1", "--only", "wal"]);
    assert_eq!(ran.code, 0);
}

#[test]
fn a_bad_report_in_a_file_is_told_on_standard_error() {
    let place = TestEnv::with_registry(3);
    place.configure(|config| {
        config["registry"]["expectedSchemaVersion"] = json!(9);
        config["health"]["minFreeBytes"] = json!(1_u64 << 50);
    });
    let ran = place.run(["check", "--json", "--output", "report.json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    let written: Value = serde_json::from_slice(&fs::read(place.path("report.json")).unwrap()).unwrap();
    assert_eq!(written["status"], "error");
    let mut lines = ran.stderr.lines();
    assert_eq!(lines.next(), Some("vitalsign: the status is error because of disk, schema; see report.json"));
    assert!(lines.next().unwrap().starts_with("    disk: "), "{}", ran.stderr);
    assert_eq!(lines.next(), Some("    schema: the schema version is 1, and 9 is expected"));
    assert_eq!(lines.next(), None);

    // However many there are, it stays short, and every one is named.
    let names: Vec<String> = (0..20).map(|number| format!("mine-{number:02}")).collect();
    place.configure(|config| {
        config["plugins"] = names.iter().map(|name| json!({ "name": name, "component": "gone.wasm" })).collect();
    });
    let ran = place.run(["check", "--fail-on", "warn", "--output", "report.txt"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    let told: Vec<_> = ran.stderr.lines().filter(|line| !line.contains(" WARN ")).collect();
    assert_eq!(told.len(), 5, "{}", ran.stderr);
    assert!(names.iter().all(|name| told[0].contains(name.as_str())), "{}", told[0]);
}

#[test]
fn json_is_asked_for_in_one_way_everywhere() {
    let place = TestEnv::with_registry(3);
    place.configure(|config| config["backup"] = json!({ "dir": "archives", "keep": { "last": 1 } }));
    let made: Value = serde_json::from_str(&place.run(["backup", "--json"]).stdout).unwrap();
    let archive = made["path"].as_str().unwrap();
    let commands: [&[&str]; 8] = [
        &["check"],
        &["list"],
        &["prune"],
        &["verify", archive],
        &["config", "show"],
        &["backup", "--tag", "again"],
        &["restore", "--archive", archive, "--db", "copy.sqlite", "--log", "copy.jsonl", "--dry-run"],
        &["restore", "--archive", archive, "--db", "copy.sqlite", "--log", "copy.jsonl"],
    ];
    for command in commands {
        for (flags, is_json) in [
            (&["--json"][..], true),
            (&["--format", "json"], true),
            (&["--format", "text", "--json"], true),
            (&["--json", "--format", "text"], false),
            (&[], false),
        ] {
            if command[0] == "restore" && !command.contains(&"--dry-run") {
                let _ = fs::remove_file(place.path("copy.sqlite"));
                let _ = fs::remove_file(place.path("copy.jsonl"));
            }
            let ran = place.run([command, flags].concat());
            assert_eq!(ran.code, 0, "{command:?} {flags:?}: {}", ran.stderr);
            let parsed = serde_json::from_str::<Value>(&ran.stdout).is_ok();
            assert_eq!(parsed, is_json, "{command:?} {flags:?}: {}", ran.stdout);
        }
    }
}

#[test]
fn a_limit_on_everything_gives_the_whole_report() {
    let place = TestEnv::with_registry(3);
    place.configure(|config| {
        config["health"]["checks"] = json!({ "schema": { "timeoutMs": 3_600_000 }, "wal": { "timeoutMs": 3_600_000 } });
    });
    let names = |report: &Value| -> Vec<String> {
        report["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap().to_owned()).collect()
    };
    let whole = names(&place.check());
    assert_eq!(place.run(["check", "--timeout", "600"]).code, 0);
    let _other = OtherProcess::open(&place.path("registry.sqlite"), "PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
    let ran = place.run(["check", "--timeout", "0.5", "--json"]);
    let report = ran.report();
    assert_eq!((ran.code, names(&report)), (1, whole.clone()));
    assert_eq!(entry(&report, "schema")["status"], "unknown");
    assert_eq!(place.run(["check", "--timeout", "0.5", "--wait", "600"]).code, 1, "it limits the wait as well");

    // So short that not even the configuration is read; unless the processor was taken away at that very moment, when a check may
    // have ended before anybody looked at the clock.
    let ran = place.run(["check", "--timeout", "0.000001", "--json"]);
    let report = ran.report();
    assert_eq!((ran.code, names(&report)), (1, whole));
    for check in report["checks"].as_array().unwrap() {
        let found = (&check["status"], &check["findings"][0]["code"]);
        let ended = check["status"] != "unknown";
        assert!(found == (&json!("unknown"), &json!("timed-out")) || ended, "{check}");
    }
    for wrong in ["0", "-1", "soon", "1e9", "nan"] {
        assert_eq!(place.run(["check".to_owned(), format!("--timeout={wrong}")]).code, 2, "{wrong}");
    }
}

#[test]
fn commands_that_are_not_for_people_are_never_suggested() {
    for typed in ["compile", "complie", "_compile", "__compil"] {
        let ran = TestEnv::empty().run([typed]);
        assert_eq!((ran.code, ran.stderr.replace(typed, "").contains("__")), (2, false), "{}", ran.stderr);
    }
    assert!(!TestEnv::empty().run(["--help"]).stdout.contains("__"));
    let ran = TestEnv::empty().run(["chek"]);
    insta::assert_snapshot!(format!("{}: {}", ran.code, ran.stderr), @"
    2: vitalsign: unrecognized command 'chek'
      → a similar command exists: 'check'
      → usage: vitalsign [OPTIONS] <COMMAND>
      → `vitalsign help` lists the commands, and `--help` after a command its flags
    ");
    assert_eq!(TestEnv::empty().run(["__compile"]).code, 2);
}

#[test]
fn a_table_that_init_has_seen_and_that_is_gone_is_not_healthy() {
    let place = TestEnv::with_registry(3);
    assert_eq!(place.run(["init", "--db", "registry.sqlite"]).code, 0);
    OtherProcess::open(&place.path("registry.sqlite"), "DROP TABLE provenance; DROP TABLE records").close();
    insta::assert_snapshot!(says(&place, "registry.sqlite"), @"
    exit 1, error
      error the table `provenance` is missing, and `registry.provenanceTable` names it
      error the table `records` is missing, and `registry.recordsTable` names it
    ");
}

#[test]
fn nothing_to_check_is_not_healthy() {
    let place = TestEnv::with_registry(3);
    let switch_off = |key: &str| {
        place.configure(|config| {
            for name in ["backup", "disk", "foreign-keys", "integrity", "records", "schema", "sqlite", "wal"] {
                config["health"]["checks"][name][key] = json!(false);
            }
        });
    };
    let mut said = String::new();
    let mut note = |args: &[&str]| {
        let ran = place.run(args);
        said += &format!("{}: {}{}", ran.code, ran.stdout, ran.stderr);
    };
    switch_off("enabled");
    note(&["check"]);
    note(&["guard", "--", "/bin/echo", "started"]);
    switch_off("critical");
    note(&["check", "--only", "records", "--group", "ready"]);
    note(&["check", "--only", "wal", "--group", "slow"]);
    note(&["guard", "--", "/bin/echo", "started"]);
    note(&["serve", "--gate", "--listen", "127.0.0.1:0"]);
    switch_off("enabled");
    note(&["serve", "--listen", "127.0.0.1:0"]);
    insta::assert_snapshot!(said, @"
    2: vitalsign: nothing would be checked: no check is enabled
    3: vitalsign: the command was not started: nothing would be checked: no check is enabled, so nothing would ever prevent the start
      → set `critical` and `enabled` for at least one check in `health.checks`
    2: vitalsign: no check is in the group `ready`; no check is in any group
    2: vitalsign: no check is in the group `slow`; no check is in any group
    3: vitalsign: the command was not started: nothing would be checked: no enabled check is critical, so nothing would ever prevent the start
      → set `critical` and `enabled` for at least one check in `health.checks`
    3: vitalsign: the server was not started: nothing would be checked: no enabled check is critical, so nothing would ever prevent the start
      → set `critical` and `enabled` for at least one check in `health.checks`
    3: vitalsign: nothing would be checked: no check is enabled
      → set `enabled` for at least one check in `health.checks`
    ");
}

#[test]
fn a_report_is_never_written_over_what_it_is_about() {
    let place = TestEnv::with_registry(3);
    place.write("vitalsign.lock", r#"{"version": 1, "plugins": {}}"#);
    place.write("mine.wasm", "(component)");
    place.configure(|config| config["plugins"] = json!([{ "name": "mine", "component": "mine.wasm" }]));
    fs::hard_link(place.path("registry.sqlite"), place.path("hard.sqlite")).unwrap();
    symlink("registry.sqlite", place.path("link.sqlite")).unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    let before = place.listing();
    let mut said = String::new();
    for output in [
        "registry.sqlite",
        "hard.sqlite",
        "link.sqlite",
        "registry.sqlite-wal",
        "./registry.sqlite-journal",
        "registry.config.json",
        "vitalsign.lock",
        "mine.wasm",
        "folder",
    ] {
        let ran = place.run(["check", "--db", "link.sqlite", "--output", output]);
        said += &format!("{}: {}\n", ran.code, ran.stderr.lines().next().unwrap_or_default());
        assert_eq!(place.listing(), before, "{output}");
    }
    insta::assert_snapshot!(said, @"
    4: vitalsign: --output registry.sqlite is the database; nothing was run or changed
    4: vitalsign: --output hard.sqlite is the database; nothing was run or changed
    4: vitalsign: --output link.sqlite is the database; nothing was run or changed
    4: vitalsign: --output registry.sqlite-wal is a part of the database; nothing was run or changed
    4: vitalsign: --output ./registry.sqlite-journal is a part of the database; nothing was run or changed
    4: vitalsign: --output registry.config.json is the configuration; nothing was run or changed
    4: vitalsign: --output vitalsign.lock is the lock file; nothing was run or changed
    4: vitalsign: --output mine.wasm is a plugin's component; nothing was run or changed
    4: vitalsign: --output folder is a folder, and a report is a file; nothing was run or changed
    ");
    let ran = place.run(["check", "--output", "/dev/stdout", "--only", "wal"]);
    assert!(ran.stdout.contains("WAL") || ran.stdout.contains("wal"), "{}", ran.stdout);
}

#[test]
fn the_gate_lets_a_command_through_or_says_why_not() {
    let place = TestEnv::with_registry(3);
    place.configure(|_| ());
    let ran = place.run(["guard", "--", "/bin/sh", "-c", "echo started; exit 7"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (7, "started\n"));
    // The command takes the process over, so a signal that ends it ends the process.
    let output = place.command(["guard", "--", "/bin/sh", "-c", "kill -TERM $$"]).output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(15));
    let ran = place.run(["guard", "--", "no-such-command"]);
    insta::assert_snapshot!(format!("{}: {}", ran.code, ran.stderr), @"6: vitalsign: cannot run no-such-command: No such file or directory (os error 2)");

    place.configure(|config| config["registry"]["expectedSchemaVersion"] = json!(9));
    let ran = place.run(["guard", "--", "/bin/echo", "started"]);
    insta::assert_snapshot!(format!("{}: {}{}", ran.code, ran.stdout, ran.stderr), @"
    1: vitalsign: the command was not started, because of this:
        schema: the schema version is 1, and 9 is expected
      → `vitalsign check` prints the whole report and what to do
    ");
    let ran = place.run(["serve", "--gate", "--listen", "127.0.0.1:0"]);
    insta::assert_snapshot!(format!("{}: {}{}", ran.code, ran.stdout, ran.stderr), @"
    1: vitalsign: the server was not started, because of this:
        schema: the schema version is 1, and 9 is expected
      → `vitalsign check` prints the whole report and what to do
    ");
    place.configure(|config| config["dbPath"] = json!("gone.sqlite"));
    assert_eq!(
        place.run(["guard", "--", "/bin/echo", "started"]).code,
        1,
        "a registry that is missing is not started on"
    );
}

#[test]
fn the_text_is_made_for_a_person() {
    let place = TestEnv::with_registry(1234);
    place.configure(|config| config["dbPath"] = json!("gone.sqlite"));
    let ran = place.run(["check"]);
    let text: String = ran.stdout.lines().map(|line| settled(line) + "\n").collect();
    insta::assert_snapshot!(format!("{}\n{text}", ran.code), @"
    1
    ERROR    1 of 8 checks failed: integrity; 5 gave no result: foreign-keys, records, schema, sqlite,
             wal
             gone.sqlite on [host]

    error    integrity     there is no database at `gone.sqlite`
             → check `dbPath` (or `--db`); if the database was lost, restore a backup; if there was none
               yet, start the registry once
    unknown  foreign-keys, records, schema, sqlite, wal
             could not be checked, because it depends on the database: see the check `integrity`
    ok       disk          [size] free, at least 1 B are wanted
    skipped  backup        there is no backup in artifacts/registry/backups, and the configuration does
                           not ask for any
             → make one with `vitalsign backup`; with `backup` in the configuration its age is checked

    checked at [time]
    ");
}

/// A rule of one's own needs no plugin: it is a check like any other, on the command line and in the exit code.
#[test]
fn an_assertion_in_sql_is_a_check_of_its_own() {
    let place = TestEnv::with_registry(3);
    place.configure(|config| {
        config["health"]["sql"] = json!([
            { "name": "few-records", "sql": "SELECT count(*) FROM records", "errorBelow": 4, "hint": "import them again" },
            { "name": "writes", "sql": "DELETE FROM records RETURNING 1", "error": 1 },
        ]);
        config["health"]["checks"] = json!({ "writes": { "advisory": true } });
    });
    let before = place.listing();
    let refused = place.run(["config", "check"]);
    insta::assert_snapshot!(format!("{}\n{}", refused.code, refused.stderr), @"
    3
    vitalsign: health.sql[1].sql: the statement is not allowed: DELETE from `records` (checks may only read)
      → correct the statement: an assertion is one statement that only reads
    ");
    let ran = place.run(["check", "--only", "few-records", "--only", "writes"]);
    let text: String = ran.stdout.lines().map(|line| settled(line) + "\n").collect();
    insta::assert_snapshot!(format!("{}\n{text}", ran.code), @"
    1
    ERROR    1 of 2 checks failed: few-records; 1 gave no result: writes
             registry.sqlite on [host]

    error    few-records  the statement gives 3; below 4 it is an error
             → import them again
    unknown  writes       the statement is not allowed: DELETE from `records` (checks may only read)
             → correct `health.sql[1].sql`: an assertion is one statement that only reads

    checked at [time]
    ");
    assert_eq!(before, place.listing());
    let entry = entry(&place.check(), "few-records").clone();
    assert_eq!(
        (&entry["origin"]["kind"], &entry["critical"], &entry["status"]),
        (&"builtin".into(), &false.into(), &"error".into())
    );
    assert_eq!((&entry["findings"][0]["code"], &entry["measures"][0]["value"]), (&"below".into(), &3.0.into()));
    let misspelt = place.run(["check", "--only", "few-record"]);
    assert!(misspelt.stderr.contains("did you mean `few-records`?"), "{}", misspelt.stderr);
}
