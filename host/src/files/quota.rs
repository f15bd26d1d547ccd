//! What the disk quotas of a user and a group leave.
//!
//! Asks the kernel, and writes nothing.

use std::path::Path;

use nix::sys::quota::{Dqblk, QuotaType, quotactl_get};

/// What a quota leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLeft {
    /// Bytes that can still be written; `None` without a limit.
    pub bytes: Option<u64>,
    /// Files that can still be made; `None` without a limit.
    pub inodes: Option<u64>,
}

/// What the quotas of a user and a group on this block device leave at a time, in seconds since 1970; no limit where no quota is kept, or none may be read:
/// the quota of another user is told to root alone.
#[must_use]
pub fn quota_left(device: &Path, uid: u32, gid: u32, now_seconds: u64) -> QuotaLeft {
    let ask = |which, id: u32| {
        let id = id.try_into().ok()?;
        quotactl_get(which, device, id).ok().map(|quota| left(&Limits::from(&quota), now_seconds))
    };
    let both = [ask(QuotaType::USRQUOTA, uid), ask(QuotaType::GRPQUOTA, gid)];
    let least = |limit: fn(&QuotaLeft) -> Option<u64>| both.iter().flatten().filter_map(limit).min();
    QuotaLeft { bytes: least(|left| left.bytes), inodes: least(|left| left.inodes) }
}

/// A quota as the kernel keeps it: limits, use, and when what is above a soft limit is refused, in seconds since 1970.
/// Zero stands for none.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    hard_bytes: u64,
    soft_bytes: u64,
    used_bytes: u64,
    bytes_until: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    used_inodes: u64,
    inodes_until: u64,
}

impl From<&Dqblk> for Limits {
    fn from(quota: &Dqblk) -> Self {
        /// Limits are counted in blocks of this size, whatever the file system's own blocks are.
        const QUOTA_BLOCK_BYTES: u64 = 1024;
        let bytes = |blocks: Option<u64>| blocks.unwrap_or(0).saturating_mul(QUOTA_BLOCK_BYTES);
        Self {
            hard_bytes: bytes(quota.blocks_hard_limit()),
            soft_bytes: bytes(quota.blocks_soft_limit()),
            used_bytes: quota.occupied_space().unwrap_or(0),
            bytes_until: quota.block_time_limit().unwrap_or(0),
            hard_inodes: quota.inodes_hard_limit().unwrap_or(0),
            soft_inodes: quota.inodes_soft_limit().unwrap_or(0),
            used_inodes: quota.allocated_inodes().unwrap_or(0),
            inodes_until: quota.inode_time_limit().unwrap_or(0),
        }
    }
}

/// A hard limit is never passed; a soft one may be, until its time is over.
fn left(quota: &Limits, now: u64) -> QuotaLeft {
    let of = |hard: u64, soft: u64, used: u64, until: u64| {
        let over = soft > 0 && used > soft && until > 0 && until <= now;
        match (over, hard) {
            (true, _) => Some(0),
            (false, 0) => None,
            (false, hard) => Some(hard.saturating_sub(used)),
        }
    };
    QuotaLeft {
        bytes: of(quota.hard_bytes, quota.soft_bytes, quota.used_bytes, quota.bytes_until),
        inodes: of(quota.hard_inodes, quota.soft_inodes, quota.used_inodes, quota.inodes_until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_ends_at_its_hard_limit_or_some_time_after_its_soft_one() {
        let bytes = |quota: Limits| left(&quota, 1000).bytes;
        assert_eq!(bytes(Limits::default()), None);
        let hard = Limits { hard_bytes: 100, used_bytes: 60, ..Limits::default() };
        assert_eq!(bytes(hard), Some(40));
        assert_eq!(bytes(Limits { used_bytes: 101, ..hard }), Some(0));
        let soft = Limits { soft_bytes: 50, bytes_until: 1001, ..hard };
        assert_eq!(bytes(soft), Some(40));
        assert_eq!(bytes(Limits { bytes_until: 1000, ..soft }), Some(0));
        assert_eq!(bytes(Limits { bytes_until: 1000, used_bytes: 50, ..soft }), Some(50));
        let inodes = Limits { hard_inodes: 3, used_inodes: 3, ..Limits::default() };
        assert_eq!(left(&inodes, 0), QuotaLeft { bytes: None, inodes: Some(0) });
    }

    #[test]
    fn what_is_no_device_has_no_quota() {
        assert_eq!(quota_left(Path::new("/proc"), 0, 0, 0), QuotaLeft { bytes: None, inodes: None });
    }
}
