//! Looking through whole databases: healthy ones of every shape say nothing, and writers are not kept waiting.

#![allow(clippy::disallowed_methods, reason = "tests make and damage their own files")]

use std::{fmt::Write as _, fs, time::Duration};

use crate::{
    BadFrame, Cancel, Database, IntegrityPart, IntegrityResult, ProblemKind, StopReason, TransactionLimits,
    testing::{Scene, ample},
};

const AMPLE: TransactionLimits = TransactionLimits { time: Duration::from_secs(60), wal_growth: u64::MAX };

/// A statement that fills `t(a, b)` with so many rows.
fn rows(table: &str, count: u32) -> String {
    format!(
        "INSERT INTO {table} SELECT 'key ' || x, randomblob(200) FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {count}) SELECT x FROM c);"
    )
}

fn whole(registry: &Database) -> IntegrityResult {
    registry.check_integrity(&IntegrityPart::Whole, AMPLE, &Cancel::default()).unwrap()
}

fn table(registry: &Database, name: &str) -> IntegrityResult {
    registry.check_integrity(&IntegrityPart::Table(name.to_owned()), AMPLE, &Cancel::default()).unwrap()
}

/// What is found, one line a problem.
fn shown(found: &IntegrityResult) -> String {
    let mut out = String::new();
    for problem in &found.problems {
        writeln!(out, "{:?} {}: {}", problem.kind, problem.subject.as_deref().unwrap_or("-"), problem.text).unwrap();
    }
    for (what, why) in [
        ("not compared", found.not_compared.clone()),
        ("stopped", found.stopped.as_ref().map(|why| format!("{why:?}"))),
    ] {
        if let Some(why) = why {
            writeln!(out, "{what}: {why}").unwrap();
        }
    }
    out
}

