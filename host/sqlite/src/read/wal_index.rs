//! The write-ahead log: how much of it is not yet in the database, and who keeps it from getting there.
//!
//! SQLite tells it only to connections that may write. The log's index, the `-shm` file, holds it in the machine's byte order:
//! two copies of a 48-byte header (at 0: version 3007000; 12: one byte, 1 once initialised; 16: `mxFrame`, the log's last valid
//! frame; 32: the salts of the log's header; 40: a checksum of the 40 bytes before), then at 96 `nBackfill`, the last frame that is already in the database, and at
//! 100 the five read marks, of 4 bytes each: the last frame that the readers with this mark see. A reader holds a shared lock
//! on the byte 123 plus the number of its mark. The first mark is for readers that use the database alone.
//!
//! A log is a header of 32 bytes, with the salts at 16, and frames of a header and a page each; the header of a frame has 24
//! bytes, with the salts at 8. A frame whose salts are not the log's is left from before the log was last begun anew.

use std::{fmt, io, path::Path, time::Duration};

use crate::{
    Database, Error, file::database_files::DatabaseFiles, file::open_handles, file::wal_checksum::WalChecksum,
};
use vitalsign_base::{
    clock::Deadline,
    files::{self, FileKind, HeldLock, Process, beside},
};

const HEADER_BYTES: usize = 48;
const SUMMED_BYTES: usize = 40;
const INDEX_BYTES: usize = 2 * HEADER_BYTES + 4 + 4 * MARKS;
const INDEX_VERSION: u32 = 3_007_000;
const MARKS: usize = 5;
const FIRST_READ_LOCK: u64 = 123;
const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;
const SALT_BYTES: usize = 8;

/// A header that a writer is just changing is read again at once; it takes less than a microsecond to change.
const MOST_READS: u32 = 8;

/// The pause between two looks at who reads: longer than a read that is done with what it found.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(100);

/// The write-ahead log of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalState {
    /// The size of the file.
    pub bytes: u64,
    /// Pages that are not yet in the database.
    pub pending_pages: u64,
    /// Whether the log's index said so; otherwise it is the most that fits in the log.
    pub is_exact: bool,
}

impl WalState {
    const EMPTY: Self = Self { bytes: 0, pending_pages: 0, is_exact: true };
}

/// The bytes that a page takes in a log.
#[must_use]
pub const fn frame_bytes(page_bytes: u64) -> u64 {
    page_bytes.saturating_add(FRAME_HEADER_BYTES)
}

/// Who keeps the log from being written back to the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointBlocker {
    /// A process with a read transaction that began long ago.
    Reader(Process),
    /// One in another PID namespace, such as a container.
    OutOfSight,
}

impl fmt::Display for CheckpointBlocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reader(Process { pid, name }) => write!(f, "process {pid} (`{name}`)"),
            Self::OutOfSight => f.write_str("a process in another container"),
        }
    }
}

impl Database {
    /// The write-ahead log of the database, whose pages have this size.
    ///
    /// `index` is the beginning of the log's index as a connection has just read it ([`crate::Snapshot::wal_index_head`]). Where there is
    /// none, or the log has changed since, the index is read while this process has no connection open, and `patience` is how
    /// long is waited for that.
    ///
    /// # Errors
    /// [`Error`] when there is no such file.
    pub fn wal_state(&self, page_bytes: u64, index: Option<&[u8]>, patience: Duration) -> Result<WalState, Error> {
        let database_files = self.database_files()?;
        let index = index.and_then(WalIndex::of);
        if index.is_none() {
            self.pool.close_idle();
        }
        Ok(log(&database_files, page_bytes, index, patience))
    }

    /// Whether a log is there that nobody uses, as after a crash: the next program that opens the database reads it to its end
    /// first. Whoever uses a log holds a lock on its index. Opens no database.
    #[must_use]
    pub fn wal_needs_recovery(&self) -> bool {
        self.database_files().is_ok_and(|database_files| {
            database_files.wal.is_some_and(|wal| wal.kind == FileKind::File && wal.bytes > LOG_HEADER_BYTES)
                && locks_on_index(&database_files).is_ok_and(|locks| locks.is_empty())
        })
    }

