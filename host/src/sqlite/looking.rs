//! The door to the file system that SQLite is given here: the system's own, except that it makes and deletes nothing.
//!
//! Even on a connection that only reads, SQLite opens a write-ahead log for writing and makes one where there is none. A
//! `stat` beforehand cannot prevent that: the last writer may close the database in between, and the empty log that a
//! looking user leaves behind can shut the registry out of its own database. So logs and journals are opened for reading
//! only, whatever SQLite asks for, and a log that is gone is an error that is looked at again. Reads no database.

#![expect(unsafe_code, reason = "SQLite takes a file system as a table of C functions; each use has its argument")]

use std::{
    ffi::{CStr, c_char, c_int},
    ptr,
    sync::OnceLock,
};

use rusqlite::{
    Connection,
    ffi::{self, sqlite3_file, sqlite3_vfs},
};

/// The name that connections ask for it by.
pub(super) const NAME: &CStr = c"vitalsign-looking";

/// What SQLite keeps beside a database and may open, but not make.
const KEPT_BESIDE: c_int = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL;

/// What opening one of those must not ask for.
const CHANGING: c_int =
    ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_EXCLUSIVE | ffi::SQLITE_OPEN_DELETEONCLOSE;

/// Makes the door known to SQLite, once a process.
///
/// # Errors
/// SQLite's result code when it has no file system of its own or will not take another.
pub(super) fn register() -> Result<(), c_int> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    match *REGISTERED.get_or_init(build) {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

fn build() -> c_int {
    // SAFETY: `sqlite3_vfs_find` initialises SQLite and gives its default file system, which lives as long as the process.
    let system = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    // SAFETY: the pointer is null or valid, and the struct is plain data that SQLite allows to be copied for this.
    let Some(system) = (unsafe { system.as_ref() }) else { return ffi::SQLITE_NOTFOUND };
    let door = Box::new(sqlite3_vfs {
        zName: NAME.as_ptr(),
        pNext: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        ..*system
    });
    // SAFETY: the struct is leaked, so it outlives every connection; SQLite guards its list with its own lock.
    unsafe { ffi::sqlite3_vfs_register(Box::leak(door), 0) }
}

/// Opens a file as the system does, but a log or a journal only for reading and only if it is there.
unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    opened: *mut c_int,
) -> c_int {
    let flags = if flags & KEPT_BESIDE == 0 { flags } else { (flags & !CHANGING) | ffi::SQLITE_OPEN_READONLY };
    // SAFETY: as in `build`; the arguments are SQLite's own, handed on to the function that they were meant for.
    unsafe {
        let system = ffi::sqlite3_vfs_find(ptr::null());
        match system.as_ref().and_then(|system| system.xOpen) {
            Some(open) => open(system, name, file, flags, opened),
            None => ffi::SQLITE_CANTOPEN,
        }
    }
}

/// Deletes nothing. SQLite's temporary files are unlinked as they are opened and never come here.
unsafe extern "C" fn delete(_: *mut sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_IOERR_DELETE
}

/// Whether some connection, of any process on this machine, holds the lock that it takes before it writes, where `conn` is
/// open on a database with a rollback journal. `false` when the system will not say.
///
/// SQLite asks the kernel for this with its own descriptor. Another descriptor of ours would drop its locks when it is closed,
/// and `/proc/locks` does not show those of other containers.
pub(super) fn somebody_writes(conn: &Connection) -> bool {
    let mut file: *mut sqlite3_file = ptr::null_mut();
    // SAFETY: the handle is valid for as long as `conn` is borrowed, and the operation stores one pointer to an open file.
    let asked = unsafe {
        ffi::sqlite3_file_control(
            conn.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            (&raw mut file).cast(),
        )
    };
    if asked != ffi::SQLITE_OK {
        return false;
    }
    // SAFETY: the pointer is null or the file of `conn`, which stays open; its methods are a static table.
    let methods = unsafe { file.as_ref().and_then(|file| file.pMethods.as_ref()) };
    let Some(check) = methods.and_then(|methods| methods.xCheckReservedLock) else { return false };
    let mut reserved: c_int = 0;
    // SAFETY: the function belongs to this file. Nobody else uses `conn` meanwhile: a connection is not shared by threads.
    let said = unsafe { check(file, &raw mut reserved) };
    said == ffi::SQLITE_OK && reserved != 0
}
