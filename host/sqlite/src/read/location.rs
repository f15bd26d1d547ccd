//! Where a database lies, and whether its owner can write to it there.
//!
//! The owner of the file stands for the registry's user, because whoever looks may be somebody else. Asks the system for
//! mounts, modes, attributes and quotas; writes nothing, not even to try.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{Database, Error, file::database_files::DatabaseFiles, read::detached_processes::processes_with_files};
use vitalsign_base::{
    clock::{Clock as _, Deadline, SystemClock},
    files::{self, Mount, Process, QuotaLeft, Refusal, Right, Space, beside, folder_of},
    value::{bytes, printable},
};

/// With less than this a quota is used up: SQLite writes whole pages, of up to 64 KiB.
const LEAST_QUOTA_BYTES: u64 = 64 * 1024;

/// The largest file that a FAT file system holds, and how near to it a database has no future there.
const FAT_LIMIT_BYTES: u64 = u32::MAX as u64;
const FAT_MARGIN_BYTES: u64 = 256 * 1024 * 1024;

/// The place of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The mount that it lies on, where the system tells.
    pub mount: Option<Mount>,
    /// Whether the file is mounted by itself, so that the files beside it lie on another mount, or on nothing that lasts.
    pub is_single_file: bool,
    /// What keeps the registry from writing.
    pub obstacles: Vec<Obstacle>,
}

/// Something that keeps the registry from writing, now or soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The whole file system is read-only.
    FileSystemReadOnly {
        /// Where it is mounted.
        point: PathBuf,
    },
    /// This mount is read-only; others of the same file system may not be.
    MountReadOnly {
        /// Where it is.
        point: PathBuf,
        /// A process that has the database open for writing all the same, by way of another mount.
        writer: Option<Process>,
    },
    /// The owner of the database may not read or write a file, make files in the folder, or reach the folder.
    Refused {
        /// The file or the folder.
        path: PathBuf,
        /// Why not.
        why: Refusal,
        /// The owner of the database.
        uid: u32,
        /// Whether the registry can go on for now, since every file that it would make there is there already.
        can_wait: bool,
    },
    /// A quota leaves no room.
    QuotaUsedUp {
        /// The owner of the database.
        uid: u32,
        /// What is left to him, and to the members of the database's group.
        left: QuotaLeft,
    },
    /// A file is nearly as large as the file system allows any file to be.
    FileSizeLimit {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The kind of file system.
        kind: String,
    },
}

