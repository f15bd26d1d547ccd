//! Listing, and the rules of retention, which are pure.

use std::{fs, time::Duration};

use super::{REGISTRY, TestRegistry, at};
use crate::backup::{
    ArchiveState, CatalogEntry, ErrorKind, RetentionRules, Silent, last_made, list, newest_until, plan, prune, verify,
};
use vitalsign_archive::{Compression, Stamp};
use vitalsign_base::{clock::Timestamp, files};

fn listed(times: &[(&str, ArchiveState)]) -> Vec<CatalogEntry> {
    let one = |(at, standing): &(&str, ArchiveState)| {
        let at: Timestamp = at.parse().unwrap();
        CatalogEntry {
            include: Vec::new(),
            path: at.to_string().into(),
            created_at: at,
            stamp: Stamp { at, number: 1 },
            tag: None,
            compression: Compression::Gzip,
            bytes: 1,
            pinned: false,
            standing: *standing,
            verified_at: None,
            structure: None,
            flaw: None,
            source: None,
            host: None,
            identity: None,
            database_bytes: None,
            records: None,
            provenance_rows: None,
            fewer_rows_accepted: None,
        }
    };
    times.iter().map(one).collect()
}

fn now() -> Timestamp {
    "2026-11-24T14:00:00Z".parse().unwrap()
}

#[test]
fn each_rule_keeps_the_newest_proven_one_of_its_periods() {
    use ArchiveState::{Damaged, Unverified, Verified};
    let all = listed(&[
        ("2026-11-24T12:30:00Z", Damaged),
        ("2026-11-24T12:00:00Z", Unverified),
        ("2026-11-24T03:00:00Z", Verified),
        ("2026-11-23T23:59:59Z", Verified),
        ("2026-11-22T03:00:00Z", Verified),
        ("2026-10-31T03:00:00Z", Verified),
        ("2025-12-31T03:00:00Z", Verified),
        ("2024-01-01T03:00:00Z", Verified),
    ]);
    let keep = RetentionRules { last: 1, hourly: 2, daily: 3, weekly: 2, monthly: 2, yearly: 2 };
    let told: Vec<String> =
        plan(&all, keep, now()).iter().map(|one| format!("{} {}", one.created_at, one.kept.join(", "))).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    2026-11-24T12:30:00Z 
    2026-11-24T12:00:00Z last, hourly
    2026-11-24T03:00:00Z hourly, daily, weekly, monthly, yearly, newest verified
    2026-11-23T23:59:59Z daily
    2026-11-22T03:00:00Z daily, weekly
    2026-10-31T03:00:00Z monthly
    2025-12-31T03:00:00Z yearly
    2024-01-01T03:00:00Z 
    ");
    assert_eq!(plan(&[], keep, now()), []);
    // Where nothing is verified, the newest stays whatever the rules say.
    let none = plan(
        &listed(&[("2026-11-24T12:30:00Z", Unverified), ("2026-11-23T12:30:00Z", Unverified)]),
        RetentionRules::default(),
        now(),
    );
    assert_eq!(none.iter().map(|one| one.kept.clone()).collect::<Vec<_>>(), [vec!["newest"], vec![]]);
}

