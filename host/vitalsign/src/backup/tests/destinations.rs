//! Where a restore goes, and who is in the way: refused, or wholly swapped, and brought back.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use super::{ErrorKind, IncludeDestination, MustMatch, REGISTRY, TABLES, TestRegistry, content, restore, told};
use crate::{
    backup::{Error, Request, UndoRequest, beside::journal, restore::swap::Swap, tests::at, undo},
    testing::Scene,
};
use vitalsign_base::files::{ProcessLock, beside};

/// An archive with one more record than `r.sqlite` has, which is what a restore would change.
fn archive(bench: &TestRegistry) -> PathBuf {
    bench.sql("INSERT INTO records VALUES ('only in the backup', '')");
    let made = bench.back_up(|_| ()).unwrap();
    bench.sql("DELETE FROM records WHERE id = 'only in the backup'; VACUUM");
    made.path
}

fn force(bench: &TestRegistry, archive: &std::path::Path) -> Result<crate::backup::Restored, Error> {
    bench.restored(archive, "r.sqlite", |request| request.force = true)
}

#[test]
fn what_is_there_is_replaced_only_if_asked_and_brought_back() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = archive(&bench);
    fs::write(bench.path("r.sqlite.jsonl"), "old log").unwrap();
    let old = bench.read("r.sqlite");
    let before = bench.everything();
    let (kind, text) = told(&bench, bench.restored(&archive, "r.sqlite", |_| ()));
    assert_eq!((kind, text.as_str()), (ErrorKind::Refused, "DIR/r.sqlite already exists; nothing was changed"));
    bench.restored(&archive, "r.sqlite", |request| (request.force, request.dry_run) = (true, true)).unwrap();
    assert_eq!(before, bench.everything(), "a dry run changes nothing");

    let done = force(&bench, &archive).unwrap();
    assert_eq!(done.replaced, Some(fs::canonicalize(bench.folder.path()).unwrap().join("r.sqlite.replaced-1")));
    let new = bench.read("r.sqlite");
    assert!(content(&bench.db()).contains("only in the backup"));
    assert_eq!(bench.read("r.sqlite.replaced-1/database"), old);
    assert_eq!(bench.read("r.sqlite.replaced-1/provenance.jsonl"), b"old log");
    bench.undone("r.sqlite").unwrap();
    assert_eq!((bench.read("r.sqlite"), bench.read("r.sqlite.jsonl")), (old, b"old log".to_vec()));
    bench.undone("r.sqlite").unwrap();
    assert_eq!(bench.read("r.sqlite"), new, "an undo is undone");
    // Where there was no export before, there is none after an undo.
    fs::remove_file(bench.path("r.sqlite.jsonl")).unwrap();
    force(&bench, &archive).unwrap();
    assert!(bench.path("r.sqlite.jsonl").exists());
    bench.undone("r.sqlite").unwrap();
    assert!(!bench.path("r.sqlite.jsonl").exists());
    bench.undone("r.sqlite").unwrap();
    assert!(bench.path("r.sqlite.jsonl").exists());
    let (kind, text) = told(&bench, bench.undone("other"));
    assert_eq!((kind, text.contains("nothing to bring back")), (ErrorKind::Refused, true), "{text}");
}

#[test]
fn one_that_is_open_is_refused_even_with_force() {
    for journal in ["wal", "delete"] {
        let scene = Scene::with(&format!("PRAGMA journal_mode = {journal}; {REGISTRY}"));
        let bench = TestRegistry::with(REGISTRY);
        let archive = archive(&bench);
        let mut other = scene.other_process("SELECT count(*) FROM records");
        for state in ["idle", "busy"] {
            let before = scene.listing();
            let (db, log, scratch) = (scene.path(), bench.path("log"), std::env::temp_dir());
            let request = super::RestoreRequest {
                archive: &archive,
                db: &db,
                log: &log,
                force: true,
                schema_version: None,
                must_match: MustMatch::Content,
                identity: None,
                tables: TABLES,
                dry_run: false,
                despite_faults: false,
                include: IncludeDestination::Beside,
                scratch: &scratch,
            };
            let found = restore(&request, &at("2026-11-24T13:00:00Z"), &super::Silent);
            let (kind, text) = told(&bench, found);
            assert_eq!(kind, ErrorKind::Refused, "{journal} {state}: {text}");
            assert!(text.contains("is open in") && text.contains("process"), "{text}");
            assert_eq!(before, scene.listing(), "{journal} {state}");
            if state == "idle" {
                other.sql("BEGIN; SELECT * FROM records");
            }
        }
    }
}

