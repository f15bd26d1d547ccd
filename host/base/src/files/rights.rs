//! Whether a user may read, write or search a file or a folder, as its mode, its access control list and its attributes say.
//!
//! Asks and tries nothing. It answers for another user than the one who asks, of whom only the number is known: where the
//! answer depends on the groups that the user is in, it is that he may.

use std::{io, path::Path};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

/// An access control list of more entries than any file system stores.
const MAX_LIST_BYTES: usize = 64 * 1024;

/// What a user needs to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To read a file, or to list a folder.
    Read,
    /// To write to a file, or to make and delete files in a folder.
    Write,
    /// To reach what is in a folder.
    Search,
}

impl Right {
    /// Its bit in three permission bits.
    const fn bit(self) -> u32 {
        match self {
            Self::Read => 0o4,
            Self::Write => 0o2,
            Self::Search => 0o1,
        }
    }
}

/// Why a file or a folder cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The permission bits, or the access control list, do not give this right.
    Permissions(Right),
    /// It has the attribute *immutable* (`chattr +i`).
    Immutable,
    /// It has the attribute *append-only* (`chattr +a`).
    AppendOnly,
}

/// The first of the rights that the user does not have to what is at `path`, and why; `None` when he has all of them, or has them if
/// he is in the right group.
///
/// # Errors
/// What the system says.
pub fn refusal(path: &Path, uid: u32, rights: &[Right]) -> io::Result<Option<Refusal>> {
    let wanted = StatxFlags::MODE | StatxFlags::UID;
    let found = rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, wanted)?;
    let attributes = found.stx_attributes & found.stx_attributes_mask;
    if rights.contains(&Right::Write) && attributes.contains(StatxAttributes::IMMUTABLE) {
        return Ok(Some(Refusal::Immutable));
    }
    if rights.contains(&Right::Write) && attributes.contains(StatxAttributes::APPEND) {
        return Ok(Some(Refusal::AppendOnly));
    }
    let list = access_list(path);
    let has = |right: Right| uid == 0 || has(right, uid, found.stx_uid, found.stx_mode.into(), &list);
    Ok(rights.iter().find(|right| !has(**right)).map(|right| Refusal::Permissions(*right)))
}

/// The access control list of a file; empty where it has none, or the file system knows none.
fn access_list(path: &Path) -> Vec<u8> {
    let mut list = vec![0; MAX_LIST_BYTES];
    let filled = rustix::fs::getxattr(path, "system.posix_acl_access", &mut list).unwrap_or(0);
    list.truncate(filled);
    list
}

/// Whether `uid` has the right to what belongs to `owner` and has this mode and this access control list.
///
/// The list is a version of four bytes, 2, and entries of a tag, permissions (two bytes each) and an id (four), all with
/// the low byte first. The mask limits every entry but those of the owner and of everybody else.
fn has(right: Right, uid: u32, owner: u32, mode: u32, list: &[u8]) -> bool {
    const NAMED_USER: u16 = 0x02;
    const OWNING_GROUP: u16 = 0x04;
    const NAMED_GROUP: u16 = 0x08;
    const MASK: u16 = 0x10;
    if uid == owner {
        return (mode >> 6) & right.bit() != 0;
    }
    let others = mode & right.bit() != 0;
    let entries: Vec<(u16, u32, u32)> = match list.split_first_chunk() {
        Some(([2, 0, 0, 0], entries)) => entries.chunks_exact(8).filter_map(entry).collect(),
        _ => Vec::new(),
    };
    let mask = entries.iter().find(|(tag, ..)| *tag == MASK).map_or(0o7, |(_, rights, _)| *rights);
    let gives = |rights: u32| rights & mask & right.bit() != 0;
    if let Some((_, rights, _)) = entries.iter().find(|(tag, _, id)| *tag == NAMED_USER && *id == uid) {
        return gives(*rights);
    }
    let by_a_group = if entries.is_empty() {
        (mode >> 3) & right.bit() != 0
    } else {
        entries.iter().any(|(tag, rights, _)| matches!(*tag, OWNING_GROUP | NAMED_GROUP) && gives(*rights))
    };
    by_a_group || others
}

fn entry(bytes: &[u8]) -> Option<(u16, u32, u32)> {
    let [tag_low, tag_high, rights_low, rights_high, id @ ..] = bytes else { return None };
    let rights = u16::from_le_bytes([*rights_low, *rights_high]);
    Some((u16::from_le_bytes([*tag_low, *tag_high]), rights.into(), u32::from_le_bytes(id.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_goes_by_his_own_bits_and_everybody_else_by_theirs() {
        for (mode, owner, other) in [
            (0o644, true, false),
            (0o444, false, false),
            (0o464, false, true),
            (0o446, false, true),
            (0o200, true, false),
            (0o577, false, true),
        ] {
            assert_eq!(has(Right::Write, 7, 7, mode, &[]), owner, "owner, mode {mode:o}");
            assert_eq!(has(Right::Write, 7, 8, mode, &[]), other, "another user, mode {mode:o}");
        }
    }

    #[test]
    fn each_right_has_its_bit() {
        for (mode, rights) in
            [(0o400, [true, false, false]), (0o200, [false, true, false]), (0o100, [false, false, true])]
        {
            let owner = [Right::Read, Right::Write, Right::Search].map(|right| has(right, 7, 7, mode, &[]));
            assert_eq!(owner, rights, "mode {mode:o}");
        }
    }

    #[test]
    fn an_access_list_counts_for_everybody_but_the_owner() {
        let list = |entries: &[(u16, u16, u32)]| {
            let mut bytes = vec![2, 0, 0, 0];
            for (tag, rights, id) in entries {
                bytes.extend(tag.to_le_bytes());
                bytes.extend(rights.to_le_bytes());
                bytes.extend(id.to_le_bytes());
            }
            bytes
        };
        // With a list, the group's bits of the mode are the mask.
        let named = list(&[(1, 6, 0), (2, 6, 7), (4, 4, 0), (0x10, 6, 0), (0x20, 4, 0)]);
        assert!(has(Right::Write, 7, 8, 0o664, &named));
        assert!(!has(Right::Write, 9, 8, 0o664, &named));
        assert!(!has(Right::Write, 7, 7, 0o464, &named));
        let masked = list(&[(1, 6, 0), (2, 6, 7), (4, 6, 0), (0x10, 4, 0), (0x20, 4, 0)]);
        assert!(!has(Right::Write, 7, 8, 0o644, &masked));
        assert!(!has(Right::Write, 9, 8, 0o644, &masked));
        let by_group = list(&[(1, 6, 0), (4, 4, 0), (8, 6, 100), (0x10, 6, 0), (0x20, 0, 0)]);
        assert!(has(Right::Write, 9, 8, 0o660, &by_group));
        let refused_by_name = list(&[(1, 6, 0), (2, 4, 7), (4, 6, 0), (0x10, 6, 0), (0x20, 6, 0)]);
        assert!(!has(Right::Write, 7, 8, 0o666, &refused_by_name));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn what_the_system_says_is_used() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "").unwrap();
        let other = std::fs::metadata(&path).unwrap().uid() + 1;
        let refused = |uid| refusal(&path, uid, &[Right::Read, Right::Write]).unwrap();
        assert_eq!(refused(other), Some(Refusal::Permissions(Right::Write)));
        assert_eq!(refused(0), None);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o602)).unwrap();
        assert_eq!(refused(other), Some(Refusal::Permissions(Right::Read)));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o606)).unwrap();
        assert_eq!(refused(other), None);
        refusal(&folder.path().join("b"), 0, &[Right::Write]).unwrap_err();
    }
}
