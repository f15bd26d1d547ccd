//! Foreign SQL: what it may do, what it may not, and where it is cut off.

use std::time::Duration;

use crate::{
    QueryCaps, QueryError, Rows, Value,
    testing::{Scene, ample},
};

const MAKE: &str = "PRAGMA journal_mode = wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); \
    CREATE VIEW v AS SELECT a FROM t; CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('hello world'); \
    INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three');";

const CAPS: QueryCaps = QueryCaps { max_rows: 1000, max_bytes: 1 << 20, time: Duration::from_secs(10) };

fn capped(scene: &Scene, sql: &str, params: &[Value], caps: QueryCaps) -> Result<Rows, QueryError> {
    scene.unchanged(|registry| registry.query(sql, params, &caps, ample()))
}

fn query(scene: &Scene, sql: &str) -> Result<Rows, QueryError> {
    capped(scene, sql, &[], CAPS)
}

#[test]
fn values_of_every_kind_come_back() {
    let scene = Scene::with(MAKE);
    let sql = "SELECT NULL, 9223372036854775807, 1.5, 'ä', x'00ff', cast(x'ff' AS TEXT), ?1, ?2 AS same, 1 AS same";
    let params = [Value::Text("p".to_owned()), Value::Blob(vec![7])];
    let rows = capped(&scene, sql, &params, CAPS).unwrap();
    let text = |text: &str| Value::Text(text.to_owned());
    let blob = |bytes: &[u8]| Value::Blob(bytes.to_vec());
    let expected = vec![
        Value::Null,
        Value::Integer(i64::MAX),
        Value::Real(1.5),
        text("ä"),
        blob(&[0, 255]),
        blob(&[255]),
        text("p"),
        blob(&[7]),
        Value::Integer(1),
    ];
    assert_eq!(rows.rows, vec![expected]);
    assert_eq!(rows.columns[7..], ["same", "same"]);
    assert!(!rows.truncated);
}

#[test]
fn reading_is_allowed() {
    let scene = Scene::with(MAKE);
    for sql in [
        "SELECT count(*) FROM t",
        "SELECT * FROM v ORDER BY a; -- a comment after it",
        "VALUES (1), (2)",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 5) SELECT x FROM c",
        "SELECT x FROM f WHERE f MATCH 'hello'",
        "SELECT value FROM json_each('[1,2]')",
        "SELECT name FROM sqlite_schema",
        "SELECT name FROM pragma_table_info('t')",
        "PRAGMA table_info(t)",
        "PRAGMA user_version",
        "SELECT group_concat(b, ','), upper(b), substr(b, 1, 2), random() FROM t GROUP BY b",
        "EXPLAIN QUERY PLAN SELECT * FROM t",
    ] {
        let found = query(&scene, sql);
        assert!(found.as_ref().is_ok_and(|rows| !rows.rows.is_empty()), "{sql}: {found:?}");
    }
}

#[test]
fn everything_else_is_refused() {
    let scene = Scene::with(MAKE);
    for sql in [
        "DELETE FROM t",
        "UPDATE t SET a = 1",
        "INSERT INTO t VALUES (9, 'x') RETURNING a",
        "CREATE TABLE x(a)",
        "CREATE TEMP TABLE x(a)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
        "DROP TABLE t",
        "ALTER TABLE t RENAME TO u",
        "ATTACH '/tmp/x' AS x",
        "DETACH main",
        "BEGIN",
        "SAVEPOINT x",
        "VACUUM",
        "VACUUM INTO '/tmp/x'",
        "REINDEX",
        "ANALYZE",
        "PRAGMA writable_schema = 1",
        "PRAGMA query_only = 0",
        "PRAGMA user_version = 7",
        "PRAGMA journal_mode = delete",
        "PRAGMA wal_checkpoint",
        "SELECT * FROM pragma_journal_mode",
        "SELECT data FROM sqlite_dbpage",
        "SELECT * FROM dbstat",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple')",
        "EXPLAIN DELETE FROM t",
    ] {
        let found = query(&scene, sql);
        assert!(matches!(found, Err(QueryError::NotAllowed { .. })), "{sql}: {found:?}");
    }
    let error = query(&scene, "DELETE FROM t").unwrap_err();
    insta::assert_snapshot!(error, @"not allowed: DELETE from `t` (checks may only read)");
}

#[test]
fn a_statement_that_makes_no_sense_is_invalid() {
    let scene = Scene::with(MAKE);
    for sql in ["", "-- nothing", "SELECT 1; SELECT 2", "SELEC 1", "SELECT * FROM missing", "SELECT ?1", "SELECT 'a\0b"]
    {
        let found = query(&scene, sql);
        assert!(matches!(found, Err(QueryError::Invalid { .. })), "{sql}: {found:?}");
    }
    let found = capped(&scene, "SELECT 1", &[Value::Null], CAPS);
    insta::assert_snapshot!(found.unwrap_err(), @"invalid SQL: the statement has 0 parameters, 1 were given");
}

#[test]
fn rows_and_bytes_are_capped() {
    let scene = Scene::with(MAKE);
    let count = |sql: &str, caps| {
        let rows = capped(&scene, sql, &[], caps).unwrap();
        (rows.rows.len(), rows.truncated)
    };
    let caps = |max_rows, max_bytes| QueryCaps { max_rows, max_bytes, ..CAPS };
    assert_eq!(count("SELECT a FROM t", caps(3, 1000)), (3, false));
    assert_eq!(count("SELECT a FROM t", caps(2, 1000)), (2, true));
    assert_eq!(count("SELECT a FROM t", caps(9, 47)), (2, true));
    assert_eq!(count("SELECT zeroblob(1000000)", caps(9, 1000)), (0, true));
}

#[test]
fn bombs_are_defused() {
    let scene = Scene::with(MAKE);
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c";
    let caps = QueryCaps { time: Duration::from_millis(20), ..CAPS };
    assert_eq!(capped(&scene, endless, &[], caps), Err(QueryError::TimeLimit));
    for sql in [
        "SELECT zeroblob(1000000000)",
        "SELECT length(randomblob(1000000000))",
        "SELECT printf('%1000000000d', 1)",
        "SELECT replace(hex(zeroblob(1000000)), '0', hex(zeroblob(100)))",
    ] {
        assert!(matches!(query(&scene, sql), Err(QueryError::Other { code: 18, .. })), "{sql}");
    }
    let deep = format!("SELECT 1{}", "+1".repeat(500));
    assert!(matches!(query(&scene, &deep), Err(QueryError::Invalid { .. })));
    assert!(query(&scene, &format!("SELECT '{}'", "x".repeat(70_000))).is_err());
}

#[test]
fn a_schema_that_changes_between_queries_is_noticed() {
    let scene = Scene::empty();
    let mut writer = scene.other_process(MAKE);
    let registry = scene.registry();
    let columns = || registry.query("SELECT * FROM t", &[], &CAPS, ample()).unwrap().columns;
    assert_eq!(columns(), ["a", "b"]);
    writer.sql("ALTER TABLE t ADD COLUMN c");
    assert_eq!(columns(), ["a", "b", "c"]);
}

#[test]
fn a_bad_database_is_named() {
    let found = query(&Scene::empty(), "SELECT 1");
    assert!(matches!(found, Err(QueryError::Unreadable(trouble)) if trouble.code() == "missing"));
}