#[test]
fn what_goes_goes_with_its_record_and_is_written_down() {
    let bench = TestRegistry::with(REGISTRY);
    for _ in 0..3 {
        bench.back_up(|_| ()).unwrap();
    }
    fs::write(bench.path("out/notes.txt"), "").unwrap();
    fs::write(bench.path("out/registry-backup-2020-01-01T00-00-00Z.tar.gz.json"), "left by a prune that was killed")
        .unwrap();
    let all = list(&bench.path("out"), true).unwrap();
    assert_eq!(all.len(), 3);
    assert!(all[0].path.ends_with("registry-backup-2026-11-24T12-00-00-3Z.tar.gz"), "{all:?}");
    let plan = plan(&all, RetentionRules { last: 1, ..RetentionRules::default() }, now());
    prune(&plan, &at("2026-11-24T14:00:00Z")).unwrap();
    let mut left: Vec<_> = fs::read_dir(bench.path("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            "notes.txt",
            "registry-backup-2026-11-24T12-00-00-3Z.tar.gz",
            "registry-backup-2026-11-24T12-00-00-3Z.tar.gz.json",
            "registry-backup-ledger.jsonl"
        ]
    );
    let ledger = fs::read_to_string(bench.path("out/registry-backup-ledger.jsonl")).unwrap();
    assert_eq!(ledger.matches(r#""event":"prune""#).count(), 2);
}

#[test]
fn an_archive_without_a_record_speaks_for_itself() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    fs::remove_file(bench.path("out").join(format!("{}.json", made.record.archive))).unwrap();
    fs::write(bench.path("out/registry-backup-2020-01-01T00-00-00Z.tar.gz"), "no archive").unwrap();
    let all = list(&bench.path("out"), true).unwrap();
    assert_eq!((all[0].records, all[0].standing), (Some(2), ArchiveState::Unverified));
    assert_eq!((all[1].records, all[1].standing), (None, ArchiveState::Unverified));
    assert_eq!(list(&bench.path("no/such/folder"), true).unwrap(), []);
}

#[test]
fn only_the_time_stamp_is_another() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    let standing = || list(&bench.path("out"), true).unwrap()[0].standing;
    let touch = || {
        let at = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        fs::File::options().write(true).open(&made.path).unwrap().set_modified(at).unwrap();
    };
    touch();
    assert_eq!(standing(), ArchiveState::Unverified);
    verify(&made.path, false, &bench.path(""), &at("2026-11-24T13:00:00Z"), &Silent).unwrap();
    assert_eq!(standing(), ArchiveState::Verified);
    // Nothing but reading makes a damaged archive a good one.
    let mut bytes = fs::read(&made.path).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 4;
    fs::write(&made.path, &bytes).unwrap();
    assert_eq!(standing(), ArchiveState::Unverified);
    verify(&made.path, false, &bench.path(""), &at("2026-11-24T13:00:00Z"), &Silent).unwrap_err();
    touch();
    assert_eq!(standing(), ArchiveState::Damaged);
    // What it was is still known, so putting it back makes it good again.
    bytes[half] ^= 4;
    fs::write(&made.path, &bytes).unwrap();
    verify(&made.path, false, &bench.path(""), &at("2026-11-24T13:00:00Z"), &Silent).unwrap();
    assert_eq!(standing(), ArchiveState::Verified);
}

#[test]
fn another_archive_under_the_name_of_a_recorded_one() {
    let bench = TestRegistry::with(REGISTRY);
    let old = bench.back_up(|_| ()).unwrap();
    bench.sql("INSERT INTO records VALUES ('c', '')");
    // One that was read back, and one that never was.
    for verified in [true, false] {
        let new = bench.back_up(|request| request.verify = verified).unwrap();
        let kept = fs::read(&new.path).unwrap();
        fs::copy(&old.path, &new.path).unwrap();
        for _ in 0..2 {
            let failure = verify(&new.path, false, &bench.path(""), &at("2026-11-24T13:00:00Z"), &Silent).unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::Damaged);
            assert!(failure.to_string().contains("is not the archive that was recorded"), "{failure}");
        }
        let all = list(&bench.path("out"), true).unwrap();
        assert_ne!(all[0].standing, ArchiveState::Verified);
        assert_eq!(all[0].records, Some(3), "what was recorded stays");
        fs::write(&new.path, kept).unwrap();
        let found = verify(&new.path, false, &bench.path(""), &at("2026-11-24T13:00:00Z"), &Silent).unwrap();
        assert_eq!(found.record.records, Some(3));
    }
}

#[test]
fn what_is_dated_in_the_future_stays_and_counts_for_nothing() {
    use ArchiveState::{Unreadable, Verified};
    let all = listed(&[
        ("2031-01-01T00:00:00Z", Verified),
        // Clocks differ a little.
        ("2026-11-24T14:10:00Z", Verified),
        ("2026-11-24T13:00:00Z", Unreadable),
        ("2026-11-24T12:00:00Z", Verified),
    ]);
    let keep = RetentionRules { last: 1, ..RetentionRules::default() };
    let kept: Vec<_> = plan(&all, keep, now()).iter().map(|one| one.kept.join(", ")).collect();
    assert_eq!(kept, ["dated in the future", "last, newest verified", "cannot be accessed", ""]);
}

