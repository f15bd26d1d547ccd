//! Reports to render in tests.

use vitalsign_base::value::{Digest, Name};
use vitalsign_check::report::{Entry, Finding, Measure, Origin, RegistrySection, Report, Status, Subject, Weight};

pub(super) fn entry(name: &str, status: Status, summary: &str, findings: Vec<Finding>) -> Entry {
    Entry {
        name: Name::parse(name).unwrap(),
        origin: Origin::Builtin,
        status,
        raw_status: status,
        weight: Weight::Critical,
        groups: Vec::new(),
        summary: summary.to_owned(),
        findings,
        measures: Vec::new(),
        duration_ms: 1.25,
        checked_at: Some("2025-10-27T16:43:49Z".parse().unwrap()),
        age_ms: Some(0),
    }
}

pub(super) fn report(entries: Vec<Entry>) -> Report {
    let subject = Subject { database: "/srv/registry/registry.sqlite".to_owned(), host: "db-1".to_owned() };
    Report::new(&subject, RegistrySection::default(), entries, "2025-10-27T16:43:49Z".parse().unwrap())
}

fn finding(status: Status, message: &str) -> Finding {
    Finding::new(status, "some-code", message)
}

pub(super) fn healthy() -> Report {
    let unpinned = finding(Status::Skipped, "no expected schema version is configured")
        .hint("Set registry.expectedSchemaVersion, or run `vitalsign init`.");
    report(vec![
        entry("disk", Status::Ok, "12.3 GiB free, 256.0 MiB wanted", Vec::new()),
        entry("schema", Status::Skipped, "user_version is 3; nothing to compare it with", vec![unpinned]),
        entry("wal", Status::Ok, "journal mode is WAL", vec![finding(Status::Ok, "journal mode is WAL")]),
    ])
}

pub(super) fn mixed() -> Report {
    let disk = finding(Status::Error, "only 100.0 MiB are free on the database's file system, 256.0 MiB are wanted")
        .subject("/srv/registry")
        .hint("Free space there, or lower health.minFreeBytes.");
    let slow = finding(Status::Unknown, "gave no answer within 2 s (timeoutMs)")
        .hint("Find out what it waits for, or raise its timeoutMs.");
    let big = finding(Status::Warn, "12 pages are not yet checkpointed").subject("registry.sqlite-wal");
    let chain = finding(Status::Error, "the chain of digests is broken").subject("record 17");
    let mut entries = vec![
        entry("schema", Status::Ok, "user_version is 3, as expected", Vec::new()),
        entry("disk", Status::Error, "100.0 MiB free", vec![disk]),
        entry("growth", Status::Unknown, "gave no answer within 2 s (timeoutMs)", vec![slow]),
        entry("wal", Status::Warn, "the WAL is big", vec![finding(Status::Ok, "journal mode is WAL"), big]),
        entry("provenance-chain", Status::Error, "1 of 900,000 records is broken", vec![chain]),
    ];
    entries[1].measures = vec![Measure::new("free_bytes", 104_857_600.0, "bytes")];
    entries[3].measures = vec![
        Measure { warn: Some(10.0), error: Some(1000.0), ..Measure::new("wal_pages", 12.0, "pages").bound() },
        Measure { warn: Some(60.0), ..Measure::new("oldest_reader", 68.358_184_156, "seconds") },
        Measure { error: Some(1e9), ..Measure::new("rows", 1_234_567.8, "rows").estimated() },
        Measure::new("busy", 0.25, ""),
    ];
    for (at, digest) in [(2, Some(Digest::of(b"growth"))), (4, None)] {
        entries[at].weight = Weight::Ordinary;
        let component = format!("plugins/{}.wasm", entries[at].name.as_str().replace('-', "_"));
        entries[at].origin = Origin::Plugin { component, digest };
    }
    report(entries)
}

pub(super) fn missing() -> Report {
    let gone = finding(Status::Unknown, "there is no database at /srv/registry/registry.sqlite")
        .hint("Give the right path with --db or dbPath.");
    let all = ["foreign-keys", "records", "schema", "wal"]
        .map(|name| entry(name, Status::Unknown, &gone.message, vec![gone.clone()]));
    let mut entries = all.to_vec();
    entries.push(entry("disk", Status::Ok, "12.3 GiB free", Vec::new()));
    report(entries)
}

/// One cause that several checks see, an advisory check, and advice that repeats.
pub(super) fn alike() -> Report {
    let advice = "Run `vitalsign backup`.";
    let broken = |row| finding(Status::Error, row).hint(advice);
    let mut entries = vec![
        entry(
            "chain",
            Status::Error,
            "3 of 9 records are broken",
            vec![broken("row 1"), broken("row 5"), broken("row 9")],
        ),
        entry(
            "orphans",
            Status::Error,
            "the statement gives 4",
            vec![broken("the statement gives 4; from 1 it is an error")],
        ),
        entry("growth", Status::Error, "the table shrank", vec![finding(Status::Error, "the table shrank")]),
    ];
    entries[2].weight = Weight::Advisory;
    let locked = finding(Status::Unknown, "`/srv/registry/registry.sqlite` is locked by another process")
        .hint("Find the process that holds the lock.")
        .of_database();
    entries.extend(
        ["records", "schema", "wal"].map(|name| entry(name, Status::Unknown, &locked.message, vec![locked.clone()])),
    );
    report(entries)
}

pub(super) fn long() -> Report {
    let text = "a sentence that goes on and on, past the edge of every terminal that anybody has ever had, and names \
                /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite on its way";
    report(vec![entry("wal", Status::Error, text, vec![finding(Status::Error, text).subject("x").hint(text)])])
}

pub(super) fn held() -> Report {
    let note = Finding::new(Status::Error, "recovering", "still counts as error: 1 of 3 better results in a row");
    let hidden = Finding::new(Status::Ok, "held", "still counts as ok: 1 of 2 worse results in a row");
    let stale = Finding::new(Status::Unknown, "stale", "the last result is 13 h old; it said ok: fine");
    let mut disk = entry("disk", Status::Error, "12.3 GiB free", vec![note]);
    disk.raw_status = Status::Ok;
    let slow = finding(Status::Warn, "1 page is not yet checkpointed");
    let mut wal = entry("wal", Status::Ok, "the WAL is big", vec![hidden, slow]);
    wal.raw_status = Status::Warn;
    let mut schema = entry("schema", Status::Unknown, "no fresh result", vec![stale]);
    schema.age_ms = Some(46_800_000);
    report(vec![disk, wal, schema])
}

/// Every string that comes from outside tries to write to the terminal.
pub(super) fn hostile() -> Report {
    let evil = "\x1b[2J\r\u{202e}evil\n\x07";
    let mut entry = entry(
        "evil",
        Status::Error,
        evil,
        vec![
            Finding::new(Status::Error, evil, evil).subject(evil).hint(evil),
            Finding::new(Status::Error, evil, format!("{evil} again")),
        ],
    );
    entry.measures = vec![Measure { warn: Some(0.0), ..Measure::new(evil, 1.0, evil) }];
    entry.origin = Origin::Plugin { component: evil.to_owned(), digest: None };
    report(vec![entry])
}