#[test]
fn a_log_that_a_killed_registry_left_is_never_mixed_in() {
    let scene = Scene::with(&format!("PRAGMA journal_mode = wal; {REGISTRY}"));
    let bench = TestRegistry::with(REGISTRY);
    let archive = archive(&bench);
    scene.other_process("PRAGMA wal_autocheckpoint = 0; INSERT INTO records VALUES ('after the backup', '')").kill();
    assert!(fs::metadata(scene.side("-wal")).unwrap().len() > 0);
    let (db, log, scratch) = (scene.path(), bench.path("log"), std::env::temp_dir());
    let request = super::RestoreRequest {
        archive: &archive,
        db: &db,
        log: &log,
        force: true,
        schema_version: None,
        must_match: MustMatch::Content,
        identity: None,
        tables: TABLES,
        dry_run: false,
        despite_faults: false,
        include: IncludeDestination::Beside,
        scratch: &scratch,
    };
    let done = restore(&request, &at("2026-11-24T13:00:00Z"), &super::Silent).unwrap();
    let now = content(&db);
    assert!(now.contains("only in the backup") && !now.contains("after the backup"), "{now}");
    // What was replaced is one file that has the row.
    let kept = done.replaced.unwrap().join("database");
    assert!(content(&kept).contains("after the backup"));
    let request = UndoRequest { db: &db, log: None, include: &[], scratch: &scratch };
    undo(&request, &at("2026-11-24T14:00:00Z")).unwrap();
    assert!(content(&db).contains("after the backup"));
}

#[test]
fn stale_files_where_no_database_is_are_moved_aside() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = archive(&bench);
    for suffix in ["-wal", "-shm", "-journal"] {
        fs::write(bench.path(&format!("new{suffix}")), "stale").unwrap();
    }
    let done = bench.restored(&archive, "new", |_| ()).unwrap();
    for suffix in ["-wal", "-shm", "-journal"] {
        assert!(!bench.path(&format!("new{suffix}")).exists());
        assert_eq!(fs::read(beside(&done.replaced.clone().unwrap().join("database"), suffix)).unwrap(), b"stale");
    }
    assert!(content(&bench.path("new")).contains("only in the backup"));
}

#[test]
fn a_damaged_database_and_its_log_are_kept_as_they_are() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = archive(&bench);
    fs::write(bench.db(), [7; 5000]).unwrap();
    fs::write(bench.path("r.sqlite-wal"), "not a log").unwrap();
    force(&bench, &archive).unwrap();
    assert!(content(&bench.db()).contains("only in the backup"));
    assert_eq!(bench.read("r.sqlite.replaced-1/database"), [7; 5000]);
    assert_eq!(bench.read("r.sqlite.replaced-1/database-wal"), b"not a log");
    bench.undone("r.sqlite").unwrap();
    assert_eq!((bench.read("r.sqlite"), bench.read("r.sqlite-wal")), (vec![7; 5000], b"not a log".to_vec()));
}

