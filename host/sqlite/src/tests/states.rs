//! Every state that a living or dead writer leaves a database in: the rows are seen, and nothing changes.

#![allow(clippy::disallowed_methods, reason = "tests make and damage their own files")]

use std::{fs, time::Duration};

use crate::{
    Database, Error, WalState,
    connection::open,
    connection::watchdog::{LimitReached, ReadLimit, ReadLimiter},
    file::open_handles,
    read::snapshot,
    testing::{Scene, ample},
};
use vitalsign_base::{clock::Deadline, files};

const MAKE: &str = "PRAGMA journal_mode = wal; CREATE TABLE t(a); INSERT INTO t VALUES (1), (2);";

fn rows(registry: &Database) -> Result<u64, Error> {
    registry.look(ample(), |snapshot| Ok(snapshot.row_count("t")?.unwrap().rows))
}

fn mode(registry: &Database) -> String {
    registry.look(ample(), |snapshot| snapshot.journal_mode()).unwrap()
}

#[test]
fn a_cleanly_closed_wal_database() {
    let scene = Scene::with(MAKE);
    assert!(!scene.side("-wal").exists());
    scene.unchanged(|registry| {
        assert_eq!(rows(registry), Ok(2));
        assert_eq!(mode(registry), "wal");
        let nothing = WalState { bytes: 0, pending_pages: 0, is_exact: true };
        assert_eq!(registry.wal_state(4096, None, Duration::ZERO), Ok(nothing));
    });
}

#[test]
fn a_living_writer_with_rows_in_its_log() {
    let scene = Scene::empty();
    let mut writer = scene.other_process(MAKE);
    assert!(files::stat(&scene.side("-wal")).unwrap().unwrap().bytes > 0);
    scene.unchanged(|registry| {
        assert_eq!(rows(registry), Ok(2));
        assert_eq!(mode(registry), "wal");
        let log = registry.wal_state(4096, None, Duration::ZERO).unwrap();
        assert!(log.is_exact && log.pending_pages > 0, "{log:?}");
    });
    writer.sql("PRAGMA wal_checkpoint(PASSIVE)");
    scene.unchanged(|registry| {
        let log = registry.wal_state(4096, None, Duration::ZERO).unwrap();
        assert!(log.is_exact && log.pending_pages == 0 && log.bytes > 0, "{log:?}");
    });
    writer.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(files::stat(&scene.side("-wal")).unwrap().unwrap().bytes, 0);
    scene.unchanged(|registry| assert_eq!(rows(registry), Ok(2)));
    writer.sql("INSERT INTO t VALUES (3)");
    scene.unchanged(|registry| assert_eq!(rows(registry), Ok(3)));
}

#[test]
fn a_killed_writer() {
    let scene = Scene::empty();
    scene.other_process(MAKE).kill();
    scene.unchanged(|registry| assert_eq!(rows(registry), Ok(2)));
    // A crash can also leave an index that has not reached the disk.
    let size = files::stat(&scene.side("-shm")).unwrap().unwrap().bytes;
    fs::write(scene.side("-shm"), vec![0; usize::try_from(size).unwrap()]).unwrap();
    scene.unchanged(|registry| assert_eq!(rows(registry), Ok(2)));
    fs::write(scene.side("-shm"), b"").unwrap();
    scene.unchanged(|registry| assert_eq!(rows(registry), Ok(2)));
}

#[test]
fn a_log_without_its_index() {
    let scene = Scene::empty();
    scene.other_process(MAKE).kill();
    fs::remove_file(scene.side("-shm")).unwrap();
    let trouble = scene.unchanged(|registry| rows(registry).unwrap_err());
    assert!(!trouble.is_damage());
    insta::assert_snapshot!(scene.normal(&trouble.to_string()), @"`DIR/registry.db` has a `-wal` file without its `-shm` file, and reading it would create one");
}

