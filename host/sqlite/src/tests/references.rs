//! Foreign keys: slices add up to what `PRAGMA foreign_key_check` finds.

use std::collections::BTreeMap;

use crate::{
    Parent, Slice,
    testing::{Scene, ample},
};

const MAKE: &str = "PRAGMA foreign_keys = off; \
    CREATE TABLE p(id INTEGER PRIMARY KEY, name TEXT UNIQUE, nc TEXT COLLATE NOCASE UNIQUE, x, y, UNIQUE(x, y)); \
    INSERT INTO p VALUES (1, '1', 'Abc', 1, 2), (2, 'two', 'def', 3, 4); \
    CREATE TABLE plain(a REFERENCES p); INSERT INTO plain VALUES (1), (2), (3), (NULL), ('1'), ('x'); \
    CREATE TABLE affinity(a INTEGER REFERENCES p(name)); INSERT INTO affinity VALUES (1), (2); \
    CREATE TABLE collation(a REFERENCES p(nc)); INSERT INTO collation VALUES ('ABC'), ('nope'); \
    CREATE TABLE pair(a, b, FOREIGN KEY(b, a) REFERENCES p(x, y)); INSERT INTO pair VALUES (2, 1), (1, 2), (NULL, 9), (4, 3); \
    CREATE TABLE orphan(a REFERENCES gone); INSERT INTO orphan VALUES (1), (NULL); \
    CREATE TABLE keyed(a PRIMARY KEY, b REFERENCES p) WITHOUT ROWID; INSERT INTO keyed VALUES (1, 1), (2, 9); \
    CREATE TABLE hidden(rowid TEXT, \"odd \"\" name'\" REFERENCES p(id)); INSERT INTO hidden VALUES ('a', 7), ('b', 1);";

#[test]
fn slices_add_up_to_what_sqlite_finds() {
    let scene = Scene::with(MAKE);
    let conn = rusqlite::Connection::open_in_memory().unwrap();
    conn.execute("ATTACH ?1 AS d", [scene.path().to_str().unwrap()]).unwrap();
    let mut expected = BTreeMap::<String, u64>::new();
    let mut check = conn.prepare("PRAGMA d.foreign_key_check").unwrap();
    for table in check.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        *expected.entry(table.unwrap()).or_default() += 1;
    }
    drop(check);
    drop(conn);
    let keys = scene.unchanged(|registry| registry.look(ample(), |snapshot| snapshot.foreign_keys())).unwrap();
    assert_eq!(keys.len(), 7);
    for rows in [1, 2, 1000] {
        let mut found = BTreeMap::new();
        for key in &keys {
            assert_eq!(key.can_be_sliced(), key.table != "keyed");
            let mut slice = Slice { after: None, rows };
            loop {
                let sliced = scene.registry().look(ample(), |snapshot| snapshot.broken_references(key, slice)).unwrap();
                if sliced.broken > 0 {
                    *found.entry(key.table.clone()).or_default() += sliced.broken;
                }
                slice.after = sliced.last;
                if sliced.last.is_none() {
                    break;
                }
            }
        }
        assert_eq!(found, expected, "{rows} rows a slice");
    }
}

#[test]
fn an_example_shows_the_columns() {
    let scene = Scene::with(MAKE);
    let example = |table: &str| {
        scene
            .unchanged(|registry| {
                registry.look(ample(), |snapshot| {
                    let keys = snapshot.foreign_keys()?;
                    let key = keys.iter().find(|key| key.table == table).unwrap();
                    Ok(snapshot.broken_references(key, Slice { after: None, rows: 10 })?.example.unwrap())
                })
            })
            .unwrap()
    };
    insta::assert_snapshot!(example("pair"), @"b=2, a=1");
    insta::assert_snapshot!(example("hidden"), @r#"odd " name'=7"#);
}

#[test]
fn parents_are_judged() {
    let scene = Scene::with(
        "CREATE TABLE p(id INTEGER PRIMARY KEY, u, n); CREATE UNIQUE INDEX i ON p(u); CREATE UNIQUE INDEX part ON p(n) WHERE n > 1; \
         CREATE TABLE a(x REFERENCES p(u)); CREATE TABLE b(x REFERENCES p(n)); CREATE TABLE c(x REFERENCES gone(y));",
    );
    let keys = scene.unchanged(|registry| registry.look(ample(), |snapshot| snapshot.foreign_keys())).unwrap();
    let parents: Vec<_> = keys.iter().map(|key| key.parent_is).collect();
    assert_eq!(parents, [Parent::Unique, Parent::Mismatched, Parent::Missing]);
}