#[test]
fn links_folders_and_new_folders() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = archive(&bench);
    fs::create_dir_all(bench.path("real/deep")).unwrap();
    fs::copy(bench.db(), bench.path("real/deep/db")).unwrap();
    symlink("real/deep/db", bench.path("link")).unwrap();
    bench.restored(&archive, "link", |request| request.force = true).unwrap();
    assert!(fs::symlink_metadata(bench.path("link")).unwrap().is_symlink());
    assert!(content(&bench.path("real/deep/db")).contains("only in the backup"));
    assert!(bench.path("real/deep/db.replaced-1/database").exists(), "beside the real file");

    fs::hard_link(bench.db(), bench.path("second")).unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    symlink("nowhere", bench.path("dangling")).unwrap();
    let before = bench.everything();
    for (name, says) in [
        ("r.sqlite", "has 2 hard links"),
        ("folder", "is a folder"),
        ("dangling", "is a symbolic link to a file that does not exist"),
        ("folder/", "is not the path of a file"),
    ] {
        let (kind, text) = told(&bench, bench.restored(&archive, name, |request| request.force = true));
        assert_eq!((kind, text.contains(says)), (ErrorKind::Refused, true), "{text}");
    }
    let inside = archive.strip_prefix(bench.folder.path()).unwrap().to_str().unwrap();
    let (kind, text) = told(&bench, bench.restored(&archive, inside, |request| request.force = true));
    assert_eq!((kind, text.contains("is the archive itself")), (ErrorKind::Refused, true), "{text}");
    assert_eq!(before, bench.everything());
    bench.restored(&archive, "new/folder/db", |_| ()).unwrap();
    assert!(content(&bench.path("new/folder/db")).contains("only in the backup"));
}

#[test]
fn one_at_a_time() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = archive(&bench);
    let held = ProcessLock::take(&beside(&fs::canonicalize(bench.db()).unwrap(), ".vitalsign-lock")).unwrap().unwrap();
    let before = bench.everything();
    let refused = [
        told(&bench, bench.back_up(|_: &mut Request<'_>| ())),
        told(&bench, force(&bench, &archive)),
        told(&bench, bench.undone("r.sqlite")),
    ];
    for (kind, text) in refused {
        assert_eq!(kind, ErrorKind::Refused);
        assert_eq!(text, "another backup or restore of DIR/r.sqlite is running; nothing was changed");
    }
    assert_eq!(before, bench.everything());
    drop(held);
    // A file that a killed process left behind is no lock.
    fs::write(bench.path("r.sqlite.vitalsign-lock"), "").unwrap();
    force(&bench, &archive).unwrap();
    assert!(!bench.path("r.sqlite.vitalsign-lock").exists());
}

#[test]
fn an_export_that_cannot_be_placed_leaves_the_database_as_it_was() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = archive(&bench);
    fs::create_dir(bench.path("r.sqlite.jsonl")).unwrap();
    let before = bench.everything();
    let (kind, text) = told(&bench, force(&bench, &archive));
    assert_eq!((kind, text.contains("is a folder")), (ErrorKind::Refused, true), "{text}");
    assert_eq!(before, bench.everything());
}

#[test]
fn a_database_in_use_at_the_last_moment_leaves_the_export_as_it_was() {
    let scene = Scene::with(&format!("PRAGMA journal_mode = wal; {REGISTRY}"));
    let (new, log, new_log) = (scene.side("-new"), scene.side(".jsonl"), scene.side(".new.jsonl"));
    let _other = scene.other_process("SELECT count(*) FROM records");
    for old in [Some("old"), None] {
        fs::write(&new, "new").unwrap();
        fs::write(&new_log, "new").unwrap();
        match old {
            Some(text) => fs::write(&log, text).unwrap(),
            None => fs::remove_file(&log).unwrap(),
        }
        let real = fs::canonicalize(scene.path()).unwrap();
        let swap = Swap {
            real: &real,
            new: Some(&new),
            log: Some((Some(&new_log), &log)),
            kind: journal::SwapKind::Restore,
            at: "",
            by: "",
            from: None,
            include: &[],
        };
        assert_eq!(crate::backup::restore::swap::swap(&swap).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(fs::read_to_string(&log).ok().as_deref(), old);
        assert!(!scene.side(".replaced-1").exists() && !scene.side(".vitalsign-restore").exists());
    }
}

#[test]
fn an_undo_brings_back_what_the_last_restore_replaced_and_nothing_older() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = archive(&bench);
    let oldest = bench.read("r.sqlite");
    force(&bench, &archive).unwrap();
    fs::remove_file(bench.db()).unwrap();
    fs::write(bench.path("r.sqlite.jsonl"), "the export before").unwrap();
    // Only the export was replaced this time.
    force(&bench, &archive).unwrap();
    bench.undone("r.sqlite").unwrap();
    assert_eq!(bench.read("r.sqlite.jsonl"), b"the export before");
    assert_ne!(bench.read("r.sqlite"), oldest);
}