#[test]
fn an_empty_log_left_behind() {
    let scene = Scene::with(MAKE);
    fs::write(scene.side("-wal"), b"").unwrap();
    scene.unchanged(|registry| assert_eq!(rows(registry), Ok(2)));
    fs::write(scene.side("-shm"), b"").unwrap();
    scene.unchanged(|registry| assert_eq!(rows(registry), Ok(2)));
}

#[test]
fn a_rollback_journal_database() {
    let scene = Scene::with("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    scene.unchanged(|registry| {
        assert_eq!(rows(registry), Ok(1));
        assert_eq!(mode(registry), "delete");
    });
    let _writer = scene.other_process("BEGIN IMMEDIATE; INSERT INTO t VALUES (2);");
    scene.unchanged(|registry| assert_eq!(rows(registry), Ok(1), "not committed"));
}

#[test]
fn a_look_follows_the_writers() {
    let scene = Scene::with(MAKE);
    let registry = scene.registry();
    assert_eq!(rows(&registry), Ok(2));
    let mut writer = scene.other_process("INSERT INTO t VALUES (3)");
    assert_eq!(rows(&registry), Ok(3), "the idle connection read the file alone");
    writer.sql("INSERT INTO t VALUES (4)");
    assert_eq!(rows(&registry), Ok(4));
    registry.pool.close_idle();
    writer.close();
    assert!(!scene.side("-wal").exists(), "the last close tidied up");
    assert_eq!(rows(&registry), Ok(4));
    scene.sql("PRAGMA journal_mode = delete; INSERT INTO t VALUES (5)");
    assert_eq!((rows(&registry), mode(&registry)), (Ok(5), "delete".to_owned()));
    let other = Scene::with("CREATE TABLE t(a)");
    fs::rename(other.path(), scene.path()).unwrap();
    assert_eq!(rows(&registry), Ok(0), "another file under the same name");
    fs::remove_file(scene.path()).unwrap();
    assert_eq!(rows(&registry).unwrap_err().code(), "missing");
}

#[test]
fn idle_connections_do_not_stay() {
    let scene = Scene::empty();
    let writer = scene.other_process(MAKE);
    let registry = scene.registry();
    assert_eq!(rows(&registry), Ok(2));
    let id = files::stat(&scene.path()).unwrap().unwrap().id;
    assert_eq!(open_handles::while_closed(id, Duration::from_secs(60), || ()), Some(()), "the watchdog closes them");
    writer.close();
    assert!(!scene.side("-wal").exists(), "the last close tidied up");
}

#[test]
fn a_write_during_a_look_starts_it_over() {
    let scene = Scene::with(MAKE);
    let mut looks = 0;
    let found = scene.registry().look(ample(), |snapshot| {
        looks += 1;
        if looks == 1 {
            scene.sql("INSERT INTO t VALUES (3)");
        }
        Ok(snapshot.row_count("t")?.unwrap().rows)
    });
    assert_eq!((found, looks > 1), (Ok(3), true));
}

#[test]
fn links_and_odd_names_are_followed() {
    use std::os::unix::ffi::OsStrExt as _;
    let scene = Scene::with(MAKE);
    let name = std::ffi::OsStr::from_bytes(b"a?b#c%41 \xff.db");
    let odd = scene.folder().join(name);
    fs::rename(scene.path(), &odd).unwrap();
    std::os::unix::fs::symlink(&odd, scene.path()).unwrap();
    scene.unchanged(|registry| assert_eq!(rows(registry), Ok(2)));
    assert_eq!(rows(&Database::new(odd)), Ok(2));
}

#[test]
fn a_look_ends_with_its_budget() {
    let scene = Scene::with(MAKE);
    let registry = scene.registry();
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c";
    let found = registry.look(ample(), |snapshot| snapshot.row(endless, [], |_| Ok(())));
    let trouble = found.unwrap_err();
    insta::assert_snapshot!(scene.normal(&trouble.to_string()), @"reading `DIR/registry.db` was stopped after 50 ms, so as not to hold up its write-ahead log");
    assert_eq!(rows(&registry), Ok(2), "the connection is still good");
}