    /// The readers that keep the oldest part of the log from being written back, in order of their numbers: those that are
    /// seen at two moments. Opens no database.
    ///
    /// # Errors
    /// [`Error`] when there is no such file.
    pub fn checkpoint_blockers(&self, deadline: Deadline) -> Result<Vec<CheckpointBlocker>, Error> {
        let database_files = self.database_files()?;
        let look = || pins(&database_files, SECOND_LOOK_AFTER.min(deadline.remaining()));
        self.pool.close_idle();
        let first = look();
        if first.is_empty() {
            return Ok(Vec::new());
        }
        std::thread::park_timeout(SECOND_LOOK_AFTER.min(deadline.remaining()));
        let mut again = look();
        again.retain(|pin| first.contains(pin));
        again.sort_unstable();
        again.dedup();
        let known = |pid| CheckpointBlocker::Reader(Process { pid, name: files::process_name(pid) });
        Ok(again.into_iter().map(|pid| pid.map_or(CheckpointBlocker::OutOfSight, known)).collect())
    }
}

fn log(database_files: &DatabaseFiles, page_bytes: u64, index: Option<WalIndex>, patience: Duration) -> WalState {
    let Some(wal) = database_files.wal.filter(|wal| wal.kind == FileKind::File) else { return WalState::EMPTY };
    if wal.bytes <= LOG_HEADER_BYTES {
        return WalState { bytes: wal.bytes, ..WalState::EMPTY };
    }
    let path = beside(&database_files.real, "-wal");
    // SQLite locks the database and the index but never the log, so reading it drops no lock.
    let salts = salts_at(&path, 16);
    let frames = (wal.bytes - LOG_HEADER_BYTES) / frame_bytes(page_bytes);
    let pending = |index: WalIndex| index.pending(frames, salts.as_deref());
    let by_index = index.and_then(pending).or_else(|| index_while_closed(database_files, patience).and_then(pending));
    let (pending_pages, is_exact) = match (by_index, salts) {
        (Some(pages), _) => (pages, true),
        (None, Some(salts)) => (frames_with(&path, &salts, frames, page_bytes), false),
        (None, None) => (frames, false),
    };
    WalState { bytes: wal.bytes, pending_pages, is_exact }
}

/// The frames at the beginning of the log that belong to it as it was last begun: those behind them are left from before.
fn frames_with(path: &Path, salts: &[u8], frames: u64, page_bytes: u64) -> u64 {
    let belongs = |frame: u64| {
        let at = LOG_HEADER_BYTES.saturating_add(frame.saturating_mul(frame_bytes(page_bytes))).saturating_add(8);
        salts_at(path, at).is_some_and(|found| found == salts)
    };
    // At most 64 steps, since each halves what is left.
    let (mut belong, mut end) = (0, frames);
    while belong < end {
        let middle = belong + (end - belong) / 2;
        if belongs(middle) { belong = middle + 1 } else { end = middle }
    }
    belong
}

fn salts_at(path: &Path, offset: u64) -> Option<Vec<u8>> {
    files::read_at(path, offset, SALT_BYTES).ok().filter(|salts| salts.len() == SALT_BYTES)
}

/// What the index says, unless a connection of this process stays open for all of `patience`.
pub(crate) fn index_while_closed(database_files: &DatabaseFiles, patience: Duration) -> Option<WalIndex> {
    database_files.shm.filter(|shm| shm.kind == FileKind::File)?;
    let path = beside(&database_files.real, "-shm");
    let read = || (0..MOST_READS).find_map(|_| WalIndex::of(&files::read_at(&path, 0, INDEX_BYTES).ok()?));
    open_handles::while_closed(database_files.database.id, patience, read).flatten()
}

/// What the index of a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WalIndex {
    /// The frames that are committed.
    pub(crate) frames: u32,
    /// How many of these are in the database already.
    pub(crate) written_back: u32,
    /// The salts in the header of the log.
    pub(crate) salts: [u8; SALT_BYTES],
    marks: [u32; MARKS],
}

