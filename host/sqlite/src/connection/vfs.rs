//! The file system (VFS) that SQLite is given for looking: the system's own, except in four things.
//!
//! 1. **It makes and deletes nothing.** Even on a connection that only reads, SQLite opens a write-ahead log for writing and
//!    makes one where there is none. A `stat` beforehand cannot prevent that: the last writer may close the database in between,
//!    and the empty log that a looking user leaves behind can shut the registry out of its own database. So logs and journals
//!    are opened for reading only, whatever SQLite asks for, and a log that is gone is an error that is looked at again.
//! 2. **SQLite reads the log's index from a copy.** The index (`-shm`) is a file mapped into memory. Whoever cuts it short makes
//!    the next touch of the mapping a SIGBUS, which kills the process that should report it. So SQLite gets private memory, and
//!    the mapping is only touched by the kernel, in a system call that answers EFAULT. The other way, a signal handler that puts
//!    zeros in place of the lost page, is state of the whole process, and turns "not in the log" into a wrong answer half way
//!    through a transaction. How the copy is kept right stands at [`WalIndexCopy`].
//! 3. **Rebuilding the index ends in time.** Where the writer was killed SQLite reads the whole log before the first row, and
//!    asks nobody meanwhile. Each of those reads ends it once the time for waiting is over.
//! 4. **Files keep their owners**, also when root looks (see [`without_fchown`]).
//!
//! It also reads a database's first bytes, so that no lock of this process is lost (see [`head`]). Knows no database.

#![expect(unsafe_code, reason = "SQLite takes a file system as a table of C functions; each use has its argument")]

use std::{
    cell::Cell,
    collections::BTreeMap,
    ffi::{CStr, CString, c_char, c_int, c_void},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr, slice,
    sync::OnceLock,
};

use rusqlite::{
    Connection,
    ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs},
};

use crate::connection::busy_handler;

/// The name that connections ask for it by.
pub(crate) const NAME: &CStr = c"vitalsign-looking";

/// What SQLite keeps beside a database and may open, but not make.
const KEPT_BESIDE: c_int = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL;

/// What opening one of those must not ask for.
const CHANGING: c_int =
    ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_EXCLUSIVE | ffi::SQLITE_OPEN_DELETEONCLOSE;

/// Makes the file system known to SQLite, once a process.
///
/// # Errors
/// SQLite's result code when it has no file system of its own or will not take another.
pub(crate) fn register() -> Result<(), c_int> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    match *REGISTERED.get_or_init(build) {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

/// The system's own file system.
fn system() -> Option<&'static sqlite3_vfs> {
    // SAFETY: `sqlite3_vfs_find` initialises SQLite and gives its default file system, which lives as long as the process; the
    // pointer is null or valid.
    unsafe { ffi::sqlite3_vfs_find(ptr::null()).as_ref() }
}

fn build() -> c_int {
    let Some(system) = system() else { return ffi::SQLITE_NOTFOUND };
    let vfs = Box::new(sqlite3_vfs {
        zName: NAME.as_ptr(),
        pNext: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        ..*system
    });
    if let Some(set) = system.xSetSystemCall {
        // SAFETY: SQLite keeps its system calls as pointers to functions of no type, and calls this one as the `fchown` that it is.
        unsafe {
            let call = std::mem::transmute::<Fchown, unsafe extern "C" fn()>(fchown);
            set(ptr::from_ref(system).cast_mut(), c"fchown".as_ptr(), Some(call));
        }
    }
    // SAFETY: the struct is leaked, so it outlives every connection; SQLite guards its list with its own lock.
    unsafe { ffi::sqlite3_vfs_register(Box::leak(vfs), 0) }
}

type Fchown = unsafe extern "C" fn(c_int, libc::uid_t, libc::gid_t) -> c_int;

