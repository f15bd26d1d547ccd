//! Which databases this process has open through SQLite.
//!
//! Closing any descriptor on a database or its `-shm` drops every POSIX lock that the process holds on it, SQLite's
//! too, and another process's write then slips into a running transaction. So every connection is counted here before it
//! opens, and whoever must read such a file by itself does so only while none is open and none can be opened.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use vitalsign_base::{clock::Deadline, files::FileId};

static OPEN_HANDLES: Mutex<BTreeMap<FileId, usize>> = Mutex::new(BTreeMap::new());
static LEFT: Condvar = Condvar::new();

fn open_handles() -> MutexGuard<'static, BTreeMap<FileId, usize>> {
    OPEN_HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that a connection to a database is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenHandle(FileId);

impl OpenHandle {
    pub(crate) fn take(id: FileId) -> Self {
        *open_handles().entry(id).or_default() += 1;
        Self(id)
    }
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        let mut open_handles = open_handles();
        if let Some(count) = open_handles.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                open_handles.remove(&self.0);
                LEFT.notify_all();
            }
        }
    }
}

/// Runs `read` while this process has no connection to the file; `None` when one stayed open for all of `patience`.
///
/// `read` holds up every opening of a database in this process, so it reads a few bytes and no more.
pub(crate) fn while_closed<T>(id: FileId, patience: Duration, read: impl FnOnce() -> T) -> Option<T> {
    let deadline = Deadline::after(patience);
    let mut open_handles = open_handles();
    while open_handles.contains_key(&id) {
        let left = deadline.remaining();
        if left.is_zero() {
            return None;
        }
        open_handles = LEFT.wait_timeout(open_handles, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    Some(read())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_only_when_no_handle_is_open() {
        let id = FileId { device: u64::MAX, inode: 1 };
        let other = FileId { device: u64::MAX, inode: 2 };
        let first = OpenHandle::take(id);
        let second = OpenHandle::take(id);
        assert_eq!(while_closed(id, Duration::ZERO, || ()), None);
        assert_eq!(while_closed(other, Duration::ZERO, || ()), Some(()));
        drop(first);
        assert_eq!(while_closed(id, Duration::ZERO, || ()), None);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| while_closed(id, Duration::from_secs(60), || ()));
            drop(second);
            assert_eq!(waiter.join().unwrap(), Some(()));
        });
    }
}