impl WalIndex {
    /// `None` for bytes that make no sense, as while a writer changes them.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let (first, second) = (bytes.get(..HEADER_BYTES)?, bytes.get(HEADER_BYTES..2 * HEADER_BYTES)?);
        let mut sum = WalChecksum::of_this_machine();
        sum.add(first.get(..SUMMED_BYTES)?);
        let is_whole = first == second && first.get(SUMMED_BYTES..)? == sum.in_index();
        if !is_whole || number(0)? != INDEX_VERSION || *bytes.get(12)? != 1 {
            return None;
        }
        let mut marks = [0; MARKS];
        for (at, mark) in marks.iter_mut().enumerate() {
            *mark = number(2 * HEADER_BYTES + 4 + 4 * at)?;
        }
        let salts = bytes.get(32..32 + SALT_BYTES)?.try_into().ok()?;
        Some(Self { frames: number(16)?, written_back: number(2 * HEADER_BYTES)?, salts, marks })
    }

    /// Frames that are not yet written back; `None` when the index is not of a log with so many frames and these salts.
    ///
    /// When a log is begun anew, the index gets new salts at once, and the log with its next frame: until then it has none.
    fn pending(&self, frames: u64, salts: Option<&[u8]>) -> Option<u64> {
        let fits = self.frames == 0 || (salts == Some(&self.salts[..]) && u64::from(self.frames) <= frames);
        fits.then(|| self.frames.checked_sub(self.written_back)).flatten().map(u64::from)
    }

    /// The last frame that readers with this mark see; for those that use the database alone, none of the log.
    fn sees(&self, mark: usize) -> u32 {
        if mark == 0 { 0 } else { self.marks.get(mark).copied().unwrap_or(u32::MAX) }
    }
}

/// The processes, as far as they can be seen, that hold the oldest read mark in use, when it is older than the log's end.
fn pins(database_files: &DatabaseFiles, patience: Duration) -> Vec<Option<u32>> {
    if database_files.shm.is_none() {
        return Vec::new();
    }
    let index = index_while_closed(database_files, patience);
    oldest(&locks_on_index(database_files).unwrap_or_default(), index.as_ref())
}

/// The locks on the index of the log; none where there is no index.
fn locks_on_index(database_files: &DatabaseFiles) -> io::Result<Vec<HeldLock>> {
    let Some(shm) = database_files.shm else { return Ok(Vec::new()) };
    let mount = files::mount_of(&beside(&database_files.real, "-shm")).ok().flatten();
    let devices: Vec<_> = mount.map(|mount| mount.device).into_iter().chain([shm.id.device]).collect();
    files::locks_on(shm.id.inode, &devices)
}

