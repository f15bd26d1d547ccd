//! Looks beside writers that never rest, and beside somebody who meddles with the files that SQLite keeps beside a database.

#![allow(clippy::disallowed_methods, reason = "tests make and damage their own files")]

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use crate::{
    Database, Error, QueryCaps, READ_BUDGET, Snapshot,
    connection::vfs,
    testing::{Scene, ample},
};
use vitalsign_base::clock::Deadline;

/// Looks beside one writer. Each takes some milliseconds, in which the writer commits several times.
const LOOKS: usize = 60;

/// Two tables that every commit leaves with the same number of rows.
const PAIR: &str = "CREATE TABLE a(x); CREATE TABLE b(x); INSERT INTO a VALUES (0); INSERT INTO b VALUES (0);";

const COMMIT: &str = "BEGIN IMMEDIATE; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); COMMIT;";

fn count(snapshot: &Snapshot<'_>, table: &str) -> Result<i64, Error> {
    snapshot.number(&format!("SELECT count(*) FROM {table}"))
}

/// Looks again and again, and gives the rows that were seen first and last. On a busy machine the writer may not get its turn for a
/// while: then it goes on until another commit was seen, for a minute at most.
fn pairs(registry: &Database) -> (i64, i64) {
    let mut seen: Vec<i64> = Vec::new();
    let deadline = Deadline::after(Duration::from_secs(60));
    for turn in 0.. {
        if turn >= LOOKS && (seen.first() < seen.last() || deadline.has_passed()) {
            break;
        }
        let (a, b) = registry.look(ample(), |snapshot| Ok((count(snapshot, "a")?, count(snapshot, "b")?))).unwrap();
        assert_eq!(a, b, "half of a commit was seen");
        assert!(seen.last().is_none_or(|last| *last <= a), "an older state was seen");
        seen.push(a);
        if turn % 10 == 9 {
            registry.pool.close_idle();
        }
    }
    (seen[0], seen[seen.len() - 1])
}

#[test]
fn a_rollback_writer_without_a_pause_neither_shuts_looks_out_nor_is_held_up() {
    let scene = Scene::with(PAIR);
    let mut writer = scene.other_process("PRAGMA synchronous = off; PRAGMA busy_timeout = 60000");
    writer.forever(COMMIT);
    let registry = scene.registry();
    let (first, last) = pairs(&registry);
    assert!(last > first, "no commit came through");
    let caps = QueryCaps { max_rows: 1, max_bytes: 1000, time: READ_BUDGET * 1000 };
    for _ in 0..LOOKS {
        registry.query("SELECT count(*) FROM a", &[], &caps, ample()).unwrap();
    }
}

#[test]
fn a_wal_writer_without_a_pause_is_seen_commit_by_commit() {
    let scene = Scene::empty();
    let mut writer = scene.other_process("PRAGMA journal_mode = wal; PRAGMA synchronous = off;");
    writer.sql(PAIR);
    writer.forever(COMMIT);
    let (first, last) = pairs(&scene.registry());
    assert!(last > first, "the log was not followed");
}

#[test]
fn a_long_log_is_read_to_its_end() {
    // Its index has several regions: the first holds 4,062 frames, each further one 4,096.
    let scene = Scene::empty();
    let mut writer =
        scene.other_process("PRAGMA page_size = 512; PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;");
    writer.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 0)");
    let grow = "INSERT INTO t SELECT NULL, zeroblob(400) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 6000) SELECT n FROM c)";
    let registry = scene.registry();
    for turn in 1..=4 {
        writer.sql(grow);
        writer.sql(&format!("UPDATE t SET x = {turn} WHERE id = 1"));
        let seen = registry
            .look(ample(), |snapshot| {
                let newest = snapshot.number("SELECT max(id) FROM t")?;
                Ok((snapshot.number("SELECT x FROM t WHERE id = 1")?, newest))
            })
            .unwrap();
        assert_eq!(seen, (turn, 1 + turn * 6000));
    }
}

#[test]
fn an_index_that_is_cut_under_a_look_kills_nobody() {
    let scene = Scene::empty();
    let mut writer = scene.other_process("PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;");
    writer.sql(PAIR);
    let index = fs::read(scene.side("-shm")).unwrap();
    let cut = || fs::OpenOptions::new().write(true).open(scene.side("-shm")).unwrap().set_len(0).unwrap();
    let registry = scene.registry();
    let look = |deadline| {
        registry.look(deadline, |snapshot| {
            cut();
            count(snapshot, "b")
        })
    };
    assert_eq!(look(ample()), Ok(1), "the transaction has a copy of its own");
    // The connection that has just been used still maps the file, and a new one finds it empty.
    for _ in 0..2 {
        let trouble = look(Deadline::after(READ_BUDGET * 4)).unwrap_err();
        assert!(!trouble.is_damage() && trouble.is_of_database(), "{trouble:?}");
        registry.pool.close_idle();
    }
    fs::write(scene.side("-shm"), index).unwrap();
    assert_eq!(look(ample()), Ok(1), "it recovers by itself");
}

