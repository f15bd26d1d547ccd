//! Whether the file system of the database has room left.
//!
//! Needs no database: a folder on the way to it is enough.

use super::{Builtin, NoConfig, Settings, every, failed, number};
use crate::{
    check::{Outcome, Schedule},
    clock::Deadline,
    report::{Disk, Fact, Finding, Measure, Status, Weight},
    sqlite::Registry,
    value::bytes,
};

pub(super) struct DiskCheck {
    registry: Registry,
    min_free_bytes: u64,
}

impl Builtin for DiskCheck {
    type Config = NoConfig;
    const NAME: &'static str = "disk";
    const SUMMARY: &'static str = "The file system of the database has room left.";

    fn schedule() -> Schedule {
        every(15, Weight::Critical)
    }

    fn new(registry: &Registry, settings: &Settings, _: NoConfig) -> Self {
        Self { registry: registry.clone(), min_free_bytes: settings.min_free_bytes }
    }

    fn look(&self, _: Deadline) -> Outcome {
        let free_bytes = match self.registry.free_bytes() {
            Ok(free_bytes) => free_bytes,
            Err(trouble) => return failed(&trouble),
        };
        let (free, least) = (bytes(free_bytes), bytes(self.min_free_bytes));
        let outcome = if free_bytes >= self.min_free_bytes {
            Outcome::new(format!("{free} free, at least {least} are wanted"))
        } else {
            let message = format!("{free} are free where the database lies, less than the {least} that are wanted");
            let hint = "make room on that file system, or lower `health.minFreeBytes`";
            Outcome::of(Finding::new(Status::Error, "disk-low", message).hint(hint))
        };
        Outcome {
            measures: vec![Measure::new("free_bytes", number(free_bytes), "bytes")],
            facts: vec![Fact::Disk(Disk { free_bytes, threshold_bytes: self.min_free_bytes })],
            ..outcome
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, testing::*};
    use crate::{
        report::{Fact, Status},
        sqlite::{Registry, testing::Scene},
    };

    #[test]
    fn free_space_is_held_against_the_threshold() {
        let scene = Scene::with(REGISTRY);
        let with = |min_free_bytes| outcome(&scene.registry(), "disk", &Settings { min_free_bytes, ..settings() });
        let well = with(1);
        assert_eq!((well.status(), well.findings.len(), well.measures.len()), (Status::Ok, 0, 1));
        let low = with(u64::MAX);
        assert_eq!((low.status(), low.findings[0].code.as_str()), (Status::Error, "disk-low"));
        assert!(matches!(low.facts[..], [Fact::Disk(disk)] if disk.free_bytes > 0 && disk.threshold_bytes == u64::MAX));
        assert!(low.summary.ends_with("less than the 16.0 EiB that are wanted"), "{}", low.summary);
    }

    #[test]
    fn no_database_is_needed() {
        let scene = Scene::empty();
        let below = Registry::new(scene.folder().join("not/yet/there.db"));
        assert_eq!(outcome(&below, "disk", &settings()).status(), Status::Ok);
        assert_eq!(outcome(&Registry::new("relative.db".into()), "disk", &settings()).status(), Status::Ok);
    }
}
