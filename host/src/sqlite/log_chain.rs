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
//! but never the log, so reading that drops no lock. A log that begins anew meanwhile has another salt and says nothing.

use std::time::Duration;

use super::{Registry, occupancy};
use crate::{
    clock::Deadline,
    files::{self, beside},
};

const MAGIC: u32 = 0x377f_0682;
const INDEX_VERSION: u32 = 3_007_000;
const INDEX_HEADER_BYTES: usize = 48;
const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// Frames are read in pieces of about this many bytes.
const PIECE_BYTES: usize = 1024 * 1024;

/// The longest log that is followed, in bytes: a second or two of reading.
const MOST_BYTES: u64 = 1024 * 1024 * 1024;

/// How long the index of the log is waited for.
const INDEX_PATIENCE: Duration = Duration::from_millis(500);

/// What the index says of the log.
struct Committed {
    frames: u64,
    salt: [u8; 8],
}

/// A committed frame that is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// Its number, from 1.
    pub frame: u64,
    /// How many frames are committed.
    pub of: u64,
}

impl Registry {
    /// The first committed frame of the write-ahead log that is damaged. `None` also when there is no log, when it cannot be
    /// told how much of it counts, or when it began anew meanwhile.
    #[must_use]
    pub fn bad_frame(&self) -> Option<BadFrame> {
        // Writers go on meanwhile: what is damaged is damaged in the same place when it is looked at again.
        let first = self.bad_frame_once()?;
        self.bad_frame_once().filter(|again| again.frame == first.frame)
    }

    fn bad_frame_once(&self) -> Option<BadFrame> {
        let ground = self.ground().ok()?;
        let log = ground.wal.filter(|log| (1..=MOST_BYTES).contains(&log.bytes))?;
        ground.shm?;
        let (path, index) = (beside(&ground.real, "-wal"), beside(&ground.real, "-shm"));
        let shared = self.look(Deadline::after(INDEX_PATIENCE), |snapshot| Ok(snapshot.log_index())).ok().flatten();
        let header = match shared {
            Some(header) => Vec::from(header),
            // Nobody has the log open, so SQLite looks at no index that is shared. The file is as its last user left it.
            None => {
                self.pool.close_idle();
                let read = || files::read_at(&index, 0, 2 * INDEX_HEADER_BYTES).ok();
                occupancy::when_alone(ground.database.id, INDEX_PATIENCE, read).flatten()?
            }
        };
        let committed = committed(&header)?;
        // Its size is asked for after the index, which may speak of frames that were written since the first look.
        let log_bytes = files::stat(&path).ok().flatten().map_or(log.bytes, |now| now.bytes);
        let frame = first_bad(&committed, log_bytes, |at, bytes| files::read_at(&path, at, bytes).ok())?;
        // A log that began anew has overwritten frames that were good.
        let now = files::read_at(&path, 16, 8).ok()?;
        (now == committed.salt).then_some(BadFrame { frame, of: committed.frames })
    }
}

/// Reads the index's header: two copies in the machine's byte order, which agree unless somebody is just writing them.
fn committed(header: &[u8]) -> Option<Committed> {
    let (first, second) = header.get(..2 * INDEX_HEADER_BYTES)?.split_at_checked(INDEX_HEADER_BYTES)?;
    let number = |at: usize| first.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    if first != second || number(0)? != INDEX_VERSION || *first.get(12)? != 1 {
        return None;
    }
    Some(Committed { frames: u64::from(number(16)?), salt: first.get(32..40)?.try_into().ok()? })
}

/// Follows the chain; `read` gives bytes of the log, fewer where it ends.
fn first_bad(
    committed: &Committed,
    log_bytes: u64,
    mut read: impl FnMut(u64, usize) -> Option<Vec<u8>>,
) -> Option<u64> {
    let header = read(0, LOG_HEADER_BYTES)?;
    let number = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    if header.get(16..24)? != committed.salt || committed.frames == 0 {
        return None;
    }
    let big_endian = match number(0)? {
        MAGIC => false,
        magic if magic == MAGIC + 1 => true,
        _ => return Some(1),
    };
    let mut sum = Sum { big_endian, at: (0, 0) };
    sum.add(header.get(..24)?);
    if header.get(24..32)? != sum.bytes() {
        return Some(1);
    }
    let frame_bytes = FRAME_HEADER_BYTES + usize::try_from(number(8)?).ok()?;
    let frames_at_once = (PIECE_BYTES / frame_bytes).max(1);
    let mut frame = 0;
    while frame < committed.frames {
        let at = LOG_HEADER_BYTES as u64 + frame * frame_bytes as u64;
        if at >= log_bytes {
            return Some(frame + 1);
        }
        let piece = read(at, frames_at_once * frame_bytes)?;
        for bytes in piece.chunks(frame_bytes).take(usize::try_from(committed.frames - frame).unwrap_or(usize::MAX)) {
            frame += 1;
            let (head, page) = bytes
                .split_at_checked(FRAME_HEADER_BYTES)
                .filter(|_| bytes.len() == frame_bytes)
                .map_or((None, None), |(head, page)| (Some(head), Some(page)));
            let (Some(head), Some(page)) = (head, page) else { return Some(frame) };
            sum.add(head.get(..8)?);
            sum.add(page);
            if head.get(8..16)? != committed.salt || head.get(16..24)? != sum.bytes() {
                return Some(frame);
            }
        }
        if piece.is_empty() {
            return Some(frame + 1);
        }
    }
    None
}

/// SQLite's checksum of a log: two sums over pairs of 32-bit words, each of which takes in the other.
struct Sum {
    big_endian: bool,
    at: (u32, u32),
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let word = if self.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        for pair in bytes.as_chunks::<8>().0 {
            let [a, b, c, d, e, f, g, h] = *pair;
            self.at.0 = self.at.0.wrapping_add(word([a, b, c, d])).wrapping_add(self.at.1);
            self.at.1 = self.at.1.wrapping_add(word([e, f, g, h])).wrapping_add(self.at.0);
        }
    }

    /// As it stands in the log, always big-endian.
    fn bytes(&self) -> [u8; 8] {
        let mut out = [0; 8];
        let (first, second) = out.split_at_mut(4);
        first.copy_from_slice(&self.at.0.to_be_bytes());
        second.copy_from_slice(&self.at.1.to_be_bytes());
        out
    }
}
