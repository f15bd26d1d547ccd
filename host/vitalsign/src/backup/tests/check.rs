//! What the `backup` check says of folders of archives.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use super::{REGISTRY, TestRegistry, at};
use crate::backup::{BackupCheck, LastRun, RetentionRules, Settings, Silent, list, plan, verify};
use vitalsign_archive::Compression;
use vitalsign_base::clock::Deadline;
use vitalsign_check::{Check as _, Context, Overrides};
use vitalsign_sqlite::TransactionLimits;

fn says(bench: &TestRegistry, configured: bool, now: &str, last: LastRun) -> String {
    said(bench.db(), bench.path("out"), configured, now, last).replace(bench.folder.path().to_str().unwrap(), "DIR")
}

/// What the check on the archives of `db` in `dir` says.
pub(super) fn said(db: PathBuf, dir: PathBuf, configured: bool, now: &str, last: LastRun) -> String {
    let max_age = configured.then_some(Duration::from_secs(93_600));
    said_of(Settings { configured, max_age, ..settings(dir) }, db, now, last)
}

/// What backups are configured with, where nobody asks for any.
pub(super) fn settings(dir: PathBuf) -> Settings {
    Settings {
        include: None,
        configured: false,
        dir,
        identity: None,
        compression: Compression::Gzip,
        level: None,
        max_age: None,
        keep: None,
        schedule: None,
        reverify: None,
        max_proof_age: None,
        limits: TransactionLimits { time: Duration::from_secs(1), wal_growth: 0 },
    }
}

/// What the check says with these settings.
pub(super) fn said_of(settings: Settings, db: PathBuf, now: &str, last: LastRun) -> String {
    let check = BackupCheck::new(settings, db, &Overrides::default(), Arc::new(at(now)), last).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = Context { deadline: Deadline::after(Duration::from_secs(60)) };
    let outcome = runtime.block_on(check.run(&context));
    let mut text = format!("{}: {}", outcome.status().as_str(), outcome.summary);
    for finding in &outcome.findings {
        text += &format!("\n- {} {}: {}", finding.status.as_str(), finding.code, finding.message);
        assert!(finding.hint.is_some(), "{finding:?}");
    }
    // The size of an archive depends on the compressor's version.
    let words: Vec<&str> = text.split(' ').collect();
    let sized = words
        .iter()
        .enumerate()
        .map(|(at, word)| if words.get(at + 1).is_some_and(|unit| unit.starts_with("KiB")) { "[size]" } else { word });
    sized.collect::<Vec<_>>().join(" ")
}