thread_local! {
    /// Whether this thread is about to look, so that files keep their owners.
    static SKIPS_FCHOWN: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, in which SQLite gives no file away: as root it makes a log and its index the property of the database's owner as soon
/// as it opens them.
fn without_fchown<T>(work: impl FnOnce() -> T) -> T {
    SKIPS_FCHOWN.set(true);
    let done = work();
    SKIPS_FCHOWN.set(false);
    done
}

/// What SQLite calls to give a file away.
unsafe extern "C" fn fchown(file: c_int, user: libc::uid_t, group: libc::gid_t) -> c_int {
    if SKIPS_FCHOWN.get() {
        return 0;
    }
    // SAFETY: takes numbers only.
    unsafe { libc::fchown(file, user, group) }
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
    let Some((system, open)) = system().and_then(|system| Some((system, system.xOpen?))) else {
        return ffi::SQLITE_CANTOPEN;
    };
    // SAFETY: the arguments are SQLite's own, handed on to the function that they were meant for. It takes its own struct as
    // mutable, as SQLite hands it out, and does not write to it.
    let code = without_fchown(|| unsafe { open(ptr::from_ref(system).cast_mut(), name, file, flags, opened) });
    if code == ffi::SQLITE_OK && flags & (ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL) != 0 {
        // SAFETY: SQLite gives a file struct, which the system's `xOpen` has just filled.
        unsafe { WrappedFile::put(file, flags & ffi::SQLITE_OPEN_WAL != 0) };
    }
    code
}

/// Deletes nothing. SQLite's temporary files are unlinked as they are opened and never come here.
unsafe extern "C" fn delete(_: *mut sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_IOERR_DELETE
}

/// An open file of which some functions are ours. Every file begins with a pointer to its functions; it leads here.
#[repr(C)]
struct WrappedFile {
    /// What SQLite calls: the system's functions, a few of them replaced. The first field, so that a pointer to it is one to all.
    methods: sqlite3_io_methods,
    system: &'static sqlite3_io_methods,
    index: WalIndexCopy,
    /// How often SQLite has found the index contradictory since it last read it well.
    doubts: u32,
}

/// How often SQLite is told to read the index again before it may find that the index has to be repaired. The first time is
/// usual: the copy is as old as the last read, and the header in it older than the one that SQLite compares it with. It pauses
/// from the sixth time on.
const MAX_DOUBTS: u32 = 4;

/// The places of the index's locks, as in SQLite's `wal.c`: the one for writers, and the first of those for readers.
const WRITE_LOCK: c_int = 0;
const FIRST_READ_LOCK: c_int = 3;

thread_local! {
    /// Whether the index that this thread's connection reads is being rebuilt from the log.
    static REBUILDS: Cell<bool> = const { Cell::new(false) };
}

impl WrappedFile {
    /// Replaces the functions of a file that is open.
    ///
    /// # Safety
    /// `file` leads to a file that the system's `xOpen` has opened.
    unsafe fn put(file: *mut sqlite3_file, is_log: bool) {
        // SAFETY: the caller's promise; the system's tables of functions are static.
        let Some(system) = (unsafe { (*file).pMethods.as_ref::<'static>() }) else { return };
        let methods = match is_log {
            true => sqlite3_io_methods { xClose: Some(close), xRead: Some(read_log), ..*system },
            // A file that takes no locks has no log, and a table without these functions is an older kind.
            false if system.iVersion < 2 || system.xShmMap.is_none() => return,
            false => sqlite3_io_methods {
                xClose: Some(close),
                xShmMap: Some(map),
                xShmLock: Some(lock),
                xShmBarrier: Some(barrier),
                xShmUnmap: Some(unmap),
                ..*system
            },
        };
        let watched = Box::new(Self { methods, system, index: WalIndexCopy::default(), doubts: 0 });
        // SAFETY: as above. SQLite calls `close` once for every file, which takes the box back.
        unsafe { (*file).pMethods = Box::into_raw(watched).cast() };
    }

    /// The struct behind a file's functions.
    ///
    /// # Safety
    /// `file` is one whose functions `put` has replaced, and which is not closed. SQLite uses a file on one thread at a time.
    unsafe fn of<'a>(file: *mut sqlite3_file) -> &'a mut Self {
        // SAFETY: the caller's promise; the pointer is the one that `Box::into_raw` gave.
        unsafe { &mut *(*file).pMethods.cast_mut().cast::<Self>() }
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as in `of`. SQLite closes a file once, and has given the index back before.
    unsafe {
        let watched = Box::from_raw((*file).pMethods.cast_mut().cast::<WrappedFile>());
        (*file).pMethods = watched.system;
        watched.system.xClose.map_or(ffi::SQLITE_IOERR_CLOSE, |close| close(file))
    }
}

/// Reads a log, unless that rebuilds an index for which there is no more time.
unsafe extern "C" fn read_log(file: *mut sqlite3_file, into: *mut c_void, count: c_int, at: sqlite3_int64) -> c_int {
    if REBUILDS.get() && busy_handler::is_over() {
        return ffi::SQLITE_READONLY_RECOVERY;
    }
    // SAFETY: as in `of`; SQLite's own arguments are handed on.
    unsafe { WrappedFile::of(file).system.xRead.map_or(ffi::SQLITE_IOERR_READ, |read| read(file, into, count, at)) }
}

/// Maps a region of the index, and gives SQLite a copy of it.
unsafe extern "C" fn map(
    file: *mut sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    place: *mut *mut c_void,
) -> c_int {
    // SAFETY: as in `of`; SQLite's own arguments are handed on, and `place` is where it wants the answer.
    unsafe {
        let watched = WrappedFile::of(file);
        let Some(map) = watched.system.xShmMap else { return ffi::SQLITE_IOERR_SHMMAP };
        let code = without_fchown(|| map(file, region, bytes, extend, place));
        REBUILDS.set(code == ffi::SQLITE_READONLY_CANTINIT);
        if !matches!(code, ffi::SQLITE_OK | ffi::SQLITE_READONLY) {
            return code;
        }
        let copy = match (*place).is_null() {
            // An index without its first region is one that SQLite takes for invalid. Of a later one it relies on being there.
            true if region == 0 => return code,
            true => None,
            false => {
                watched.index.copy(region, (*place).cast_const().cast(), usize::try_from(bytes).unwrap_or_default())
            }
        };
        *place = copy.unwrap_or(ptr::null_mut()).cast();
        if copy.is_some() { code } else { ffi::SQLITE_IOERR_SHMMAP }
    }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: as in `of`; SQLite's own arguments are handed on.
    unsafe {
        let watched = WrappedFile::of(file);
        if flags == ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_SHARED {
            if first >= FIRST_READ_LOCK {
                watched.doubts = 0;
            } else if first == WRITE_LOCK {
                // Only a reader that finds the index contradictory asks for this. "Busy" has it read the index again.
                watched.doubts += 1;
                if watched.doubts <= MAX_DOUBTS {
                    return ffi::SQLITE_BUSY;
                }
            }
        }
        watched.system.xShmLock.map_or(ffi::SQLITE_IOERR_SHMLOCK, |lock| lock(file, first, count, flags))
    }
}

unsafe extern "C" fn barrier(file: *mut sqlite3_file) {
    REBUILDS.set(false);
    // SAFETY: as in `of`.
    unsafe {
        let watched = WrappedFile::of(file);
        if let Some(barrier) = watched.system.xShmBarrier {
            barrier(file);
        }
        watched.index.refresh();
    }
}

unsafe extern "C" fn unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: as in `of`. SQLite does not touch the regions that it has been given once it has given them back.
    unsafe {
        let watched = WrappedFile::of(file);
        watched.index.regions.clear();
        watched.system.xShmUnmap.map_or(ffi::SQLITE_IOERR_SHMMAP, |unmap| unmap(file, delete))
    }
}

/// One connection's copy of the log's index.
///
/// The index is regions of 32 KiB. The first begins with two copies of a header, 48 bytes each, which says how many frames of
/// the log are valid; then come 40 bytes about checkpoints and readers; the rest of it, and all other regions, say which page is
/// in which frame. A reader uses it so (`wal.c`, `walTryBeginRead`): it reads the first header, issues a memory barrier, and reads
/// the second; it chooses a read lock and takes it; it issues a barrier again, and starts over unless header and lock are
/// still the same. From then on nothing changes that it looks up: writers only add frames beyond those that its header counts.
///
/// So a copy is as good as the original if it is fresh after each barrier, and if what follows the header is not older than the
/// header. That is what [`WalIndexCopy::refresh`] does. While the header stays the same, what follows it does too.
#[derive(Default)]
struct WalIndexCopy {
    regions: BTreeMap<c_int, Region>,
    /// A file in memory, through which the kernel copies.
    relay: Option<OwnedFd>,
}

struct Region {
    live: *const u8,
    /// In words, for the alignment that SQLite expects.
    copy: Vec<u64>,
}

/// The two headers.
const HEADERS_BYTES: usize = 96;

/// The two headers, and then what is known of checkpoints and readers.
pub(crate) const INDEX_HEAD_BYTES: usize = HEADERS_BYTES + 40;

impl WalIndexCopy {
    /// Copies a region that is mapped at `live`, and gives the place of the copy; `None` when the region cannot be read.
    ///
    /// # Safety
    /// `bytes` bytes are mapped at `live` until the regions are cleared; they need not be there in the file.
    unsafe fn copy(&mut self, number: c_int, live: *const u8, bytes: usize) -> Option<*mut u64> {
        let known =
            self.regions.get(&number).is_some_and(|region| region.live == live && region.copy.len() * 8 == bytes);
        if !known {
            if self.relay.is_none() {
                let flags = rustix::fs::MemfdFlags::CLOEXEC;
                self.relay = Some(rustix::fs::memfd_create("vitalsign-log-index", flags).ok()?);
            }
            let copy = vec![0; bytes.div_ceil(8)];
            self.regions.insert(number, Region { live, copy });
        }
        let (relay, region) = (self.relay.as_ref()?, self.regions.get_mut(&number)?);
        // In two parts, so that the first is not newer than the second.
        let split = if number == 0 { INDEX_HEAD_BYTES.min(bytes) } else { 0 };
        let done = region.pull(relay, 0, split).and_then(|()| region.pull(relay, split, bytes - split));
        done.map(|()| region.copy.as_mut_ptr())
    }

    /// Brings the copy up to date. Where that cannot be done the copy's header becomes zeros, which SQLite does not believe.
    fn refresh(&mut self) {
        let Some(relay) = &self.relay else { return };
        let Some(first) = self.regions.get_mut(&0) else { return };
        let before = first.bytes().first_chunk::<HEADERS_BYTES>().copied();
        let mut done = first.pull(relay, 0, INDEX_HEAD_BYTES);
        if done.is_some() && first.bytes().first_chunk().copied() != before {
            done = self.regions.iter_mut().try_for_each(|(number, region)| {
                let start = if *number == 0 { INDEX_HEAD_BYTES } else { 0 };
                let rest = region.bytes().len().saturating_sub(start);
                region.pull(relay, start, rest)
            });
        }
        if done.is_none()
            && let Some(headers) = self.regions.get_mut(&0).and_then(|first| first.bytes().get_mut(..HEADERS_BYTES))
        {
            headers.fill(0);
        }
    }
}

impl Region {
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: words may be seen as bytes. SQLite reads this memory only between calls of this file system.
        unsafe { slice::from_raw_parts_mut(self.copy.as_mut_ptr().cast(), self.copy.len() * 8) }
    }

    /// Copies `count` bytes at `start` from the mapping; `None` when the file is too short for them by now.
    fn pull(&mut self, relay: &OwnedFd, start: usize, count: usize) -> Option<()> {
        let live = self.live;
        let into = self.bytes().get_mut(start..start.checked_add(count)?)?;
        // SAFETY: the range lies within the mapping, whose length the copy has.
        unsafe { pull(relay, live.add(start), into) }
    }
}

/// Fills `into` from a mapping; `None` when its file is too short for that by now.
///
/// # Safety
/// As many bytes are mapped at `live`.
unsafe fn pull(relay: &OwnedFd, live: *const u8, into: &mut [u8]) -> Option<()> {
    let count = into.len();
    // SAFETY: the caller's promise. Only the kernel reads the bytes, and reports what is not there as an error; other processes
    // may write to them meanwhile, which at worst gives bytes that the header disowns.
    let source = unsafe { slice::from_raw_parts(live, count) };
    let all = |moved: rustix::io::Result<usize>| moved.is_ok_and(|moved| moved == count).then_some(());
    all(rustix::io::pwrite(relay.as_fd(), source, 0))?;
    all(rustix::io::pread(relay.as_fd(), into, 0))
}

/// The beginning of the log's index as it is now; `None` when `conn` reads through no index.
///
/// It needs no descriptor of ours, whose closing would drop the locks of this process.
pub(crate) fn index_head(conn: &Connection) -> Option<[u8; INDEX_HEAD_BYTES]> {
    let (file, methods) = main_file(conn)?;
    if !methods.xShmMap.is_some_and(|found| ptr::fn_addr_eq(found, map as ShmMap)) {
        return None;
    }
    let mut head = [0; INDEX_HEAD_BYTES];
    // SAFETY: the functions are those that `put` has given the file, so it is as `of` wants it: a connection is used on one thread
    // at a time, and SQLite is not at work on this one. The first region is longer than its head.
    unsafe {
        let index = &WrappedFile::of(file).index;
        let (relay, first) = (index.relay.as_ref()?, index.regions.get(&0)?);
        pull(relay, first.live, &mut head)?;
    }
    Some(head)
}

/// The open database file of a connection, and its functions.
fn main_file(conn: &Connection) -> Option<(*mut sqlite3_file, &sqlite3_io_methods)> {
    let mut file: *mut sqlite3_file = ptr::null_mut();
    let (name, wanted) = (c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER);
    // SAFETY: the handle is valid while `conn` is borrowed, and the operation stores one pointer to the open file.
    let asked = unsafe { ffi::sqlite3_file_control(conn.handle(), name, wanted, (&raw mut file).cast()) };
    // SAFETY: the pointer is null or the file of `conn`, which stays open, and whose functions stay for as long.
    let methods = unsafe { file.as_ref().and_then(|file| file.pMethods.as_ref()) };
    methods.filter(|_| asked == ffi::SQLITE_OK).map(|methods| (file, methods))
}

/// The kind of function that maps a region of the index.
type ShmMap = unsafe extern "C" fn(*mut sqlite3_file, c_int, c_int, c_int, *mut *mut c_void) -> c_int;

/// Up to `count` of a database's first bytes, fewer where it ends.
///
/// Closing any descriptor of a database drops every lock that this process holds on it. SQLite knows the locks that it holds,
/// and closes its descriptors only once they are gone; so it is SQLite that opens and closes here.
///
/// # Errors
/// SQLite's result code.
pub(crate) fn head(path: &Path, count: usize) -> Result<Vec<u8>, c_int> {
    let system = system().ok_or(ffi::SQLITE_NOTFOUND)?;
    let open = system.xOpen.ok_or(ffi::SQLITE_CANTOPEN)?;
    // A second zero ends the list of parameters that may follow a name.
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| ffi::SQLITE_CANTOPEN)?;
    let name = [name.as_bytes_with_nul(), &[0]].concat();
    let mut memory = vec![0_u64; usize::try_from(system.szOsFile).unwrap_or_default().div_ceil(8)];
    let file = memory.as_mut_ptr().cast::<sqlite3_file>();
    let flags = ffi::SQLITE_OPEN_READONLY | ffi::SQLITE_OPEN_MAIN_DB;
    let mut bytes = vec![0; count];
    // SAFETY: `file` is zeroed memory of the size that the file system asks for, and `name` and it outlive the open file. The
    // functions are those of a file that `xOpen` has opened, and nothing is done with it after `xClose`.
    unsafe {
        let opened = open(ptr::from_ref(system).cast_mut(), name.as_ptr().cast(), file, flags, ptr::null_mut());
        let Some(methods) = (*file).pMethods.as_ref() else { return Err(opened) };
        let mut code = opened;
        let mut size = 0;
        if let (ffi::SQLITE_OK, Some(file_size)) = (code, methods.xFileSize) {
            code = file_size(file, &raw mut size);
        }
        bytes.truncate(usize::try_from(size).unwrap_or_default());
        if let (ffi::SQLITE_OK, Some(read)) = (code, methods.xRead) {
            code = read(file, bytes.as_mut_ptr().cast(), c_int::try_from(bytes.len()).unwrap_or_default(), 0);
        }
        if let Some(close) = methods.xClose {
            close(file);
        }
        if code == ffi::SQLITE_OK { Ok(bytes) } else { Err(code) }
    }
}

/// Whether some connection, of any process on this machine, holds the lock that it takes before it writes, where `conn` is
/// open on a database with a rollback journal. `false` when the system will not say.
///
/// SQLite asks the kernel for this with its own descriptor. Another descriptor of ours would drop its locks when it is closed,
/// and `/proc/locks` does not show those of other containers.
pub(crate) fn somebody_writes(conn: &Connection) -> bool {
    let Some((file, methods)) = main_file(conn) else { return false };
    let Some(check) = methods.xCheckReservedLock else { return false };
    let mut reserved: c_int = 0;
    // SAFETY: the function belongs to this file. Nobody else uses `conn` meanwhile: a connection is not shared by threads.
    let said = unsafe { check(file, &raw mut reserved) };
    said == ffi::SQLITE_OK && reserved != 0
}
