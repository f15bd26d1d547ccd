//! Listing, and the rules of retention, which are pure.

use std::fs;

use super::{Bench, REGISTRY, at};
use crate::{
    archive::{Compression, Stamp},
    backup::{Keep, Listed, Standing, list, plan, prune},
    clock::Timestamp,
};

fn listed(times: &[(&str, Standing)]) -> Vec<Listed> {
    let one = |(at, standing): &(&str, Standing)| {
        let at: Timestamp = at.parse().unwrap();
        Listed {
            path: at.to_string().into(),
            created_at: at,
            stamp: Stamp { at, number: 1 },
            tag: None,
            compression: Compression::Gzip,
            bytes: 1,
            standing: *standing,
            verified_at: None,
            structure: None,
            flaw: None,
            source: None,
            database_bytes: None,
            records: None,
            provenance_rows: None,
        }
    };
    times.iter().map(one).collect()
}

#[test]
fn each_rule_keeps_the_newest_proven_one_of_its_periods() {
    use Standing::{Damaged, Unverified, Verified};
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
    let keep = Keep { last: 1, hourly: 2, daily: 3, weekly: 2, monthly: 2, yearly: 2 };
    let told: Vec<String> =
        plan(&all, keep).iter().map(|one| format!("{} {}", one.created_at, one.kept.join(", "))).collect();
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
    assert_eq!(plan(&[], keep), []);
    // Where nothing is verified, the newest stays whatever the rules say.
    let none =
        plan(&listed(&[("2026-11-24T12:30:00Z", Unverified), ("2026-11-23T12:30:00Z", Unverified)]), Keep::default());
    assert_eq!(none.iter().map(|one| one.kept.clone()).collect::<Vec<_>>(), [vec!["newest"], vec![]]);
}

#[test]
fn what_goes_goes_with_its_record_and_is_written_down() {
    let bench = Bench::with(REGISTRY);
    for _ in 0..3 {
        bench.back_up(|_| ()).unwrap();
    }
    fs::write(bench.path("out/notes.txt"), "").unwrap();
    fs::write(bench.path("out/registry-backup-2020-01-01T00-00-00Z.tar.gz.json"), "left by a prune that was killed")
        .unwrap();
    let all = list(&bench.path("out"), true).unwrap();
    assert_eq!(all.len(), 3);
    assert!(all[0].path.ends_with("registry-backup-2026-11-24T12-00-00-3Z.tar.gz"), "{all:?}");
    let plan = plan(&all, Keep { last: 1, ..Keep::default() });
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
    let bench = Bench::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    fs::remove_file(bench.path("out").join(format!("{}.json", made.record.archive))).unwrap();
    fs::write(bench.path("out/registry-backup-2020-01-01T00-00-00Z.tar.gz"), "no archive").unwrap();
    let all = list(&bench.path("out"), true).unwrap();
    assert_eq!((all[0].records, all[0].standing), (Some(2), Standing::Unverified));
    assert_eq!((all[1].records, all[1].standing), (None, Standing::Unverified));
    assert_eq!(list(&bench.path("no/such/folder"), true).unwrap(), []);
}