#[test]
fn young_proven_and_whole() {
    let bench = TestRegistry::with(REGISTRY);
    let none = LastRun::default;
    insta::assert_snapshot!(says(&bench, false, "2026-11-24T12:00:00Z", none()), @"
    skipped: there is no backup in DIR/out, and the configuration does not ask for any
    - skipped not-configured: there is no backup in DIR/out, and the configuration does not ask for any
    ");
    insta::assert_snapshot!(says(&bench, true, "2026-11-24T12:00:00Z", none()), @"
    error: there is no backup in DIR/out
    - error missing: there is no backup in DIR/out
    ");
    let made = bench.back_up(|_| ()).unwrap();
    insta::assert_snapshot!(says(&bench, true, "2026-11-24T13:00:00Z", none()), @"ok: 1 backup; the newest is 1 h old, [size] KiB and verified");
    insta::assert_snapshot!(says(&bench, true, "2026-11-25T14:00:01Z", none()), @"
    error: 1 backup; the newest is 1 d 2 h old, [size] KiB and verified
    - error old: the newest backup is 1 d 2 h old; at most 1 d 2 h are wanted
    ");
    insta::assert_snapshot!(says(&bench, false, "2027-11-25T14:00:01Z", none()), @"ok: 1 backup; the newest is 366 d 2 h old, [size] KiB and verified");
    insta::assert_snapshot!(says(&bench, true, "2026-11-24T11:00:00Z", none()), @"
    error: there is no backup in DIR/out
    - error missing: there is no backup in DIR/out
    - warn future: 1 backup with a time in the future: made by a clock that was wrong, so how old it is nobody knows; it counts for nothing, and `prune` keeps it
    ");
    let last = none();
    last.note(at("2026-11-24T13:00:00Z").0, Err("no room".to_owned()));
    insta::assert_snapshot!(says(&bench, true, "2026-11-24T13:00:01Z", last.clone()), @"
    error: 1 backup; the newest is 1 h old, [size] KiB and verified
    - error failed: the schedule of backups failed at 2026-11-24T13:00:00Z: no room
    ");
    // What a backup by hand has made good since does not count any more.
    last.note(at("2026-11-24T11:59:59Z").0, Err("no room".to_owned()));
    assert!(says(&bench, true, "2026-11-24T13:00:01Z", last.clone()).starts_with("ok"));
    last.note(at("2026-11-24T13:00:00Z").0, Err("no room".to_owned()));
    last.note(at("2026-11-24T14:00:00Z").0, Ok(()));
    assert!(says(&bench, true, "2026-11-24T13:00:01Z", last).starts_with("ok"));
    fs::write(&made.path, "changed").unwrap();
    insta::assert_snapshot!(says(&bench, true, "2026-11-24T13:00:00Z", none()), @"
    error: 1 backup; the newest is 1 h old, 7 B and changed
    - error changed: the newest backup has another size than when it was verified
    ");
}

#[test]
fn unproven_or_suddenly_small() {
    let bench =
        TestRegistry::with(&format!("{REGISTRY} CREATE TABLE large(a); INSERT INTO large VALUES (randomblob(100000))"));
    bench.back_up(|_| ()).unwrap();
    bench.sql("DELETE FROM large; VACUUM");
    bench.back_up(|request| request.verify = false).unwrap();
    insta::assert_snapshot!(says(&bench, true, "2026-11-24T13:00:00Z", LastRun::default()), @"
    warn: 2 backups; the newest is 1 h old, [size] KiB and unverified
    - warn shrunk: the newest backup has [size] KiB, less than half of the median of the backups before it
    - warn unverified: the newest backup was never verified
    ");
}

#[test]
fn of_a_database_of_the_same_path_on_another_host() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    let record = bench.path("out").join(format!("{}.json", made.record.archive));
    let mut known: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let mut says = |key: &str, value: &str| {
        known[key] = value.into();
        fs::write(&record, known.to_string()).unwrap();
        says(&bench, true, "2026-11-24T13:00:00Z", LastRun::default())
    };
    assert!(says("host", "another container").starts_with("ok"), "it is the same file");
    insta::assert_snapshot!(says("identity", "another file"), @"
    error: there is no backup in DIR/out
    - error missing: there is no backup in DIR/out
    - warn of-another: 1 backup here of a database with the same path on another host, so it does not count
    ");
    assert!(says("host", &vitalsign_base::files::host_name()).starts_with("ok"), "a restore made another file of it");
    // The database is lost: those of several other hosts are not taken for its own.
    let second = bench.back_up(|_| ()).unwrap().record.archive;
    let other = bench.path("out").join(format!("{second}.json"));
    let mut elsewhere: serde_json::Value = serde_json::from_slice(&fs::read(&other).unwrap()).unwrap();
    (elsewhere["host"], elsewhere["identity"]) = ("b".into(), "b".into());
    fs::write(&other, elsewhere.to_string()).unwrap();
    fs::remove_file(bench.db()).unwrap();
    says("identity", "another file");
    assert!(says("host", "a").contains("error missing: "), "{}", says("host", "a"));
}

#[test]
fn a_database_that_the_operator_names_is_known_by_that() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|request| request.identity = Some("payments")).unwrap();
    assert_eq!(made.record.identity.as_deref(), Some("payments"));
    let verified = verify(&made.path, false, &bench.path(""), &at("2026-11-24T13:00:00Z"), &Silent).unwrap();
    assert_eq!(verified.record.identity.as_deref(), Some("payments"), "the archive says so itself");
    // A container that starts again has another host name, and its volume may be mounted elsewhere.
    let record = bench.path("out").join(format!("{}.json", made.record.archive));
    let mut known: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    (known["host"], known["source"]) = ("another container".into(), "/mnt/r.sqlite".into());
    fs::write(&record, known.to_string()).unwrap();
    let says = |identity: Option<&str>| {
        let settings =
            Settings { configured: true, identity: identity.map(str::to_owned), ..settings(bench.path("out")) };
        said_of(settings, bench.db(), "2026-11-24T13:00:00Z", LastRun::default())
    };
    assert!(says(Some("payments")).starts_with("ok"));
    assert!(says(Some("orders")).starts_with("error: there is no backup"));
    // Neither does the same place make it that of another name.
    (known["host"], known["source"]) =
        (vitalsign_base::files::host_name().into(), bench.db().display().to_string().into());
    fs::write(&record, known.to_string()).unwrap();
    assert!(says(Some("orders")).starts_with("error: there is no backup"));
    (known["host"], known["source"]) = ("another container".into(), "/mnt/r.sqlite".into());
    fs::write(&record, known.to_string()).unwrap();
    assert!(says(None).starts_with("error: there is no backup"));
    // Archives from before it had the name are its own still.
    bench.back_up(|_| ()).unwrap();
    assert!(says(Some("payments")).starts_with("ok: 2 backups"));
}

#[test]
fn records_that_are_gone_until_somebody_accepts_it() {
    let bench = TestRegistry::with(&format!(
        "{REGISTRY} WITH RECURSIVE s(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM s WHERE v < 498)
         INSERT INTO records SELECT v, '' FROM s;"
    ));
    let says = || says(&bench, true, "2026-11-24T13:00:00Z", LastRun::default());
    bench.back_up(|_| ()).unwrap();
    bench.sql("DELETE FROM records WHERE id IN ('1', '2', '3')");
    bench.back_up(|_| ()).unwrap();
    assert!(says().starts_with("ok"));
    bench.sql("DELETE FROM records WHERE CAST(id AS INTEGER) > 250");
    bench.back_up(|_| ()).unwrap();
    insta::assert_snapshot!(says(), @"
    warn: 3 backups; the newest is 1 h old, [size] KiB and verified
    - warn rows-lost: the newest backup has 249 records, and registry-backup-2026-11-24T12-00-00Z.tar.gz has 500
    ");
    // The next backup is like the one before it, and the records are still missing.
    let kept = || {
        let all = list(&bench.path("out"), true).unwrap();
        let plan = plan(&all, RetentionRules { last: 1, ..RetentionRules::default() }, at("2026-11-24T13:00:00Z").0);
        plan.iter().map(|one| one.kept.join(", ")).collect::<Vec<_>>()
    };
    bench.back_up(|_| ()).unwrap();
    assert!(says().contains("rows-lost"));
    assert_eq!(kept(), ["last, newest verified", "", "", "most records"]);
    let accepted = bench.back_up(|request| request.accept_fewer_rows = true).unwrap();
    assert!(says().starts_with("ok"));
    assert_eq!(kept()[4], "");
    // It holds although the archive in which it was accepted is removed, and whoever verifies keeps it.
    let later = bench.back_up(|_| ()).unwrap();
    fs::remove_file(&accepted.path).unwrap();
    fs::remove_file(format!("{}.json", accepted.path.display())).unwrap();
    let verified = verify(&later.path, false, &bench.path(""), &at("2026-11-24T13:00:00Z"), &Silent).unwrap();
    assert_eq!(verified.record.fewer_rows_accepted, Some(accepted.record.archive));
    assert!(says().starts_with("ok"));
    // It is no leave to lose more.
    bench.sql("DELETE FROM records WHERE CAST(id AS INTEGER) > 100");
    bench.back_up(|_| ()).unwrap();
    assert!(
        says().contains("the newest backup has 99 records, and registry-backup-2026-11-24T12-00-00-6Z.tar.gz has 249")
    );
    bench.sql("WITH RECURSIVE s(v) AS (SELECT 1001 UNION ALL SELECT v + 1 FROM s WHERE v < 1200) INSERT INTO records SELECT v, '' FROM s");
    bench.back_up(|_| ()).unwrap();
    assert!(says().starts_with("ok"), "they are back");
}

#[test]
fn missing_records_are_not_to_be_restored_from_a_damaged_archive_while_another_has_them() {
    let rows = |from: u32, to: u32| {
        format!(
            "WITH RECURSIVE s(v) AS (SELECT {from} UNION ALL SELECT v + 1 FROM s WHERE v < {to})
             INSERT INTO records SELECT v, '' FROM s;"
        )
    };
    let bench = TestRegistry::with(&format!("{REGISTRY} {}", rows(1, 498)));
    bench.back_up(|_| ()).unwrap();
    bench.sql(&rows(1001, 1010));
    let rotten = bench.back_up(|_| ()).unwrap();
    bench.sql(&rows(1011, 1020));
    bench.back_up(|request| request.verify = false).unwrap();
    bench.sql(&rows(1021, 1030));
    let whole = fs::read(&rotten.path).unwrap();
    fs::write(&rotten.path, &whole[..whole.len() / 2]).unwrap();
    verify(&rotten.path, false, &bench.path(""), &at("2026-11-24T13:00:00Z"), &Silent).unwrap_err();
    bench.sql("DELETE FROM records WHERE CAST(id AS INTEGER) > 250");
    bench.back_up(|_| ()).unwrap();
    let seen = || {
        let all = list(&bench.path("out"), true).unwrap();
        let plan = plan(&all, RetentionRules { last: 1, ..RetentionRules::default() }, at("2026-11-24T13:00:00Z").0);
        let kept = plan.iter().map(|one| one.kept.join(", ")).collect::<Vec<_>>();
        let says = says(&bench, true, "2026-11-24T13:00:00Z", LastRun::default());
        (says.lines().find(|line| line.contains("rows-lost")).map(str::to_owned), kept)
    };
    let remove = |name: &str| {
        fs::remove_file(bench.path("out").join(name)).unwrap();
        fs::remove_file(bench.path("out").join(format!("{name}.json"))).unwrap();
    };
    let says = |records: u32, name: &str| {
        Some(format!("- warn rows-lost: the newest backup has 252 records, and {name} has {records}"))
    };
    let [first, second, third] =
        ["", "-2", "-3"].map(|number| format!("registry-backup-2026-11-24T12-00-00{number}Z.tar.gz"));
    // What was never verified may be bad, so the best that was is kept too.
    let (told, kept) = seen();
    assert_eq!(
        (told, kept),
        (says(520, &third), ["last, newest verified", "most records", "", "most records"].map(String::from).to_vec())
    );
    remove(&third);
    assert_eq!(seen(), (says(500, &first), ["last, newest verified", "", "most records"].map(String::from).to_vec()));
    // Where nothing else has them, the damaged one is what there is.
    remove(&first);
    assert_eq!(seen(), (says(510, &second), ["last, newest verified", "most records"].map(String::from).to_vec()));
}