#[test]
fn the_watchdog_ends_what_the_progress_handler_does_not_see() {
    let scene = Scene::with("CREATE TABLE t(a)");
    let mut open = open::ReadConnection::new(&scene.path(), open::Trust::Trusted);
    while matches!(open, Err(Error::Changing(_))) {
        open = open::ReadConnection::new(&scene.path(), open::Trust::Trusted);
    }
    let mut open = open.unwrap();
    open.conn.progress_handler(0, None::<fn() -> bool>).unwrap();
    let soon = Deadline::after(Duration::from_millis(1));
    open.limiter.arm(ReadLimit { until: soon, wal: None });
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c";
    let found = open.conn.query_row(endless, [], |row| snapshot::text(row, 0));
    assert!(found.is_err());
    assert_eq!(open.limiter.disarm(), Some(LimitReached::Time));
}

#[test]
fn a_growing_log_ends_a_read() {
    let scene = Scene::with(MAKE);
    let limiter = ReadLimiter::new();
    fs::write(scene.side("-wal"), [0; 10]).unwrap();
    let read_limit = |limit| ReadLimit { until: ample(), wal: Some((scene.side("-wal"), limit)) };
    limiter.arm(read_limit(10));
    assert!(!limiter.is_used_up());
    limiter.arm(read_limit(9));
    assert!(limiter.is_used_up());
    assert_eq!(limiter.disarm(), Some(LimitReached::WalGrowth));
}

#[test]
fn a_hot_journal_is_left_to_a_writer() {
    let scene = Scene::with("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    let spill = "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; \
                 INSERT INTO t SELECT randomblob(2000) FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 200) SELECT x FROM c);";
    scene.other_process(spill).kill();
    assert!(scene.side("-journal").exists());
    let trouble = scene.unchanged(|registry| rows(registry).unwrap_err());
    insta::assert_snapshot!(scene.normal(&trouble.to_string()), @"`DIR/registry.db` has a hot journal: a write was cut off, and nobody has rolled it back yet");
    scene.sql("SELECT count(*) FROM t");
    scene.unchanged(|registry| assert_eq!(rows(registry), Ok(1)));
}

#[test]
fn locks_are_waited_for_and_then_named() {
    let scene = Scene::with("CREATE TABLE t(a)");
    let mut writer = scene.other_process("BEGIN EXCLUSIVE");
    let soon = || Deadline::after(Duration::from_millis(30));
    let look = |registry: &Database| registry.look(soon(), |snapshot| snapshot.user_version());
    assert_eq!(scene.unchanged(look).unwrap_err().code(), "locked");
    writer.sql("COMMIT");
    assert_eq!(scene.unchanged(rows), Ok(0));
    drop(writer);
    let exclusive = "PRAGMA locking_mode = exclusive; PRAGMA journal_mode = wal; INSERT INTO t VALUES (1)";
    let writer = scene.other_process(exclusive);
    assert!(scene.side("-wal").exists() && !scene.side("-shm").exists());
    assert_eq!(scene.unchanged(look).unwrap_err().code(), "locked");
    writer.kill();
    assert_eq!(scene.unchanged(look).unwrap_err().code(), "wal-without-shm");
}

#[test]
fn a_log_that_nobody_uses_awaits_its_recovery() {
    let scene = Scene::with("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
    assert!(!scene.registry().wal_needs_recovery(), "there is no log");
    let writer = scene.other_process("INSERT INTO t VALUES (1)");
    assert!(!scene.registry().wal_needs_recovery(), "its writer is there");
    writer.kill();
    assert!(scene.registry().wal_needs_recovery());
    fs::remove_file(scene.side("-shm")).unwrap();
    assert!(scene.registry().wal_needs_recovery());
}
