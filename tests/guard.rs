//! `vitalsign guard`: what it refuses, what it lets start, and in what state it hands this process over.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    env::{RunOutput, TestEnv, skipped},
    other::OtherProcess,
};

const STARTED: [&str; 3] = ["--", "/bin/echo", "started"];

/// Guards `echo started` with these flags.
fn guard(place: &TestEnv, flags: &[&str]) -> RunOutput {
    place.run([&["guard"], flags, &STARTED].concat())
}

/// The exit code, and what was printed to both outputs.
fn said(ran: &RunOutput) -> String {
    format!("{}: {}{}", ran.code, ran.stdout, ran.stderr)
}

/// What was printed, without the name of the check that tells what concerns all of them.
fn unnamed(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("    ").and_then(|rest| rest.split_once(": `")) {
        Some((_, rest)) => format!("    [check]: `{rest}\n"),
        None => format!("{}\n", line.replace("schema: ", "[check]: ").replace("integrity: ", "[check]: ")),
    };
    text.lines().map(line).collect()
}

fn started(ran: &RunOutput) -> bool {
    let is_started = ran.stdout == "started\n";
    assert_eq!(is_started, ran.code == 0, "{}", said(ran));
    is_started
}

#[test]
fn a_first_start_has_to_be_allowed() {
    let place = TestEnv::empty();
    place.configure(|_| ());
    insta::assert_snapshot!(unnamed(&said(&guard(&place, &[]))), @"
    1: vitalsign: the command was not started, because of this:
        [check]: there is no database at `registry.sqlite`
      → if the command is to make the database, pass `--allow-missing`, or set `guard.allowMissing` to true in the configuration
    ");
    insta::assert_snapshot!(unnamed(&said(&guard(&place, &["--allow-missing"]))), @"
    0: started
    vitalsign: the command is started, and has to resolve this itself:
        [check]: there is no database at `registry.sqlite`
    ");
    place.configure(|config| config["guard"] = json!({ "allowMissing": true }));
    assert!(started(&guard(&place, &[])), "the configuration allows it");
    place.configure(|_| ());
    // An empty file is what a program makes first.
    place.write("registry.sqlite", "");
    assert!(!started(&guard(&place, &[])));
    assert!(started(&guard(&place, &["--allow-missing"])));
    assert!(!place.path("registry.sqlite-wal").exists());
    // What is there and bad is no first start.
    place.write("registry.sqlite", "this is not a database\n".repeat(500));
    assert!(!started(&guard(&place, &["--allow-missing"])));
    fs::remove_file(place.path("registry.sqlite")).unwrap();
    fs::create_dir(place.path("registry.sqlite")).unwrap();
    assert!(!started(&guard(&place, &["--allow-missing"])));
}

#[test]
fn a_database_that_went_away_and_left_its_log_is_no_first_start() {
    let place = TestEnv::with_registry(5);
    place.configure(|_| ());
    OtherProcess::open(
        &place.path("registry.sqlite"),
        "INSERT INTO records SELECT 'x', kind, name, version, payload, created_at FROM records LIMIT 1",
    )
    .kill();
    fs::rename(place.path("registry.sqlite"), place.path("elsewhere.sqlite")).unwrap();
    let before = place.listing();
    insta::assert_snapshot!(unnamed(&said(&guard(&place, &["--allow-missing"]))), @"
    1: vitalsign: the command was not started, because of this:
        [check]: there is no database at `registry.sqlite`
      → restore the database, or move [folder]/registry.sqlite-wal away: it holds changes that are in no other file, and whoever makes a new database deletes it
    ");
    assert_eq!(place.listing(), before);
    // The same behind a link whose file is gone.
    std::os::unix::fs::symlink("registry.sqlite", place.path("link.sqlite")).unwrap();
    let ran = guard(&place, &["--allow-missing", "--db", "link.sqlite"]);
    assert_eq!((ran.code, started(&ran)), (1, false), "{}", ran.stderr);
}

#[test]
fn what_only_the_start_repairs_does_not_prevent_it() {
    let insert = "INSERT INTO records SELECT 'x', kind, name, version, payload, created_at FROM records LIMIT 1";
    let mut told = String::new();
    let mut note = |what: &str, place: &TestEnv| {
        let before = place.listing();
        let ran = guard(place, &[]);
        assert!(started(&ran), "{what}: {}", said(&ran));
        assert_eq!(place.listing(), before, "the command finds all as it was left");
        told += &format!("{what}:\n{}", unnamed(&ran.stderr));
    };
    let place = TestEnv::with_registry(20);
    place.configure(|_| ());
    OtherProcess::open(&place.path("registry.sqlite"), insert).kill();
    note("a log after a crash", &place);
    let shm = place.path("registry.sqlite-shm");
    fs::write(&shm, vec![0; 32768]).unwrap();
    note("a log whose index is zeroed", &place);
    fs::remove_file(&shm).unwrap();
    note("a log without its index", &place);

    let place = TestEnv::with_registry(20);
    place.configure(|_| ());
    let _idle = OtherProcess::open(&place.path("registry.sqlite"), "SELECT count(*) FROM records");
    OtherProcess::open(&place.path("registry.sqlite"), insert).kill();
    // As when the writer is killed between its two writes of the index's header.
    let shm = place.path("registry.sqlite-shm");
    let mut index = fs::read(&shm).unwrap();
    index[8] ^= 1;
    use std::os::unix::fs::FileExt as _;
    fs::OpenOptions::new().write(true).open(&shm).unwrap().write_all_at(&index[8..9], 8).unwrap();
    note("an index that is half written", &place);

    let place = TestEnv::with_registry(20);
    place.configure(|_| ());
    let mut other = OtherProcess::open(
        &place.path("registry.sqlite"),
        "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN",
    );
    other.sql("UPDATE records SET payload = payload || payload || payload || payload");
    other.kill();
    note("a hot journal", &place);
    insta::assert_snapshot!(told, @"
    a log after a crash:
    a log whose index is zeroed:
    a log without its index:
    vitalsign: the command is started, and has to resolve this itself:
        [check]: `registry.sqlite` has a `-wal` file without its `-shm` file, and reading it would create one
    an index that is half written:
    vitalsign: the command is started, and has to resolve this itself:
        [check]: `registry.sqlite` needs its write-ahead log recovered by a writer before it can be read
    a hot journal:
    vitalsign: the command is started, and has to resolve this itself:
        [check]: `registry.sqlite` has a hot journal: a write was cut off, and nobody has rolled it back yet
    ");
}

/// The checks have far too little time here to read the log, as those of 2 s have for one of some gigabytes.
#[test]
fn a_log_that_takes_long_to_recover_does_not_prevent_a_start() {
    let place = TestEnv::with_registry(2000);
    place.configure(|config| {
        config["health"]["checks"] = json!({ "schema": { "timeoutMs": 1 }, "wal": { "timeoutMs": 1 } });
    });
    let fill = "PRAGMA wal_autocheckpoint = 0; UPDATE records SET payload = payload || payload || payload; \
                UPDATE records SET payload = payload || payload";
    OtherProcess::open(&place.path("registry.sqlite"), fill).kill();
    assert!(started(&guard(&place, &[])));
}

#[test]
fn the_schema_policy_decides_on_other_versions() {
    let place = TestEnv::with_registry(3);
    let starts = |expected: i64, flags: &[&str]| {
        place.configure(|config| config["registry"]["expectedSchemaVersion"] = json!(expected));
        started(&guard(&place, flags))
    };
    let by_policy = |expected| ["exact", "at-most", "any"].map(|policy| starts(expected, &["--schema", policy]));
    assert_eq!(by_policy(1), [true, true, true]);
    assert_eq!(by_policy(2), [false, true, true], "an older database is migrated by its registry");
    assert_eq!(by_policy(0), [false, false, true], "a newer one is not");
    assert!(!starts(2, &[]));
    place.configure(|config| {
        config["registry"]["expectedSchemaVersion"] = json!(2);
        config["guard"] = json!({ "schemaPolicy": "at-most" });
    });
    assert!(started(&guard(&place, &[])));
    assert!(!started(&guard(&place, &["--schema", "exact"])), "the flag goes before the configuration");
    assert_eq!(place.run(["check"]).code, 1, "the policy is for starts only");
    let ran = guard(&place, &["--schema", "newest"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("exact") && ran.stderr.contains("at-most"), "{}", ran.stderr);
}

#[test]
fn it_waits_for_a_lock_and_no_longer_than_it_is_told() {
    let place = TestEnv::with_registry(3);
    place.configure(|config| {
        config["health"]["checks"] = json!({ "schema": { "timeoutMs": 100 }, "wal": { "timeoutMs": 100 } });
    });
    let mut other = OtherProcess::open(&place.path("registry.sqlite"), "PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
    assert!(!place.path("registry.sqlite-wal").exists());
    let ran = guard(&place, &["--wait", "0.3"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    // However long a check may take by itself, here an hour.
    let patient = place.path("patient.json");
    let config =
        json!({ "dbPath": "registry.sqlite", "health": { "checks": { "schema": { "timeoutMs": 3_600_000 } } } });
    fs::write(&patient, config.to_string()).unwrap();
    let ran = guard(&place, &["--config", "patient.json", "--wait", "0.3"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);

    let mut command = place.command([&["guard", "--wait", "600"][..], &STARTED].concat());
    let mut waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let first = stderr.next().unwrap().unwrap();
    assert_eq!(first, "vitalsign: waiting for up to 10 min, because of this:");
    other.sql("COMMIT");
    let mut stdout = String::new();
    waiting.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert!(waiting.wait().unwrap().success());
    assert_eq!(stdout, "started\n");
}

#[test]
fn a_pipe_in_the_place_of_the_log_refuses_in_time() {
    let place = TestEnv::with_registry(3);
    place.configure(|config| {
        config["health"]["checks"] = json!({ "schema": { "timeoutMs": 100 }, "wal": { "timeoutMs": 100 } });
    });
    place.write("registry.sqlite-shm", "x");
    assert!(Command::new("mkfifo").arg(place.path("registry.sqlite-wal")).status().unwrap().success());
    assert!(!started(&guard(&place, &[])));
    assert_eq!(place.run(["serve", "--gate", "--listen", "127.0.0.1:0"]).code, 1);
    let ran = place.run(["check", "--only", "wal,schema"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
}

#[test]
fn a_backup_is_made_before_the_start() {
    let place = TestEnv::with_registry(7);
    place.configure(|config| config["backup"] = json!({ "dir": "archives" }));
    let ran = guard(&place, &["--backup"]);
    assert!(started(&ran), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("vitalsign: backup written to archives/registry-backup-"), "{}", ran.stderr);
    let listed = place.run(["list", "--format", "json"]).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[0]["records"], &listed[0]["standing"]), (&json!(7), &json!("verified")), "{listed:#}");

    // Where none can be made, nothing is started.
    place.configure(|config| config["backup"] = json!({ "dir": "registry.config.json" }));
    let ran = guard(&place, &["--backup"]);
    assert!(!started(&ran) && ran.code == 4, "{}", said(&ran));
    assert!(ran.stderr.starts_with("vitalsign: the command was not started: "), "{}", ran.stderr);

    // Before the first start there is nothing to back up.
    let place = TestEnv::empty();
    place.configure(|_| ());
    let ran = guard(&place, &["--backup", "--allow-missing"]);
    assert!(started(&ran), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("vitalsign: there is no database yet, so no backup was made\n"), "{}", ran.stderr);
}

#[test]
fn a_database_is_repaired_for_its_backup_unless_somebody_uses_it() {
    let place = TestEnv::with_registry(20);
    place.configure(|config| config["backup"] = json!({ "dir": "archives" }));
    let mut other = OtherProcess::open(
        &place.path("registry.sqlite"),
        "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN",
    );
    other.sql("DELETE FROM provenance; DELETE FROM records");
    other.kill();
    let ran = guard(&place, &["--backup"]);
    assert!(started(&ran), "{}", ran.stderr);
    assert!(ran.stderr.contains("vitalsign: repaired before the backup: "), "{}", ran.stderr);
    let listed: Value = serde_json::from_str(&place.run(["list", "--json"]).stdout).unwrap();
    assert_eq!((&listed[0]["records"], &listed[0]["standing"]), (&json!(20), &json!("verified")), "{listed:#}");
}

/// Which signals a program that `sh` starts after `trap` ignores and blocks, with and without the gate in between. Beyond 31
/// are those that the C library keeps for itself.
fn signals_of(place: &TestEnv, trap: &str, gate: &str) -> Vec<u64> {
    let script = format!("{trap}; exec {gate} grep -E '^Sig(Ign|Blk)' /proc/self/status");
    let plain = place.command([] as [&str; 0]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script]).current_dir(place.folder()).env_clear().stdin(Stdio::null());
    shell.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
    shell.env("PATH", "/usr/bin:/bin");
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let masks = text.split_whitespace().filter_map(|word| u64::from_str_radix(word, 16).ok());
    masks.map(|mask| mask & 0x7fff_ffff).collect()
}

#[test]
fn the_command_starts_with_the_signals_that_the_gate_was_started_with() {
    let place = TestEnv::with_registry(3);
    place.configure(|config| config["backup"] = json!({ "dir": "archives" }));
    let binary = env!("CARGO_BIN_EXE_vitalsign");
    for trap in ["trap '' PIPE", "trap '' HUP INT TERM PIPE", "trap '' HUP", "trap - PIPE"] {
        let without = signals_of(&place, trap, "");
        for gate in [format!("{binary} guard --"), format!("{binary} guard --backup --")] {
            assert_eq!(signals_of(&place, trap, &gate), without, "{trap}; {gate}");
        }
    }
    // SIGPIPE is signal 13.
    assert_eq!((signals_of(&place, "trap '' PIPE", "")[1] >> 12) & 1, 1, "there is something to be handed on");
}

/// Process 1 of a container is not ended by a signal that it does not handle.
#[test]
fn as_process_1_a_signal_ends_it() {
    let place = TestEnv::empty();
    place.configure(|_| ());
    let unshare = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
    if !Command::new("unshare").args(unshare).arg("true").output().is_ok_and(|output| output.status.success()) {
        return skipped("`unshare --user` is not possible here, so no command was tried as process 1");
    }
    for (signal, code, args) in [
        ("TERM", 143, &["guard", "--wait", "600", "--", "/bin/echo", "started"][..]),
        ("INT", 130, &["check", "--wait", "600"][..]),
        ("HUP", 129, &["check", "--wait", "600"][..]),
    ] {
        let plain = place.command(args);
        let mut command = Command::new("unshare");
        // Another process sends the signal again and again, from before the binary is there until it has ended.
        let script = format!("(while kill -{signal} 1; do :; done) >/dev/null 2>&1 & exec \"$@\"");
        command.args(unshare).args(["/bin/sh", "-c", &script, "sh"]).arg(plain.get_program()).args(plain.get_args());
        command.current_dir(place.folder()).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!((output.status.code(), text.contains("started")), (Some(code), false), "{signal} {args:?}");
    }
}

#[test]
fn a_process_on_a_deleted_file_prevents_a_start_until_it_ends() {
    let place = TestEnv::with_registry(20);
    place.configure(|_| ());
    fs::copy(place.path("registry.sqlite"), place.path("copy")).unwrap();
    let registry = OtherProcess::open(&place.path("registry.sqlite"), "DELETE FROM provenance");
    let ran = guard(&place, &[]);
    assert!(started(&ran), "a program may run twice on one file: {}", said(&ran));
    fs::rename(place.path("copy"), place.path("registry.sqlite")).unwrap();
    fs::remove_file(place.path("registry.sqlite-wal")).unwrap();
    fs::remove_file(place.path("registry.sqlite-shm")).unwrap();
    let ran = guard(&place, &[]);
    assert!(!started(&ran));
    assert_eq!(ran.code, 1);
    let named = format!("sqlite: process {} (`", registry.id());
    assert!(ran.stderr.contains(&named) && ran.stderr.contains("deleted or replaced"), "{}", ran.stderr);
    assert!(ran.stderr.contains("its rows can be saved only before that process ends"), "{}", ran.stderr);
    registry.kill();
    assert!(started(&guard(&place, &[])));
}