/// Healthy databases: a name, and the SQL that makes it.
fn shapes() -> Vec<(String, String)> {
    let plain = |start: &str| {
        format!(
            "{start} CREATE TABLE t(a TEXT UNIQUE, b BLOB NOT NULL); {} CREATE INDEX tb ON t(b, a DESC); DELETE FROM t WHERE rowid % 3 = 0;",
            rows("t", 400)
        )
    };
    let mut shapes: Vec<(String, String)> = Vec::new();
    for start in [
        "PRAGMA page_size = 512;",
        "PRAGMA page_size = 65536;",
        "PRAGMA auto_vacuum = full;",
        "PRAGMA auto_vacuum = incremental;",
        "PRAGMA encoding = 'UTF-16le';",
        "PRAGMA encoding = 'UTF-16be'; PRAGMA journal_mode = wal;",
        "PRAGMA journal_mode = wal;",
        "PRAGMA legacy_file_format = on;",
    ] {
        shapes.push((start.to_owned(), plain(start)));
    }
    let also = [
        ("no table", "PRAGMA user_version = 1"),
        ("without rowid", "CREATE TABLE t(a TEXT PRIMARY KEY, b) WITHOUT ROWID; CREATE INDEX i ON t(b)"),
        ("overflow", "CREATE TABLE t(a, b); INSERT INTO t VALUES (randomblob(30000), zeroblob(100000)), (1, NULL)"),
        ("strict", "CREATE TABLE t(a INT, b TEXT NOT NULL, c ANY) STRICT; INSERT INTO t VALUES (1, 'x', 2.5)"),
        (
            "collations",
            "CREATE TABLE t(a COLLATE NOCASE UNIQUE, b COLLATE RTRIM); CREATE INDEX i ON t(b); INSERT INTO t VALUES ('Aä', 'x  ')",
        ),
        (
            "expressions",
            "CREATE TABLE t(a, b AS (replace(a, 1, 2)) STORED, c AS (trim(a, 'x'))); CREATE INDEX i ON t(instr(a, 'b'), c) WHERE a > 1.5; INSERT INTO t VALUES (3.25), ('xbx'), (x'00ff'), (NULL)",
        ),
        (
            "rules",
            "PRAGMA foreign_keys = off; CREATE TABLE t(a CHECK (length(a) > 1), b REFERENCES t(a)); INSERT INTO t VALUES ('xx', 'gone')",
        ),
        (
            "views and triggers",
            "CREATE TABLE t(a); CREATE VIEW v AS SELECT nonsense(a) FROM missing; CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END",
        ),
        (
            "full text",
            "CREATE VIRTUAL TABLE f USING fts5(a, b, tokenize = 'trigram'); INSERT INTO f VALUES ('one two', 'three'); CREATE TABLE c(id INTEGER PRIMARY KEY, x); CREATE VIRTUAL TABLE e USING fts5(x, content = 'c', content_rowid = 'id'); INSERT INTO c VALUES (1, 'words'); INSERT INTO e(rowid, x) VALUES (1, 'words'); CREATE VIRTUAL TABLE n USING fts5(a, content = ''); INSERT INTO n(rowid, a) VALUES (1, 'z'); CREATE VIRTUAL TABLE o USING fts4(a); INSERT INTO o VALUES ('old')",
        ),
        ("r-tree", "CREATE VIRTUAL TABLE r USING rtree(id, a, b); INSERT INTO r VALUES (1, 0, 1), (2, 5, 6)"),
        (
            "statistics",
            "CREATE TABLE t(a PRIMARY KEY); INSERT INTO t VALUES (1), (2); ANALYZE; CREATE TABLE u(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO u VALUES (NULL)",
        ),
        (
            "odd names",
            "CREATE TABLE \"12\"(a); CREATE TABLE \"a\"\"b main.c value in d\"(\"x.y\" UNIQUE); INSERT INTO \"12\" VALUES (1)",
        ),
        (
            "columns added later",
            "CREATE TABLE t(a); INSERT INTO t VALUES (1); ALTER TABLE t ADD COLUMN b TEXT NOT NULL DEFAULT 'x'; ALTER TABLE t ADD COLUMN c INT DEFAULT 5; CREATE INDEX i ON t(b, c)",
        ),
        (
            "nan and infinity",
            "CREATE TABLE t(a REAL, b NUMERIC UNIQUE); INSERT INTO t VALUES (9e999, -9e999), (1e300, 9007199254740993)",
        ),
    ];
    shapes.extend(also.map(|(name, sql)| (name.to_owned(), sql.to_owned())));
    shapes
}

#[test]
fn healthy_databases_of_every_shape() {
    for (name, sql) in shapes() {
        let scene = Scene::with(&sql);
        scene.unchanged(|registry| {
            assert_eq!(shown(&whole(registry)), "", "{name}");
            for part in registry.parts(ample()).unwrap() {
                assert_eq!(shown(&table(registry, &part)), "", "{name}: {part}");
            }
        });
    }
}

