//! Kills and failures at every system call of a backup, a prune and a restore, by `strace --inject`.
//!
//! The short form takes a share of the calls, spread over all of them; `cargo xtask torture` takes every one. What has to
//! hold in the end is always the same: a destination is wholly old or wholly new, and so is the export that belongs to it, at once
//! or after the next run; an archive is whole or not there.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use rusqlite::Connection;

use crate::{
    backup::{back_up, has},
    env::TestEnv,
    other::OtherProcess,
};

/// How many injections of each kind the short form makes for each command.
const SHORT: usize = 12;

/// Calls that are not part of what is tortured: without them a process does not even start.
const START: [&str; 12] = [
    "execve",
    "brk",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "prlimit64",
    "exit_group",
    "exit",
    "rt_sigreturn",
    "sigaltstack",
    "rt_sigprocmask",
];

/// Calls that a disk makes fail. The others are only killed at: a standard library may take their failure for a bug.
const OF_THE_DISK: [&str; 36] = [
    "access",
    "chmod",
    "chown",
    "copy_file_range",
    "creat",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "fcntl",
    "fdatasync",
    "flock",
    "fstat",
    "fsync",
    "ftruncate",
    "getdents64",
    "link",
    "linkat",
    "lseek",
    "mkdir",
    "newfstatat",
    "openat",
    "pread64",
    "pwrite64",
    "read",
    "readlink",
    "rename",
    "renameat2",
    "statfs",
    "statx",
    "unlink",
    "write",
];

/// Calls that are few and decide everything: none of them is left out, in the short form neither.
const CRUCIAL: [&str; 9] =
    ["fdatasync", "fsync", "link", "linkat", "mkdir", "rename", "renameat2", "unlink", "unlinkat"];

fn is_long() -> bool {
    std::env::var("VITALSIGN_TORTURE").is_ok_and(|value| value == "long")
}

/// The binary under `strace` with these options.
fn traced(place: &TestEnv, options: &[&str], args: &[&str]) -> Command {
    let plain = place.command(args);
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "-o"]).args(options).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(place.folder()).env_clear().env("HOME", place.path("home")).env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// How often each system call is made by one run in a place of its own.
fn calls(prepare: &dyn Fn() -> TestEnv, args: &[&str]) -> BTreeMap<String, usize> {
    let place = prepare();
    let counts = place.path("calls");
    traced(&place, &[counts.to_str().unwrap(), "-c"], args).status().unwrap();
    let text = fs::read_to_string(counts).unwrap();
    let rows = text.lines().skip(2).take_while(|line| !line.starts_with("---"));
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(((*words.last()?).to_owned(), words.get(3)?.parse().ok()?))
    };
    rows.filter_map(row).filter(|(name, _): &(String, usize)| !START.contains(&name.as_str())).collect()
}

/// Every injection to try: a call, which one of its kind, and what happens there.
fn injections(calls: &BTreeMap<String, usize>) -> Vec<(String, usize, &'static str)> {
    let mut all = Vec::new();
    for what in ["signal=KILL", "error=EIO", "error=ENOSPC"] {
        let fits = |(name, _): &(&String, &usize)| what == "signal=KILL" || OF_THE_DISK.contains(&name.as_str());
        let each: Vec<_> = calls
            .iter()
            .filter(fits)
            .flat_map(|(name, count)| (1..=*count).map(move |at| (name.clone(), at, what)))
            .collect();
        // A disk that is full fails where a broken one fails, and the short form has time for one of them.
        let is_crucial = |name: &str| CRUCIAL.contains(&name) && (is_long() || what != "error=ENOSPC");
        let (crucial, other): (Vec<_>, Vec<_>) =
            each.into_iter().partition(|(name, ..): &(String, _, _)| is_crucial(name));
        let step = if is_long() { 1 } else { (other.len() / SHORT).max(1) };
        all.extend(crucial);
        all.extend(other.into_iter().step_by(step));
    }
    all
}

/// Runs the command once for each injection, and holds what is left against `judge`, which is given whether it said *done*.
fn torture(prepare: &dyn Fn() -> TestEnv, args: &[&str], judge: &dyn Fn(&TestEnv, bool, &str)) {
    torture_share(1, prepare, args, judge);
}

