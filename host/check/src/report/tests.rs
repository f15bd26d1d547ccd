//! The severity rule enumerated in full, against the table in the docs too; and the golden of the report's keys.

use super::*;

/// The rule once more, row by row: status, then what it counts as when critical, ordinary, advisory.
const RULE: [(Status, [Severity; 3]); 5] = [
    (Status::Skipped, [Severity::Ok, Severity::Ok, Severity::Ok]),
    (Status::Ok, [Severity::Ok, Severity::Ok, Severity::Ok]),
    (Status::Warn, [Severity::Warn, Severity::Warn, Severity::Warn]),
    (Status::Unknown, [Severity::Error, Severity::Warn, Severity::Warn]),
    (Status::Error, [Severity::Error, Severity::Error, Severity::Warn]),
];

/// The columns of [`RULE`] and of the table in the docs.
const COLUMNS: [Weight; 3] = [Weight::Critical, Weight::Ordinary, Weight::Advisory];

fn entry(name: &str, status: Status, weight: Weight, findings: Vec<Finding>) -> Entry {
    Entry {
        name: Name::parse(name).unwrap(),
        origin: Origin::Builtin,
        status,
        raw_status: status,
        weight,
        groups: Vec::new(),
        summary: "the summary".to_owned(),
        findings,
        measures: Vec::new(),
        duration_ms: 1.5,
        checked_at: Some(noon()),
        age_ms: Some(0),
    }
}

fn noon() -> Timestamp {
    "2025-10-27T12:00:00Z".parse().unwrap()
}

fn subject() -> Subject {
    Subject { database: "var/registry.sqlite".to_owned(), host: "db-1".to_owned() }
}

fn report(entries: Vec<Entry>) -> Report {
    Report::new(&subject(), RegistrySection::default(), entries, noon())
}

/// Every status with every weight: the fifteen kinds of entry there are.
fn kinds() -> Vec<(Status, Weight)> {
    Status::ALL.into_iter().flat_map(|status| Weight::ALL.map(|weight| (status, weight))).collect()
}

#[test]
fn the_rule_is_as_listed_for_every_status_and_weight() {
    assert_eq!(RULE.map(|row| row.0), Status::ALL);
    for (status, counts) in RULE {
        assert_eq!(COLUMNS.map(|weight| severity(status, weight)), counts, "{status:?}");
    }
}

#[test]
fn the_docs_hold_the_same_table() {
    let doc = include_str!("../../../../docs/severity.md");
    let cell = |text: &str| text.trim().trim_matches('`').to_owned();
    let rows: Vec<Vec<String>> = doc
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(cell).collect())
        .collect();
    assert_eq!(rows.len(), Status::ALL.len());
    for (row, status) in rows.iter().zip(Status::ALL) {
        let [word, _, counts @ ..] = row.as_slice() else { panic!("five cells in {row:?}") };
        assert_eq!(word, status.as_str());
        assert_eq!(counts, COLUMNS.map(|weight| severity(status, weight).as_str()), "{word}");
    }
}

#[test]
fn the_top_status_is_the_worst_of_every_combination_and_always_explained() {
    let kinds = kinds();
    let nothing = report(Vec::new());
    assert_eq!(
        (nothing.status, nothing.errors.as_slice()),
        (Severity::Error, ["no check was run".to_owned()].as_slice())
    );
    for a in &kinds {
        for b in &kinds {
            for c in &kinds {
                let entries = [("a", a), ("b", b), ("c", c)];
                for explained in [true, false] {
                    let findings =
                        |status| if explained { vec![Finding::new(status, "code", "so")] } else { Vec::new() };
                    let report =
                        report(entries.map(|(name, kind)| entry(name, kind.0, kind.1, findings(kind.0))).to_vec());
                    let count = |rank| entries.iter().filter(|(_, kind)| severity(kind.0, kind.1) == rank).count();
                    let worst = if count(Severity::Error) > 0 {
                        Severity::Error
                    } else if count(Severity::Warn) > 0 {
                        Severity::Warn
                    } else {
                        Severity::Ok
                    };
                    assert_eq!(report.status, worst, "{a:?} {b:?} {c:?}");
                    assert_eq!(report.errors.len(), count(Severity::Error), "{a:?} {b:?} {c:?}");
                    assert_eq!(report.warnings.len(), count(Severity::Warn), "{a:?} {b:?} {c:?}");
                }
            }
        }
    }
}

#[test]
fn a_finding_never_weighs_more_than_its_entry() {
    for (status, weight) in kinds() {
        for found in Status::ALL {
            let entry = entry("a", status, weight, vec![Finding::new(found, "code", "found")]);
            assert!(entry.finding_severity(&entry.findings[0]) <= entry.severity());
            let report = report(vec![entry]);
            assert_eq!(!report.errors.is_empty(), report.status == Severity::Error, "{status:?} {weight:?} {found:?}");
        }
    }
}