#[test]
fn what_only_the_registry_s_own_program_has_is_no_damage() {
    let scene = Scene::empty();
    let conn = rusqlite::Connection::open(scene.path()).unwrap();
    let flags =
        rusqlite::functions::FunctionFlags::SQLITE_DETERMINISTIC | rusqlite::functions::FunctionFlags::SQLITE_UTF8;
    conn.create_scalar_function("own", 1, flags, |context| context.get::<i64>(0)).unwrap();
    conn.create_collation("own_order", |a, b| b.cmp(a)).unwrap();
    conn.execute_batch(
        "CREATE TABLE checked(a CHECK (own(a) > 0), b UNIQUE); INSERT INTO checked VALUES (1, 1); \
         CREATE TABLE computed(a, b AS (own(a))); INSERT INTO computed VALUES (1); \
         CREATE TABLE indexed(a); INSERT INTO indexed VALUES (1); CREATE INDEX i ON indexed(own(a)); \
         CREATE TABLE ordered(a TEXT COLLATE own_order UNIQUE); INSERT INTO ordered VALUES ('a'), ('b'), ('c'); \
         CREATE TABLE plain(a UNIQUE); INSERT INTO plain VALUES (1);",
    )
    .unwrap();
    conn.close().unwrap();
    let lines = scene.unchanged(|registry| {
        let mut lines = shown(&whole(registry));
        for part in registry.parts(ample()).unwrap() {
            lines += &format!("{part}\n{}", shown(&table(registry, &part)));
        }
        lines
    });
    insta::assert_snapshot!(lines, @r#"
        stopped: Unsupported("unknown function: own()")
        checked
        not compared: a rule of checked could not be checked: no such function: own
        computed
        indexed
        not compared: unknown function: own()
        ordered
        not compared: no such collation sequence: own_order
        plain
        sqlite_schema
        "#);
}

#[test]
fn a_log_that_grows_ends_a_look() {
    let scene = Scene::empty();
    let mut writer =
        scene.other_process("PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(a, b);");
    writer.sql(&rows("t", 30_000));
    let limits = TransactionLimits { wal_growth: 0, ..AMPLE };
    let registry = scene.registry();
    assert_eq!(
        shown(&registry.check_integrity(&IntegrityPart::Whole, limits, &Cancel::default()).unwrap()),
        "",
        "nobody wrote"
    );
    let cancel = Cancel::default();
    cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let found = registry.check_integrity(&IntegrityPart::Whole, AMPLE, &cancel).unwrap();
    assert_eq!(found.stopped, Some(StopReason::Cancelled));
    let limits = TransactionLimits { time: Duration::from_millis(1), ..AMPLE };
    let found = registry.check_integrity(&IntegrityPart::Whole, limits, &Cancel::default()).unwrap();
    assert_eq!(found.stopped, Some(StopReason::Time));
}

#[test]
fn what_a_writer_has_torn_apart_is_no_damage() {
    // Nobody has the database open when the look begins, so it is read as it lies; then a writer moves its pages about.
    let scene = Scene::with(&format!("PRAGMA journal_mode = wal; CREATE TABLE t(a UNIQUE, b); {}", rows("t", 100_000)));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..500 {
                scene.sql(&format!(
                    "DELETE FROM t WHERE rowid % 7 = {}; {}",
                    round % 7,
                    rows("t", 1).replace("'key '", "randomblob(9)")
                ));
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
            }
        });
        let registry = scene.registry();
        for _ in 0..5 {
            let found = whole(&registry);
            assert_eq!(found.problems, [], "{found:?}");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
    });
}

#[test]
fn with_a_rollback_journal_a_writer_ends_a_look() {
    // Large enough that no machine looks through it within the time that a writer may be kept waiting.
    let scene = Scene::with(&format!("CREATE TABLE t(a UNIQUE, b); {}", rows("t", 300_000)));
    let registry = scene.registry();
    assert_eq!(shown(&whole(&registry)), "", "nobody writes");
    let mut writer = scene.other_process("BEGIN IMMEDIATE");
    let found = whole(&registry);
    assert_eq!(found.stopped, Some(StopReason::Writer));
    writer.sql("COMMIT");
    assert_eq!(shown(&whole(&registry)), "", "the writer is done");
}