#[test]
fn databases_of_the_same_path_are_counted_by_themselves() {
    let mut all =
        listed(&[("2026-11-24T13:00:00Z", ArchiveState::Verified), ("2026-11-24T12:00:00Z", ArchiveState::Verified)]);
    for one in &mut all {
        (one.source, one.host) = (Some("/data/registry.sqlite".to_owned()), Some(one.created_at.to_string()));
    }
    let keep = RetentionRules { last: 1, ..RetentionRules::default() };
    let gone = |all: &[CatalogEntry]| plan(all, keep, now()).iter().filter(|one| one.kept.is_empty()).count();
    assert_eq!(gone(&all), 1, "a container has another host name each time it starts");
    (all[0].identity, all[1].identity) = (Some("a".to_owned()), Some("b".to_owned()));
    assert_eq!(gone(&all), 0);
    (all[0].identity, all[1].source) = (Some("b".to_owned()), Some("/mnt/registry.sqlite".to_owned()));
    assert_eq!(gone(&all), 1, "it is the same file, wherever it is mounted");
}

#[test]
fn the_archive_with_the_records_that_are_missing_since_stays() {
    let mut all = listed(&[
        ("2026-11-24T13:00:00Z", ArchiveState::Verified),
        ("2026-11-24T12:00:00Z", ArchiveState::Verified),
        ("2026-11-24T11:00:00Z", ArchiveState::Damaged),
        ("2026-11-24T10:00:00Z", ArchiveState::Verified),
        ("2026-11-24T09:00:00Z", ArchiveState::Verified),
    ]);
    for (one, records) in all.iter_mut().zip([Some(10), None, Some(20), Some(20), Some(20)]) {
        (one.records, one.host, one.source) = (records, Some("h".to_owned()), Some("/r.sqlite".to_owned()));
    }
    let kept = |all: &[CatalogEntry]| {
        let plan = plan(all, RetentionRules { last: 1, ..RetentionRules::default() }, now());
        plan.iter().map(|one| one.kept.join(", ")).collect::<Vec<_>>()
    };
    let expected = ["last, newest verified", "", "", "most records", ""];
    assert_eq!(kept(&all), expected);
    // A restore made another file of it.
    all[0].identity = Some("new".to_owned());
    assert_eq!(kept(&all)[3], "most records");
    all[0].identity = None;
    all[1].fewer_rows_accepted = Some(all[1].stamp);
    assert_eq!(kept(&all)[3], "");
    // Accepted in the future is not accepted.
    all[1].fewer_rows_accepted = Some(Stamp { at: "2031-01-01T00:00:00Z".parse().unwrap(), number: 1 });
    assert_eq!(kept(&all), expected);
    all[0].records = Some(18);
    assert_eq!(kept(&all)[3], "", "so few are no loss");
}

#[test]
fn an_archive_that_cannot_be_accessed_is_listed() {
    let bench = TestRegistry::with(REGISTRY);
    bench.back_up(|_| ()).unwrap();
    let name = "registry-backup-2026-11-24T11-00-00Z.tar.gz";
    std::os::unix::fs::symlink(name, bench.path("out").join(name)).unwrap();
    let all = list(&bench.path("out"), true).unwrap();
    assert_eq!(
        all.iter().map(|one| one.standing).collect::<Vec<_>>(),
        [ArchiveState::Verified, ArchiveState::Unreadable]
    );
    assert!(all[1].flaw.is_some());
}

#[test]
fn what_a_link_leads_to_that_is_not_there_is_not_gone() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    let disk = bench.path("disk");
    fs::rename(&made.path, &disk).unwrap();
    std::os::unix::fs::symlink(&disk, &made.path).unwrap();
    let standing = || list(&bench.path("out"), true).unwrap().iter().map(|one| one.standing).collect::<Vec<_>>();
    assert_eq!(standing(), [ArchiveState::Verified]);
    fs::rename(&disk, bench.path("not mounted")).unwrap();
    assert_eq!(standing(), [ArchiveState::Unreadable]);
    let keep = RetentionRules { last: 1, ..RetentionRules::default() };
    let plan = plan(&list(&bench.path("out"), true).unwrap(), keep, now());
    prune(&plan, &at("2026-11-24T14:00:00Z")).unwrap();
    fs::rename(bench.path("not mounted"), &disk).unwrap();
    assert_eq!(standing(), [ArchiveState::Verified], "its record is still there");
}

/// Has the record of an archive say that it was made on another host, of another file.
fn made_elsewhere(bench: &TestRegistry, archive: &str, host: &str, identity: &str) {
    let path = bench.path(&format!("out/{archive}.json"));
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    (record["host"], record["identity"]) = (host.into(), identity.into());
    fs::write(&path, record.to_string()).unwrap();
}

