//! Row counts: exact for small tables, within 2 % for large ones of every shape.

use std::time::Duration;

use crate::{
    RowCount,
    connection::open::Trust,
    read::transaction::Budget,
    testing::{Scene, ample},
};

fn count(scene: &Scene) -> RowCount {
    // With ample time, so that a slow machine's estimate is no worse than another's.
    let budget = Budget { time: Duration::from_secs(60), wal_growth: None };
    scene.unchanged(|registry| {
        let counted = registry.retried(ample(), || {
            let open = registry.pool.take(Trust::Trusted)?;
            let found = registry.in_transaction(&open, ample(), budget, &mut |snapshot| snapshot.row_count("T"));
            registry.release(open, found)
        });
        counted.unwrap().unwrap()
    })
}

/// A number below a million that looks random, but is the same in every run.
const RANDOM: &str = "((x * x * x + 91 * x) % 1000003)";

/// A table `t` of `rows` rows, made by `columns` and filled with `values`, in which `x` is the number of the row.
fn table(page: u32, columns: &str, values: &str, rows: u32, then: &str) -> Scene {
    let (values, then) = (values.replace("RANDOM", RANDOM), then.replace("RANDOM", &RANDOM.replace('x', "rowid")));
    Scene::with(&format!(
        "PRAGMA page_size = {page}; PRAGMA journal_mode = wal; PRAGMA synchronous = off; CREATE TABLE t({columns}; \
         INSERT OR IGNORE INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {rows}) \
         SELECT {values} FROM c; {then}"
    ))
}

#[test]
fn small_tables_are_counted() {
    for rows in [1, 100, 5000] {
        let scene = table(4096, "a, b)", "x, hex(x)", rows, "");
        assert_eq!(count(&scene), RowCount { rows: u64::from(rows), exact: true });
    }
    let scene = Scene::with("CREATE TABLE t(a); CREATE VIEW v AS SELECT 1 UNION SELECT 2");
    assert_eq!(count(&scene), RowCount { rows: 0, exact: true });
    scene.unchanged(|registry| {
        let of = |name: &str| registry.look(ample(), |snapshot| snapshot.row_count(name)).unwrap();
        assert_eq!(of("missing"), None);
        assert_eq!(of("v"), Some(RowCount { rows: 2, exact: true }));
    });
}

#[test]
fn a_large_table_with_a_small_index_is_counted() {
    let scene = table(1024, "a, b)", "x, zeroblob(900)", 4000, "CREATE INDEX i ON t(a)");
    assert_eq!(count(&scene), RowCount { rows: 4000, exact: true });
}

#[test]
fn large_tables_are_estimated_closely() {
    let delete_block = "DELETE FROM t WHERE rowid BETWEEN 3000 AND 9000";
    let delete_spread = "DELETE FROM t WHERE RANDOM % 3 = 0";
    let cases = [
        ("even rows", 512, "a, b)", "x, zeroblob(300)", 20_000, ""),
        ("uneven rows", 4096, "a, b)", "x, zeroblob(RANDOM % 3000)", 20_000, ""),
        ("overflowing rows", 1024, "a, b)", "x, zeroblob(RANDOM % 9000)", 20_000, ""),
        ("random rowids", 1024, "a INTEGER PRIMARY KEY, b)", "RANDOM, zeroblob(RANDOM % 300)", 30_000, ""),
        ("a block deleted", 1024, "a, b)", "x, zeroblob(500)", 20_000, delete_block),
        ("rows deleted here and there", 1024, "a, b)", "x, zeroblob(300)", 30_000, delete_spread),
        ("large pages", 65536, "a, b)", "x, zeroblob(RANDOM % 9000)", 5_000, ""),
        (
            "no rowid",
            512,
            "a PRIMARY KEY, b) WITHOUT ROWID",
            "hex(RANDOM * 7919 % 65521) || x, zeroblob(60)",
            30_000,
            "",
        ),
        ("no rowid, large rows", 1024, "a PRIMARY KEY, b) WITHOUT ROWID", "x, zeroblob(RANDOM % 600)", 20_000, ""),
    ];
    for (case, page, columns, values, rows, then) in cases {
        let scene = table(page, columns, values, rows, then);
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute("ATTACH ?1 AS d", [scene.path().to_str().unwrap()]).unwrap();
        let truth: u32 = conn.query_row("SELECT count(*) FROM d.t", [], |row| row.get(0)).unwrap();
        drop(conn);
        let found = count(&scene);
        assert!(!found.exact, "{case}: small enough to count");
        let off = (f64::from(u32::try_from(found.rows).unwrap()) / f64::from(truth) - 1.0).abs();
        assert!(off < 0.02, "{case}: {} for {truth}, off by {:.2} %", found.rows, off * 100.0);
        if case == "even rows" {
            assert_eq!(found.rows, u64::from(truth), "no gap in the rowids leaves no doubt");
        }
    }
}