#[test]
fn a_damaged_frame_of_the_log_is_found() {
    let scene = Scene::empty();
    let mut writer =
        scene.other_process("PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(a, b);");
    writer.sql(&rows("t", 1000));
    let bad = || scene.unchanged(Database::bad_frame);
    assert_eq!(bad(), None);
    let whole = fs::read(scene.side("-wal")).unwrap();
    let frames = (whole.len() as u64 - 32) / 4120;
    let write = |bytes: &[u8]| {
        use std::os::unix::fs::FileExt as _;
        let file = fs::OpenOptions::new().write(true).open(scene.side("-wal")).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    };
    for (at, frame) in
        [(32 + 9 * 4120 + 3000, 10), (32 + 4120 * (usize::try_from(frames).unwrap() - 1) + 24, frames), (8, 1), (20, 1)]
    {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        write(&flipped);
        assert_eq!(bad(), Some(BadFrame { frame, of: frames }), "byte {at}");
    }
    let cut = |bytes: u64| fs::OpenOptions::new().write(true).open(scene.side("-wal")).unwrap().set_len(bytes).unwrap();
    for bytes in [0, 20, 32, 32 + 4120 * 5] {
        write(&whole);
        cut(bytes);
        let frame = bytes.saturating_sub(32) / 4120 + 1;
        assert_eq!(bad(), Some(BadFrame { frame, of: frames }), "cut to {bytes} bytes");
    }
    write(&[0; 4096]);
    assert_eq!(bad(), Some(BadFrame { frame: 1, of: frames }), "overwritten with zeros");
    write(&whole);
    assert_eq!(bad(), None);
    // What lies behind the last commit does not count.
    writer.sql("PRAGMA cache_size = 1; BEGIN");
    writer.sql(&rows("t", 3000));
    writer.sql("ROLLBACK");
    assert_eq!(bad(), None);
    writer.sql("PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES (1, 2)");
    assert_eq!(bad(), None, "a log that began anew, over the frames of the old one");
    writer.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(bad(), None);
}

#[test]
fn a_log_that_nobody_has_open_is_held_against_its_index() {
    let scene = Scene::empty();
    let mut writer =
        scene.other_process("PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(a, b)");
    writer.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    writer.sql("INSERT INTO t VALUES (1, 2)");
    let before = [fs::read(scene.side("-wal")).unwrap(), fs::read(scene.side("-shm")).unwrap()];
    writer.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    writer.sql(&rows("t", 100));
    writer.kill();
    let after = [fs::read(scene.side("-wal")).unwrap(), fs::read(scene.side("-shm")).unwrap()];
    let bad = |log: &[u8], index: &[u8]| {
        fs::write(scene.side("-wal"), log).unwrap();
        fs::write(scene.side("-shm"), index).unwrap();
        scene.unchanged(Database::bad_frame).map(|bad| bad.frame)
    };
    assert_eq!(bad(&after[0], &after[1]), None);
    assert_eq!(bad(&[], &after[1]), Some(1));
    assert_eq!(bad(&[0; 32], &after[1]), Some(1));
    assert_eq!(bad(&after[0], &before[1]), None, "an index that is older than the log, as after a power failure");
    let mut torn = after[1].clone();
    for at in [16, 48 + 16] {
        torn[at] ^= 4;
    }
    assert_eq!(bad(&after[0], &torn), None, "an index whose own checksum does not hold says nothing");
    fs::remove_file(scene.side("-wal")).unwrap();
    fs::write(scene.side("-shm"), &after[1]).unwrap();
    assert_eq!(scene.unchanged(Database::bad_frame).map(|bad| bad.frame), Some(1), "the log was deleted");
}

#[test]
fn a_page_of_noise_is_found_in_the_whole_and_in_its_table() {
    let scene = Scene::with(&format!("CREATE TABLE t(a, b); {} CREATE INDEX i ON t(a);", rows("t", 2000)));
    let conn = rusqlite::Connection::open(scene.path()).unwrap();
    let root: u32 =
        conn.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'i'", [], |row| row.get(0)).unwrap();
    conn.close().unwrap();
    let mut bytes = fs::read(scene.path()).unwrap();
    bytes[(root as usize - 1) * 4096..][..4096].fill(0x77);
    fs::write(scene.path(), bytes).unwrap();
    scene.unchanged(|registry| {
        for found in [whole(registry), table(registry, "t")] {
            assert_eq!(found.stopped, None);
            assert!(
                found
                    .problems
                    .iter()
                    .any(|problem| problem.kind == ProblemKind::IndexStructure
                        && problem.subject.as_deref() == Some("i")),
                "{found:?}"
            );
        }
        assert_eq!(shown(&table(registry, "sqlite_schema")), "");
    });
}

