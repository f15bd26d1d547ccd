//! Whether the database lies in a way that SQLite can be trusted with: its names, owners, modes and leftovers, whether its
//! owner can write to it, who else works on it, and with which SQLite.
//!
//! Looks at how the files lie, not at what is in them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Builtin, Settings, every, failed, finding, number, worst};
use vitalsign_base::{
    clock::Deadline,
    files::{FileSystemClass, Mount, Stat},
    value::{bytes, grouped, printable},
};
use vitalsign_check::{
    Outcome, Schedule,
    report::{Finding, Measure, Status, Weight},
};
use vitalsign_sqlite::{Database, DatabaseFiles, DetachedProcess, Location, Obstacle, Version};

/// Processes that get a finding of their own: a server with many workers has one fault, not fifty.
const MAX_PROCESSES: usize = 5;

pub(super) struct SqliteCheck {
    registry: Database,
    config: Config,
}

/// The check's own configuration.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Config {
    /// Whether the checks run where the database is mounted read-only on purpose, while the registry writes somewhere else.
    allow_read_only_mount: bool,
}

impl Builtin for SqliteCheck {
    type Config = Config;
    const NAME: &'static str = "sqlite";
    const SUMMARY: &'static str = "The database's files lie safely, its owner can write to them, and everybody who has it open sees the same ones.";

    fn schedule() -> Schedule {
        every(60, Weight::Ordinary)
    }

    fn new(registry: &Database, _: &Settings, config: Config) -> Self {
        Self { registry: registry.clone(), config }
    }

    fn look(&self, deadline: Deadline) -> Outcome {
        let truths = detached_findings(&self.registry.detached_processes(deadline));
        let (database_files, location) = match self
            .registry
            .database_files()
            .and_then(|database_files| Ok((database_files, self.registry.location(deadline)?)))
        {
            Ok(found) => found,
            Err(error) => {
                // What a process has open may be all that is left of a database that is gone.
                let mut outcome = failed(&error);
                outcome.findings.extend(truths);
                return outcome;
            }
        };
        let mut outcome = Outcome { findings: truths, ..Outcome::default() };
        outcome.findings.extend(location.obstacles.iter().map(|obstacle| self.hindrance(obstacle)));
        outcome.findings.extend(file_findings(&database_files));
        outcome.findings.extend(mounted_alone(&database_files, &location));
        outcome.measures.push(Measure::new("database_bytes", number(database_files.database.bytes), "bytes"));
        let seen = self.registry.look(deadline, |snapshot| {
            Ok((snapshot.page_bytes()?, snapshot.page_count()?, snapshot.journal_mode()? == "wal"))
        });
        // A database that cannot be read says so below.
        let writer = self.registry.last_writer().ok().flatten();
        match seen {
            Ok((page_bytes, pages, wal)) => {
                outcome.measures.push(Measure::new("page_bytes", number(page_bytes), "bytes"));
                outcome.measures.push(Measure::new("pages", number(pages), "pages"));
                if wal {
                    outcome
                        .findings
                        .extend(writer.and_then(|writer| wal_reset_fault(writer, database_files.wal.is_some())));
                    outcome.findings.extend(location.mount.as_ref().and_then(network_file_system));
                }
            }
            // How the files lie may have said it already.
            Err(error) if outcome.findings.iter().any(|finding| finding.code == error.code()) => {}
            Err(error) => outcome.findings.push(finding(&error)),
        }
        outcome.summary = summary(&outcome.findings, database_files.database.bytes, writer);
        outcome
    }
}

impl SqliteCheck {
    fn hindrance(&self, obstacle: &Obstacle) -> Finding {
        let status = match obstacle {
            Obstacle::MountReadOnly { writer, .. } if writer.is_some() || self.config.allow_read_only_mount => {
                Status::Ok
            }
            _ if obstacle.is_in_force() => Status::Error,
            _ => Status::Warn,
        };
        let finding = Finding::new(status, obstacle.code(), obstacle.to_string()).hint(obstacle.hint());
        match obstacle.subject() {
            Some(path) => finding.subject(printable(&path.to_string_lossy(), 4096)),
            None => finding,
        }
    }
}

