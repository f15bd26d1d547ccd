//! Registries in places where they lie badly: mounts of many kinds, full file systems, users without rights, and processes that
//! work on other files than the one at the path.
//!
//! Most of it only root can set up. As another user such a test says so and shows nothing; continuous integration runs as root.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    env::{TestEnv, entry, skipped},
    other::OtherProcess,
};

/// A mount, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts something at `point`, or says that this cannot be done here.
    fn at(point: &Path, args: &[&str]) -> Option<Self> {
        let mounted = mount(args, point).then(|| Self(point.to_owned()));
        if mounted.is_none() {
            skipped(&format!("`mount {} {}` is not possible here", args.join(" "), point.display()));
        }
        mounted
    }

    /// Another view of `from`.
    fn bound(from: &Path, point: &Path) -> Option<Self> {
        Self::at(point, &["--bind", from.to_str().unwrap()])
    }

    /// A small file system in memory with room for a few files.
    fn memory(point: &Path) -> Option<Self> {
        fs::create_dir(point).unwrap();
        Self::at(point, &["-t", "tmpfs", "-o", "size=30m,nr_inodes=40", "test"])
    }

    fn change(&self, options: &str) -> bool {
        mount(&["-o", options], &self.0)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).stderr(Stdio::null()).status();
        assert!(done.is_ok_and(|status| status.success()), "a mount stays behind at {}", self.0.display());
    }
}

