//! Files that are no database, or not a whole one: one exact sentence each, and nothing changes.

#![allow(clippy::disallowed_methods, reason = "tests make and damage their own files")]

use std::{fmt::Write as _, fs, os::unix::fs::MetadataExt as _, time::Duration};

use crate::{
    Depth, Error, TransactionLimits,
    testing::{Scene, ample},
};

const MAKE: &str = "PRAGMA journal_mode = wal; CREATE TABLE t(a); \
    INSERT INTO t SELECT randomblob(900) FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 50) SELECT x FROM c);";

fn trouble(scene: &Scene) -> Error {
    scene.unchanged(|registry| registry.look(ample(), |snapshot| snapshot.user_version())).unwrap_err()
}

fn noise(count: u32) -> Vec<u8> {
    let conn = rusqlite::Connection::open_in_memory().unwrap();
    conn.query_row("SELECT randomblob(?1)", [count], |row| row.get(0)).unwrap()
}

#[test]
fn each_odd_file_has_its_sentence() {
    let mut lines = String::new();
    let mut add = |scene: &Scene| {
        let trouble = trouble(scene);
        let rank = if trouble.is_damage() { "error" } else { "unknown" };
        writeln!(lines, "{} ({rank}): {}", trouble.code(), scene.normal(&trouble.to_string())).unwrap();
    };
    let scene = Scene::empty();
    add(&scene);
    fs::create_dir(scene.path()).unwrap();
    add(&scene);
    let scene = Scene::empty();
    for content in [Vec::new(), noise(5000), noise(8192), b"#!/bin/sh\n".to_vec()] {
        fs::write(scene.path(), content).unwrap();
        add(&scene);
    }
    let scene = Scene::with(MAKE);
    let whole = fs::read(scene.path()).unwrap();
    fs::write(scene.path(), &whole[..6000]).unwrap();
    add(&scene);
    let mut broken = whole;
    broken[100..200].fill(0xff);
    fs::write(scene.path(), broken).unwrap();
    add(&scene);
    fs::remove_file(scene.path()).unwrap();
    std::os::unix::fs::symlink("/dev/null", scene.path()).unwrap();
    add(&scene);
    insta::assert_snapshot!(lines, @"
    missing (error): there is no database at `DIR/registry.db`
    directory (error): `DIR/registry.db` is a directory, not a database
    empty (error): `DIR/registry.db` is empty (0 bytes): it holds no database yet
    not-sqlite (error): `DIR/registry.db` is not a SQLite database
    encrypted (unknown): `DIR/registry.db` looks encrypted (no SQLite header, and its bytes look random)
    not-sqlite (error): `DIR/registry.db` is not a SQLite database
    truncated (error): `DIR/registry.db` is truncated: its header promises 60.0 KiB, the file has 5.9 KiB
    corrupt (error): `DIR/registry.db` is corrupt, and nothing in it can be read: database disk image is malformed
    not-a-file (error): `DIR/registry.db` is not a regular file, so it is not a database
    ");
}

#[test]
fn an_empty_file_keeps_the_log_beside_it() {
    let scene = Scene::empty();
    fs::write(scene.path(), b"").unwrap();
    fs::write(scene.side("-wal"), b"committed rows").unwrap();
    fs::write(scene.side("-journal"), b"a journal").unwrap();
    assert_eq!(trouble(&scene).code(), "empty");
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that cannot run says so")]
fn a_file_that_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may read everything");
        return;
    }
    let scene = Scene::with(MAKE);
    fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(trouble(&scene).code(), "unreadable");
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that cannot run says so")]
fn root_does_not_change_the_owner_of_a_log() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let scene = Scene::empty();
    let _writer = scene.other_process(MAKE);
    for suffix in ["-wal", "-shm"] {
        std::os::unix::fs::chown(scene.side(suffix), Some(12345), Some(54321)).unwrap();
    }
    let limits = TransactionLimits { time: Duration::from_secs(60), wal_growth: 1 << 20 };
    scene.unchanged(|registry| registry.long_read(limits, |snapshot| snapshot.page_count())).unwrap();
    for suffix in ["-wal", "-shm"] {
        let found = fs::metadata(scene.side(suffix)).unwrap();
        assert_eq!((found.uid(), found.gid()), (12345, 54321), "{suffix}");
    }
    let joined = crate::connection::open::ReadConnection::joining(&scene.path()).map(drop);
    assert_eq!(joined.unwrap_err().code(), "other-owner");
}

#[test]
fn what_is_broken_is_listed() {
    let scene = Scene::with(MAKE);
    let check = |scene: &Scene| {
        let limits = TransactionLimits { time: Duration::from_secs(60), wal_growth: 1 << 20 };
        let found = |registry: &crate::Database| {
            registry.long_read(limits, |snapshot| snapshot.examine(Depth::Within(Duration::from_secs(60))))
        };
        scene.unchanged(found).unwrap()
    };
    let sound = check(&scene);
    assert_eq!((sound.problems.len(), sound.indexes, sound.may_lose_rows()), (0, true, false));
    let mut bytes = fs::read(scene.path()).unwrap();
    let pages = bytes.len() / 4096;
    for page in 2..pages {
        bytes[page * 4096] = 0x77;
    }
    fs::write(scene.path(), bytes).unwrap();
    let broken = check(&scene);
    assert!(broken.problems.len() > 2 && broken.may_lose_rows() && !broken.indexes, "{broken:?}");
}