#[test]
fn each_finding_has_a_sentence_that_names_its_check() {
    let findings = vec![Finding::new(Status::Error, "x", "gone"), Finding::new(Status::Warn, "y", "slow")];
    let report = report(vec![
        entry("b", Status::Error, Weight::Ordinary, findings.clone()),
        entry("a", Status::Error, Weight::Advisory, findings),
    ]);
    assert_eq!(report.errors, ["b: gone"]);
    assert_eq!(report.warnings, ["a: gone", "a: slow", "b: slow"]);
}

#[test]
fn a_missing_database_is_one_finding_on_which_the_others_depend() {
    let missing = || {
        let finding = Finding::new(Status::Error, "missing", "there is no database").hint("start it").of_database();
        vec![finding.repaired_by_start()]
    };
    let with_own = vec![missing().remove(0), Finding::new(Status::Error, "own", "a finding of its own")];
    let mut summarised = entry("wal", Status::Error, Weight::Critical, missing());
    summarised.summary = "there is no database".to_owned();
    let report = report(vec![
        entry("records", Status::Error, Weight::Ordinary, missing()),
        summarised,
        entry("schema", Status::Error, Weight::Critical, missing()),
        entry("sqlite", Status::Error, Weight::Ordinary, with_own),
        entry("disk", Status::Ok, Weight::Critical, Vec::new()),
    ]);
    let depends = "could not be checked, because it depends on the database: see the check `schema`";
    assert_eq!(
        report.errors,
        [
            "schema: there is no database".to_owned(),
            "sqlite: a finding of its own".to_owned(),
            format!("wal: {depends}"),
        ]
    );
    assert_eq!(report.warnings, [format!("records: {depends}"), format!("sqlite: {depends}")]);
    let statuses: Vec<_> = report.checks.iter().map(|entry| (entry.name.as_str(), entry.status)).collect();
    let expected = [
        ("disk", Status::Ok),
        ("records", Status::Unknown),
        ("schema", Status::Error),
        ("sqlite", Status::Error),
        ("wal", Status::Unknown),
    ];
    assert_eq!(statuses, expected);
    let wal = &report.checks[4];
    assert_eq!((wal.summary.as_str(), wal.findings[0].code.as_str()), (depends, "depends-on-database"));
    assert!(wal.findings[0].consequences.repaired_by_start, "the gate treats it like what it depends on");
}

#[test]
#[expect(clippy::too_many_lines, reason = "the snapshot is the whole report")]
fn the_existing_keys_are_exactly_these() {
    let mut registry =
        RegistrySection { expected_schema_version: Some(1), min_free_bytes: 268_435_456, ..RegistrySection::default() };
    registry.learn(Fact::JournalMode("wal".to_owned()));
    registry.learn(Fact::SchemaVersion(1));
    registry.learn(Fact::Records(42));
    registry.learn(Fact::Disk(Disk { free_bytes: 1024 * 1024 * 1024, threshold_bytes: 268_435_456 }));
    let warning =
        Finding::new(Status::Warn, "big", "The WAL is big.").subject("registry.sqlite-wal").hint("Checkpoint it.");
    let mut wal = entry("wal", Status::Warn, Weight::Critical, vec![warning]);
    wal.measures.push(Measure { warn: Some(10.0), ..Measure::new("wal_bytes", 12.0, "bytes") });
    let report = Report::new(&subject(), registry, vec![wal], noon());
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap().replace(env!("CARGO_PKG_VERSION"), "VERSION"), @r#"
    {
      "status": "warn",
      "database": "var/registry.sqlite",
      "host": "db-1",
      "version": "VERSION",
      "registry": {
        "driver": "sqlite",
        "wal": true,
        "journal_mode": "wal",
        "schema_version": 1,
        "expected_schema_version": 1,
        "records": 42,
        "disk": {
          "freeMegabytes": 1024,
          "thresholdBytes": 268435456,
          "healthy": true
        }
      },
      "warnings": [
        "wal: The WAL is big."
      ],
      "errors": [],
      "checks": [
        {
          "name": "wal",
          "origin": {
            "kind": "builtin"
          },
          "status": "warn",
          "raw_status": "warn",
          "critical": true,
          "advisory": false,
          "groups": [],
          "summary": "the summary",
          "findings": [
            {
              "status": "warn",
              "code": "big",
              "message": "The WAL is big.",
              "subject": "registry.sqlite-wal",
              "hint": "Checkpoint it."
            }
          ],
          "measures": [
            {
              "name": "wal_bytes",
              "value": 12.0,
              "unit": "bytes",
              "warn": 10.0,
              "error": null,
              "exactness": "exact"
            }
          ],
          "duration_ms": 1.5,
          "checked_at": "2025-10-27T12:00:00Z",
          "age_ms": 0
        }
      ],
      "generated_at": "2025-10-27T12:00:00Z"
    }
    "#);
}

#[test]
fn what_is_not_known_is_null_and_never_healthy() {
    let registry = RegistrySection { min_free_bytes: 7, ..RegistrySection::default() };
    insta::assert_snapshot!(serde_json::to_string(&registry).unwrap(), @r#"{"driver":"sqlite","wal":false,"journal_mode":null,"schema_version":null,"expected_schema_version":null,"records":null,"disk":{"freeMegabytes":null,"thresholdBytes":7,"healthy":false}}"#);
}
