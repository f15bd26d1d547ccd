//! What the disk quotas of a user and a group leave.
//!
//! Asks the kernel, and writes nothing.

#![expect(
    unsafe_code,
    reason = "quotactl has no safe wrapper in what the project builds on; the argument stands at the call"
)]

use std::{ffi::CString, mem::MaybeUninit, os::unix::ffi::OsStrExt as _, path::Path};

/// What a quota leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLeft {
    /// Bytes that can still be written; `None` without a limit.
    pub bytes: Option<u64>,
    /// Files that can still be made; `None` without a limit.
    pub inodes: Option<u64>,
}

/// What the quotas of a user and a group on this block device leave at a time, in seconds since 1970; no limit where no quota
/// is kept, or none may be read: the quota of another user is told to root alone.
#[must_use]
pub fn quota_left(device: &Path, uid: u32, gid: u32, now_seconds: u64) -> QuotaLeft {
    let ask = |kind, id| limits(kind, device, id).map(|quota| left(&quota, now_seconds));
    let both = [ask(libc::USRQUOTA, uid), ask(libc::GRPQUOTA, gid)];
    let least = |limit: fn(&QuotaLeft) -> Option<u64>| both.iter().flatten().filter_map(limit).min();
    QuotaLeft { bytes: least(|left| left.bytes), inodes: least(|left| left.inodes) }
}

/// A quota as the kernel keeps it: limits, use, and when what is above a soft limit is refused, in seconds since 1970.
/// Zero stands for none.
#[derive(Clone, Copy, Debug, Default)]
struct Quota {
    hard_bytes: u64,
    soft_bytes: u64,
    used_bytes: u64,
    bytes_until: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    used_inodes: u64,
    inodes_until: u64,
}

/// The quota of one user or group (quotactl(2), `Q_GETQUOTA`); `None` where there is none, or it may not be read.
fn limits(kind: libc::c_int, device: &Path, id: u32) -> Option<Quota> {
    /// Limits are counted in blocks of this size, whatever the file system's own blocks are.
    const QUOTA_BLOCK_BYTES: u64 = 1024;
    let device = CString::new(device.as_os_str().as_bytes()).ok()?;
    let mut quota = MaybeUninit::<libc::dqblk>::zeroed();
    let command = libc::QCMD(libc::Q_GETQUOTA, kind);
    // SAFETY: the kernel reads the name, which ends with a zero, and fills a `dqblk`, both of which outlive the call. A `dqblk` is
    // numbers alone, so that zeros are a valid one.
    let quota = unsafe {
        match libc::quotactl(command, device.as_ptr(), id.cast_signed(), quota.as_mut_ptr().cast()) {
            0 => quota.assume_init(),
            _ => return None,
        }
    };
    let bytes = |blocks: u64| blocks.saturating_mul(QUOTA_BLOCK_BYTES);
    Some(Quota {
        hard_bytes: bytes(quota.dqb_bhardlimit),
        soft_bytes: bytes(quota.dqb_bsoftlimit),
        used_bytes: quota.dqb_curspace,
        bytes_until: quota.dqb_btime,
        hard_inodes: quota.dqb_ihardlimit,
        soft_inodes: quota.dqb_isoftlimit,
        used_inodes: quota.dqb_curinodes,
        inodes_until: quota.dqb_itime,
    })
}

/// A hard limit is never passed; a soft one may be, until its time is over.
fn left(quota: &Quota, now: u64) -> QuotaLeft {
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
        let bytes = |quota: Quota| left(&quota, 1000).bytes;
        assert_eq!(bytes(Quota::default()), None);
        let hard = Quota { hard_bytes: 100, used_bytes: 60, ..Quota::default() };
        assert_eq!(bytes(hard), Some(40));
        assert_eq!(bytes(Quota { used_bytes: 101, ..hard }), Some(0));
        let soft = Quota { soft_bytes: 50, bytes_until: 1001, ..hard };
        assert_eq!(bytes(soft), Some(40));
        assert_eq!(bytes(Quota { bytes_until: 1000, ..soft }), Some(0));
        assert_eq!(bytes(Quota { bytes_until: 1000, used_bytes: 50, ..soft }), Some(50));
        let inodes = Quota { hard_inodes: 3, used_inodes: 3, ..Quota::default() };
        assert_eq!(left(&inodes, 0), QuotaLeft { bytes: None, inodes: Some(0) });
    }

    #[test]
    fn what_is_no_device_has_no_quota() {
        assert_eq!(quota_left(Path::new("/proc"), 0, 0, 0), QuotaLeft { bytes: None, inodes: None });
    }
}