impl Obstacle {
    /// Whether the registry cannot write as things are.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        match self {
            Self::FileSystemReadOnly { .. } | Self::QuotaUsedUp { .. } => true,
            Self::MountReadOnly { .. } | Self::FileSizeLimit { .. } => false,
            Self::Refused { can_wait, .. } => !can_wait,
        }
    }

    /// A stable word for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::FileSystemReadOnly { .. } => "read-only-file-system",
            Self::MountReadOnly { .. } => "read-only-mount",
            Self::Refused { .. } => "not-writable",
            Self::QuotaUsedUp { .. } => "quota-used-up",
            Self::FileSizeLimit { .. } => "file-size-limit",
        }
    }

    /// What it is about.
    #[must_use]
    pub fn subject(&self) -> Option<&Path> {
        match self {
            Self::FileSystemReadOnly { point } | Self::MountReadOnly { point, .. } => Some(point),
            Self::Refused { path, .. } | Self::FileSizeLimit { path, .. } => Some(path),
            Self::QuotaUsedUp { .. } => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::FileSystemReadOnly { .. } => {
                "look into the kernel's log for disk errors (`dmesg`), then mount it for writing again"
            }
            Self::MountReadOnly { writer: Some(_), .. } => "nothing needs to be done where only checks run here",
            Self::MountReadOnly { writer: None, .. } => {
                "if the registry runs here, mount its folder for writing; if only checks do, set \
                 `health.checks.sqlite.config.allowReadOnlyMount` to true"
            }
            Self::Refused { why: Refusal::Immutable, .. } => "take the attribute away with `chattr -i`",
            Self::Refused { why: Refusal::AppendOnly, .. } => "take the attribute away with `chattr -a`",
            Self::Refused { why: Refusal::Permissions(right), .. } => match right {
                Right::Read => "give the owner of the database the right to read, with `chmod u+r` or `chown`",
                Right::Write => "give the owner of the database the right to write, with `chmod u+w` or `chown`",
                Right::Search => {
                    "give the owner of the database the right to search the folder, with `chmod` (`x`) or `chown`"
                }
            },
            Self::QuotaUsedUp { .. } => "remove files of that user or group there, or raise the quota",
            Self::FileSizeLimit { .. } => "move the database to a file system without that limit, such as ext4",
        }
        .to_owned()
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| printable(&path.to_string_lossy(), 4096);
        match self {
            Self::FileSystemReadOnly { point } => {
                write!(f, "the file system at `{}` is read-only: the registry cannot write", shown(point))
            }
            Self::MountReadOnly { point, writer: None } => {
                write!(f, "the mount at `{}` is read-only: a registry that runs here cannot write", shown(point))
            }
            Self::MountReadOnly { point, writer: Some(Process { pid, name }) } => write!(
                f,
                "the mount at `{}` is read-only here; process {pid} (`{name}`) has the database open for writing",
                shown(point)
            ),
            Self::Refused { path, why, uid, can_wait } => {
                let path = shown(path);
                match why {
                    Refusal::Permissions(right) => {
                        let denied = match right {
                            Right::Read => "read",
                            Right::Write => "written",
                            Right::Search => "searched",
                        };
                        write!(f, "`{path}` cannot be {denied} by user {uid}, who owns the database")?;
                    }
                    Refusal::Immutable => write!(f, "`{path}` cannot be written, because it is marked immutable")?,
                    Refusal::AppendOnly => {
                        write!(f, "`{path}` cannot be written freely, because it is marked append-only")?;
                    }
                }
                if *can_wait { write!(f, "; the files that SQLite makes there exist already") } else { Ok(()) }
            }
            Self::QuotaUsedUp { uid, left } => {
                write!(f, "the disk quota of user {uid}, who owns the database, or of its group is used up: ")?;
                match (left.bytes, left.inodes) {
                    (Some(left), _) if left < LEAST_QUOTA_BYTES => write!(f, "{} are left", bytes(left)),
                    _ => f.write_str("no more files can be made"),
                }
            }
            Self::FileSizeLimit { path, size, kind } => write!(
                f,
                "`{}` has {}, and a file on this file system ({kind}) ends at {}",
                shown(path),
                bytes(*size),
                bytes(FAT_LIMIT_BYTES)
            ),
        }
    }
}

impl Database {
    /// What can still be written to the file system of the database, whether it exists or not: its nearest existing folder counts.
    ///
    /// # Errors
    /// When the system will not say.
    pub fn space(&self) -> Result<Space, Error> {
        let real = std::fs::canonicalize(self.path()).unwrap_or_else(|_| self.path().to_owned());
        let folder = real.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        files::space(folder).map_err(|error| Error::Io { path: folder.to_owned(), detail: error.to_string() })
    }

    /// Where the database lies, and what keeps its owner from writing to it there.
    ///
    /// # Errors
    /// [`Error`] when there is no such file.
    pub fn location(&self, deadline: Deadline) -> Result<Location, Error> {
        let database_files = self.database_files()?;
        let folder = folder_of(&database_files.real);
        // A system that does not tell about mounts is one about which nothing can be said.
        let mount = files::mount_of(&database_files.real).ok().flatten();
        let around = files::mount_of(folder).ok().flatten();
        let is_single_file = mount.as_ref().zip(around.as_ref()).is_some_and(|(own, around)| own.id != around.id);
        let mut obstacles = Vec::new();
        let places = [(database_files.real.as_path(), &mount), (folder, &around)];
        obstacles.extend(
            places.into_iter().find_map(|(path, mount)| read_only(&database_files, path, mount.as_ref(), deadline)),
        );
        obstacles.extend(refusals(&database_files));
        obstacles.extend(out_of_reach(&database_files, around.as_ref(), deadline));
        obstacles.extend(mount.as_ref().and_then(|mount| quota(&database_files, mount)));
        obstacles.extend(mount.as_ref().and_then(|mount| file_size(&database_files, &mount.kind)));
        Ok(Location { mount, is_single_file, obstacles })
    }
}

/// Whether nothing can be written at `path`, and for whom.
fn read_only(
    database_files: &DatabaseFiles,
    path: &Path,
    mount: Option<&Mount>,
    deadline: Deadline,
) -> Option<Obstacle> {
    let refused = files::is_read_only(path) || files::space(path).is_ok_and(|space| space.read_only);
    if !refused {
        return None;
    }
    let point = mount.map_or(path, |mount| &mount.point).to_owned();
    if mount.is_some_and(|mount| mount.file_system_read_only || !mount.read_only) {
        return Some(Obstacle::FileSystemReadOnly { point });
    }
    Some(Obstacle::MountReadOnly { point, writer: writer(database_files, deadline) })
}