/// The first of the worst findings, or what there is to say of a database that lies well.
fn summary(findings: &[Finding], size: u64, writer: Option<Version>) -> String {
    if let Some(worst) = worst(findings).filter(|worst| worst.status > Status::Ok) {
        return worst.message.clone();
    }
    let size = bytes(size);
    let mut text = match writer {
        Some(writer) => format!("{size}, last written by SQLite {writer}"),
        None => format!("{size}, written by a version of SQLite that it does not name"),
    };
    for finding in findings {
        text.push_str("; ");
        text.push_str(&finding.message);
    }
    text
}

/// The processes that work on other files than those at the path of the database.
fn detached_findings(truths: &[DetachedProcess]) -> Vec<Finding> {
    let tell = |truth: &DetachedProcess, message: String| {
        let code = truth.kind.code();
        if truth.loses_rows() {
            // Rows are lost or not seen, which is no better than a corrupt database.
            Finding::new(Status::Error, code, message).corrupt()
        } else {
            Finding::new(Status::Warn, code, message)
        }
    };
    let mut findings: Vec<_> = truths
        .iter()
        .take(MAX_PROCESSES)
        .map(|truth| {
            let file = printable(&truth.file.to_string_lossy(), 4096);
            tell(truth, truth.to_string()).subject(file).hint(truth.hint())
        })
        .collect();
    if let Some(truth) = truths.get(MAX_PROCESSES) {
        let more = grouped((truths.len() - MAX_PROCESSES) as u64);
        let message = format!("and {more} more processes do not see the database that lies at its path");
        findings.push(tell(truth, message).hint(truth.hint()));
    }
    findings
}

/// What `stat` alone can complain of.
fn file_findings(database_files: &DatabaseFiles) -> Vec<Finding> {
    let path = printable(&database_files.real.to_string_lossy(), 4096);
    let mut findings = Vec::new();
    let mut warn = |code: &str, file: String, message: String, hint: &str| {
        findings.push(Finding::new(Status::Warn, code, message).subject(file).hint(hint));
    };
    let links = database_files.database.links;
    if links > 1 {
        let message = format!(
            "`{path}` has {links} names (hard links): SQLite keeps a log beside each name, and does not see the others"
        );
        warn("hard-links", path.clone(), message, "keep one name: remove the others, or make them symbolic links");
    }
    let files = [
        ("", Some(database_files.database)),
        ("-wal", database_files.wal),
        ("-shm", database_files.shm),
        ("-journal", database_files.journal),
    ];
    for (suffix, stat) in files {
        let Some(Stat { mode, uid, .. }) = stat else { continue };
        let file = format!("{path}{suffix}");
        if mode & 0o002 != 0 {
            let message = format!("every user may write to `{file}` (mode {mode:03o})");
            warn("world-writable", file.clone(), message, "take that right away with `chmod o-w`");
        }
        if uid != database_files.database.uid {
            let message =
                format!("`{file}` belongs to user {uid}, but the database to user {}", database_files.database.uid);
            warn(
                "other-owner",
                file,
                message,
                "give both files the same owner with `chown`, or the registry may not start",
            );
        }
    }
    findings
}

/// A file that is mounted by itself leaves its log behind.
fn mounted_alone(database_files: &DatabaseFiles, location: &Location) -> Option<Finding> {
    let path = printable(&database_files.real.to_string_lossy(), 4096);
    let message = format!(
        "`{path}` is mounted as a single file: the log or journal beside it is not on that mount, so nobody outside sees it, and \
         it may be lost with the container"
    );
    let hint = "mount the folder that holds the database instead of the file";
    location.is_single_file.then(|| Finding::new(Status::Warn, "single-file-mount", message).subject(path).hint(hint))
}

/// A version that can lose what it writes. While nobody has the log open nothing can be lost, and whoever wrote last may have been
/// a tool that the registry does not use: then it is only said.
fn wal_reset_fault(writer: Version, is_in_use: bool) -> Option<Finding> {
    let status = if is_in_use { Status::Warn } else { Status::Ok };
    let message = format!(
        "SQLite {writer} wrote the database last: in WAL mode that version can lose committed pages when two connections write \
         and checkpoint at the same moment (the WAL-reset bug)"
    );
    let hint = "let the registry use SQLite 3.51.3 or newer; 3.50.7 and 3.44.6 have the correction too";
    writer.has_wal_reset_fault().then(|| Finding::new(status, "wal-reset-bug", message).hint(hint))
}