fn mount(args: &[&str], point: &Path) -> bool {
    let status = Command::new("mount").args(args).arg(point).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// What one check says of `db`: its status, then each finding that it has, by status and code.
fn says(place: &TestEnv, db: &str, check: &str) -> (String, Value) {
    let before = place.listing();
    let ran = place.run(["check", "--format", "json", "--db", db]);
    assert_eq!(place.listing(), before, "looking changed something");
    let report = ran.report();
    let entry = entry(&report, check);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = entry["findings"].as_array().unwrap().iter();
    let codes: Vec<_> = findings.map(|one| format!("{} {}", text(&one["status"]), text(&one["code"]))).collect();
    let mut said = vec![text(&entry["status"])];
    said.extend(codes);
    (said.join(", "), report)
}

fn sqlite_says(place: &TestEnv, db: &str) -> String {
    says(place, db, "sqlite").0
}

/// The first finding of a check, with the number of a process replaced.
fn first_message(report: &Value, check: &str, pid: u32) -> String {
    let message = entry(report, check)["findings"][0]["message"].as_str().unwrap();
    assert!(message.contains(&format!("process {pid} (`e2e")), "it names the process {pid}: {message}");
    message.replace(&format!("process {pid} "), "process PID ")
}

#[test]
fn a_copy_was_moved_over_a_database_in_use() {
    let place = TestEnv::with_registry(20);
    fs::copy(place.path("registry.sqlite"), place.path("copy")).unwrap();
    let registry = OtherProcess::open(&place.path("registry.sqlite"), "DELETE FROM provenance");
    assert_eq!(sqlite_says(&place, "registry.sqlite"), "ok");
    fs::rename(place.path("copy"), place.path("registry.sqlite")).unwrap();
    fs::remove_file(place.path("registry.sqlite-wal")).unwrap();
    fs::remove_file(place.path("registry.sqlite-shm")).unwrap();
    let (said, report) = says(&place, "registry.sqlite", "sqlite");
    assert_eq!(said, "error, error deleted-in-use");
    assert_eq!((&report["status"], &entry(&report, "sqlite")["critical"]), (&"error".into(), &true.into()));
    let message = first_message(&report, "sqlite", registry.id());
    assert!(message.contains("still writes to a file that was deleted or replaced, `"), "{message}");
    registry.kill();
    assert_eq!(sqlite_says(&place, "registry.sqlite"), "ok");
}

#[test]
fn a_database_in_use_was_moved_away_and_copied_back() {
    let place = TestEnv::with_registry(20);
    let registry = OtherProcess::open(&place.path("registry.sqlite"), "DELETE FROM provenance");
    fs::rename(place.path("registry.sqlite"), place.path("registry.old")).unwrap();
    fs::copy(place.path("registry.old"), place.path("registry.sqlite")).unwrap();
    let (said, report) = says(&place, "registry.sqlite", "sqlite");
    assert!(said.starts_with("error, error renamed-in-use"), "{said}");
    let message = first_message(&report, "sqlite", registry.id());
    assert!(message.contains("together with another database file"), "{message}");
}

#[test]
fn databases_that_only_share_a_name_are_no_second_truth() {
    let (place, elsewhere) = (TestEnv::with_registry(20), TestEnv::with_registry(20));
    // As another registry that was deleted while in use, and one whose folder is gone with it.
    let first = OtherProcess::open(&elsewhere.path("registry.sqlite"), "DELETE FROM provenance");
    fs::remove_file(elsewhere.path("registry.sqlite")).unwrap();
    assert_eq!(sqlite_says(&place, "registry.sqlite"), "ok");
    drop(elsewhere);
    assert_eq!(sqlite_says(&place, "registry.sqlite"), "ok");
    first.kill();
}

#[test]
fn a_database_that_a_container_has_as_a_folder_or_as_a_single_file() {
    let place = TestEnv::empty();
    for name in ["host/var/registry.sqlite", "folder/none", "single/registry.sqlite"] {
        place.write(name, "");
    }
    fs::rename(TestEnv::with_registry(20).path("registry.sqlite"), place.path("host/var/registry.sqlite")).unwrap();
    let db = "host/var/registry.sqlite";
    let write = "PRAGMA wal_autocheckpoint = 0; DELETE FROM provenance";

    let Some(folder) = Mounted::bound(&place.path("host/var"), &place.path("folder")) else { return };
    let application = OtherProcess::open(&place.path("folder/registry.sqlite"), write);
    assert_eq!(sqlite_says(&place, db), "ok", "the log lies beside the database in both views");
    application.close();
    drop(folder);

    let Some(_file) = Mounted::bound(&place.path(db), &place.path("single/registry.sqlite")) else { return };
    assert_eq!(sqlite_says(&place, db), "ok", "nobody has it open");
    assert_eq!(sqlite_says(&place, "single/registry.sqlite"), "warn, warn single-file-mount");
    let application = OtherProcess::open(&place.path("single/registry.sqlite"), write);
    let (said, report) = says(&place, db, "sqlite");
    assert_eq!(said, "error, error log-elsewhere");
    let message = first_message(&report, "sqlite", application.id());
    assert!(
        message.contains("`[folder]/single/registry.sqlite-wal`: what it commits cannot be seen here"),
        "{message}"
    );
    fs::copy(place.path(db), place.path("copy")).unwrap();
    fs::rename(place.path("copy"), place.path(db)).unwrap();
    let (said, report) = says(&place, db, "sqlite");
    assert_eq!(said, "error, error deleted-in-use", "the container keeps the file that was replaced");
    let message = first_message(&report, "sqlite", application.id());
    assert!(message.contains("still writes to a file that was deleted or replaced"), "{message}");
    application.close();
    assert_eq!(sqlite_says(&place, db), "ok");
}

/// Backs `db` up, and gives the exit code with what is said, and the archives that are there then.
fn backs_up(place: &TestEnv, db: &str, more: &[&str]) -> (i32, String, Vec<Value>) {
    let ran = place.run([&["backup", "--db", db, "--out", "out"], more].concat());
    let listed = place.run(["list", "--out", "out", "--json"]);
    (ran.code, ran.stderr, serde_json::from_str(&listed.stdout).unwrap())
}

#[test]
fn no_backup_is_proven_while_a_process_works_on_other_files() {
    let place = TestEnv::with_registry(20);
    fs::copy(place.path("registry.sqlite"), place.path("copy")).unwrap();
    let registry = OtherProcess::open(&place.path("registry.sqlite"), "DELETE FROM provenance");
    fs::rename(place.path("copy"), place.path("registry.sqlite")).unwrap();
    fs::remove_file(place.path("registry.sqlite-wal")).unwrap();
    fs::remove_file(place.path("registry.sqlite-shm")).unwrap();
    let (code, said, archives) = backs_up(&place, "registry.sqlite", &[]);
    let process = format!("registry.sqlite: process {} (`e2e", registry.id());
    assert!(said.contains(&process) && said.contains("; no archive was made\n"), "{said}");
    assert_eq!((code, archives.len()), (4, 0));
    let note = fs::read_dir(place.path("out")).unwrap().next().unwrap().unwrap().file_name();
    assert!(note.to_str().unwrap().starts_with("registry-backup-failed-"), "it is remembered");

    let (code, said, archives) = backs_up(&place, "registry.sqlite", &["--despite-other-writers"]);
    assert!(said.starts_with("vitalsign: the archive was made, but it is incomplete: process "), "{said}");
    assert_eq!((code, &archives[0]["standing"]), (0, &"incomplete".into()));
    for (how, out) in [("--no-verify", "quick"), ("--raw", "raw")] {
        let ran = place.run(["backup", "--db", "registry.sqlite", "--out", out, "--despite-other-writers", how]);
        assert!(ran.stderr.contains("the archive was made, but it is incomplete: process "), "{}", ran.stderr);
        assert_eq!(place.run(["list", "--out", out, "--json"]).report()[0]["standing"], "incomplete", "{how}");
    }
    registry.kill();
    let archive = archives[0]["path"].as_str().unwrap();
    let verified = place.run(["verify", archive]);
    assert_eq!(verified.code, 5, "what is missing is missing for ever");
    assert!(
        verified.stderr.contains("lacks rows that were committed before the backup: process "),
        "{}",
        verified.stderr
    );
    let (.., archives) = backs_up(&place, "registry.sqlite", &[]);
    let standings: Vec<_> = archives.iter().map(|one| &one["standing"]).collect();
    assert_eq!(standings, ["verified", "incomplete"]);
    let restored = place.run(["restore", "--archive", archive, "--db", "back.sqlite", "--log", "back.jsonl"]);
    assert!(restored.stdout.contains("rows that were committed before the backup are missing"), "{}", restored.stdout);
}

#[test]
fn a_process_that_only_a_lease_shows() {
    let apart = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !Command::new("unshare").args(apart).arg("true").output().is_ok_and(|output| output.status.success()) {
        return skipped("`unshare --user --pid --mount-proc` is not possible here, so no process was hidden");
    }
    let place = TestEnv::with_registry(20);
    let hidden = |args: &[&str]| {
        let plain = place.command(args);
        let mut command = Command::new("unshare");
        command.args(apart).arg(plain.get_program()).args(plain.get_args()).current_dir(place.folder()).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        place.finish(command.output().unwrap())
    };
    let archive = place.run(["backup", "--db", "registry.sqlite", "--out", "out"]).stdout.trim().to_owned();
    let restore = ["restore", "--force", "--archive", &archive, "--db", "registry.sqlite", "--log", "log.jsonl"];
    let backup = ["backup", "--db", "registry.sqlite", "--out", "out2"];

    // Idle with a rollback journal: neither a lock nor a log.
    let registry =
        OtherProcess::open(&place.path("registry.sqlite"), "PRAGMA journal_mode = DELETE; DELETE FROM provenance");
    let before = fs::read(place.path("registry.sqlite")).unwrap();
    let ran = hidden(&restore);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("open in another process, which may run in another container"), "{}", ran.stderr);
    assert_eq!(fs::read(place.path("registry.sqlite")).unwrap(), before);
    assert_eq!(hidden(&backup).code, 0, "its locks protect a backup");
    registry.close();
    assert_eq!(hidden(&restore).code, 0);

    // Through a name in another folder, where its log lies.
    place.write("elsewhere/none", "");
    fs::hard_link(place.path("registry.sqlite"), place.path("elsewhere/registry.sqlite")).unwrap();
    let write = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; DELETE FROM provenance";
    let registry = OtherProcess::open(&place.path("elsewhere/registry.sqlite"), write);
    let ran = hidden(&backup);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("its log lies elsewhere"), "{}", ran.stderr);
    registry.close();
    assert_eq!(hidden(&backup).code, 0);
}