/// The files, and the folder, that the owner of the database may not use as SQLite has to.
fn refusals(database_files: &DatabaseFiles) -> Vec<Obstacle> {
    let there = [
        ("", true),
        ("-wal", database_files.wal.is_some()),
        ("-shm", database_files.shm.is_some()),
        ("-journal", database_files.journal.is_some()),
    ];
    let files = there.into_iter().filter(|(_, there)| *there).map(|(suffix, _)| beside(&database_files.real, suffix));
    let mut out: Vec<_> =
        files.filter_map(|path| refused(database_files, &path, &[Right::Read, Right::Write], false)).collect();
    let folder = folder_of(&database_files.real);
    let all_made = (database_files.wal.is_some() && database_files.shm.is_some()) || database_files.journal.is_some();
    out.extend(
        refused(database_files, folder, &[Right::Search], false)
            .or_else(|| refused(database_files, folder, &[Right::Write], all_made)),
    );
    out
}

/// The folder above the database's own that its owner may not search, so that he cannot reach the database.
///
/// Only folders of the same mount count, and none while a process has the database open for writing: a container may reach it by
/// another way.
fn out_of_reach(database_files: &DatabaseFiles, mount: Option<&Mount>, deadline: Deadline) -> Option<Obstacle> {
    let point = &mount?.point;
    let above = folder_of(&database_files.real).ancestors().skip(1).take_while(|folder| folder.starts_with(point));
    let refused = above.filter_map(|folder| refused(database_files, folder, &[Right::Search], false)).last()?;
    writer(database_files, deadline).is_none().then_some(refused)
}

fn refused(database_files: &DatabaseFiles, path: &Path, rights: &[Right], can_wait: bool) -> Option<Obstacle> {
    let uid = database_files.database.uid;
    let why = files::refusal(path, uid, rights).ok().flatten()?;
    Some(Obstacle::Refused { path: path.to_owned(), why, uid, can_wait })
}

/// A process that has the database open for writing.
fn writer(database_files: &DatabaseFiles, deadline: Deadline) -> Option<Process> {
    let processes_with_files = processes_with_files(deadline, |_, id, _| id == database_files.database.id);
    let writer = processes_with_files.into_iter().find(|opener| opener.files.iter().any(|file| file.writable));
    writer.map(|opener| opener.process)
}

/// Whether the quotas of the database's owner and group leave nothing. Root is held to none.
fn quota(database_files: &DatabaseFiles, mount: &Mount) -> Option<Obstacle> {
    let uid = database_files.database.uid;
    if uid == 0 || !mount.source.is_absolute() {
        return None;
    }
    let now = SystemClock.now().as_second().try_into().unwrap_or(0);
    used_up(uid, files::quota_left(&mount.source, uid, database_files.database.gid, now))
}

fn used_up(uid: u32, left: QuotaLeft) -> Option<Obstacle> {
    let nothing = left.bytes.is_some_and(|left| left < LEAST_QUOTA_BYTES) || left.inodes == Some(0);
    nothing.then_some(Obstacle::QuotaUsedUp { uid, left })
}

