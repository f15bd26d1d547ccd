//! Whether the structure of the database holds, by SQLite's `quick_check`.
//!
//! Reads every page in one transaction, which keeps the write-ahead log from being reset: so it is off unless asked for,
//! and it ends when its time is over or the log has grown too far.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Builtin, Settings, almost, every, failed, number};
use crate::{
    check::{Outcome, Schedule},
    clock::{Deadline, Stopwatch},
    report::{Finding, Measure, Status, Weight},
    sqlite::{QuickCheckLimits, Registry, Trouble},
    value::printable,
};

pub(super) struct Integrity {
    registry: Registry,
    config: Config,
}

/// The check's own configuration. Its time is the check's timeout.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Config {
    /// Bytes that the write-ahead log may grow by while the check reads.
    max_wal_growth_bytes: u64,
    /// Problems listed at most.
    #[schemars(range(min = 1, max = 1000))]
    max_problems: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_wal_growth_bytes: 256 * 1024 * 1024, max_problems: 10 }
    }
}

impl Builtin for Integrity {
    type Config = Config;
    const NAME: &'static str = "integrity";
    const SUMMARY: &'static str = "The structure of the database holds (`quick_check`). Off unless enabled.";

    fn schedule() -> Schedule {
        Schedule {
            enabled: false,
            interval: Duration::from_secs(24 * 60 * 60),
            timeout: Duration::from_secs(5 * 60),
            groups: Vec::new(),
            ..every(0, Weight::Critical)
        }
    }

    fn new(registry: &Registry, _: &Settings, config: Config) -> Self {
        Self { registry: registry.clone(), config }
    }

    fn look(&self, deadline: Deadline) -> Outcome {
        let max_problems = self.config.max_problems.clamp(1, 1000);
        let limits = QuickCheckLimits { max_problems, max_wal_growth: self.config.max_wal_growth_bytes };
        let watch = Stopwatch::start();
        let problems = match self.registry.quick_check(almost(deadline), limits) {
            Ok(problems) => problems,
            Err(trouble @ (Trouble::OutOfTime { .. } | Trouble::WalGrew { .. })) => {
                let message = format!("not finished, nothing found so far: {trouble} (this check was what held it)");
                let hint = "enlarge `timeoutMs` or `config.maxWalGrowthBytes` of `health.checks.integrity`, or run it when little is written";
                return Outcome::of(Finding::new(Status::Unknown, trouble.code(), message).hint(hint));
            }
            Err(trouble) => return failed(&trouble),
        };
        let took = watch.elapsed();
        let count = problems.first.len();
        let mut outcome = match (count, problems.may_be_more) {
            (0, _) => Outcome::new(format!("the structure holds; looked through in {} ms", took.as_millis())),
            (_, true) => Outcome::new(format!("the structure is damaged; problems found: more than {count}")),
            (_, false) => Outcome::new(format!("the structure is damaged; problems found: {count}")),
        };
        for problem in &problems.first {
            let hint = "stop the registry, keep a copy of its files, and restore a backup";
            outcome.findings.push(Finding::new(Status::Error, "damaged", printable(problem, 500)).hint(hint));
        }
        outcome.measures.push(Measure::new("problems", number(u64::try_from(count).unwrap_or(u64::MAX)), ""));
        outcome
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests make and damage their own files")]

    use std::fs;

    use super::super::{CheckSettings, testing::*};
    use crate::sqlite::testing::Scene;

    #[test]
    fn a_sound_database() {
        let shown = run(&Scene::with(REGISTRY), "integrity");
        assert!(shown.starts_with("ok: the structure holds; looked through in "), "{shown}");
    }

    #[test]
    fn damage_is_listed() {
        let scene = Scene::with(REGISTRY);
        let mut bytes = fs::read(scene.path()).unwrap();
        for page in 1..bytes.len() / 4096 {
            bytes[page * 4096] = 0x77;
        }
        fs::write(scene.path(), bytes).unwrap();
        let mut settings = settings();
        let config = serde_json::json!({ "maxProblems": 1 });
        settings.checks.insert("integrity".to_owned(), CheckSettings { config, ..CheckSettings::default() });
        insta::assert_snapshot!(run_with(&scene, "integrity", &settings), @"
        error: the structure is damaged; problems found: more than 1
        - error damaged: Tree 4 page 4: btreeInitPage() returns error code 11
          stop the registry, keep a copy of its files, and restore a backup
        * problems = 1
        ");
    }
}
