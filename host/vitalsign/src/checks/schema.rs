//! Whether the database has the schema version that the registry expects.
//!
//! The version is `PRAGMA user_version`; what a version means is the registry's business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Builtin, NoConfig, Settings, every, failed};
use vitalsign_base::clock::Deadline;
use vitalsign_check::{
    Outcome, Schedule,
    report::{Fact, Finding, Status, Weight},
};
use vitalsign_sqlite::Database;

/// Which schema versions are accepted beside the expected one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SchemaPolicy {
    /// Only the expected version.
    #[default]
    Exact,
    /// The expected version and older ones, which the registry migrates when it starts.
    AtMost,
    /// Every version.
    Any,
}

impl SchemaPolicy {
    /// All policies, the strictest first.
    pub const ALL: [Self; 3] = [Self::Exact, Self::AtMost, Self::Any];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::AtMost => "at-most",
            Self::Any => "any",
        }
    }

    /// What it accepts, in a few words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Exact => "Only the expected version",
            Self::AtMost => "The expected version and older ones, which the registry migrates when it starts",
            Self::Any => "Every version",
        }
    }

    fn accepts(self, version: i64, expected: i64) -> bool {
        match self {
            Self::Exact => version == expected,
            Self::AtMost => version <= expected,
            Self::Any => true,
        }
    }
}

pub(super) struct SchemaCheck {
    registry: Database,
    expected: Option<i64>,
    policy: SchemaPolicy,
}

impl Builtin for SchemaCheck {
    type Config = NoConfig;
    const NAME: &'static str = "schema";
    const SUMMARY: &'static str = "The schema version is the one that the configuration expects.";

    fn schedule() -> Schedule {
        every(15, Weight::Critical)
    }

    fn new(registry: &Database, settings: &Settings, _: NoConfig) -> Self {
        let (expected, policy) = (settings.expected_schema_version, settings.schema_policy);
        Self { registry: registry.clone(), expected, policy }
    }

    fn look(&self, deadline: Deadline) -> Outcome {
        let version = match self.registry.look(deadline, |snapshot| snapshot.user_version()) {
            Ok(version) => version,
            Err(error) => return failed(&error),
        };
        let outcome = match self.expected {
            Some(expected) if expected == version => Outcome::new(format!("schema version {version}, as expected")),
            Some(expected) if self.policy.accepts(version, expected) => Outcome::new(format!(
                "schema version {version}; {expected} is expected, and the schema policy `{}` accepts it",
                self.policy.as_str()
            )),
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
    use super::{
        super::{Settings, testing::*},
        SchemaPolicy,
    };
    use crate::testing::Scene;

    #[test]
    fn a_policy_accepts_other_versions() {
        let accepted = |version: i64| SchemaPolicy::ALL.map(|policy| policy.accepts(version, 7));
        assert_eq!(accepted(6), [false, true, true]);
        assert_eq!(accepted(7), [true, true, true]);
        assert_eq!(accepted(8), [false, false, true]);
        let scene = Scene::with(REGISTRY);
        let (expected_schema_version, schema_policy) = (Some(2), SchemaPolicy::AtMost);
        let settings = Settings { expected_schema_version, schema_policy, ..settings() };
        insta::assert_snapshot!(run_with(&scene, "schema", &settings), @"
        ok: schema version 1; 2 is expected, and the schema policy `at-most` accepts it
        ! SchemaVersion(1)
        ");
        for policy in SchemaPolicy::ALL {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str(), "one word for it everywhere");
        }
    }

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
