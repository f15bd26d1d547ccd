//! Whether the database lies in a way that SQLite can be trusted with: its names, owners, modes and leftovers.
//!
//! Looks at how the files lie, not at what is in them.

use super::{Builtin, NoConfig, Settings, every, failed, finding, number, worst};
use crate::{
    check::{Outcome, Schedule},
    clock::Deadline,
    files::Stat,
    report::{Finding, Measure, Status, Weight},
    sqlite::{Ground, Registry, linked_version},
    value::{bytes, printable},
};

pub(super) struct SqliteCheck {
    registry: Registry,
}

impl Builtin for SqliteCheck {
    type Config = NoConfig;
    const NAME: &'static str = "sqlite";
    const SUMMARY: &'static str = "The database's files lie safely: names, owners, modes, no leftover journal.";

    fn schedule() -> Schedule {
        every(60, Weight::Ordinary)
    }

    fn new(registry: &Registry, _: &Settings, _: NoConfig) -> Self {
        Self { registry: registry.clone() }
    }

    fn look(&self, deadline: Deadline) -> Outcome {
        let ground = match self.registry.ground() {
            Ok(ground) => ground,
            Err(trouble) => return failed(&trouble),
        };
        let mut outcome = Outcome { findings: laid_badly(&ground), ..Outcome::default() };
        outcome.measures.push(Measure::new("database_bytes", number(ground.database.bytes), "bytes"));
        let seen = self.registry.look(deadline, |snapshot| Ok((snapshot.page_bytes()?, snapshot.page_count()?)));
        match seen {
            Ok((page_bytes, pages)) => {
                outcome.measures.push(Measure::new("page_bytes", number(page_bytes), "bytes"));
                outcome.measures.push(Measure::new("pages", number(pages), "pages"));
            }
            // How the files lie may have said it already.
            Err(trouble) if outcome.findings.iter().any(|finding| finding.code == trouble.code()) => {}
            Err(trouble) => outcome.findings.push(finding(&trouble)),
        }
        outcome.summary = match worst(&outcome.findings) {
            Some(worst) => worst.message.clone(),
            None => format!(
                "{}, read by SQLite {}; `synchronous` is chosen by each connection of the registry and cannot be seen here",
                bytes(ground.database.bytes),
                linked_version()
            ),
        };
        outcome
    }
}

/// What `stat` alone can complain of.
fn laid_badly(ground: &Ground) -> Vec<Finding> {
    let path = printable(&ground.real.to_string_lossy(), 4096);
    let mut findings = Vec::new();
    let mut warn = |code: &str, file: String, message: String, hint: &str| {
        findings.push(Finding::new(Status::Warn, code, message).subject(file).hint(hint));
    };
    let links = ground.database.links;
    if links > 1 {
        let message =
            format!("`{path}` has {links} names (hard links): a log under one name is not seen under the other");
        warn("hard-links", path.clone(), message, "keep one name: remove the others, or make them symbolic links");
    }
    let files = [("", Some(ground.database)), ("-wal", ground.wal), ("-shm", ground.shm), ("-journal", ground.journal)];
    for (suffix, stat) in files {
        let Some(Stat { mode, uid, .. }) = stat else { continue };
        let file = format!("{path}{suffix}");
        if mode & 0o002 != 0 {
            let message = format!("`{file}` may be written by every user (mode {mode:03o})");
            warn("world-writable", file.clone(), message, "take the right away: `chmod o-w` on the file");
        }
        if uid != ground.database.uid {
            let message = format!("`{file}` belongs to user {uid}, the database to user {}", ground.database.uid);
            warn("other-owner", file, message, "give both one owner, or the registry may not be able to start");
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests make and damage their own files")]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::super::testing::*;
    use crate::sqlite::{linked_version, testing::Scene};

    fn shown(scene: &Scene) -> String {
        run(scene, "sqlite").replace(linked_version(), "VERSION")
    }

    #[test]
    fn files_that_lie_well() {
        insta::assert_snapshot!(shown(&Scene::with(REGISTRY)), @"
        ok: 16.0 KiB, read by SQLite VERSION; `synchronous` is chosen by each connection of the registry and cannot be seen here
        * database_bytes = 16384 bytes
        * page_bytes = 4096 bytes
        * pages = 4 pages
        ");
    }

    #[test]
    fn names_and_modes_that_are_dangerous() {
        let scene = Scene::with(REGISTRY);
        fs::hard_link(scene.path(), scene.folder().join("second.db")).unwrap();
        fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o666)).unwrap();
        insta::assert_snapshot!(shown(&scene), @"
        warn: `DIR/registry.db` has 2 names (hard links): a log under one name is not seen under the other
        - warn hard-links: `DIR/registry.db` has 2 names (hard links): a log under one name is not seen under the other
          about DIR/registry.db
          keep one name: remove the others, or make them symbolic links
        - warn world-writable: `DIR/registry.db` may be written by every user (mode 666)
          about DIR/registry.db
          take the right away: `chmod o-w` on the file
        * database_bytes = 16384 bytes
        * page_bytes = 4096 bytes
        * pages = 4 pages
        ");
    }

    #[test]
    fn a_hot_journal_is_named() {
        let scene = Scene::with("CREATE TABLE t(a)");
        let fill = "PRAGMA cache_size = 1; BEGIN; INSERT INTO t SELECT randomblob(2000) FROM \
            (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 200) SELECT x FROM c)";
        scene.other_process(fill).kill();
        let shown = shown(&scene);
        assert!(shown.contains("- unknown hot-journal: `DIR/registry.db` has a hot journal"), "{shown}");
    }
}