/// Without an index every reader may be the one.
fn oldest(locks: &[HeldLock], index: Option<&WalIndex>) -> Vec<Option<u32>> {
    let readers = locks.iter().filter(|lock| !lock.exclusive).flat_map(|lock| {
        let marks = (0..MARKS).zip(FIRST_READ_LOCK..).filter(|(_, byte)| (lock.first..=lock.last).contains(byte));
        marks.map(|(mark, _)| (index.map_or(0, |index| index.sees(mark)), lock.pid))
    });
    let behind = readers.filter(|(sees, _)| index.is_none_or(|index| *sees < index.frames));
    let behind: Vec<_> = behind.collect();
    let Some(least) = behind.iter().map(|(sees, _)| *sees).min() else { return Vec::new() };
    behind.into_iter().filter(|(sees, _)| *sees == least).map(|(_, pid)| pid).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests damage their own files")]

    use std::fs;

    use super::*;
    use crate::testing::{Scene, ample};

    fn header(frames: u32) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&INDEX_VERSION.to_ne_bytes());
        header[12] = 1;
        header[16..20].copy_from_slice(&frames.to_ne_bytes());
        header[32..40].copy_from_slice(b"saltsalt");
        let mut sum = WalChecksum::of_this_machine();
        sum.add(&header[..40]);
        header[40..].copy_from_slice(&sum.in_index());
        header
    }

    fn index(first: &[u8], second: &[u8], written_back: u32, marks: [u32; MARKS]) -> Option<WalIndex> {
        let marks = marks.map(u32::to_ne_bytes).concat();
        WalIndex::of(&[first, second, &written_back.to_ne_bytes(), &marks].concat())
    }

    #[test]
    fn an_index_that_makes_no_sense_is_not_believed() {
        let whole = header(10);
        let pending = |written_back, frames, salts: &[u8]| {
            index(&whole, &whole, written_back, [0; MARKS]).unwrap().pending(frames, Some(salts))
        };
        assert_eq!(pending(4, 10, b"saltsalt"), Some(6));
        assert_eq!(pending(10, 1012, b"saltsalt"), Some(0));
        assert_eq!(pending(4, 9, b"saltsalt"), None, "the log is shorter");
        assert_eq!(pending(4, 10, b"pepper!!"), None, "it is the index of another log");
        assert_eq!(pending(11, 10, b"saltsalt"), None);
        let anew = header(0);
        assert_eq!(index(&anew, &anew, 0, [0; MARKS]).unwrap().pending(1012, Some(b"pepper!!")), Some(0));
        assert_eq!(index(&whole, &[0; HEADER_BYTES], 4, [0; MARKS]), None);
        assert_eq!(index(&[0; HEADER_BYTES], &[0; HEADER_BYTES], 0, [0; MARKS]), None);
        assert_eq!(WalIndex::of(&whole), None);
        let mut torn = whole;
        torn[16] ^= 1;
        assert_eq!(index(&torn, &torn, 4, [0; MARKS]), None, "its checksum does not hold");
    }

    #[test]
    fn the_oldest_reader_is_the_one_that_others_wait_for() {
        let whole = header(50);
        let index = index(&whole, &whole, 20, [0, 20, 50, 35, u32::MAX]).unwrap();
        let lock = |pid, first, last| HeldLock { pid: Some(pid), exclusive: false, first, last };
        let of = |locks: &[HeldLock]| oldest(locks, Some(&index));
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[lock(1, 125, 125), lock(2, 128, 128)]), [], "it sees all of the log");
        assert_eq!(of(&[lock(1, 126, 126), lock(2, 124, 125)]), [Some(2)]);
        assert_eq!(of(&[lock(1, 126, 126), lock(3, 123, 123), lock(2, 124, 125)]), [Some(3)]);
        assert_eq!(of(&[HeldLock { exclusive: true, ..lock(1, 124, 124) }]), [], "a checkpoint");
        assert_eq!(oldest(&[lock(1, 126, 126), lock(2, 128, 128)], None), [Some(1)]);
    }

    #[test]
    fn a_reader_pins_the_log_until_it_ends() {
        let scene = Scene::with("PRAGMA journal_mode = wal; CREATE TABLE t(a); INSERT INTO t VALUES (1)");
        let mut writer = scene.other_process("PRAGMA wal_autocheckpoint = 0");
        let mut reader = scene.other_process("BEGIN; SELECT * FROM t");
        let registry = scene.registry();
        assert_eq!(registry.checkpoint_blockers(ample()), Ok(Vec::new()), "the log is empty");
        writer.sql("INSERT INTO t VALUES (2)");
        let pins = registry.checkpoint_blockers(ample()).unwrap();
        let [CheckpointBlocker::Reader(Process { pid, name })] = &pins[..] else { panic!("{pins:?}") };
        assert_eq!((*pid, name.is_empty()), (reader.id(), false));
        reader.sql("COMMIT");
        assert_eq!(registry.checkpoint_blockers(ample()), Ok(Vec::new()));
    }

    #[test]
    fn a_log_that_was_written_back_is_not_pending() {
        let scene = Scene::empty();
        let mut writer = scene.other_process("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
        let registry = scene.registry();
        let log = || registry.wal_state(4096, None, Duration::ZERO).unwrap();
        let fill = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 400) INSERT INTO t SELECT randomblob(2000) FROM c";
        writer.sql(fill);
        let full = log();
        assert!(full.is_exact && full.pending_pages > 200, "{full:?}");
        writer.sql("PRAGMA wal_checkpoint(PASSIVE)");
        assert_eq!(log(), WalState { pending_pages: 0, ..full }, "it is still as long");
        writer.sql("INSERT INTO t VALUES (1)");
        let anew = log();
        assert_eq!((anew.bytes, anew.is_exact), (full.bytes, true));
        assert!((1..=3).contains(&anew.pending_pages), "{anew:?}");
        writer.kill();
        // Without a usable index the log itself still tells its own frames from those that are left from before.
        fs::write(scene.side("-shm"), [0; 32768]).unwrap();
        assert_eq!(log(), WalState { is_exact: false, ..anew });
        fs::remove_file(scene.side("-shm")).unwrap();
        assert_eq!(log(), WalState { is_exact: false, ..anew });
    }
}
