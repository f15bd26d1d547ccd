//! Power loss: the calls of a command are recorded, every state is built in which a crash may leave the disk, and each must be
//! one from which nothing is lost and the next command goes on.
//!
//! `power/states.rs` says which states these are. The short form looks for losses in all of them, and runs commands in a share
//! that is spread over all; `cargo xtask torture` makes more combinations, and runs every command in each of the states.
//!
//! In every state each archive that has its name is whole, and each that was there is there; the database is the old one or the
//! new one, whole, and neither is lost; and what a command had said was done when it ended is done. Then the next command works,
//! and so does a backup after it.

#[path = "power/model.rs"]
mod model;
#[path = "power/states.rs"]
mod states;
#[path = "power/trace.rs"]
mod trace;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::SystemTime,
};

use rusqlite::{Connection, OpenFlags};

use self::{
    model::{Content, Recording},
    states::{Bounds, State, states},
};
use crate::{
    backup::{back_up, has},
    env::TestEnv,
    other::OtherProcess,
};

/// States of each command in which the short form runs the next one.
const SHORT: usize = 6;

/// Threads that check states: each mostly waits for a process.
const THREADS: usize = 2;

fn is_long() -> bool {
    std::env::var("VITALSIGN_TORTURE").is_ok_and(|value| value == "long")
}

const LEDGER: &str = "out/registry-backup-ledger.jsonl";

/// Rows in the database of the newer archive: 12 records and 9 rows of provenance.
const NEW_ROWS: i64 = 21;

/// Lines of the export that belongs to it, and of the export that belongs to any other database.
const NEW_LINES: usize = 9;
const OLD_LINES: usize = 10;

/// The steps of a restore that has not ended; until the next one the database and its export may not belong together.
const JOURNAL: &str = "registry.sqlite.vitalsign-restore";

/// What a command is tortured with.
struct Scenario {
    place: TestEnv,
    args: Vec<String>,
    /// The archives that were there before, with their content.
    archives: Vec<(String, Vec<u8>)>,
    /// Rows in the old database and in the new one; the same where a command replaces none.
    rows: [i64; 2],
    /// The export of the provenance table.
    log: &'static str,
    /// Whether a folder and another database belong to the registry.
    has_more: bool,
}

/// What a command did, and the files after it.
struct Recorded {
    states: Vec<State>,
    stamps: BTreeMap<PathBuf, SystemTime>,
    /// Every archive, before it and after it, each of them verified.
    whole: Vec<Vec<u8>>,
}

/// Rows of a database, from a copy, since opening a database changes what lies beside it. `None` when it is not whole.
fn rows(database: &Path) -> Option<i64> {
    let copy = tempfile::tempdir().unwrap();
    for side in ["", "-wal", "-journal"] {
        let from = PathBuf::from(format!("{}{side}", database.display()));
        if from.exists() {
            fs::copy(from, copy.path().join(format!("db{side}"))).unwrap();
        }
    }
    let conn = Connection::open_with_flags(copy.path().join("db"), OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
    let sound: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).ok()?;
    let sql = "SELECT (SELECT count(*) FROM records) + (SELECT count(*) FROM provenance)";
    let count = conn.query_row(sql, [], |row| row.get(0)).ok()?;
    (sound == "ok").then_some(count)
}

/// Runs a command under `strace`, and gives every state that it could leave.
fn record(place: &TestEnv, args: &[String], before: Vec<Vec<u8>>) -> Recorded {
    let root = place.folder().canonicalize().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let trace = outside.path().join("trace");
    let mut recording = Recording::of(&root);
    let plain = place.command(args);
    let mut command = trace::tracer(&trace);
    command.arg(plain.get_program()).args(plain.get_args()).current_dir(&root).env_clear();
    command.env("HOME", outside.path()).stdin(Stdio::null()).stdout(Stdio::null()).env("PATH", "/usr/bin:/bin");
    assert!(command.status().unwrap().success(), "{args:?}");
    recording.apply(&trace::calls(&fs::read_to_string(trace).unwrap()));
    assert!(
        same(&recording.nodes, &Recording::of(&root).nodes, [model::ROOT; 2]),
        "{args:?}: the files in memory differ from those on the disk"
    );
    let names = if is_long() { 8 } else { 5 };
    let stamps = stamps(&root);
    let archives = stamps.keys().filter(|path| is_archive(path));
    let verified = archives.map(|path| {
        run(place, &["verify", path.to_str().unwrap()], &[0]);
        fs::read(place.folder().join(path)).unwrap()
    });
    let whole = before.into_iter().chain(verified).collect();
    Recorded { states: states(&recording, Bounds { names }), stamps, whole }
}

