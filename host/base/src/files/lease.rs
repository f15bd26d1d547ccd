//! Whether anybody else has a file open, asked of the kernel: it grants a lease on a file (fcntl(2), `F_SETLEASE`) only while
//! nobody else has it open.
//!
//! So processes are noticed that `/proc` does not show, such as those of another container. The lease is given back at once,
//! and whoever opens the file in between is held up for that moment only. Only the owner of the file and root may ask.

#![expect(
    unsafe_code,
    reason = "what the project builds on has no safe wrapper for leases; the argument stands at the calls"
)]

use std::{fs::File, os::fd::AsRawFd as _};

/// Chooses the signal (fcntl(2)): the same number on every processor that Rust runs Linux on, and missing in `libc`.
const F_SETSIG: libc::c_int = 10;

/// Whom a lease tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseScope {
    /// Everybody.
    All,
    /// Those who may write; the file that asks must be open for reading alone.
    Writers,
}

/// Whether such others have this file open, this process included; `None` where the system does not say.
pub(super) fn is_open_elsewhere(file: &File, others: LeaseScope) -> Option<bool> {
    let fd = file.as_raw_fd();
    let kind = match others {
        LeaseScope::All => libc::F_WRLCK,
        LeaseScope::Writers => libc::F_RDLCK,
    };
    // Whoever opens the file while the lease is held has this process sent a signal: SIGIO would end it, and SIGURG is ignored
    // unless a program asks for it, which this one does not.
    // SAFETY: each call takes a descriptor that is open while `file` is borrowed, and a number; none touches memory.
    let taken = unsafe {
        match libc::fcntl(fd, F_SETSIG, libc::SIGURG) {
            0 => libc::fcntl(fd, libc::F_SETLEASE, kind),
            _ => return None,
        }
    };
    if taken == 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
        return Some(false);
    }
    let why = std::io::Error::last_os_error();
    (why.kind() == std::io::ErrorKind::WouldBlock).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "says what it skips")]
    fn others_are_noticed_by_what_they_may_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        drop(File::create(&path).unwrap());
        let asks = File::open(&path).unwrap();
        if is_open_elsewhere(&asks, LeaseScope::All) != Some(false) {
            eprintln!("skipped: this file system knows no leases");
            return;
        }
        let both = || [LeaseScope::All, LeaseScope::Writers].map(|others| is_open_elsewhere(&asks, others));
        let reader = File::open(&path).unwrap();
        assert_eq!(both(), [Some(true), Some(false)]);
        drop(reader);
        let writer = File::options().write(true).open(&path).unwrap();
        assert_eq!(both(), [Some(true), Some(true)]);
        drop(writer);
        assert_eq!(both(), [Some(false), Some(false)]);
    }
}
