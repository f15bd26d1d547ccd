//! The SQLite in this program is the one that `build.rs` compiles.

use rusqlite::Connection;

#[test]
fn it_is_compiled_with_our_options() {
    let conn = Connection::open_in_memory().unwrap();
    let mut options = conn.prepare("PRAGMA compile_options").unwrap();
    let options: Vec<String> = options.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for option in ["ENABLE_DBPAGE_VTAB", "DEFAULT_CACHE_SIZE=-512", "ENABLE_FTS5", "ENABLE_STAT4", "THREADSAFE=1"] {
        assert!(options.iter().any(|one| one == option), "{option} is not among {options:?}");
    }
    let source: String = conn.query_row("SELECT sqlite_version()", [], |row| row.get(0)).unwrap();
    assert_eq!(source, rusqlite::version());
}
