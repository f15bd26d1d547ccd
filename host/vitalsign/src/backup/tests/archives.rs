//! Names, records and the ledger; what a backup does where it cannot be made.

use std::{fs, time::Duration};

use super::{ErrorKind, REGISTRY, TestRegistry, told};
use crate::{backup::Verdict, testing::Scene};
use vitalsign_archive::{Compression, Tag};
use vitalsign_sqlite::TransactionLimits;

#[test]
fn nothing_is_ever_overwritten() {
    let bench = TestRegistry::with(REGISTRY);
    let name = |made: crate::backup::CreatedBackup| made.path.file_name().unwrap().to_str().unwrap().to_owned();
    let first = bench.back_up(|_| ()).unwrap();
    let bytes = fs::read(&first.path).unwrap();
    let tagged = bench.back_up(|request| request.tag = Some(Tag::parse("nightly").unwrap())).unwrap();
    let second = bench.back_up(|_| ()).unwrap();
    assert_eq!(bytes, fs::read(&first.path).unwrap());
    assert_eq!(
        [name(first), name(tagged), name(second)],
        [
            "registry-backup-2026-11-24T12-00-00Z.tar.gz",
            "registry-backup-2026-11-24T12-00-00-2Z-nightly.tar.gz",
            "registry-backup-2026-11-24T12-00-00-3Z.tar.gz",
        ]
    );
}

#[test]
fn the_record_and_the_ledger_say_what_was_found() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(made.path.with_extension("gz.json")).unwrap()).unwrap();
    assert_eq!((&record["verdict"], &record["structure"]), (&"verified".into(), &"sound".into()));
    assert_eq!((&record["records"], &record["provenanceRows"]), (&2.into(), &3.into()));
    bench.back_up(|request| (request.verify, request.compression) = (false, Compression::Zstd)).unwrap();
    let ledger = fs::read_to_string(bench.path("out/registry-backup-ledger.jsonl")).unwrap();
    let events: Vec<String> = ledger
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {} {} {}", line["event"], line["archive"], line["verdict"], line["structure"])
        })
        .collect();
    insta::assert_snapshot!(events.join("\n"), @r#"
    "backup" "registry-backup-2026-11-24T12-00-00Z.tar.gz" "verified" "sound"
    "backup" "registry-backup-2026-11-24T12-00-00-2Z.tar.zst" "unverified" {"not-checked":"--no-verify"}
    "#);
}

#[test]
fn where_no_backup_can_be_made() {
    let bench = TestRegistry::with(REGISTRY);
    fs::write(bench.path("file"), "").unwrap();
    let out = bench.path("file");
    let (kind, text) = told(&bench, bench.back_up_of(&bench.db(), &out, |_| ()));
    assert_eq!(
        (kind, text.as_str()),
        (ErrorKind::Refused, "DIR/file is not a folder, so archives cannot be written there; nothing was changed")
    );
    for (name, sentence) in
        [("gone", "there is no database at `DIR/gone`"), ("out", "`DIR/out` is a directory, not a database")]
    {
        fs::create_dir_all(bench.path("out")).unwrap();
        let db = bench.path(name);
        let (kind, text) = told(&bench, bench.back_up_of(&db, &bench.path("out"), |_| ()));
        assert_eq!((kind, text.as_str()), (ErrorKind::Environment, sentence));
    }
    assert_eq!(bench.archives(), 0);
}

#[test]
fn what_only_the_registrys_own_program_knows_is_no_damage() {
    let bench = TestRegistry::with(REGISTRY);
    let conn = rusqlite::Connection::open(bench.db()).unwrap();
    conn.create_scalar_function("own", 1, rusqlite::functions::FunctionFlags::SQLITE_DETERMINISTIC, |_| Ok(1)).unwrap();
    conn.execute_batch(
        "CREATE TABLE c(a CHECK (own(a) = 1), g AS (own(a))); INSERT INTO c VALUES (1);
         CREATE INDEX i ON c(own(a))",
    )
    .unwrap();
    conn.close().unwrap();
    let made = bench.back_up(|_| ()).unwrap();
    assert_eq!(made.record.verdict, Verdict::Verified);
    bench.restored(&made.path, "back", |_| ()).unwrap();
    assert_eq!(bench.read("r.sqlite"), bench.read("back"));
}

#[test]
fn a_backup_that_reaches_a_limit_leaves_no_archive() {
    let scene = Scene::with(&format!("PRAGMA journal_mode = wal; {REGISTRY}"));
    let _writer = scene.other_process(
        "WITH RECURSIVE s(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM s WHERE v < 20000) INSERT INTO records SELECT v, v FROM s",
    );
    let bench = TestRegistry::empty();
    let limited =
        |limits| told(&bench, bench.back_up_of(&scene.path(), &bench.path("out"), |request| request.limits = limits));
    let (kind, text) = limited(TransactionLimits { time: Duration::ZERO, wal_growth: u64::MAX });
    assert_eq!((kind, text.contains("was stopped after 0 ms")), (ErrorKind::Environment, true), "{text}");
    assert_eq!(bench.archives(), 0);
}