/// An application may keep the file of a rollback journal that it does not need any more.
#[test]
fn a_journal_that_is_kept_is_in_nobodys_way() {
    for mode in ["persist", "truncate"] {
        let bench = TestRegistry::with(REGISTRY);
        let archive = archive(&bench);
        let sql = format!("PRAGMA journal_mode = {mode}; INSERT INTO records VALUES ('before', '')");
        bench.sql(&sql);
        assert!(bench.path("r.sqlite-journal").exists());
        force(&bench, &archive).unwrap();
        assert!(content(&bench.db()).contains("only in the backup"));
        bench.undone("r.sqlite").unwrap();
        assert!(content(&bench.db()).contains("\"before\""));
    }
}

#[test]
fn a_folder_may_hold_any_number_of_files() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = archive(&bench);
    for number in 0..100_001 {
        fs::File::create(bench.path(&number.to_string())).unwrap();
    }
    force(&bench, &archive).unwrap();
    bench.undone("r.sqlite").unwrap();
    assert_eq!(crate::backup::list(bench.folder.path(), false).unwrap(), []);
}

#[test]
fn an_undo_at_a_link_to_a_file_that_is_lost_names_that_file() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    bench.restored(&made.path, "r.sqlite", |request| request.force = true).unwrap();
    symlink("r.sqlite", bench.path("link")).unwrap();
    fs::remove_file(bench.db()).unwrap();
    let found = told(&bench, bench.undone("link"));
    assert_eq!(found.0, ErrorKind::Refused);
    assert!(
        found.1.ends_with("is a symbolic link to DIR/r.sqlite, which does not exist; nothing was changed"),
        "{found:?}"
    );
    bench.undone("r.sqlite").unwrap();
    assert!(bench.db().exists());
}

#[test]
fn what_was_replaced_is_found_by_any_number_and_by_nothing_else() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    let replaced = |number: u32| bench.path(&format!("r.sqlite.replaced-{number}"));
    let restored = || bench.restored(&made.path, "r.sqlite", |request| request.force = true).map(|done| done.replaced);
    restored().unwrap();
    fs::rename(replaced(1), replaced(10_000)).unwrap();
    for name in ["007", "+20000", "20000 old"] {
        fs::create_dir(bench.path(&format!("r.sqlite.replaced-{name}"))).unwrap();
    }
    bench.sql("INSERT INTO records VALUES ('newer', '')");
    let newer = content(&bench.db());
    let real =
        |number| Some(fs::canonicalize(bench.folder.path()).unwrap().join(format!("r.sqlite.replaced-{number}")));
    assert_eq!(restored().unwrap(), real(10_001));
    bench.undone("r.sqlite").unwrap();
    assert_eq!(content(&bench.db()), newer, "the newest is brought back");
    let found = crate::backup::replaced(&bench.db()).unwrap();
    assert_eq!(found.iter().map(|one| Some(one.path.clone())).collect::<Vec<_>>(), [real(10_002), real(10_000)]);
    fs::rename(replaced(10_002), replaced(u32::MAX)).unwrap();
    let found = told(&bench, restored());
    assert_eq!((found.0, content(&bench.db()) == newer), (ErrorKind::Refused, true), "{found:?}");
}
