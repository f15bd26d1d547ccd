//! Which mount a path lies on, and of what kind, as `/proc/self/mountinfo` tells.
//!
//! Opens nothing but `/proc`. Knows no database and judges nothing.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::read_bytes;

/// More than the list has on a machine with ten thousand mounts, and an end.
const MAX_LIST_BYTES: u64 = 8 * 1024 * 1024;

/// A mount of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number, which no other mount on this machine has at the same time.
    pub id: u64,
    /// The device number of the file system, as `/proc/locks` names it: on btrfs and overlayfs `stat` gives other numbers.
    pub device: u64,
    /// What of the file system is mounted: a folder or a file in it, by its path there.
    pub root: PathBuf,
    /// The folder or file where it begins.
    pub point: PathBuf,
    /// The kind of file system, such as `ext4` or `fuse.sshfs`.
    pub kind: String,
    /// What is mounted: a block device, a server's export, or a word without meaning.
    pub source: PathBuf,
    /// Whether nothing can be written through this mount.
    pub read_only: bool,
    /// Whether nothing can be written to the file system through any mount.
    pub file_system_read_only: bool,
}

/// How a file system reaches its files, as its kind tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystemClass {
    /// They are this machine's own.
    Local,
    /// Other machines may use them at the same time: a server's, a cluster's, or those of a virtual machine's host.
    Network,
    /// A program on this machine gives them out (FUSE), from wherever it has them.
    Program,
}

impl Mount {
    /// How the file system reaches its files.
    #[must_use]
    pub fn reach(&self) -> FileSystemClass {
        const NETWORK: [&str; 28] = [
            "9p",
            "acfs",
            "afs",
            "beegfs",
            "ceph",
            "cifs",
            "coda",
            "drvfs",
            "fakeowner",
            "gfs2",
            "glusterfs",
            "gpfs",
            "lustre",
            "mvfs",
            "ncpfs",
            "nfs",
            "nfs4",
            "ocfs2",
            "orangefs",
            "prl_fs",
            "pvfs2",
            "smb2",
            "smb3",
            "smbfs",
            "vboxsf",
            "virtiofs",
            "vmhgfs",
            "wekafs",
        ];
        match self.kind.as_str() {
            kind if NETWORK.contains(&kind) => FileSystemClass::Network,
            // `fuseblk` is a program too, but on a block device of this machine.
            kind if kind == "fuse" || kind.starts_with("fuse.") => FileSystemClass::Program,
            _ => FileSystemClass::Local,
        }
    }
}

/// The mount that `path` lies on; `None` where the list does not have it.
///
/// # Errors
/// What the system says.
pub fn mount_of(path: &Path) -> io::Result<Option<Mount>> {
    let wanted = mount_id(path)?;
    let list = read_bytes(Path::new("/proc/self/mountinfo"), MAX_LIST_BYTES)?;
    let list = String::from_utf8_lossy(&list);
    Ok(match wanted {
        Some(id) => mounts(&list).find(|mount| mount.id == id),
        None => covering(&list, path),
    })
}

/// A place below a folder where another mount begins, if there is one. The path is a real one.
///
/// # Errors
/// What the system says.
pub fn mounted_below(path: &Path) -> io::Result<Option<PathBuf>> {
    let list = read_bytes(Path::new("/proc/self/mountinfo"), MAX_LIST_BYTES)?;
    Ok(below(&String::from_utf8_lossy(&list), path))
}

fn below(list: &str, path: &Path) -> Option<PathBuf> {
    mounts(list).map(|mount| mount.point).find(|point| point != path && point.starts_with(path))
}

/// Where a path in the sight of a process leads, whatever is mounted where: the device of the file system, and the path there.
/// This holds for what was deleted as well.
///
/// # Errors
/// What the system says, such as `PermissionDenied` for another user's process.
pub fn place_in_file_system(pid: u32, path: &Path) -> io::Result<Option<(u64, PathBuf)>> {
    let list = read_bytes(Path::new(&format!("/proc/{pid}/mountinfo")), MAX_LIST_BYTES)?;
    Ok(place(&String::from_utf8_lossy(&list), path))
}

fn place(list: &str, path: &Path) -> Option<(u64, PathBuf)> {
    let mount = covering(list, path)?;
    let below = path.strip_prefix(&mount.point).ok()?;
    // `join` with nothing would end the path in a slash.
    let whole = if below.as_os_str().is_empty() { mount.root } else { mount.root.join(below) };
    Some((mount.device, whole))
}

/// The number of the mount, where the kernel tells it (since Linux 5.8).
fn mount_id(path: &Path) -> io::Result<Option<u64>> {
    let found = rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID)?;
    Ok(StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID).then_some(found.stx_mnt_id))
}

/// The mount whose place is the longest beginning of `path`; of several at one place the last, which hides the others.
fn covering(list: &str, path: &Path) -> Option<Mount> {
    mounts(list).filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| mount.point.as_os_str().len())
}

/// The mounts of a list in the form of `/proc/self/mountinfo`; a line that has another form is left out.
fn mounts(list: &str) -> impl Iterator<Item = Mount> {
    list.lines().filter_map(parse)
}

