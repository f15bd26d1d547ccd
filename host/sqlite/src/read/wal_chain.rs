//! Whether every committed frame of the write-ahead log is as it was written.
//!
//! SQLite checks the checksums of a log only when it recovers it, after a crash: then the first frame that is damaged ends the
//! log, and what was committed behind it is gone without a word. Until then damage goes unseen. So the chain is followed here:
//!
//! | in the log, at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `0x377f0682`, or `0x377f0683` where checksums are over big-endian words |
//! | 8 | 4 | page size |
//! | 16 | 8 | salt, the same in each frame that counts |
//! | 24 | 8 | checksum over the 24 bytes before |
//! | then each frame: 0 | 8 | page number, and the database's size in pages at a commit |
//! | 8 | 8 | salt |
//! | 16 | 8 | checksum over the first 8 bytes and the page, going on from the frame before |
//!
//! The log's index says how far the log is committed; behind that, anything may lie. SQLite locks the database and its `-shm`
//! but never the log, so reading that drops no lock. When a log is begun anew its index says that it has no frame until the log has
//! its new header. So a log whose header is not that of its index, while frames of it are not yet in the database, has lost these
//! frames: its header was damaged, or the file was cut or replaced.

use std::time::Duration;

use crate::{
    Database,
    file::database_files::DatabaseFiles,
    file::wal_checksum::WalChecksum,
    read::wal_index::{WalIndex, index_while_closed},
};
use vitalsign_base::{
    clock::Deadline,
    files::{self, FileKind, beside},
};

const MAGIC: u32 = 0x377f_0682;
const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// Frames are read in pieces of about this many bytes.
const PIECE_BYTES: usize = 1024 * 1024;

/// The longest log that is followed, in bytes: a second or two of reading.
const MOST_BYTES: u64 = 1024 * 1024 * 1024;

/// How long the index of the log is waited for.
const INDEX_PATIENCE: Duration = Duration::from_millis(500);

/// A committed frame that is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// Its number, from 1.
    pub frame: u64,
    /// How many frames are committed.
    pub of: u64,
}

impl Database {
    /// The first committed frame of the write-ahead log that is damaged. `None` also when there is no log, when it cannot be
    /// told how much of it counts, or when it began anew meanwhile.
    #[must_use]
    pub fn bad_frame(&self) -> Option<BadFrame> {
        // Writers go on meanwhile: what is damaged is damaged in the same place when it is looked at again.
        let first = self.bad_frame_once()?;
        self.bad_frame_once().filter(|again| again.frame == first.frame)
    }

    fn bad_frame_once(&self) -> Option<BadFrame> {
        let database_files = self.database_files().ok()?;
        database_files.shm?;
        let path = beside(&database_files.real, "-wal");
        let (index, is_in_use) = self.index(&database_files)?;
        // Its size is asked for after the index, which may speak of frames that were written since the first look.
        let log_bytes = match files::stat(&path).ok()? {
            Some(log) if log.kind != FileKind::File => return None,
            log => log.map_or(0, |log| log.bytes),
        };
        if log_bytes > MOST_BYTES {
            return None;
        }
        let read = |at, bytes| match log_bytes {
            0 => Some(Vec::new()),
            _ => files::read_at(&path, at, bytes).ok(),
        };
        let frame = first_bad(&index, is_in_use, log_bytes, read)?;
        // A log that began anew has overwritten frames that were good.
        let (now, _) = self.index(&database_files)?;
        (now.salts == index.salts && now.frames >= index.frames)
            .then_some(BadFrame { frame, of: u64::from(index.frames) })
    }

    /// What the index says of the log, and whether some process has the log open.
    fn index(&self, database_files: &DatabaseFiles) -> Option<(WalIndex, bool)> {
        let shared =
            self.look(Deadline::after(INDEX_PATIENCE), |snapshot| Ok(snapshot.wal_index_head())).ok().flatten();
        match shared {
            Some(head) => WalIndex::of(&head).map(|index| (index, true)),
            // Nobody has the log open, so SQLite looks at no index that is shared. The file is as its last user left it.
            None => {
                self.pool.close_idle();
                index_while_closed(database_files, INDEX_PATIENCE).map(|index| (index, false))
            }
        }
    }
}

/// Follows the chain; `read` gives bytes of the log, fewer where it ends.
fn first_bad(
    index: &WalIndex,
    is_in_use: bool,
    log_bytes: u64,
    mut read: impl FnMut(u64, usize) -> Option<Vec<u8>>,
) -> Option<u64> {
    if index.frames == 0 {
        return None;
    }
    let header = read(0, LOG_HEADER_BYTES)?;
    let number = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let big_endian = number(0).and_then(|magic| match magic.checked_sub(MAGIC) {
        Some(0) => Some(false),
        Some(1) => Some(true),
        _ => None,
    });
    let mut sum = WalChecksum::new(big_endian.unwrap_or_default());
    sum.add(header.get(..24).unwrap_or_default());
    let is_whole = big_endian.is_some() && header.get(24..32) == Some(&sum.in_log());
    if header.get(16..24) != Some(&index.salts) {
        // What is in the database already is not lost with the log. And where nobody has the log open, the index may be older than
        // the log, as after a power failure.
        let is_lost = index.frames > index.written_back && (is_in_use || !is_whole);
        return is_lost.then_some(1);
    }
    if !is_whole {
        return Some(1);
    }
    let committed = u64::from(index.frames);
    let frame_bytes = FRAME_HEADER_BYTES + usize::try_from(number(8)?).ok()?;
    let frames_at_once = (PIECE_BYTES / frame_bytes).max(1);
    let mut frame = 0;
    while frame < committed {
        let at = LOG_HEADER_BYTES as u64 + frame * frame_bytes as u64;
        if at >= log_bytes {
            return Some(frame + 1);
        }
        let piece = read(at, frames_at_once * frame_bytes)?;
        for bytes in piece.chunks(frame_bytes).take(usize::try_from(committed - frame).unwrap_or(usize::MAX)) {
            frame += 1;
            let (head, page) = bytes
                .split_at_checked(FRAME_HEADER_BYTES)
                .filter(|_| bytes.len() == frame_bytes)
                .map_or((None, None), |(head, page)| (Some(head), Some(page)));
            let (Some(head), Some(page)) = (head, page) else { return Some(frame) };
            sum.add(head.get(..8)?);
            sum.add(page);
            if head.get(8..16)? != index.salts || head.get(16..24)? != sum.in_log() {
                return Some(frame);
            }
        }
        if piece.is_empty() {
            return Some(frame + 1);
        }
    }
    None
}