/// Whether the database or its log comes near to the size at which FAT ends.
fn file_size(database_files: &DatabaseFiles, kind: &str) -> Option<Obstacle> {
    if !matches!(kind, "vfat" | "msdos") {
        return None;
    }
    let sizes = [("", database_files.database.bytes), ("-wal", database_files.wal.map_or(0, |wal| wal.bytes))];
    let (suffix, size) = sizes.into_iter().find(|(_, size)| *size >= FAT_LIMIT_BYTES - FAT_MARGIN_BYTES)?;
    Some(Obstacle::FileSizeLimit { path: beside(&database_files.real, suffix), size, kind: kind.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        clippy::print_stderr,
        reason = "tests make their own files, and say what they skip"
    )]

    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, chown},
    };

    use super::*;
    use crate::testing::{Scene, ample};

    /// A user who is not root, and is not this test's either.
    const SOMEBODY: u32 = 54321;

    fn obstacles(scene: &Scene) -> Vec<String> {
        let location = scene.registry().location(ample()).unwrap();
        location.obstacles.iter().map(|obstacle| scene.normal(&format!("{}: {obstacle}", obstacle.code()))).collect()
    }

    /// Gives the folder and everything in it to somebody; only root can, so elsewhere the tests below say nothing.
    fn given_away(scene: &Scene) -> bool {
        let all = fs::read_dir(scene.folder()).unwrap().map(|entry| entry.unwrap().path());
        let all: Vec<_> = all.chain([scene.folder().to_owned()]).collect();
        let given = all.iter().all(|path| chown(path, Some(SOMEBODY), Some(SOMEBODY)).is_ok());
        if !given {
            eprintln!("skipped: only root can give files away");
        }
        given
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn each_file_that_its_owner_cannot_write_is_named() {
        let scene = Scene::with("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
        if !given_away(&scene) {
            return;
        }
        assert_eq!(obstacles(&scene), [""; 0]);
        mode(scene.folder(), 0o555);
        mode(&scene.path(), 0o444);
        assert_eq!(
            obstacles(&scene),
            [
                "not-writable: `DIR/registry.db` cannot be written by user 54321, who owns the database",
                "not-writable: `DIR` cannot be written by user 54321, who owns the database",
            ]
        );
        mode(&scene.path(), 0o644);
        fs::write(scene.side("-wal"), "").unwrap();
        fs::write(scene.side("-shm"), "").unwrap();
        // Both belong to the user of this test now.
        mode(&scene.side("-wal"), 0o666);
        mode(&scene.side("-shm"), 0o644);
        assert_eq!(
            obstacles(&scene),
            [
                "not-writable: `DIR/registry.db-shm` cannot be written by user 54321, who owns the database",
                "not-writable: `DIR` cannot be written by user 54321, who owns the database; the files that SQLite makes there \
             exist already",
            ]
        );
        mode(scene.folder(), 0o755);
        mode(&scene.side("-shm"), 0o664);
        assert_eq!(obstacles(&scene), [""; 0], "the user may be in the group");
    }

    #[test]
    fn what_the_owner_cannot_read_or_reach_is_named() {
        let scene = Scene::with("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
        if !given_away(&scene) {
            return;
        }
        mode(&scene.path(), 0o200);
        mode(scene.folder(), 0o200);
        assert_eq!(
            obstacles(&scene),
            [
                "not-writable: `DIR/registry.db` cannot be read by user 54321, who owns the database",
                "not-writable: `DIR` cannot be searched by user 54321, who owns the database",
            ]
        );
        mode(&scene.path(), 0o600);
        mode(scene.folder(), 0o700);
        let inner = scene.folder().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::rename(scene.path(), inner.join("registry.db")).unwrap();
        for folder in [&inner, scene.folder()] {
            chown(folder, Some(SOMEBODY), None).unwrap();
        }
        let registry = Database::new(inner.join("registry.db"));
        let said = || registry.location(ample()).unwrap().obstacles;
        assert_eq!(said(), []);
        chown(scene.folder(), Some(0), Some(0)).unwrap();
        let [found] = &said()[..] else { panic!("{:?}", said()) };
        assert_eq!(scene.normal(&found.to_string()), "`DIR` cannot be searched by user 54321, who owns the database");
        let open = fs::OpenOptions::new().read(true).write(true).open(inner.join("registry.db")).unwrap();
        let mut other = std::process::Command::new("sleep").arg("600").stdin(open).spawn().unwrap();
        let found = said();
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(found, [], "a process reaches it, perhaps by another mount");
    }

    #[test]
    fn a_quota_that_leaves_nothing() {
        let said = |bytes, inodes| used_up(7, QuotaLeft { bytes, inodes }).map(|obstacle| obstacle.to_string());
        assert_eq!(said(None, None), None);
        assert_eq!(said(Some(1 << 20), Some(1)), None);
        let quota = "the disk quota of user 7, who owns the database, or of its group is used up";
        assert_eq!(said(Some(4096), None), Some(format!("{quota}: 4.0 KiB are left")));
        assert_eq!(said(Some(1 << 20), Some(0)), Some(format!("{quota}: no more files can be made")));
    }

    #[test]
    fn a_file_that_comes_near_to_the_limit_of_its_file_system() {
        let scene = Scene::with("CREATE TABLE t(a)");
        fs::OpenOptions::new().write(true).open(scene.path()).unwrap().set_len(FAT_LIMIT_BYTES - 1000).unwrap();
        let database_files = scene.registry().database_files().unwrap();
        let obstacle = file_size(&database_files, "vfat").unwrap();
        assert_eq!(
            scene.normal(&obstacle.to_string()),
            "`DIR/registry.db` has 4.0 GiB, and a file on this file system (vfat) ends at 4.0 GiB"
        );
        assert_eq!(file_size(&database_files, "exfat"), None);
    }
}