#[test]
fn pages_are_accounted_for_without_the_program_s_own_collations() {
    let scene = Scene::empty();
    let conn = rusqlite::Connection::open(scene.path()).unwrap();
    conn.create_collation("own_order", |a, b| b.cmp(a)).unwrap();
    conn.execute_batch(
        "CREATE TABLE ordered(a TEXT COLLATE own_order UNIQUE); INSERT INTO ordered VALUES ('a'), ('b'), ('c'); \
         CREATE TABLE keyed(a TEXT COLLATE own_order PRIMARY KEY, b) WITHOUT ROWID; INSERT INTO keyed VALUES ('a', 1), ('b', 2); \
         CREATE TABLE one(a); INSERT INTO one VALUES (1); CREATE TABLE two(a); INSERT INTO two VALUES (2);",
    )
    .unwrap();
    let good = scene.unchanged(whole);
    assert!(good.is_accounted && good.problems.is_empty() && good.stopped.is_some(), "{good:?}");
    // Each table by itself is as it should be, and they are the same.
    conn.execute_batch(
        "PRAGMA writable_schema = on; \
         UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'one') WHERE name = 'two';",
    )
    .unwrap();
    conn.close().unwrap();
    scene.unchanged(|registry| {
        for part in registry.parts(ample()).unwrap() {
            let found = table(registry, &part);
            assert!(!found.is_accounted && found.problems.is_empty(), "{part}: {found:?}");
        }
        let found = whole(registry);
        assert!(
            found.is_accounted && found.problems.iter().any(|problem| problem.kind == ProblemKind::Structure),
            "{found:?}"
        );
    });
}

#[test]
fn a_full_text_table_with_the_program_s_own_tokenizer() {
    let scene = Scene::with(
        "CREATE VIRTUAL TABLE f USING fts5(a, tokenize = 'porter'); INSERT INTO f VALUES ('word'); \
         PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = replace(sql, 'porter', 'own_words') WHERE name = 'f';",
    );
    let said = |registry: &Database| format!("{}table f\n{}", shown(&whole(registry)), shown(&table(registry, "f")));
    insta::assert_snapshot!(scene.unchanged(said), @r#"
    stopped: Unsupported("SQL logic error")
    table f
    not compared: SQL logic error
    stopped: Unsupported("SQL logic error; FTS5 says so of an unknown tokenizer")
    "#);
    scene.sql("PRAGMA writable_schema = on; DELETE FROM sqlite_schema WHERE name = 'f_content';");
    insta::assert_snapshot!(scene.unchanged(said), @r#"
    Structure -: Page 4: never used
    stopped: Unsupported("SQL logic error")
    table f
    Structure f: the table f_content is missing, which holds a part of this one
    not compared: SQL logic error
    "#);
    let scene = Scene::with(
        "CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES ('word'); \
         PRAGMA writable_schema = on; DELETE FROM sqlite_schema WHERE name = 'f_data';",
    );
    insta::assert_snapshot!(scene.unchanged(said), @r#"
    Structure -: Page 2: never used
    Virtual f: fts5: corruption found reading blob 1 from table "f"
    table f
    Virtual f: fts5: corruption found reading blob 1 from table "f"
    "#);
}

#[test]
fn a_file_that_was_cut_within_its_last_page_is_damaged() {
    let scene = Scene::with(&format!("CREATE TABLE t(a, b); {}", rows("t", 40)));
    let file = fs::File::options().write(true).open(scene.path()).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let registry = Database::new(scene.path());
    for (found, expected) in [(whole(&registry), 1), (table(&registry, "sqlite_schema"), 1), (table(&registry, "t"), 0)]
    {
        let texts = shown(&found);
        assert_eq!(
            texts.matches("the file was cut off: its last page lacks its last 1 B").count(),
            expected,
            "{texts}"
        );
    }
}
