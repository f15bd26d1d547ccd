//! Databases of every kind come back identical.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
};

use rusqlite::Connection;

use super::{REGISTRY, TestRegistry, content, is_long};
use crate::{
    backup::{Structure, Verdict},
    testing::Scene,
};
use vitalsign_archive::Compression;

/// Backs the bench's registry up and restores it: byte for byte what lies there.
fn comes_back(bench: &TestRegistry, what: &str) {
    for compression in Compression::ALL {
        let made =
            bench.back_up(|request| request.compression = compression).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!((made.record.verdict, &made.record.structure), (Verdict::Verified, &Structure::Sound), "{what}");
        let name = format!("back-{}", compression.as_str());
        bench.restored(&made.path, &name, |_| ()).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert!(fs::read(bench.db()).unwrap() == bench.read(&name), "{what}: not the same bytes");
        assert_eq!(content(&bench.db()), content(&bench.path(&name)), "{what}");
    }
}

#[test]
fn page_sizes_and_vacuum_modes_and_journal_modes() {
    for page_size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        for (auto_vacuum, journal) in [(0, "wal"), (1, "delete"), (2, "wal"), (0, "truncate"), (2, "persist")] {
            let made = format!(
                "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum}; PRAGMA journal_mode = {journal}; {REGISTRY}
                 INSERT INTO records SELECT value, zeroblob(value % 5000) FROM generate_series_of(200);"
            );
            let series = "WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s WHERE value < 200) SELECT value, zeroblob(value * 20) FROM s";
            let made = made.replace("SELECT value, zeroblob(value % 5000) FROM generate_series_of(200)", series);
            comes_back(
                &TestRegistry::with(&made),
                &format!("{page_size} bytes a page, auto_vacuum {auto_vacuum}, {journal}"),
            );
        }
    }
}

#[test]
fn encodings_full_text_rowids_and_views() {
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        let bench = TestRegistry::with(&format!(
            "PRAGMA encoding = '{encoding}'; {REGISTRY} UPDATE records SET payload = 'äöü€𝄞'"
        ));
        comes_back(&bench, encoding);
    }
    let sql = "PRAGMA journal_mode = wal; CREATE VIRTUAL TABLE t USING fts5(body); INSERT INTO t VALUES ('one two'), ('three');
        CREATE TABLE records(x); INSERT INTO records(rowid, x) VALUES (-5, 1), (9223372036854775807, 2); DELETE FROM records WHERE rowid = -5;
        CREATE TABLE w(a PRIMARY KEY) WITHOUT ROWID; INSERT INTO w VALUES (1); CREATE VIEW provenance AS SELECT 1 AS a, 2 AS a;";
    comes_back(&TestRegistry::with(sql), "FTS5, large rowids, WITHOUT ROWID, a view for provenance");
}

/// A view takes the place of the provenance table, where all of it can be read.
#[test]
fn a_view_is_exported_unless_one_of_its_rows_fails() {
    for (column, rows) in [("'x'", Some(3)), ("json_extract(CASE WHEN seq = 6 THEN '{' ELSE '{}' END, '$')", None)] {
        let bench =
            TestRegistry::with(&format!("{REGISTRY} CREATE VIEW trail AS SELECT seq, {column} AS c FROM provenance"));
        let made = bench.back_up(|request| request.provenance_table = "trail").unwrap();
        assert_eq!(made.record.provenance_rows, rows, "{column}");
        let done = bench.restored(&made.path, "back", |_| ()).unwrap();
        assert_eq!(done.log.is_some(), rows.is_some());
        if rows.is_some() {
            assert_eq!(bench.read("back.jsonl").iter().filter(|byte| **byte == b'\n').count(), 3);
        }
    }
}

#[test]
fn reserved_bytes_survive() {
    let bench = TestRegistry::with("PRAGMA page_size = 1024; PRAGMA user_version = 1;");
    // A fresh database of one empty page: 16 bytes reserved in each page, and its content area ends before them.
    let file = fs::OpenOptions::new().write(true).open(bench.db()).unwrap();
    file.write_all_at(&[16], 20).unwrap();
    file.write_all_at(&(1024_u16 - 16).to_be_bytes(), 105).unwrap();
    drop(file);
    bench.sql(REGISTRY);
    assert_eq!(fs::read(bench.db()).unwrap()[20], 16);
    comes_back(&bench, "reserved bytes");
}

#[test]
fn what_is_committed_in_the_log_is_folded_in_and_the_log_is_left_alone() {
    let scene = Scene::with(&format!("PRAGMA journal_mode = wal; {REGISTRY}"));
    let mut writer = scene.other_process("PRAGMA wal_autocheckpoint = 0; INSERT INTO records VALUES ('logged', '1')");
    writer.sql("BEGIN; INSERT INTO records VALUES ('not committed', '1')");
    let bench = TestRegistry::empty();
    let before = scene.listing();
    let made = bench.back_up_of(&scene.path(), &bench.path("out"), |_| ()).unwrap();
    assert_eq!(before, scene.listing(), "a backup changes nothing beside the database");
    assert_eq!((made.record.records, made.record.provenance_rows), (Some(3), Some(3)));
    bench.restored(&made.path, "back", |_| ()).unwrap();
    let text = content(&bench.path("back"));
    assert!(text.contains("logged") && !text.contains("not committed"), "{text}");
    assert!(text.contains("journal_mode Text(\"wal\")"), "{text}");
    writer.sql("ROLLBACK; PRAGMA wal_checkpoint(TRUNCATE)");
    writer.close();
    assert_eq!(text, content(&scene.path()));
}

