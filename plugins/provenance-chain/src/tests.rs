//! The check on real SQLite databases, whole and damaged.

use vitalsign_plugin::{Status, testing::Database};

use super::*;

const TABLES: &str = "CREATE TABLE records(id TEXT PRIMARY KEY, kind TEXT);
    CREATE TABLE provenance(seq INTEGER PRIMARY KEY, record_id TEXT, action TEXT, at TEXT, digest TEXT, prev_digest TEXT);";

/// A registry of so many records with their provenance, then `damage`.
fn registry(rows: u32, damage: &str) -> Database {
    let mut script = TABLES.to_owned();
    let mut before = String::new();
    for row in 1..=rows {
        let id = format!("urn:{row:04}");
        let digest = sha256(&format!("{before}{id}"));
        let named = if row == 1 { "NULL".to_owned() } else { format!("'{before}'") };
        script += &format!("INSERT INTO records VALUES('{id}', 'schema');");
        script += &format!("INSERT INTO provenance VALUES({row}, '{id}', 'publish', 'now', '{digest}', {named});");
        before = digest;
    }
    Database::new(&(script + damage))
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    chain::hex(&sha2::Sha256::digest(text))
}

fn run(rows: u32, damage: &str, config: &str) -> Report {
    registry(rows, damage).run::<ProvenanceChain>(config).unwrap()
}

fn lines(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{} {}", finding.code, finding.message)).collect()
}

#[test]
fn a_whole_registry_is_ok() {
    for config in ["{}", r#"{"recompute": true}"#] {
        let report = run(40, "", config);
        assert_eq!(report.findings, []);
        assert_eq!(report.summary, "40 records, all with provenance; 40 provenance rows, the chain unbroken");
        let measures: Vec<_> = report.measures.iter().map(|measure| (measure.name.as_str(), measure.value)).collect();
        assert_eq!(measures, [("provenance_rows", 40.0), ("chain_breaks", 0.0), ("records", 40.0), ("orphans", 0.0)]);
    }
}

#[test]
fn an_empty_registry_is_ok() {
    let summary = run(0, "", "{}").summary;
    assert_eq!(summary, "0 records, all with provenance; 0 provenance rows, the chain unbroken");
}

#[test]
fn a_provenance_row_that_was_deleted_breaks_the_chain_and_orphans_its_record() {
    let report = run(9, "DELETE FROM provenance WHERE seq = 5", "{}");
    let (four, five) = (&report.findings[0].message, &report.findings[1]);
    assert!(four.starts_with("the chain is broken at seq 6: it follows "), "{four}");
    assert_eq!(report.findings[0].subject.as_deref(), Some("seq 6"));
    assert_eq!((five.code.as_str(), five.subject.as_deref()), ("no-provenance", Some("urn:0005")));
    assert_eq!(report.findings.len(), 2);
    assert_eq!(report.summary, "9 records, without provenance: 1; 8 provenance rows, breaks in the chain: 1");
}

#[test]
fn a_record_that_was_changed_is_seen_when_digests_are_computed_again() {
    let damage =
        "UPDATE provenance SET record_id = 'urn:0002' WHERE seq = 3; DELETE FROM records WHERE id = 'urn:0003'";
    assert_eq!(run(9, damage, "{}").findings, []);
    let found = lines(&run(9, damage, r#"{"recompute": true}"#));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("chain-broken the chain is broken at seq 3: its digest is "), "{found:?}");
}

#[test]
fn many_faults_are_listed_up_to_a_number_and_counted_beyond_it() {
    let report = run(30, "DELETE FROM provenance WHERE seq % 2 = 0", r#"{"maxFindings": 2}"#);
    let found = lines(&report);
    assert_eq!(found.len(), 6);
    assert_eq!(found[2], "chain-broken the chain is broken at 12 more rows");
    assert_eq!(found[5], "no-provenance 13 more records have no provenance row");
    assert!(report.findings[2].hint.is_some() && report.findings[5].hint.is_some());
}

#[test]
fn rows_that_the_host_cuts_off_are_read_all_the_same() {
    for config in ["{}", r#"{"recompute": true}"#] {
        let registry = registry(50, "DELETE FROM provenance WHERE seq = 20").rows_per_query(7);
        let summary = registry.run::<ProvenanceChain>(config).unwrap().summary;
        assert_eq!(summary, "50 records, without provenance: 1; 49 provenance rows, breaks in the chain: 1");
    }
}

#[test]
fn with_and_without_an_index_the_same_records_are_found() {
    for index in ["", "CREATE INDEX by_record ON provenance(record_id);"] {
        let found = lines(&run(50, &format!("{index} DELETE FROM provenance WHERE seq IN (20, 50)"), "{}"));
        assert_eq!(found.len(), 3);
        assert_eq!(found[1..], [20, 50].map(|id| format!("no-provenance record urn:00{id} has no provenance row")));
    }
}

#[test]
fn time_that_ran_out_is_said_and_never_ok() {
    let report = run(5, "", r#"{"budgetMs": 0}"#);
    assert!(report.findings.iter().all(|finding| finding.status == Status::Unknown));
    let all = ["provenance rows", "records"];
    let all = all.map(|what| format!("unfinished in 0 ms, 0 {what} were looked at; the others were not"));
    assert_eq!(lines(&report), all);
    let summary =
        "0 records looked at, all with provenance so far; 0 provenance rows looked at, the chain unbroken so far";
    assert_eq!(report.summary, summary);
}

#[test]
fn rows_without_digest_or_beginning_are_found_by_both_ways() {
    let damage = "UPDATE provenance SET digest = '' WHERE seq = 4; DELETE FROM provenance WHERE seq = 1";
    for config in ["{}", r#"{"recompute": true}"#] {
        let found = lines(&run(9, damage, config));
        assert!(found[0].starts_with("chain-broken the chain is broken at seq 2: it is the first row, yet it follows"));
        assert_eq!(found[1], "chain-broken the chain is broken at seq 4: the row has no digest");
        assert_eq!(found[2..], ["no-provenance record urn:0001 has no provenance row"]);
    }
}

#[test]
fn other_tables_and_columns_are_quoted_names() {
    let script = r#"CREATE TABLE "my items"("key" INTEGER PRIMARY KEY);
        CREATE TABLE "audit""log"(n INTEGER PRIMARY KEY, item INTEGER, hash BLOB, "before" BLOB);
        INSERT INTO "my items" VALUES(1), (2), (3);
        INSERT INTO "audit""log" VALUES(1, 1, x'01', NULL), (2, 2, x'02', x'01');"#;
    let config = r#"{"records": "my items", "provenance": "audit\"log",
        "columns": {"id": "key", "seq": "n", "recordId": "item", "digest": "hash", "prevDigest": "before"}}"#;
    let report = Database::new(script).run::<ProvenanceChain>(config).unwrap();
    assert_eq!(lines(&report), ["no-provenance record 3 has no provenance row"]);
}

#[test]
fn a_table_or_column_that_is_missing_is_named() {
    let failure = Database::new("CREATE TABLE records(id)").run::<ProvenanceChain>("{}").unwrap_err();
    assert!(matches!(&failure, Failure::Other(text) if text.contains("no such table: provenance")), "{failure:?}");
    // SQLite takes a quoted name that is no column for a text, so the check has to look.
    let failure = registry(3, "").run::<ProvenanceChain>(r#"{"columns": {"digest": "hash"}}"#).unwrap_err();
    assert!(matches!(&failure, Failure::Other(text) if text.contains("no such column")), "{failure:?}");
}
