//! Whether the file system of the database has room left, for bytes and for files.
//!
//! Needs no database: a folder on the way to it is enough.

use super::{Builtin, NoConfig, Settings, every, failed, number, worst};
use vitalsign_base::{clock::Deadline, files::Space, value::bytes};
use vitalsign_check::{
    Outcome, Schedule,
    report::{Disk, Fact, Finding, Measure, Status, Weight},
};
use vitalsign_sqlite::Database;

/// A write-ahead log, its index and a rollback journal.
const MIN_FREE_INODES: u64 = 3;

pub(super) struct DiskCheck {
    registry: Database,
    min_free_bytes: u64,
}

impl Builtin for DiskCheck {
    type Config = NoConfig;
    const NAME: &'static str = "disk";
    const SUMMARY: &'static str = "The file system of the database has room left.";

    fn schedule() -> Schedule {
        every(15, Weight::Critical)
    }

    fn new(registry: &Database, settings: &Settings, _: NoConfig) -> Self {
        Self { registry: registry.clone(), min_free_bytes: settings.min_free_bytes }
    }

    fn look(&self, _: Deadline) -> Outcome {
        let Space { free_bytes, free_inodes, .. } = match self.registry.space() {
            Ok(space) => space,
            Err(error) => return failed(&error),
        };
        // Without a threshold a full disk is still one.
        let least_bytes = self.min_free_bytes.max(1);
        let (free, least) = (bytes(free_bytes), bytes(least_bytes));
        let mut outcome = Outcome::new(format!("{free} free, at least {least} are wanted"));
        if free_bytes < least_bytes {
            let message = format!("{free} are free where the database lies, less than the {least} that are wanted");
            let hint = "make room on that file system, or lower `health.minFreeBytes`";
            outcome.findings.push(Finding::new(Status::Error, "disk-low", message).hint(hint));
        }
        if let Some(left) = free_inodes.filter(|left| *left < MIN_FREE_INODES) {
            let message = format!(
                "{left} inodes are free where the database lies: SQLite cannot make the {MIN_FREE_INODES} files that it needs beside it"
            );
            let hint = "remove files that nobody needs from that file system: many small ones, whatever their size";
            outcome.findings.push(Finding::new(Status::Error, "no-inodes", message).hint(hint));
        }
        if let Some(worst) = worst(&outcome.findings) {
            outcome.summary.clone_from(&worst.message);
        }
        outcome.measures.push(Measure::new("free_bytes", number(free_bytes), "bytes"));
        outcome.measures.extend(free_inodes.map(|left| Measure::new("free_inodes", number(left), "inodes")));
        outcome.facts.push(Fact::Disk(Disk { free_bytes, threshold_bytes: self.min_free_bytes }));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, testing::*};
    use crate::testing::Scene;
    use vitalsign_check::report::{Fact, Status};
    use vitalsign_sqlite::Database;

    #[test]
    fn free_space_is_held_against_the_threshold() {
        let scene = Scene::with(REGISTRY);
        let with = |min_free_bytes| outcome(&scene.registry(), "disk", &Settings { min_free_bytes, ..settings() });
        let well = with(1);
        assert_eq!((well.status(), well.findings.len()), (Status::Ok, 0));
        assert!(well.measures.iter().any(|measure| measure.name == "free_bytes" && measure.value > 1.0));
        let low = with(u64::MAX);
        assert_eq!((low.status(), low.findings[0].code.as_str()), (Status::Error, "disk-low"));
        assert!(matches!(low.facts[..], [Fact::Disk(disk)] if disk.free_bytes > 0 && disk.threshold_bytes == u64::MAX));
        assert!(low.summary.ends_with("less than the 16.0 EiB that are wanted"), "{}", low.summary);
    }

    #[test]
    fn no_database_is_needed() {
        let scene = Scene::empty();
        let below = Database::new(scene.folder().join("not/yet/there.db"));
        assert_eq!(outcome(&below, "disk", &settings()).status(), Status::Ok);
        assert_eq!(outcome(&Database::new("relative.db".into()), "disk", &settings()).status(), Status::Ok);
    }
}