#[test]
fn the_export_holds_every_row() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    bench.restored(&made.path, "back", |_| ()).unwrap();
    insta::assert_snapshot!(String::from_utf8(bench.read("back.jsonl")).unwrap(), @r#"
    {"seq":1,"record_id":"a","b":{"$blob":"AP8="},"n":9223372036854775807,"r":0.1}
    {"seq":5,"record_id":"b","b":null,"n":-9223372036854775808,"r":{"$real":"Infinity"}}
    {"seq":6,"record_id":{"$text":"/w=="},"b":{"$blob":"AAAA"},"n":0,"r":0.0}
    "#);
}

#[test]
fn owner_and_mode_are_kept() {
    let bench = TestRegistry::with(REGISTRY);
    fs::set_permissions(bench.db(), fs::Permissions::from_mode(0o640)).unwrap();
    let made = bench.back_up(|_| ()).unwrap();
    let mode = |name: &str| fs::metadata(bench.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(fs::metadata(&made.path).unwrap().permissions().mode() & 0o7777, 0o600);
    bench.restored(&made.path, "back", |_| ()).unwrap();
    assert_eq!(mode("back"), 0o640, "as archived");
    fs::set_permissions(bench.path("back"), fs::Permissions::from_mode(0o604)).unwrap();
    bench.restored(&made.path, "back", |request| request.force = true).unwrap();
    assert_eq!(mode("back"), 0o604, "as what was replaced");
}

#[test]
fn a_database_without_the_usual_tables_or_with_an_unfit_name() {
    let bench = TestRegistry::with("CREATE TABLE other(a); INSERT INTO other VALUES (1)");
    let made = bench.back_up(|_| ()).unwrap();
    assert_eq!((made.record.records, made.record.provenance_rows), (None, None));
    assert_eq!(bench.restored(&made.path, "back", |_| ()).unwrap().log, None);
    for name in ["metadata.json", "SHA256SUMS", "a\\b", "line\nbreak", "-x.db", "ä b.sqlite", "x.jsonl", "x-shm"] {
        fs::copy(bench.db(), bench.path(name)).unwrap();
        let made = bench.back_up_of(&bench.path(name), &bench.path("out"), |_| ()).unwrap();
        bench.restored(&made.path, "again", |request| request.force = true).unwrap();
        assert_eq!(bench.read("r.sqlite"), bench.read("again"), "{name:?}");
    }
}

/// A sparse database of so many pages of 64 KiB, all but a few of them on the free list.
fn sparse(path: &Path, pages: u32) {
    const PAGE: u32 = 65536;
    let lock_page = (1 << 30) / PAGE + 1;
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(&format!("PRAGMA page_size = {PAGE}; PRAGMA journal_mode = wal; {REGISTRY}")).unwrap();
    let used: u32 = conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    conn.close().unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(u64::from(pages) * u64::from(PAGE)).unwrap();
    let free: Vec<u32> = (used + 1..=pages).filter(|page| *page != lock_page).collect();
    let put = |number: u32, at: u64| file.write_all_at(&number.to_be_bytes(), at).unwrap();
    // A trunk page of the free list: the next trunk, how many leaves, the leaves. SQLite leaves its last six slots empty.
    let trunks: Vec<&[u32]> = free.chunks((PAGE / 4 - 8) as usize + 1).collect();
    for (at, trunk) in trunks.iter().enumerate() {
        let place = u64::from(trunk[0] - 1) * u64::from(PAGE);
        put(trunks.get(at + 1).map_or(0, |next| next[0]), place);
        put(u32::try_from(trunk.len() - 1).unwrap(), place + 4);
        let leaves: Vec<u8> = trunk[1..].iter().flat_map(|leaf| leaf.to_be_bytes()).collect();
        file.write_all_at(&leaves, place + 8).unwrap();
    }
    put(pages, 28);
    put(free[0], 32);
    put(u32::try_from(free.len()).unwrap(), 36);
}

/// More than 1 GiB, so that the page with SQLite's lock bytes is among them; and more than the 8 GiB of a plain tar header.
#[test]
fn databases_beyond_the_lock_page_and_beyond_what_a_tar_header_holds() {
    if !is_long() {
        eprintln!("SKIPPED: gigabytes are written and read several times, which `cargo xtask torture` does");
        return;
    }
    for (pages, compression) in [(17_000, Compression::Gzip), (140_000, Compression::Zstd)] {
        let bench = TestRegistry::empty();
        sparse(&bench.db(), pages);
        let made = bench.back_up(|request| request.compression = compression).unwrap();
        assert_eq!(made.record.structure, Structure::Sound);
        assert_eq!(made.record.database_bytes, u64::from(pages) * 65536);
        bench.restored(&made.path, "back", |_| ()).unwrap();
        let digest = |name: &str| {
            let mut file = fs::File::open(bench.path(name)).unwrap();
            let mut hasher = vitalsign_base::value::Hasher::default();
            let mut room = vec![0; 1 << 20];
            while let Ok(count @ 1..) = std::io::Read::read(&mut file, &mut room) {
                hasher.update(&room[..count]);
            }
            hasher.finish()
        };
        assert_eq!(digest("r.sqlite"), digest("back"));
    }
}