#[test]
fn a_file_that_is_mounted_alone_is_not_restored_over() {
    let place = TestEnv::with_registry(20);
    place.write("single/registry.sqlite", "");
    let Some(_file) = Mounted::bound(&place.path("registry.sqlite"), &place.path("single/registry.sqlite")) else {
        return;
    };
    let archive = place.run(["backup", "--db", "registry.sqlite", "--out", "out"]).stdout.trim().to_owned();
    let before = fs::metadata(place.path("registry.sqlite")).unwrap().modified().unwrap();
    let db = "single/registry.sqlite";
    let ran = place.run(["restore", "--force", "--archive", &archive, "--db", db, "--log", "single/log.jsonl"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("single/registry.sqlite is a mount point"), "{}", ran.stderr);
    assert_eq!(fs::metadata(place.path("registry.sqlite")).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_dir(place.path("single")).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn file_systems_and_mounts_that_are_read_only() {
    let place = TestEnv::empty();
    let Some(memory) = Mounted::memory(&place.path("m")) else { return };
    fs::copy(TestEnv::with_registry(20).path("registry.sqlite"), place.path("m/registry.sqlite")).unwrap();
    assert_eq!(sqlite_says(&place, "m/registry.sqlite"), "ok");

    fs::create_dir(place.path("sidecar")).unwrap();
    let Some(sidecar) = Mounted::bound(&place.path("m"), &place.path("sidecar")) else { return };
    assert!(sidecar.change("remount,ro,bind"));
    assert_eq!(sqlite_says(&place, "sidecar/registry.sqlite"), "warn, warn read-only-mount");
    assert_eq!(sqlite_says(&place, "m/registry.sqlite"), "ok", "it is read-only for the others alone");
    let registry = OtherProcess::open(&place.path("m/registry.sqlite"), "DELETE FROM provenance");
    let (said, report) = says(&place, "sidecar/registry.sqlite", "sqlite");
    assert_eq!(said, "ok, ok read-only-mount");
    let summary = entry(&report, "sqlite")["summary"].as_str().unwrap();
    assert!(summary.contains(&format!("read-only here; process {} (`e2e", registry.id())), "{summary}");
    registry.close();
    drop(sidecar);

    assert!(memory.change("remount,ro"));
    let (said, report) = says(&place, "m/registry.sqlite", "sqlite");
    assert_eq!((said.as_str(), &report["status"]), ("error, error read-only-file-system", &"error".into()));
    assert!(memory.change("remount,rw"));
    assert_eq!(sqlite_says(&place, "m/registry.sqlite"), "ok");
}

#[test]
fn a_file_system_without_inodes() {
    let place = TestEnv::empty();
    let Some(_memory) = Mounted::memory(&place.path("m")) else { return };
    fs::copy(TestEnv::with_registry(20).path("registry.sqlite"), place.path("m/registry.sqlite")).unwrap();
    place.configure(|_| ());
    assert_eq!(says(&place, "m/registry.sqlite", "disk").0, "ok");
    let made = (0..100).take_while(|number| fs::write(place.path(&format!("m/{number}")), "").is_ok()).count();
    assert!(made < 100, "the inodes do not run out");
    let (said, report) = says(&place, "m/registry.sqlite", "disk");
    assert_eq!((said.as_str(), &report["status"]), ("error, error no-inodes", &"error".into()));
    for number in 0..made {
        fs::remove_file(place.path(&format!("m/{number}"))).unwrap();
    }
    assert_eq!(says(&place, "m/registry.sqlite", "disk").0, "ok");
}

#[test]
fn files_that_the_owner_of_the_database_cannot_write() {
    /// Neither root nor the user of this test.
    const REGISTRY_USER: u32 = 54321;
    let place = TestEnv::empty();
    fs::create_dir(place.path("var")).unwrap();
    fs::copy(TestEnv::with_registry(20).path("registry.sqlite"), place.path("var/registry.sqlite")).unwrap();
    for path in ["var", "var/registry.sqlite"] {
        if chown(place.path(path), Some(REGISTRY_USER), Some(REGISTRY_USER)).is_err() {
            skipped("only root can give files away");
            return;
        }
    }
    let mode = |path: &str, mode| fs::set_permissions(place.path(path), fs::Permissions::from_mode(mode)).unwrap();
    let db = "var/registry.sqlite";
    assert_eq!(sqlite_says(&place, db), "ok");
    mode("var", 0o555);
    assert_eq!(sqlite_says(&place, db), "error, error not-writable");
    mode("var", 0o755);
    mode(db, 0o444);
    assert_eq!(sqlite_says(&place, db), "error, error not-writable");
    mode(db, 0o644);
    let immutable = |flag| Command::new("chattr").arg(flag).arg(place.path(db)).stderr(Stdio::null()).status();
    if immutable("+i").is_ok_and(|status| status.success()) {
        let (said, report) = says(&place, db, "sqlite");
        assert!(immutable("-i").unwrap().success());
        assert_eq!(said, "error, error not-writable");
        let message = entry(&report, "sqlite")["findings"][0]["message"].as_str().unwrap();
        assert!(message.ends_with("cannot be written, because it is marked immutable"), "{message}");
    } else {
        skipped("`chattr +i` is not possible here");
    }
    assert_eq!(sqlite_says(&place, db), "ok");
}

#[test]
fn a_reader_that_pins_a_log_far_larger_than_the_database() {
    let place = TestEnv::with_registry(20);
    place.configure(|_| ());
    let db = place.path("registry.sqlite");
    let mut reader = OtherProcess::open(&db, "BEGIN; SELECT count(*) FROM records");
    let mut writer =
        OtherProcess::open(&db, "PRAGMA synchronous = OFF; PRAGMA cache_spill = OFF; CREATE TABLE scratch(a)");
    writer.sql("INSERT INTO scratch SELECT randomblob(3000) FROM records, records AS more");
    assert_eq!(says(&place, "registry.sqlite", "wal").0, "ok", "a reader on a small log");
    for _ in 0..12 {
        writer.sql("UPDATE scratch SET a = randomblob(3000)");
    }
    let (said, report) = says(&place, "registry.sqlite", "wal");
    assert_eq!(said, "warn, warn wal-pinned");
    let message = entry(&report, "wal")["findings"][0]["message"].as_str().unwrap();
    assert!(message.contains(&format!("is open in process {} (`e2e", reader.id())), "{message}");
    reader.sql("COMMIT");
    let (said, _) = says(&place, "registry.sqlite", "wal");
    assert_eq!(said, "warn, warn wal-size", "nobody keeps it from being written back, and it has not been yet");
    writer.sql("PRAGMA wal_checkpoint(PASSIVE)");
    let (said, report) = says(&place, "registry.sqlite", "wal");
    assert_eq!(said, "ok", "the file stays as large, but is not needed any more");
    let measures = entry(&report, "wal")["measures"].as_array().unwrap();
    let measure = |name: &str| measures.iter().find(|one| one["name"] == name).unwrap();
    assert!(measure("wal_bytes")["value"].as_f64().unwrap() > 16_000_000.0);
    assert_eq!(
        (&measure("wal_pages_pending")["value"], &measure("wal_pages_pending")["exactness"]),
        (&0.0.into(), &"exact".into())
    );
}