/// One line: `36 35 98:0 /root /point rw,noatime shared:1 - ext3 /dev/sda1 rw,errors=continue`.
fn parse(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ');
    let id = mount.next()?.parse().ok()?;
    let (major, minor) = mount.nth(1)?.split_once(':')?;
    // What was deleted after it was mounted carries this mark.
    let root = unescaped(mount.next()?);
    let root = root.strip_suffix("//deleted").unwrap_or(&root).into();
    let point = unescaped(mount.next()?);
    let options = mount.next()?;
    let mut file_system = file_system.split(' ');
    let (kind, source) = (file_system.next()?, file_system.next()?);
    let is_read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Mount {
        id,
        device: rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?),
        root,
        point: point.into(),
        kind: unescaped(kind),
        source: unescaped(source).into(),
        read_only: is_read_only(options),
        file_system_read_only: file_system.next().is_some_and(is_read_only),
    })
}

/// The list writes spaces, tabs, line ends and backslashes as three octal digits after a backslash.
fn unescaped(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\043", "\\134"]
        .into_iter()
        .zip([" ", "\t", "\n", "#", "\\"])
        .fold(text.to_owned(), |text, (escape, byte)| text.replace(escape, byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
        27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
        40 27 0:50 / /srv rw,relatime shared:7 master:1 - nfs4 server:/export rw,vers=4.2\n\
        41 40 254:0 /data/my\\040registry /srv/my\\040registry ro,relatime - ext4 /dev/vda rw,discard\n\
        42 27 0:51 / /mnt rw,nosuid - fuse.sshfs me@host: ro,user_id=0\n\
        43 27 0:52 / /mnt rw - tmpfs tmpfs rw\n\
        nonsense\n\
        44 27 x:1 / /odd rw - ext4 /dev/vda rw\n";

    #[test]
    fn a_mount_below_a_folder_is_found_and_one_at_it_is_not() {
        let found = |path: &str| below(LIST, Path::new(path)).map(|point| point.display().to_string());
        assert_eq!(found("/srv").as_deref(), Some("/srv/my registry"));
        assert_eq!((found("/srv/my registry"), found("/sr"), found("/mnt/x")), (None, None, None));
    }

    #[test]
    fn each_line_is_a_mount() {
        let all: Vec<_> = mounts(LIST).collect();
        assert_eq!(all.iter().map(|mount| mount.id).collect::<Vec<_>>(), [27, 40, 41, 42, 43]);
        let registry = all.get(2).unwrap();
        assert_eq!(registry.point, Path::new("/srv/my registry"));
        assert_eq!((registry.kind.as_str(), registry.source.as_path()), ("ext4", Path::new("/dev/vda")));
        assert_eq!((registry.read_only, registry.file_system_read_only), (true, false));
        assert_eq!(registry.device, rustix::fs::makedev(254, 0));
        let remote = all.get(3).unwrap();
        assert_eq!((remote.kind.as_str(), remote.read_only, remote.file_system_read_only), ("fuse.sshfs", false, true));
    }

    #[test]
    fn the_kind_tells_how_far_the_files_are() {
        let reach = |id| mounts(LIST).find(|mount| mount.id == id).unwrap().reach();
        assert_eq!(
            (reach(27), reach(40), reach(42)),
            (FileSystemClass::Local, FileSystemClass::Network, FileSystemClass::Program)
        );
        let mount = |kind: &str| Mount { kind: kind.to_owned(), ..mounts(LIST).next().unwrap() };
        assert_eq!(
            (mount("fuse").reach(), mount("fuseblk").reach()),
            (FileSystemClass::Program, FileSystemClass::Local)
        );
    }

    #[test]
    fn the_longest_beginning_counts_and_of_two_the_last() {
        let kind = |path: &str| covering(LIST, Path::new(path)).map(|mount| mount.kind);
        assert_eq!(kind("/srv/my registry/r.db").as_deref(), Some("ext4"));
        assert_eq!(kind("/srv/my registry 2/r.db").as_deref(), Some("nfs4"));
        assert_eq!(kind("/mnt/r.db").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/home/r.db").as_deref(), Some("ext4"));
    }

    #[test]
    fn one_place_is_known_from_all_mounts() {
        let other = "\
            90 1 0:60 / / rw - overlay overlay rw\n\
            91 90 254:0 /data/my\\040registry/r.db//deleted /app/r.db rw - ext4 /dev/vda rw\n\
            92 90 254:0 /data/my\\040registry /folder rw - ext4 /dev/vda rw\n";
        let here = place(LIST, Path::new("/srv/my registry/r.db")).unwrap();
        assert_eq!(here, (rustix::fs::makedev(254, 0), PathBuf::from("/data/my registry/r.db")));
        assert_eq!(place(other, Path::new("/app/r.db")), Some(here.clone()));
        assert_eq!(place(other, Path::new("/folder/r.db")), Some(here.clone()));
        assert_ne!(place(other, Path::new("/app/r.db-wal")), Some(here));
        assert_eq!(place("", Path::new("/app/r.db")), None);
    }

    #[test]
    fn the_system_knows_where_this_test_runs() {
        let here = mount_of(Path::new("/proc/self")).unwrap().unwrap();
        assert_eq!((here.kind.as_str(), here.point.as_path()), ("proc", Path::new("/proc")));
        mount_of(Path::new("/proc/no/such/thing")).unwrap_err();
    }
}