fn same(one: &[Content], other: &[Content], [at, at_other]: [usize; 2]) -> bool {
    match (&one[at], &other[at_other]) {
        (Content::File(one), Content::File(other)) => one == other,
        (Content::Folder(names), Content::Folder(others)) => {
            names.len() == others.len()
                && names.iter().zip(others).all(|((name, node), (other_name, other_node))| {
                    name == other_name && same(one, other, [*node, *other_node])
                })
        }
        _ => false,
    }
}

fn stamps(root: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut out = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(root).unwrap().to_owned();
                out.insert(path, entry.metadata().unwrap().modified().unwrap());
            }
        }
    }
    out
}

/// A registry with an older and a newer archive, whose database and export are those of the older one.
fn scenario(args: &[&str]) -> Scenario {
    scenario_with(args, false)
}

/// The same, with a folder and another database that belong to the registry.
fn scenario_with(args: &[&str], has_more: bool) -> Scenario {
    let place = TestEnv::with_registry(10);
    place.configure(|config| {
        if has_more {
            config["backup"] = serde_json::json!({ "include": ["uploads", "more.db"] });
        }
    });
    let is = |age: &str| {
        if has_more {
            place.write("uploads/deep/a", age);
            let conn = Connection::open(place.path("more.db")).unwrap();
            conn.execute_batch(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT '{age}' AS age")).unwrap();
        }
    };
    is("old");
    let older = back_up(&place, &["--tag", "older"]);
    let conn = Connection::open(place.path("registry.sqlite")).unwrap();
    for new in ["urn:new", "urn:newer"] {
        let sql = "INSERT INTO records SELECT ?, kind, name, version, payload, created_at FROM records LIMIT 1";
        conn.execute(sql, [new]).unwrap();
    }
    conn.execute("DELETE FROM provenance WHERE seq = 1", []).unwrap();
    drop(conn);
    is("new");
    let newer = back_up(&place, &["--tag", "newer"]);
    run(&place, &["restore", "--archive", older.to_str().unwrap(), "--log", "log.jsonl", "--force"], &[0]);
    fs::remove_dir_all(place.path("registry.sqlite.replaced-1")).unwrap();
    let archives = vec![named(&older), named(&newer)];
    let args = args.iter().map(|arg| if *arg == "NEWER" { archives[1].0.clone() } else { (*arg).to_owned() }).collect();
    Scenario { place, args, archives, rows: [20, 20], log: "log.jsonl", has_more }
}

/// The name and the content of an archive.
fn named(archive: &Path) -> (String, Vec<u8>) {
    (format!("out/{}", archive.file_name().unwrap().to_str().unwrap()), fs::read(archive).unwrap())
}

fn run(place: &TestEnv, args: &[&str], codes: &[i32]) {
    let ran = place.run(args);
    assert!(codes.contains(&ran.code), "{args:?} ended with {}: {}", ran.code, ran.stderr);
}

/// Checks the states with several threads; each failure says in which state.
fn torture(scenario: &Scenario, judge: &(dyn Fn(&TestEnv, &State) + Sync)) {
    let before = scenario.archives.iter().map(|(_, content)| content.clone()).collect();
    let recorded = record(&scenario.place, &scenario.args, before);
    let count = recorded.states.len();
    let step = if is_long() { 1 } else { (count / SHORT).max(1) };
    eprintln!("{}: {count} states of the disk; the next command runs in one of {step}", scenario.args[0]);
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(state) = recorded.states.get(at) else { return };
                    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        look(scenario, &recorded, state, judge);
                        if at % step == 0 {
                            go_on(scenario, &recorded, state, at / step);
                        }
                    }));
                    if checked.is_err() {
                        eprintln!("FAULT {:?}: {}", scenario.args, state.story);
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner(), 0, "{:?}: so many states lose something, see above", scenario.args);
}

fn build(recorded: &Recorded, state: &State) -> TestEnv {
    let place = TestEnv::empty();
    state.build(place.folder(), &recorded.stamps);
    place
}

