//! Whether the database has the schema version that the registry expects.
//!
//! The version is `PRAGMA user_version`; what a version means is the registry's business.

use super::{Builtin, NoConfig, Settings, every, failed};
use crate::{
    check::{Outcome, Schedule},
    clock::Deadline,
    report::{Fact, Finding, Status, Weight},
    sqlite::Registry,
};

pub(super) struct SchemaCheck {
    registry: Registry,
    expected: Option<i64>,
}

impl Builtin for SchemaCheck {
    type Config = NoConfig;
    const NAME: &'static str = "schema";
    const SUMMARY: &'static str = "The schema version is the one that the configuration expects.";

    fn schedule() -> Schedule {
        every(15, Weight::Critical)
    }

    fn new(registry: &Registry, settings: &Settings, _: NoConfig) -> Self {
        Self { registry: registry.clone(), expected: settings.expected_schema_version }
    }

    fn look(&self, deadline: Deadline) -> Outcome {
        let version = match self.registry.look(deadline, |snapshot| snapshot.user_version()) {
            Ok(version) => version,
            Err(trouble) => return failed(&trouble),
        };
        let outcome = match self.expected {
            Some(expected) if expected == version => Outcome::new(format!("schema version {version}, as expected")),
            Some(expected) => Outcome::of(
                Finding::new(
                    Status::Error,
                    "schema-mismatch",
                    format!("the schema version is {version}, and {expected} is expected"),
                )
                .hint("run the registry's migrations, or correct `registry.expectedSchemaVersion`"),
            ),
            None => Outcome::of(
                Finding::new(
                    Status::Skipped,
                    "no-expectation",
                    format!("the schema version is {version}; nothing says which one is expected"),
                )
                .hint("set `registry.expectedSchemaVersion`, or let `vitalsign init` write it"),
            ),
        };
        Outcome { facts: vec![Fact::SchemaVersion(version)], ..outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, testing::*};
    use crate::sqlite::testing::Scene;

    #[test]
    fn versions_are_compared() {
        let scene = Scene::with(REGISTRY);
        let expecting =
            |expected_schema_version| run_with(&scene, "schema", &Settings { expected_schema_version, ..settings() });
        insta::assert_snapshot!(expecting(Some(1)), @"
        ok: schema version 1, as expected
        ! SchemaVersion(1)
        ");
        insta::assert_snapshot!(expecting(Some(2)), @"
        error: the schema version is 1, and 2 is expected
        - error schema-mismatch: the schema version is 1, and 2 is expected
          run the registry's migrations, or correct `registry.expectedSchemaVersion`
        ! SchemaVersion(1)
        ");
        insta::assert_snapshot!(expecting(None), @"
        skipped: the schema version is 1; nothing says which one is expected
        - skipped no-expectation: the schema version is 1; nothing says which one is expected
          set `registry.expectedSchemaVersion`, or let `vitalsign init` write it
        ! SchemaVersion(1)
        ");
    }
}