#[test]
fn the_newest_archive_is_that_of_this_database_and_not_of_one_with_its_path_elsewhere() {
    let bench = TestRegistry::with(REGISTRY);
    let names: Vec<_> = (0..3).map(|_| bench.back_up(|_| ()).unwrap().record.archive).collect();
    let newest = || {
        let found = newest_until(&bench.path("out"), &bench.db(), None, None, now());
        found
            .map(|one| names.iter().position(|name| one.path.ends_with(name)).unwrap())
            .map_err(|failure| failure.kind())
    };
    assert_eq!(newest(), Ok(2));
    made_elsewhere(&bench, &names[2], "another host", "a");
    assert_eq!(newest(), Ok(1));
    // The database is lost, and with it what tells it from the other one.
    fs::remove_file(bench.db()).unwrap();
    assert_eq!(newest(), Ok(1));
    // A container with a new name.
    for name in &names {
        made_elsewhere(&bench, name, "the name before", "b");
    }
    assert_eq!(newest(), Ok(2));
    made_elsewhere(&bench, &names[0], "another host", "a");
    assert_eq!(newest(), Err(ErrorKind::Refused), "nobody can tell which of them it was");
    made_elsewhere(&bench, &names[1], &files::host_name(), "c");
    assert_eq!(newest(), Ok(1));
}

#[test]
fn a_clock_that_was_set_back_hides_no_archive() {
    let bench = TestRegistry::with(REGISTRY);
    bench.back_up(|_| ()).unwrap();
    let newest = |until: Option<&str>, now: &str| {
        let until = until.map(|until| until.parse().unwrap());
        newest_until(&bench.path("out"), &bench.db(), None, until, now.parse().unwrap())
            .map_err(|failure| failure.kind())
    };
    assert!(newest(None, "2026-11-24T11:59:00Z").is_ok());
    assert_eq!(newest(None, "2026-11-24T11:00:00Z").unwrap_err(), ErrorKind::Refused);
    assert_eq!(newest(Some("2026-11-24T11:59:59Z"), "2026-11-24T13:00:00Z").unwrap_err(), ErrorKind::Refused);
    assert!(newest(Some("2026-11-24T12:00:00Z"), "2026-11-24T13:00:00Z").is_ok());
}

#[test]
fn an_archive_of_another_database_in_the_folder_hides_no_time_that_was_missed() {
    let bench = TestRegistry::with(REGISTRY);
    let own = bench.back_up(|_| ()).unwrap();
    let last = |named: Option<&str>| {
        let last = last_made(&bench.path("out"), &bench.db(), named, "2026-11-24T13:00:00Z".parse().unwrap());
        last.unwrap().map(|at| at.to_string())
    };
    let later = own.path.with_file_name("registry-backup-2026-11-24T12-30-00Z.tar.gz");
    fs::copy(&own.path, &later).unwrap();
    assert_eq!(last(None).as_deref(), Some("2026-11-24T12:30:00Z"));
    fs::copy(format!("{}.json", own.path.display()), format!("{}.json", later.display())).unwrap();
    made_elsewhere(&bench, later.file_name().unwrap().to_str().unwrap(), "another host", "a");
    assert_eq!(last(None).as_deref(), Some("2026-11-24T12:00:00Z"));
    // A clock that was wrong says nothing of what was missed.
    fs::rename(&later, own.path.with_file_name("registry-backup-2026-11-24T13-00-01Z.tar.gz")).unwrap();
    assert_eq!(last(Some("payments")).as_deref(), Some("2026-11-24T12:00:00Z"));
    fs::remove_file(&own.path).unwrap();
    assert_eq!(last_made(&bench.path("nowhere"), &bench.db(), None, now()).unwrap(), None);
}

#[test]
fn two_processes_verify_one_archive_and_both_results_are_written_down() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    let verified = || verify(&made.path, false, &bench.path(""), &at("2026-11-24T13:00:00Z"), &Silent).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..4).for_each(|_| drop(verified())));
        }
    });
    let ledger = fs::read_to_string(bench.path("out/registry-backup-ledger.jsonl")).unwrap();
    assert_eq!(ledger.matches(r#""event":"verify""#).count(), 16);
    assert_eq!(list(&bench.path("out"), true).unwrap()[0].standing, ArchiveState::Verified);
}