#[test]
fn what_blocks_whoever_opens_it_is_refused_unopened() {
    for suffix in ["-wal", "-shm", "-journal"] {
        let scene = Scene::with("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
        let refused = || {
            let registry = scene.registry();
            let looked = registry.look(ample(), |snapshot| snapshot.user_version()).unwrap_err();
            assert!(registry.wal_state(4096, None, Duration::ZERO).is_ok(), "the log is measured without opening it");
            looked
        };
        let expected = Error::SpecialFile { path: scene.path(), suffix };
        let pipe = scene.folder().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        symlink(&pipe, scene.side(suffix)).unwrap();
        assert_eq!(refused(), expected, "a link to a pipe");
        fs::rename(&pipe, scene.side(suffix)).unwrap();
        assert_eq!(refused(), expected, "a pipe");
        fs::remove_file(scene.side(suffix)).unwrap();
        fs::create_dir(scene.side(suffix)).unwrap();
        assert_eq!(refused(), expected, "a folder");
    }
}

#[test]
fn a_log_for_whose_recovery_there_is_no_time_is_named() {
    let scene = Scene::empty();
    let mut writer = scene.other_process("PRAGMA journal_mode = wal");
    writer.sql(PAIR);
    writer.kill();
    scene.unchanged(|registry| {
        let trouble = registry.look(Deadline::after(Duration::ZERO), |snapshot| count(snapshot, "a")).unwrap_err();
        assert_eq!(trouble, Error::WalIndex(scene.path()));
        assert_eq!(registry.look(ample(), |snapshot| count(snapshot, "a")), Ok(1));
    });
}

#[test]
fn a_look_that_was_kept_waiting_is_repeated_and_one_that_computes_is_not_for_long() {
    let scene = Scene::with(PAIR);
    let registry = scene.registry();
    let out_of_time = || Error::OutOfTime { path: scene.path(), limit: READ_BUDGET };
    let mut turns = 0;
    let found = registry.look(ample(), |snapshot| {
        turns += 1;
        // It has had no processor time to speak of.
        if turns < 20 { Err(out_of_time()) } else { count(snapshot, "a") }
    });
    assert_eq!((found, turns), (Ok(1), 20));
    turns = 0;
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT sum(n) FROM c";
    let part = registry.read_part(ample(), |snapshot| {
        turns += 1;
        snapshot.number(endless)
    });
    assert_eq!((part, turns), (Err(out_of_time()), 1), "whoever takes a smaller part next time is told at once");
    // SQLite tells of an interrupt that comes while it sets up a virtual table as of a plain error.
    let part = registry.read_part(ample(), |snapshot| {
        snapshot.number(endless).map_err(|_| Error::Other {
            path: scene.path(),
            code: 1,
            detail: "vtable constructor failed".to_owned(),
        })
    });
    assert_eq!(part, Err(out_of_time()));
    let soon = Deadline::after(READ_BUDGET * 4);
    assert_eq!(registry.look(soon, |snapshot| snapshot.number(endless)).unwrap_err().code(), "read-budget");
}

#[test]
fn reading_the_head_keeps_the_locks_of_this_process() {
    let scene = Scene::with(PAIR);
    let inode = format!(":{} ", vitalsign_base::files::stat(&scene.path()).unwrap().unwrap().id.inode);
    let process = format!(" {} ", std::process::id());
    let locks = || {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.lines().filter(|line| line.contains(&inode) && line.contains(&process)).count()
    };
    assert_eq!(locks(), 0);
    let registry = scene.registry();
    registry
        .look(ample(), |snapshot| {
            count(snapshot, "a")?;
            let held = locks();
            assert!(vfs::head(&scene.path(), 100).unwrap().starts_with(b"SQLite format 3\0"));
            assert_eq!((held > 0, locks()), (true, held));
            Ok(())
        })
        .unwrap();
    assert_eq!(vfs::head(&scene.path(), 1 << 20).unwrap().len(), 3 * 4096, "no more than there is");
    assert!(vfs::head(&scene.side("-none"), 100).is_err());
}

#[test]
fn no_database_is_mapped_into_memory() {
    // A file that is cut under a mapping kills whoever touches it.
    let scene = Scene::with("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
    let mapped = || scene.registry().look(ample(), |snapshot| snapshot.number("PRAGMA mmap_size"));
    assert_eq!(mapped(), Ok(0), "alone");
    let mut writer = scene.other_process("INSERT INTO t VALUES (1)");
    assert_eq!(mapped(), Ok(0), "with a log");
    writer.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    writer.close();
    scene.sql("PRAGMA journal_mode = delete");
    assert_eq!(mapped(), Ok(0), "with a rollback journal");
}

#[test]
fn the_head_of_the_index_is_read_without_a_descriptor_of_its_own() {
    let scene = Scene::with(PAIR);
    let head = || scene.registry().look(ample(), |snapshot| Ok(snapshot.wal_index_head())).unwrap();
    assert_eq!(head(), None, "a rollback journal has no index");
    let mut writer = scene.other_process("PRAGMA journal_mode = wal");
    writer.sql(COMMIT);
    assert_eq!(head().unwrap()[..], fs::read(scene.side("-shm")).unwrap()[..vfs::INDEX_HEAD_BYTES]);
    writer.kill();
    assert_eq!(head(), None, "SQLite has built one of its own");
}
