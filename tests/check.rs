//! `vitalsign check` and the startup gate on registries in every state, good and odd.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::symlink,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::env::{Place, entry};

/// Another program with the database open, which does as it is told: a Python that runs lines and answers `ok`.
pub struct Other(Child);

impl Other {
    pub fn open(place: &Place, name: &str) -> Self {
        let mut child = Command::new("python3")
            .args(["-u", "-c", "import sqlite3,sys\nfor line in sys.stdin:\n  exec(line)\n  print('ok')"])
            .current_dir(place.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 plays the other program in these tests");
        let stdin = child.stdin.as_mut().unwrap();
        writeln!(stdin, "c = sqlite3.connect({name:?}, isolation_level=None)").unwrap();
        let mut other = Self(child);
        other.heard();
        other
    }

    pub fn does(&mut self, sql: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "c.execute({sql:?}).fetchall()").unwrap();
        self.heard();
    }

    fn heard(&mut self) {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ok\n");
    }

    /// Ends it like a crash: nothing is checkpointed, nothing is cleaned up.
    pub fn dies(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One check of `db`: the exit code and each sentence once, with proof that looking changed nothing.
fn says(place: &Place, db: &str) -> String {
    let before = place.listing();
    let ran = place.run(["check", "--format", "json", "--db", db]);
    assert_eq!(place.listing(), before, "looking changed something");
    let report = ran.report();
    let sentences = |key: &str| -> Vec<String> {
        let all = report[key].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
        let mut messages: Vec<_> = all.map(|one| one.split_once(": ").unwrap().1.to_owned()).collect();
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
    let place = Place::with_registry(42);
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
    assert_eq!(names, ["disk", "foreign-keys", "records", "schema", "sqlite", "wal"]);
}

#[test]
fn odd_files_get_an_exact_sentence() {
    let place = Place::with_registry(2000);
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
    for db in ["missing.db", "no/such/folder.db", "folder.db", "empty.db", "cut.db", "text.db", "sealed.db", "dangling.db"] {
        said += &format!("{db}: {}", says(&place, db));
    }
    insta::assert_snapshot!(said, @"");
    assert!(!place.path("missing.db").exists());
}

#[test]
fn states_that_another_program_left_or_holds() {
    let mut said = String::new();
    let mut note = |what: &str, text: String| said += &format!("{what}: {text}");

    let place = Place::with_registry(20);
    let mut other = Other::open(&place, "registry.sqlite");
    other.does("INSERT INTO records SELECT 'x', kind, name, version, payload, created_at FROM records LIMIT 1");
    note("a live writer", says(&place, "registry.sqlite"));
    let report = place.run(["check", "--format", "json", "--db", "registry.sqlite"]).report();
    assert_eq!(report["registry"]["records"], 21, "what lies in the write-ahead log counts");
    other.does("BEGIN EXCLUSIVE");
    note("a writer in WAL mode", says(&place, "registry.sqlite"));
    other.dies();
    note("a killed writer", says(&place, "registry.sqlite"));
    let report = place.run(["check", "--format", "json", "--db", "registry.sqlite"]).report();
    assert_eq!(report["registry"]["records"], 21, "what lies in the write-ahead log counts");
    fs::remove_file(place.path("registry.sqlite-shm")).unwrap();
    note("a -wal without its -shm", says(&place, "registry.sqlite"));

    let place = Place::with_registry(20);
    let mut other = Other::open(&place, "registry.sqlite");
    other.does("PRAGMA journal_mode = DELETE");
    note("a rollback journal", says(&place, "registry.sqlite"));
    other.does("BEGIN EXCLUSIVE");
    note("locked", says(&place, "registry.sqlite"));
    other.does("PRAGMA cache_size = 1");
    other.does("UPDATE records SET payload = payload || payload || payload || payload");
    other.dies();
    note("a hot journal", says(&place, "registry.sqlite"));
    insta::assert_snapshot!(said, @"");
}

#[test]
fn a_database_of_another_shape_is_fine() {
    let place = Place::empty();
    let mut other = Other::open(&place, "o'd d?#%.sqlite");
    other.does("CREATE TABLE things (a, b)");
    drop(other);
    insta::assert_snapshot!(says(&place, "o'd d?#%.sqlite"), @"");
}

#[test]
fn a_schema_that_is_not_the_expected_one_fails_the_check() {
    let place = Place::with_registry(3);
    place.configure(|config| config["registry"]["expectedSchemaVersion"] = json!(2));
    let ran = place.run(["check"]);
    assert_eq!(ran.code, 1);
    let text = ran.stdout.lines().take(8).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(text, @"");
}

#[test]
fn fail_on_only_and_output() {
    let place = Place::with_registry(3);
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
    insta::assert_snapshot!(format!("{}: {}", ran.code, ran.stderr), @"");
    let ran = place.run(["check", "--wait", "1", "--only", "wal"]);
    assert_eq!(ran.code, 0);
}

#[test]
fn the_gate_lets_a_command_through_or_says_why_not() {
    let place = Place::with_registry(3);
    place.configure(|_| ());
    let ran = place.run(["guard", "--", "/bin/sh", "-c", "echo started; exit 7"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (7, "started\n"));
    // The command takes the process over, so a signal that ends it ends the process.
    let output = place.command(["guard", "--", "/bin/sh", "-c", "kill -TERM $$"]).output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(15));
    let ran = place.run(["guard", "--", "no-such-command"]);
    insta::assert_snapshot!(format!("{}: {}", ran.code, ran.stderr), @"");

    place.configure(|config| config["registry"]["expectedSchemaVersion"] = json!(9));
    let ran = place.run(["guard", "--", "/bin/echo", "started"]);
    insta::assert_snapshot!(format!("{}: {}{}", ran.code, ran.stdout, ran.stderr), @"");
    let ran = place.run(["serve", "--listen", "127.0.0.1:0"]);
    insta::assert_snapshot!(format!("{}: {}{}", ran.code, ran.stdout, ran.stderr), @"");
    place.configure(|config| config["dbPath"] = json!("gone.sqlite"));
    assert_eq!(place.run(["guard", "--", "/bin/echo", "started"]).code, 1, "a registry that is missing is not started on");
}

#[test]
fn the_text_is_made_for_a_person() {
    let place = Place::with_registry(1234);
    place.configure(|config| config["dbPath"] = json!("gone.sqlite"));
    let ran = place.run(["check"]);
    let text: String = ran.stdout.lines().filter(|line| !line.contains("2026-")).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!(format!("{}\n{text}", ran.code), @"");
}