/// Looks for losses.
fn look(scenario: &Scenario, recorded: &Recorded, state: &State, judge: &(dyn Fn(&TestEnv, &State) + Sync)) {
    if scenario.args[0] != "prune" {
        for (name, content) in &scenario.archives {
            assert!(state.read(name) == Some(content), "{name} was there before, and is not any more");
        }
    }
    for (path, content) in state.files().filter(|(path, _)| is_archive(path)) {
        assert!(recorded.whole.iter().any(|whole| whole == content), "{} is not whole", path.display());
    }
    let place = build(recorded, state);
    is_old_or_new(scenario, &place);
    judge(&place, state);
}

/// Runs the next command: in the short form one of them, in the long form each.
fn go_on(scenario: &Scenario, recorded: &Recorded, state: &State, at: usize) {
    let newer = &scenario.archives[1].0;
    let restore = ["restore", "--archive", newer, "--log", scenario.log, "--force"];
    let again: Vec<&str> = scenario.args.iter().map(String::as_str).collect();
    let nexts: [&[&str]; 6] = [
        &["backup", "--out", "out"],
        &restore,
        &["restore", "--undo"],
        &["prune", "--out", "out", "--last", "1", "--yes"],
        &["check"],
        &again,
    ];
    for (number, next) in nexts.into_iter().enumerate() {
        if !is_long() && number != at % nexts.len() {
            continue;
        }
        let place = build(recorded, state);
        // Nothing was replaced yet, so there is nothing to undo; or what was to be verified is removed.
        let codes: &[i32] = match next {
            ["restore", "--undo"] => &[0, 4],
            ["check"] => &[0, 1],
            // Without the index of its log a database is only read where it may be written, which a backup does not do.
            ["backup", ..] if has_lone_log(&place) => &[6],
            // In the middle of a restore a folder may be on its way, and the archive says that it lacks it.
            ["backup", ..] if scenario.has_more && place.path(JOURNAL).exists() => &[0, 5],
            ["restore", ..] if !place.path(newer).exists() => continue,
            // What is there by then stays without `--force`.
            ["restore", .., "--log", "other/var/log.jsonl"] => &[0, 4],
            _ => &[0],
        };
        run(&place, next, codes);
        is_old_or_new(scenario, &place);
        if next == restore {
            assert_eq!(rows(&place.path("registry.sqlite")), Some(NEW_ROWS), "restored");
        }
        if next[0] == "restore" && !next.contains(&"--db") {
            assert!(!place.path(JOURNAL).exists(), "a restore has not ended");
        }
        if has_lone_log(&place) {
            // Starting the registry makes the index again.
            start_the_registry(&place);
        }
        // Whatever it did, everything goes on.
        let is_on_its_way = scenario.has_more && place.path(JOURNAL).exists();
        run(&place, &["backup", "--out", "out"], if is_on_its_way { &[0, 5] } else { &[0] });
        if is_on_its_way {
            continue;
        }
        let is_known = |name: &String| scenario.archives.iter().any(|(known, _)| known == name);
        archives(&place).iter().filter(|name| !is_known(name)).for_each(|name| run(&place, &["verify", name], &[0]));
    }
}

fn has_lone_log(place: &TestEnv) -> bool {
    let has = |side: &str| fs::metadata(place.path(&format!("registry.sqlite{side}"))).ok().map(|found| found.len());
    has("-wal").is_some_and(|bytes| bytes > 0) && has("-shm").is_none()
}

/// Opens and closes the database as the registry does when it is started.
fn start_the_registry(place: &TestEnv) {
    let conn = Connection::open(place.path("registry.sqlite")).unwrap();
    let _: i64 = conn.query_row("SELECT count(*) FROM records", [], |row| row.get(0)).unwrap();
}

fn is_old_or_new(scenario: &Scenario, place: &TestEnv) {
    let now = rows(&place.path("registry.sqlite")).expect("the database is whole");
    assert!(now == NEW_ROWS || scenario.rows.contains(&now), "neither the old database nor the new one: {now}");
    let lines = fs::read_to_string(place.path(scenario.log)).unwrap().lines().count();
    assert!(lines == OLD_LINES || lines == NEW_LINES, "neither the old export nor the new one: {lines} lines");
    let is_pair = (now == NEW_ROWS) == (lines == NEW_LINES);
    assert!(is_pair || place.path(JOURNAL).exists(), "{now} rows with an export of {lines} lines");
    if scenario.has_more && !place.path(JOURNAL).exists() {
        let age = if now == NEW_ROWS { "new" } else { "old" };
        assert_eq!(fs::read_to_string(place.path("uploads/deep/a")).unwrap(), age, "the folder beside {now} rows");
        let more = Connection::open_with_flags(place.path("more.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let its: String = more.query_row("SELECT age FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(its, age, "the other database beside {now} rows");
    }
}

fn is_archive(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(".tar.gz"))
}

/// The archives that have their names.
fn archives(place: &TestEnv) -> Vec<String> {
    let names = fs::read_dir(place.path("out")).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| format!("out/{}", name.to_str().unwrap())).collect();
    names.retain(|name| is_archive(Path::new(name)));
    names.sort();
    names
}