/// The same with one of so many injections, for a command that makes many calls.
fn torture_share(share: usize, prepare: &dyn Fn() -> TestEnv, args: &[&str], judge: &dyn Fn(&TestEnv, bool, &str)) {
    let calls = calls(prepare, args);
    assert!(calls.len() > 10, "the calls were counted: {calls:?}");
    let injections: Vec<_> = injections(&calls).into_iter().step_by(share).collect();
    eprintln!("{}: {} injections into {} calls", args[0], injections.len(), calls.values().sum::<usize>());
    for (name, at, what) in injections {
        let place = prepare();
        let inject = format!("inject={name}:{what}:when={at}");
        let status =
            traced(&place, &["/dev/null", "-e", &format!("trace={name}"), "-e", &inject], args).status().unwrap();
        let case = format!("{inject} in {args:?}, which ended with {status}");
        assert_ne!(status.code(), Some(70), "{case}: a bug");
        judge(&place, status.success(), &case);
    }
}

/// A registry with one archive of it that has a record more.
fn with_archive() -> (TestEnv, PathBuf) {
    let place = TestEnv::with_registry(20);
    let sql = |sql: &str| Connection::open(place.path("registry.sqlite")).unwrap().execute_batch(sql).unwrap();
    sql("INSERT INTO records SELECT 'urn:new', kind, name, version, payload, created_at FROM records LIMIT 1");
    let archive = back_up(&place, &[]);
    fs::rename(&archive, place.path("a.tar.gz")).unwrap();
    fs::copy(place.path("registry.sqlite"), place.path("new")).unwrap();
    sql("DELETE FROM records WHERE id = 'urn:new'; VACUUM");
    fs::copy(place.path("registry.sqlite"), place.path("old")).unwrap();
    place.write("log.jsonl", OLD_LOG);
    (place, archive)
}

const OLD_LOG: &str = "the old export\n";

/// Whether the database and its export are the new ones; both have to be the same, unless a journal shows that something is to be
/// done yet.
fn is_new(place: &TestEnv, case: &str) -> bool {
    let now = fs::read(place.path("registry.sqlite")).unwrap();
    let is_new = now == fs::read(place.path("new")).unwrap();
    assert!(is_new || now == fs::read(place.path("old")).unwrap(), "{case}: neither old nor new");
    let log = fs::read_to_string(place.path("log.jsonl")).unwrap();
    assert!(log == OLD_LOG || log.lines().count() == 20, "{case}: an export that is neither old nor new");
    let is_interrupted = place.path("registry.sqlite.vitalsign-restore").exists();
    assert!(is_interrupted || (log == OLD_LOG) != is_new, "{case}: the export belongs to the other database");
    for side in ["-wal", "-shm", "-journal"] {
        assert!(!place.path(&format!("registry.sqlite{side}")).exists(), "{case}: {side}");
    }
    is_new
}

/// Runs a command that has to work, and gives whether the new files are there now.
fn and_then(place: &TestEnv, args: &[&str], case: &str) -> bool {
    let ran = place.run(args);
    assert_eq!(ran.code, 0, "{case}: and then {args:?}: {}", ran.stderr);
    assert!(!place.path("registry.sqlite.vitalsign-restore").exists(), "{case}: and then a journal is left");
    is_new(place, case)
}

#[test]
fn torture_a_restore() {
    if !has("strace") {
        return;
    }
    let args = ["restore", "--archive", "a.tar.gz", "--db", "registry.sqlite", "--log", "log.jsonl", "--force"];
    torture(&|| with_archive().0, &args, &|place, done, case| {
        let was_new = is_new(place, case);
        assert!(!done || was_new, "{case}: said done, and is old");
        // Whatever happened, an undo gives what was there before; where nothing was replaced, it says so.
        let undone = place.run(UNDO);
        assert!(undone.code == 0 || (undone.code == 4 && !was_new), "{case}: and then: {}", undone.stderr);
        assert!(!is_new(place, case), "{case}: undone, and not old");
        // The next restore succeeds, and what was there before is not lost.
        assert!(and_then(place, &args, case), "{case}: and then not new");
        assert!(!place.path(".registry.sqlite.vitalsign-restoring").exists(), "{case}");
        assert!(!place.path(".log.jsonl.vitalsign-restoring").exists(), "{case}");
        assert!(!and_then(place, &UNDO, case), "{case}: the old one is lost");
    });
}

const UNDO: [&str; 4] = ["restore", "--undo", "--db", "registry.sqlite"];