/// A file system whose files may be used where the memory that WAL mode needs is not shared.
fn network_file_system(mount: &Mount) -> Option<Finding> {
    let point = printable(&mount.point.to_string_lossy(), 4096);
    let kind = printable(&mount.kind, 64);
    let what = match mount.reach() {
        FileSystemClass::Local => return None,
        FileSystemClass::Network => format!("a network file system ({kind})"),
        FileSystemClass::Program => format!("a FUSE file system ({kind})"),
    };
    let message = format!(
        "the database is in WAL mode on {what}, mounted at `{point}`: SQLite damages it when two machines, or a program that does \
         not share memory with the others, have it open"
    );
    let hint = "move the database to a disk of the machine that runs the registry, or leave WAL mode with `PRAGMA journal_mode = delete`";
    Some(Finding::new(Status::Warn, "network-file-system", message).subject(point).hint(hint))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests make and damage their own files")]

    use std::{
        fs,
        io::{Seek as _, SeekFrom, Write as _},
        os::unix::fs::PermissionsExt as _,
        path::PathBuf,
    };

    use super::{
        super::{CheckSettings, testing::*},
        *,
    };
    use crate::testing::Scene;
    use vitalsign_base::files::{Process, process_name};
    use vitalsign_sqlite::{Detachment, linked_version};

    fn shown(scene: &Scene) -> String {
        run(scene, "sqlite").replace(linked_version(), "VERSION")
    }

    #[test]
    fn files_that_lie_well() {
        insta::assert_snapshot!(shown(&Scene::with(REGISTRY)), @"
        ok: 16.0 KiB, last written by SQLite VERSION
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
        warn: `DIR/registry.db` has 2 names (hard links): SQLite keeps a log beside each name, and does not see the others
        - warn hard-links: `DIR/registry.db` has 2 names (hard links): SQLite keeps a log beside each name, and does not see the others
          about DIR/registry.db
          keep one name: remove the others, or make them symbolic links
        - warn world-writable: every user may write to `DIR/registry.db` (mode 666)
          about DIR/registry.db
          take that right away with `chmod o-w`
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

    #[test]
    fn a_process_that_writes_to_a_deleted_database_is_named() {
        let scene = Scene::with(REGISTRY);
        let copy = fs::read(scene.path()).unwrap();
        let other = scene.other_process("INSERT INTO records VALUES ('lost')");
        for suffix in ["", "-wal", "-shm"] {
            fs::remove_file(scene.side(suffix)).unwrap();
        }
        let gone = shown(&scene);
        assert!(gone.starts_with("error: there is no database") && gone.contains("- error deleted-in-use"), "{gone}");
        fs::write(scene.path(), copy).unwrap();
        let said = shown(&scene).replace(&other.id().to_string(), "PID").replace(&process_name(other.id()), "PROGRAM");
        insta::assert_snapshot!(said, @"
        error: process PID (`PROGRAM`) still writes to a file that was deleted or replaced, `DIR/registry.db`: what it commits is lost when it ends
        - error deleted-in-use: process PID (`PROGRAM`) still writes to a file that was deleted or replaced, `DIR/registry.db`: what it commits is lost when it ends
          about DIR/registry.db
          its rows can be saved only before that process ends: `cp /proc/PID/fd/3 saved.sqlite && cp /proc/PID/fd/4 saved.sqlite-wal`; then stop it, and start it again
        * database_bytes = 16384 bytes
        * page_bytes = 4096 bytes
        * pages = 4 pages
        ");
        assert!(outcome(&scene.registry(), "sqlite", &settings()).is_corrupt(), "it counts as critical");
        other.close();
        assert!(shown(&scene).starts_with("ok: "));
    }

    #[test]
    fn a_log_beside_another_name_is_found() {
        let scene = Scene::with(REGISTRY);
        let second = scene.folder().join("second.db");
        fs::hard_link(scene.path(), &second).unwrap();
        let other = Scene::other_at(&second, "INSERT INTO records VALUES ('unseen')");
        let said = shown(&scene);
        let expected = format!("- error log-elsewhere: process {} (`{}`) has", other.id(), process_name(other.id()));
        assert!(said.contains(&expected), "{said}");
    }

    #[test]
    fn many_processes_with_one_fault_are_counted() {
        let truth = |pid| DetachedProcess {
            process: Process { pid, name: "app".to_owned() },
            kind: Detachment::Deleted,
            writes: true,
            file: PathBuf::from("/srv/r.db"),
            rescue: Vec::new(),
        };
        let found = detached_findings(&(1..=50).map(truth).collect::<Vec<_>>());
        assert_eq!(found.len(), MAX_PROCESSES + 1);
        let last = &found[MAX_PROCESSES];
        assert_eq!((last.status, last.code.as_str()), (Status::Error, "deleted-in-use"));
        assert_eq!(last.message, "and 45 more processes do not see the database that lies at its path");
        let reader = DetachedProcess { writes: false, ..truth(7) };
        assert_eq!(detached_findings(&[reader])[0].status, Status::Warn);
    }

    #[test]
    fn a_version_with_the_reset_bug_is_named_in_wal_mode() {
        for (mode, is_open, finding) in [("wal", true, "- warn"), ("wal", false, "- ok"), ("delete", false, "no")] {
            let scene = Scene::with(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(a)"));
            let mut file = fs::OpenOptions::new().write(true).open(scene.path()).unwrap();
            file.seek(SeekFrom::Start(96)).unwrap();
            file.write_all(&3_050_004_u32.to_be_bytes()).unwrap();
            let _open = is_open.then(|| scene.other_process("INSERT INTO t VALUES (1)"));
            let said = shown(&scene);
            assert!(said.contains("SQLite 3.50.4"), "{said}");
            let named = said.contains(&format!("{finding} wal-reset-bug: SQLite 3.50.4 wrote the database last"));
            assert_eq!(named, mode == "wal", "{said}");
        }
    }

    #[test]
    fn only_wal_mode_is_told_how_far_away_the_files_are() {
        let mount = |kind: &str| Mount {
            id: 1,
            device: 1,
            root: "/".into(),
            point: "/srv".into(),
            kind: kind.to_owned(),
            source: "server:/export".into(),
            read_only: false,
            file_system_read_only: false,
        };
        assert_eq!(network_file_system(&mount("ext4")), None);
        let message = |kind| network_file_system(&mount(kind)).unwrap().message;
        assert!(
            message("nfs4")
                .starts_with("the database is in WAL mode on a network file system (nfs4), mounted at `/srv`")
        );
        assert!(message("fuse.sshfs").starts_with("the database is in WAL mode on a FUSE file system (fuse.sshfs)"));
    }

    #[test]
    fn a_read_only_mount_is_said_and_can_be_allowed() {
        let check = |allow_read_only_mount| SqliteCheck {
            registry: Scene::empty().registry(),
            config: Config { allow_read_only_mount },
        };
        let mount = |writer| Obstacle::MountReadOnly { point: "/srv".into(), writer };
        let unseen = check(false).hindrance(&mount(None));
        assert_eq!((unseen.status, unseen.code.as_str()), (Status::Warn, "read-only-mount"));
        assert_eq!(check(true).hindrance(&mount(None)).status, Status::Ok);
        let seen = check(false).hindrance(&mount(Some(Process { pid: 7, name: "app".to_owned() })));
        assert_eq!(seen.status, Status::Ok);
        assert_eq!(
            summary(&[seen], 16384, None),
            "16.0 KiB, written by a version of SQLite that it does not name; the mount at `/srv` is read-only here; process 7 \
             (`app`) has the database open for writing"
        );
        let whole = Obstacle::FileSystemReadOnly { point: "/srv".into() };
        assert_eq!(check(true).hindrance(&whole).status, Status::Error);
    }

    #[test]
    fn the_configuration_has_one_key() {
        let scene = Scene::with(REGISTRY);
        let mut settings = settings();
        let config = serde_json::json!({ "allowReadOnlyMount": true });
        settings.checks.insert("sqlite".to_owned(), CheckSettings { config, ..CheckSettings::default() });
        assert!(run_with(&scene, "sqlite", &settings).starts_with("ok: "));
    }
}