#[test]
fn power_fails_during_a_backup() {
    if !has("strace") {
        return;
    }
    let scenario = scenario(&["backup", "--out", "out"]);
    let ledger = fs::read(scenario.place.path(LEDGER)).unwrap();
    torture(&scenario, &|place, state| {
        assert!(!state.is_done || archives(place).len() == 3, "it said done, and there is no archive");
        let kept = state.read(LEDGER).unwrap_or_default();
        assert!(kept.starts_with(&ledger), "a line of the ledger is lost");
        assert!(!state.is_done || kept.len() > ledger.len(), "it said done, and the ledger has no line of it");
    });
}

/// The folders for archives are made by it too.
#[test]
fn power_fails_during_the_first_backup() {
    if !has("strace") {
        return;
    }
    let scenario = scenario(&["backup", "--out", "a/b/out"]);
    torture(&scenario, &|place, state| {
        let found = fs::read_dir(place.path("a/b/out")).into_iter().flatten().map(|entry| entry.unwrap().path());
        assert!(
            !state.is_done || found.filter(|path| is_archive(path)).count() == 1,
            "it said done, and there is no archive"
        );
        let ledger = state.read("a/b/out/registry-backup-ledger.jsonl");
        assert!(
            !state.is_done || ledger.is_some_and(|lines| lines.ends_with(b"}\n")),
            "it said done, and there is no ledger"
        );
    });
}

#[test]
fn power_fails_during_a_restore() {
    if !has("strace") {
        return;
    }
    let scenario = Scenario {
        rows: [20, NEW_ROWS],
        ..scenario(&["restore", "--archive", "NEWER", "--log", "log.jsonl", "--force"])
    };
    let old = fs::read(scenario.place.path("registry.sqlite")).unwrap();
    torture(&scenario, &|place, state| {
        let now = rows(&place.path("registry.sqlite"));
        assert!(!state.is_done || now == Some(NEW_ROWS), "it said done, and the database is the old one");
        let kept = state.read("registry.sqlite.replaced-1/database");
        assert!(now == Some(20) || kept == Some(&old), "the old database is lost");
    });
}

/// The export has a folder of its own, so that a sync for the one is none for the other.
/// What else belongs to the registry is replaced with its database, or not at all.
#[test]
fn power_fails_during_a_restore_and_an_undo_with_what_is_included() {
    if !has("strace") {
        return;
    }
    let restore = ["restore", "--archive", "NEWER", "--log", "log.jsonl", "--force"];
    let scenario = scenario_with(&restore, true);
    let is_new = |place: &TestEnv, state: &State| {
        assert!(!state.is_done || rows(&place.path("registry.sqlite")) == Some(NEW_ROWS), "it said done, and is not");
    };
    torture(&scenario, &is_new);
    let mut scenario = scenario_with(&["restore", "--undo"], true);
    let newer = scenario.archives[1].0.clone();
    run(&scenario.place, &["restore", "--archive", &newer, "--log", "log.jsonl", "--force"], &[0]);
    scenario.rows = [20, NEW_ROWS];
    torture(&scenario, &|place, state| {
        assert!(!state.is_done || rows(&place.path("registry.sqlite")) == Some(20), "it said done, and is not");
    });
}

