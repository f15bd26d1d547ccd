//! Backups that fail are remembered by the check until one succeeds, however they fail.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{REGISTRY, TestRegistry, at};
use crate::backup::{LastRun, catalogue::attempt::Attempt};
use vitalsign_base::files;

/// What the check says of the bench's database and its folder `out`.
fn says(bench: &TestRegistry) -> String {
    said(&bench.db(), &bench.path("out")).replace(bench.folder.path().to_str().unwrap(), "DIR")
}

fn said(db: &Path, dir: &Path) -> String {
    super::check::said(db.to_owned(), dir.to_owned(), true, "2026-11-24T13:00:00Z", LastRun::default())
}

/// The markers in a folder.
fn markers(folder: PathBuf) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_str().unwrap().contains("backup-failed-")).collect()
}

/// Makes a backup of a database that is none for a moment.
fn fail(bench: &TestRegistry) {
    let good = bench.read("r.sqlite");
    fs::write(bench.db(), "no database at all").unwrap();
    bench.back_up(|_| ()).unwrap_err();
    fs::write(bench.db(), good).unwrap();
}

#[test]
fn a_failure_is_remembered_until_a_backup_succeeds() {
    let bench = TestRegistry::with(REGISTRY);
    bench.back_up(|_| ()).unwrap();
    assert!(says(&bench).starts_with("ok"), "{}", says(&bench));
    assert_eq!(markers(bench.path("out")), Vec::<PathBuf>::new());
    fail(&bench);
    insta::assert_snapshot!(says(&bench), @"
    error: 1 backup; the newest is 1 h old, [size] KiB and verified
    - error failed: the backup that began at 2026-11-24T12:00:00Z failed: `DIR/r.sqlite` is not a SQLite database
    ");
    // Neither a raw copy, which proves nothing, nor a backup of another database, nor one into another folder is the one that
    // is missing.
    bench.back_up(|request| request.raw = true).unwrap();
    fs::copy(bench.db(), bench.path("other.sqlite")).unwrap();
    bench.back_up_of(&bench.path("other.sqlite"), &bench.path("out"), |_| ()).unwrap();
    bench.back_up_of(&bench.db(), &bench.path("elsewhere"), |_| ()).unwrap();
    assert!(says(&bench).contains("error failed"), "{}", says(&bench));
    bench.back_up(|_| ()).unwrap();
    assert!(!says(&bench).contains("failed"), "{}", says(&bench));
    assert_eq!(markers(bench.path("out")), Vec::<PathBuf>::new());
}

#[test]
fn one_database_of_two_in_a_folder_fails_alone() {
    let bench = TestRegistry::with(REGISTRY);
    bench.back_up(|_| ()).unwrap();
    let other = bench.path("other.sqlite");
    fs::write(&other, "no database at all").unwrap();
    bench.back_up_of(&other, &bench.path("out"), |_| ()).unwrap_err();
    assert!(says(&bench).starts_with("ok"), "{}", says(&bench));
    assert!(said(&other, &bench.path("out")).contains("error failed"));
}

#[test]
fn what_is_refused_is_no_failure_and_forgets_none() {
    let bench = TestRegistry::with(REGISTRY);
    bench.back_up(|_| ()).unwrap();
    let database_files = vitalsign_sqlite::Database::new(bench.db()).database_files().unwrap();
    let refused = || {
        let lock = crate::backup::locking::lock(&database_files.real, &database_files.database, &std::env::temp_dir())
            .unwrap();
        assert_eq!(bench.back_up(|_| ()).unwrap_err().kind(), super::ErrorKind::Refused);
        drop(lock);
    };
    refused();
    assert!(says(&bench).starts_with("ok"), "{}", says(&bench));
    fail(&bench);
    refused();
    assert!(says(&bench).contains("error failed"), "{}", says(&bench));
    // A refusal after the marker was put gives back what was known before.
    let mut attempt = Attempt::new(&bench.db(), &bench.path("out"));
    attempt.begin(&at("2026-11-24T13:00:00Z"));
    attempt.end(Some(&crate::backup::Error::refused("no", "")), &at("2026-11-24T13:00:00Z"));
    assert!(says(&bench).contains("2026-11-24T12:00:00Z failed: "), "{}", says(&bench));
}

#[test]
fn one_that_is_killed_is_remembered_and_one_that_runs_is_not_a_failure() {
    let bench = TestRegistry::with(REGISTRY);
    bench.back_up(|_| ()).unwrap();
    let mut running = Attempt::new(&bench.db(), &bench.path("out"));
    running.begin(&at("2026-11-24T13:00:00Z"));
    assert!(says(&bench).starts_with("ok"), "{}", says(&bench));
    // The kernel ends the lock of a process that is killed as dropping it does.
    drop(running);
    insta::assert_snapshot!(says(&bench), @"
    error: 1 backup; the newest is 1 h old, [size] KiB and verified
    - error failed: the backup that began at 2026-11-24T13:00:00Z did not finish: its process was ended, or the machine stopped
    ");
    // What failed before the one that runs still counts.
    let mut running = Attempt::new(&bench.db(), &bench.path("out"));
    running.begin(&at("2026-11-24T14:00:00Z"));
    assert!(says(&bench).contains("began at 2026-11-24T13:00:00Z did not finish"), "{}", says(&bench));
    running.end(None, &at("2026-11-24T14:00:00Z"));
    assert!(says(&bench).starts_with("ok"), "{}", says(&bench));
}

#[test]
fn a_folder_that_cannot_be_used_is_remembered_beside_the_database() {
    let bench = TestRegistry::with(REGISTRY);
    // As an archive folder whose file system is not mounted: what is at its place is no folder that can be made into one.
    fs::write(bench.path("mount"), "").unwrap();
    let out = bench.path("mount/out");
    bench.back_up_of(&bench.db(), &out, |_| ()).unwrap_err();
    let [marker] = markers(bench.folder.path().to_owned()).try_into().unwrap();
    let text = said(&bench.db(), &out);
    assert!(text.contains("error failed: the backup that began at 2026-11-24T12:00:00Z failed: "), "{text}");
    // It is of that folder only.
    bench.back_up(|_| ()).unwrap();
    assert!(says(&bench).starts_with("ok"), "{}", says(&bench));
    assert!(marker.exists());
    fs::remove_file(bench.path("mount")).unwrap();
    bench.back_up_of(&bench.db(), &out, |_| ()).unwrap();
    assert!(!marker.exists());
}

#[test]
fn a_note_that_cannot_be_read_counts_as_a_failure() {
    let bench = TestRegistry::with(REGISTRY);
    fail(&bench);
    let [marker] = markers(bench.path("out")).try_into().unwrap();
    let found = fs::metadata(&marker).unwrap();
    assert_eq!((found.permissions().mode() & 0o777, found.len()), (0o644, files::MARKER_BYTES as u64));
    assert_eq!(found.uid(), fs::metadata(bench.path("out")).unwrap().uid());
    fs::write(&marker, "{").unwrap();
    assert!(says(&bench).contains("cannot be understood"), "{}", says(&bench));
    bench.back_up(|_| ()).unwrap();
    assert!(says(&bench).starts_with("ok"), "{}", says(&bench));
}

#[test]
fn the_longest_names_fit() {
    let bench = TestRegistry::empty();
    let deep = (0..14).fold(bench.path("out"), |path, _| path.join("\"".repeat(200)));
    let mut attempt = Attempt::new(&deep.join("r.sqlite"), &bench.path("out"));
    fs::create_dir(bench.path("out")).unwrap();
    attempt.begin(&at("2026-11-24T12:00:00Z"));
    let long = "\"".repeat(5000);
    attempt.end(Some(&crate::backup::Error::refused(long.clone(), long.clone())), &at("2026-11-24T12:00:00Z"));
    assert_eq!(markers(bench.path("out")), Vec::<PathBuf>::new());
    let failure = crate::backup::Error::Structure { what: long.clone(), problems: vec![long], hint: "" };
    let mut attempt = Attempt::new(&deep.join("r.sqlite"), &bench.path("out"));
    attempt.begin(&at("2026-11-24T12:00:00Z"));
    attempt.end(Some(&failure), &at("2026-11-24T12:00:00Z"));
    assert!(said(&deep.join("r.sqlite"), &bench.path("out")).contains("failed: the backup that began at 2026"));
}