#[test]
fn torture_an_undo() {
    if !has("strace") {
        return;
    }
    let prepare = || {
        let (place, _) = with_archive();
        let args = ["restore", "--archive", "a.tar.gz", "--db", "registry.sqlite", "--log", "log.jsonl", "--force"];
        assert!(and_then(&place, &args, "the restore that is undone"));
        place
    };
    torture(&prepare, &UNDO, &|place, done, case| {
        let was_new = is_new(place, case);
        assert!(!done || !was_new, "{case}: said done, and is new");
        // The next one ends this undo, or undoes it; both files can always be had again.
        let is_new = and_then(place, &UNDO, case);
        assert_ne!(and_then(place, &UNDO, case), is_new, "{case}: one of them is lost");
        assert_eq!(and_then(place, &UNDO, case), is_new, "{case}: one of them is lost");
    });
}

/// The same with a folder and another database that belong to the registry.
fn with_more() -> TestEnv {
    let place = TestEnv::with_registry(20);
    place.configure(|config| config["backup"] = serde_json::json!({ "include": ["uploads", "more.db"] }));
    let state = |age: &str, sql: &str| {
        Connection::open(place.path("registry.sqlite")).unwrap().execute_batch(sql).unwrap();
        place.write("uploads/deep/a", age);
        let more = Connection::open(place.path("more.db")).unwrap();
        more.execute_batch(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT '{age}' AS age")).unwrap();
    };
    state("new", "INSERT INTO records SELECT 'urn:new', kind, name, version, payload, created_at FROM records LIMIT 1");
    let archive = back_up(&place, &[]);
    fs::rename(&archive, place.path("a.tar.gz")).unwrap();
    fs::copy(place.path("registry.sqlite"), place.path("new")).unwrap();
    state("old", "DELETE FROM records WHERE id = 'urn:new'; VACUUM");
    fs::copy(place.path("registry.sqlite"), place.path("old")).unwrap();
    place.write("log.jsonl", OLD_LOG);
    place
}

/// As [`is_new`]; while a journal shows that something is to be done yet, the rest may be on its way.
fn all_is_new(place: &TestEnv, case: &str) -> bool {
    let is_new = is_new(place, case);
    if !place.path("registry.sqlite.vitalsign-restore").exists() {
        let age = if is_new { "new" } else { "old" };
        assert_eq!(fs::read_to_string(place.path("uploads/deep/a")).unwrap(), age, "{case}: the folder");
        let more = Connection::open(place.path("more.db")).unwrap();
        let its: String = more.query_row("SELECT age FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(its, age, "{case}: the other database");
    }
    is_new
}

#[test]
fn torture_a_restore_with_what_is_included() {
    if !has("strace") {
        return;
    }
    let args = ["restore", "--archive", "a.tar.gz", "--log", "log.jsonl", "--force"];
    let undo = ["restore", "--undo"];
    let share = if is_long() { 1 } else { 5 };
    torture_share(share, &with_more, &args, &|place, done, case| {
        let was_new = all_is_new(place, case);
        assert!(!done || was_new, "{case}: said done, and is old");
        let undone = place.run(undo);
        assert!(undone.code == 0 || (undone.code == 4 && !was_new), "{case}: and then: {}", undone.stderr);
        assert!(!all_is_new(place, case), "{case}: undone, and not old");
        assert!(and_then(place, &args, case) && all_is_new(place, case), "{case}: and then not new");
        let names = fs::read_dir(place.folder()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".vitalsign-restoring")).collect();
        assert!(left.is_empty(), "{case}: {left:?} stays behind");
        assert!(!and_then(place, &undo, case) && !all_is_new(place, case), "{case}: the old one is lost");
    });
}

/// The run after an interrupted restore can be interrupted as well.
#[test]
fn torture_the_end_of_an_interrupted_restore() {
    if !has("strace") {
        return;
    }
    let prepare = || {
        let (place, _) = with_archive();
        let args = ["restore", "--archive", "a.tar.gz", "--db", "registry.sqlite", "--log", "log.jsonl", "--force"];
        // The first rename puts the new export in its place, and the second one would put the new database in its own.
        let inject = ["-e", "trace=rename", "-e", "inject=rename:signal=KILL:when=2"];
        traced(&place, &[["/dev/null"].as_slice(), &inject].concat(), &args).status().unwrap();
        assert!(place.path("registry.sqlite.vitalsign-restore").exists(), "it was interrupted");
        assert_ne!(fs::read_to_string(place.path("log.jsonl")).unwrap(), OLD_LOG, "the export is new already");
        place
    };
    torture(&prepare, &UNDO, &|place, done, case| {
        assert!(!is_new(place, case), "{case}: not old");
        let undone = place.run(UNDO);
        assert!(undone.code == 0 || undone.code == 4, "{case}: and then: {}", undone.stderr);
        assert!(!is_new(place, case) && !place.path("registry.sqlite.vitalsign-restore").exists(), "{case}: {done}");
        assert_eq!(fs::read_to_string(place.path("log.jsonl")).unwrap(), OLD_LOG, "{case}");
    });
}

/// The same over a database whose registry was killed: its log holds a committed row.
#[test]
fn torture_a_restore_over_a_log() {
    if !has("strace") {
        return;
    }
    let prepare = || {
        let (place, _) = with_archive();
        let sql = "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; DELETE FROM provenance WHERE seq = 1";
        OtherProcess::open(&place.path("registry.sqlite"), sql).kill();
        place
    };
    let args = ["restore", "--archive", "a.tar.gz", "--db", "registry.sqlite", "--log", "log.jsonl", "--force"];
    // 20 records with 20 rows of provenance, less the row in the log; in the archive a record more, and every row.
    let count = |path: PathBuf| -> i64 {
        let conn = Connection::open(path).unwrap();
        let sql = "SELECT (SELECT count(*) FROM records) + (SELECT count(*) FROM provenance)";
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    torture(&prepare, &args, &|place, done, case| {
        let now = count(place.path("registry.sqlite"));
        assert!(now == 39 || now == 41, "{case}: {now} rows, neither the old one with its log nor the new one");
        assert!(!done || now == 41, "{case}: said done, and is old");
        let ran = place.run(args);
        assert_eq!(ran.code, 0, "{case}: and then: {}", ran.stderr);
        assert_eq!(count(place.path("registry.sqlite")), 41, "{case}");
        assert!(!place.path("registry.sqlite-wal").exists(), "{case}");
    });
}

/// Every archive that is there is whole.
fn whole(place: &TestEnv, case: &str) -> usize {
    let archives = fs::read_dir(place.path("out")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let archives: Vec<_> = archives.filter(|path| path.to_str().unwrap().ends_with(".tar.gz")).collect();
    for archive in &archives {
        let ran = place.run(["verify", archive.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{case}: {}", ran.stderr);
    }
    archives.len()
}

#[test]
fn torture_a_backup() {
    if !has("strace") {
        return;
    }
    let prepare = || {
        let place = TestEnv::with_registry(20);
        fs::copy(place.path("registry.sqlite"), place.path("old")).unwrap();
        place
    };
    let args = ["backup", "--db", "registry.sqlite", "--out", "out"];
    torture(&prepare, &args, &|place, done, case| {
        let count = whole(place, case);
        assert!(!done || count == 1, "{case}: said done, and there is no archive");
        assert_eq!(fs::read(place.path("registry.sqlite")).unwrap(), fs::read(place.path("old")).unwrap(), "{case}");
        let hidden = fs::read_dir(place.path("out"))
            .into_iter()
            .flatten()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.'));
        assert_eq!(hidden.count(), 0, "{case}: something half done was left");
        assert_eq!(place.run(args).code, 0, "{case}: and then");
    });
}

#[test]
fn torture_a_prune() {
    if !has("strace") {
        return;
    }
    let prepare = || {
        let place = TestEnv::with_registry(5);
        for _ in 0..3 {
            back_up(&place, &[]);
        }
        place
    };
    let args = ["prune", "--out", "out", "--last", "1", "--yes"];
    torture(&prepare, &args, &|place, done, case| {
        let count = whole(place, case);
        // A record that cannot be read makes its archive one that nobody has proven, and then one more is kept.
        assert!((1..=3).contains(&count) && (!done || count <= 2), "{case}: {count} left");
        assert_eq!(place.run(args).code, 0, "{case}: and then");
        assert_eq!(whole(place, case), 1, "{case}");
    });
}

/// Where the system starts no more threads, the environment failed, or the command did without.
#[test]
fn torture_threads_that_do_not_start() {
    if !has("strace") {
        return;
    }
    let (place, _) = with_archive();
    for args in [
        ["backup", "--db", "registry.sqlite", "--out", "out"].as_slice(),
        &["verify", "a.tar.gz"],
        &["restore", "--archive", "a.tar.gz", "--db", "registry.sqlite", "--log", "log.jsonl", "--force"],
    ] {
        let count = calls(&|| with_archive().0, args)["clone3"];
        for at in 1..=count {
            let inject = format!("inject=clone3:error=EAGAIN:when={at}");
            let status = traced(&place, &["/dev/null", "-e", "trace=clone3", "-e", &inject], args).status().unwrap();
            assert!(matches!(status.code(), Some(0 | 6)), "{inject} in {args:?}, which ended with {status}");
        }
    }
}