#[test]
fn power_fails_during_a_restore_with_an_export_elsewhere() {
    if !has("strace") {
        return;
    }
    let args = ["restore", "--archive", "NEWER", "--log", "elsewhere/log.jsonl", "--force"];
    let scenario = Scenario { rows: [20, NEW_ROWS], log: "elsewhere/log.jsonl", ..scenario(&args) };
    fs::create_dir(scenario.place.path("elsewhere")).unwrap();
    fs::rename(scenario.place.path("log.jsonl"), scenario.place.path(scenario.log)).unwrap();
    let old_log = fs::read(scenario.place.path(scenario.log)).unwrap();
    let old = fs::read(scenario.place.path("registry.sqlite")).unwrap();
    torture(&scenario, &|place, state| {
        let now = rows(&place.path("registry.sqlite"));
        assert!(!state.is_done || now == Some(NEW_ROWS), "it said done, and the database is the old one");
        let kept = state.read("registry.sqlite.replaced-1/database");
        assert!(now == Some(20) || kept == Some(&old), "the old database is lost");
        let places = ["elsewhere/log.jsonl", "registry.sqlite.replaced-1/provenance.jsonl"];
        assert!(places.iter().any(|path| state.read(path) == Some(&old_log)), "the old export is lost");
    });
}

/// The old database has a log with a committed row, as a registry that was killed leaves it.
#[test]
fn power_fails_during_a_restore_over_a_log() {
    if !has("strace") {
        return;
    }
    let scenario = Scenario {
        rows: [19, NEW_ROWS],
        ..scenario(&["restore", "--archive", "NEWER", "--log", "log.jsonl", "--force"])
    };
    let sql = "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; DELETE FROM provenance WHERE seq = 1";
    OtherProcess::open(&scenario.place.path("registry.sqlite"), sql).kill();
    torture(&scenario, &|place, state| {
        let now = rows(&place.path("registry.sqlite"));
        assert!(!state.is_done || now == Some(NEW_ROWS), "it said done, and the database is the old one");
        let kept = || rows(&place.path("registry.sqlite.replaced-1/database"));
        assert!(now == Some(19) || kept() == Some(19), "the old database is lost");
    });
}

/// Where there was none, folders and all.
#[test]
fn power_fails_during_a_restore_to_a_new_place() {
    if !has("strace") {
        return;
    }
    let args = ["restore", "--archive", "NEWER", "--db", "new/var/registry.sqlite", "--log", "other/var/log.jsonl"];
    let scenario = scenario(&args);
    torture(&scenario, &|place, state| {
        let now = place.path("new/var/registry.sqlite");
        let now = now.exists().then(|| rows(&now));
        assert!(now.is_none_or(|now| now == Some(NEW_ROWS)), "a part of a database: {now:?}");
        assert!(!state.is_done || now.is_some(), "it said done, and there is no database");
        let log = place.path("other/var/log.jsonl");
        let lines = log.exists().then(|| fs::read_to_string(log).unwrap().lines().count());
        assert!(lines.is_none_or(|lines| lines == NEW_LINES), "a part of an export: {lines:?}");
        assert!(!state.is_done || lines.is_some(), "it said done, and there is no export");
    });
}

#[test]
fn power_fails_during_an_undo() {
    if !has("strace") {
        return;
    }
    let scenario = Scenario { rows: [NEW_ROWS, 20], ..scenario(&["restore", "--undo"]) };
    let old = fs::read(scenario.place.path("registry.sqlite")).unwrap();
    let restore = ["restore", "--archive", &scenario.archives[1].0, "--log", "log.jsonl", "--force"];
    run(&scenario.place, &restore, &[0]);
    let new = fs::read(scenario.place.path("registry.sqlite")).unwrap();
    torture(&scenario, &|place, state| {
        let now = rows(&place.path("registry.sqlite"));
        assert!(!state.is_done || now == Some(20), "it said done, and the database is the restored one");
        let places = ["registry.sqlite", "registry.sqlite.replaced-1/database", "registry.sqlite.replaced-2/database"];
        for (content, what) in [(&old, "old"), (&new, "restored")] {
            assert!(places.iter().any(|path| state.read(path) == Some(content)), "the {what} database is lost");
        }
    });
}

#[test]
fn power_fails_during_a_prune() {
    if !has("strace") {
        return;
    }
    let mut scenario = scenario(&["prune", "--out", "out", "--last", "1", "--yes"]);
    let newest = back_up(&scenario.place, &["--tag", "newest"]);
    scenario.archives.push(named(&newest));
    let newest = named(&newest).0;
    torture(&scenario, &|place, state| {
        assert!(place.path(&newest).exists(), "the newest is gone");
        // Since the restore the registry is another file, so the archives from before are counted by themselves.
        assert!(!state.is_done || archives(place).len() == 2, "it said done, and what it removed is back");
    });
}

#[test]
fn power_fails_while_an_archive_is_verified() {
    if !has("strace") {
        return;
    }
    torture(&scenario(&["verify", "NEWER"]), &|_, _| ());
}
