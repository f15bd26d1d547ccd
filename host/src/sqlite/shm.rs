//! How much of a write-ahead log is not yet in the database, from the log's index.
//!
//! SQLite tells it only to connections that may write. The `-shm` file holds it, in the machine's byte order: two copies
//! of a 48-byte header (at 0: version 3007000; 12: one byte, 1 once initialised; 16: `mxFrame`, the log's last valid
//! frame), then at 96 `nBackfill`, the last frame that is already in the database. A log is a header of 32 bytes and
//! frames of 24 bytes and a page each. Whatever does not fit this gives an upper bound from the size of the log.

use std::time::Duration;

use super::{ground::Ground, occupancy};
use crate::files::{self, beside};

const HEADER_BYTES: usize = 48;
const INDEX_VERSION: u32 = 3_007_000;
const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// Pages in the log that are not yet in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// How many.
    pub pages: u64,
    /// Whether the log's index said so; otherwise it is the most that fits in the log.
    pub exact: bool,
}

/// Reads the index, unless a connection of this process stays open for all of `patience`.
pub(super) fn pending(ground: &Ground, page_bytes: u64, patience: Duration) -> Pending {
    let Some(wal) = ground.wal.filter(|wal| wal.bytes > LOG_HEADER_BYTES) else {
        return Pending { pages: 0, exact: true };
    };
    let frames = (wal.bytes - LOG_HEADER_BYTES) / (FRAME_HEADER_BYTES + page_bytes.max(1));
    let index = ground.shm.and_then(|_| {
        let read = || files::read_at(&beside(&ground.real, "-shm"), 0, 2 * HEADER_BYTES + 4).ok();
        occupancy::when_alone(ground.database.id, patience, read).flatten()
    });
    match index.as_deref().and_then(unwritten) {
        Some(pages) if pages <= frames => Pending { pages, exact: true },
        _ => Pending { pages: frames, exact: false },
    }
}

/// Frames that the index counts as not yet written back; `None` when it makes no sense.
fn unwritten(index: &[u8]) -> Option<u64> {
    let number = |at: usize| index.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let (first, second) = (index.get(..HEADER_BYTES)?, index.get(HEADER_BYTES..2 * HEADER_BYTES)?);
    if first != second || number(0)? != INDEX_VERSION || *index.get(12)? != 1 {
        return None;
    }
    number(16)?.checked_sub(number(2 * HEADER_BYTES)?).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_makes_no_sense_is_not_believed() {
        let mut header = [0_u8; 48];
        header[..4].copy_from_slice(&INDEX_VERSION.to_ne_bytes());
        header[12] = 1;
        header[16..20].copy_from_slice(&10_u32.to_ne_bytes());
        let with =
            |first: &[u8], second: &[u8], backfill: u32| unwritten(&[first, second, &backfill.to_ne_bytes()].concat());
        assert_eq!(with(&header, &header, 4), Some(6));
        assert_eq!(with(&header, &header, 11), None);
        assert_eq!(with(&header, &[0; 48], 4), None);
        assert_eq!(with(&[0; 48], &[0; 48], 0), None);
        assert_eq!(unwritten(&header), None);
    }
}
