//! How many records there are.
//!
//! Says how exact the number is and when it was so: large tables are estimated, and a report may be read later.

use super::{Builtin, NoConfig, Settings, Table, every, failed, finding, number};
use vitalsign_base::{
    clock::{Clock as _, Deadline, SystemClock},
    value::{grouped, printable},
};
use vitalsign_check::{
    Outcome, Schedule,
    report::{Fact, Finding, Measure, Status, Weight},
};
use vitalsign_sqlite::{Database, RowCount};

pub(super) struct RecordsCheck {
    registry: Database,
    records: Table,
    provenance: Table,
}

impl Builtin for RecordsCheck {
    type Config = NoConfig;
    const NAME: &'static str = "records";
    const SUMMARY: &'static str = "How many records and provenance rows there are.";

    fn schedule() -> Schedule {
        every(60, Weight::Ordinary)
    }

    fn new(registry: &Database, settings: &Settings, _: NoConfig) -> Self {
        let (records, provenance) = (settings.records_table.clone(), settings.provenance_table.clone());
        Self { registry: registry.clone(), records, provenance }
    }

    fn look(&self, deadline: Deadline) -> Outcome {
        // Two reads rather than one, so that neither table takes the other's time.
        let count = |table: &str| self.registry.look(deadline, |snapshot| snapshot.row_count(table));
        let table = printable(&self.records.name, 100);
        let mut outcome = match count(&self.records.name) {
            Err(error) => return failed(&error),
            Ok(None) if self.records.pinned => Outcome::of(missing(&self.records, "registry.recordsTable")),
            Ok(None) => Outcome::of(
                Finding::new(Status::Skipped, "no-table", format!("there is no table `{table}` in this database"))
                    .subject(table)
                    .hint("set `registry.recordsTable`, or let `vitalsign init` find it"),
            ),
            Ok(Some(count)) => {
                let rows = grouped(count.rows);
                let rows = match (count.exact, count.rows) {
                    (true, 1) => "1 row".to_owned(),
                    (true, _) => format!("{rows} rows"),
                    (false, _) => format!("about {rows} rows (estimated)"),
                };
                let now = SystemClock.now().strftime("%Y-%m-%dT%H:%M:%SZ");
                Outcome {
                    measures: vec![measure("records", count)],
                    facts: vec![Fact::Records(count.rows)],
                    ..Outcome::new(format!("{rows} in `{table}` as of {now}"))
                }
            }
        };
        match count(&self.provenance.name) {
            Ok(Some(count)) => outcome.measures.push(measure("provenance_rows", count)),
            Ok(None) if self.provenance.pinned => {
                outcome.findings.push(missing(&self.provenance, "registry.provenanceTable"));
            }
            Ok(None) => {}
            Err(error) => outcome.findings.push(finding(&error)),
        }
        outcome
    }
}

fn measure(name: &str, count: RowCount) -> Measure {
    let measure = Measure::new(name, number(count.rows), "rows");
    if count.exact { measure } else { measure.estimated() }
}

/// A table that the configuration names was there once.
fn missing(table: &Table, key: &str) -> Finding {
    let name = printable(&table.name, 100);
    Finding::new(Status::Error, "table-missing", format!("the table `{name}` is missing, and `{key}` names it"))
        .subject(name)
        .hint(format!("restore the registry from a backup, or correct `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, Table, testing::*};
    use crate::testing::Scene;
    use vitalsign_check::report::Exactness;

    fn tables(records: &str, provenance: &str, pinned: bool) -> Settings {
        let table = |name: &str| Table { name: name.to_owned(), pinned };
        Settings { records_table: table(records), provenance_table: table(provenance), ..settings() }
    }

    /// The text with its time stamp taken out.
    fn timeless(text: &str) -> String {
        match text.split_once(" as of ") {
            Some((before, after)) => format!("{before} as of TIME{}", &after["2025-01-01T00:00:00Z".len()..]),
            None => text.to_owned(),
        }
    }

    #[test]
    fn a_missing_table_that_the_configuration_names_is_a_loss() {
        let scene = Scene::with(REGISTRY);
        insta::assert_snapshot!(run_with(&scene, "records", &tables("gone", "gone-too", true)), @"
        error: the table `gone` is missing, and `registry.recordsTable` names it
        - error table-missing: the table `gone` is missing, and `registry.recordsTable` names it
          about gone
          restore the registry from a backup, or correct `registry.recordsTable`
        - error table-missing: the table `gone-too` is missing, and `registry.provenanceTable` names it
          about gone-too
          restore the registry from a backup, or correct `registry.provenanceTable`
        ");
        insta::assert_snapshot!(timeless(&run_with(&scene, "records", &tables("records", "gone", true))), @"
        error: 3 rows in `records` as of TIME
        - error table-missing: the table `gone` is missing, and `registry.provenanceTable` names it
          about gone
          restore the registry from a backup, or correct `registry.provenanceTable`
        * records = 3 rows
        ! Records(3)
        ");
    }

    #[test]
    fn records_are_counted() {
        let scene = Scene::with(REGISTRY);
        insta::assert_snapshot!(timeless(&run(&scene, "records")), @"
        ok: 3 rows in `records` as of TIME
        * records = 3 rows
        * provenance_rows = 2 rows
        ! Records(3)
        ");
    }

    #[test]
    fn a_large_table_is_estimated_and_says_so() {
        let scene = Scene::with(
            "PRAGMA page_size = 512; PRAGMA journal_mode = wal; CREATE TABLE records(a, b); INSERT INTO records \
             WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 9000) SELECT x, zeroblob(200) FROM c",
        );
        let outcome = outcome(&scene.registry(), "records", &settings());
        let said = &outcome.summary;
        assert!(said.starts_with("about ") && said.contains(" rows (estimated) in `records`"), "{said}");
        assert_eq!(outcome.measures[0].exactness, Exactness::Estimated);
    }

    #[test]
    fn a_missing_table_is_a_fact() {
        let scene = Scene::with(REGISTRY);
        let settings = tables("x\"y", "z", false);
        insta::assert_snapshot!(run_with(&scene, "records", &settings), @r#"
        skipped: there is no table `x"y` in this database
        - skipped no-table: there is no table `x"y` in this database
          about x"y
          set `registry.recordsTable`, or let `vitalsign init` find it
        "#);
    }
}
