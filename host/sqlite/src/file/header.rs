//! What the first bytes of a file say about a database that SQLite will not read.
//!
//! A SQLite database begins with the 16 bytes `SQLite format 3\0`. Then, big-endian: at 16 the page size (2 bytes; 1
//! means 65536), at 24 the change counter (4), at 28 the size in pages (4), which holds only while the counter equals
//! "version valid for" at 92 (4). Opens nothing: it is handed the bytes.

use std::path::Path;

use crate::error::Error;

/// How many of the first bytes are looked at.
pub(crate) const HEAD_BYTES: usize = 4096;

/// How every database begins.
pub(crate) const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// From this entropy on (in bits a byte) a full head counts as noise: text and code stay below 7, compressed and
/// encrypted bytes come above 7.9.
const NOISE_BITS: f64 = 7.8;

/// Encrypted databases keep SQLite's whole pages, whose smallest size this is.
const SMALLEST_PAGE: u64 = 512;

/// The trouble, said more exactly where the file's `head` and its size in bytes allow it.
pub(crate) fn diagnose(path: &Path, trouble: &Error, head: &[u8], found: u64) -> Error {
    if head.starts_with(MAGIC) {
        return match promised_bytes(head) {
            Some(promised) if promised > found => Error::Truncated { path: path.to_owned(), promised, found },
            _ if matches!(trouble, Error::NotSqlite(_)) => {
                Error::Unintelligible { path: path.to_owned(), detail: "its header makes no sense".to_owned() }
            }
            _ => trouble.clone(),
        };
    }
    if found.is_multiple_of(SMALLEST_PAGE) && head.len() >= 512 && is_noise(head) {
        return Error::Encrypted(path.to_owned());
    }
    Error::NotSqlite(path.to_owned())
}

/// The size in bytes that the header promises, which stands in the first 100 bytes; `None` when it promises none.
#[must_use]
pub fn promised_bytes(head: &[u8]) -> Option<u64> {
    let number = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let page = match u16::from_be_bytes(head.get(16..18)?.try_into().ok()?) {
        1 => 65536,
        size => u64::from(size),
    };
    (number(24)? == number(92)?).then_some(page * u64::from(number(28)?))
}

fn is_noise(head: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    for byte in head {
        counts[usize::from(*byte)] += 1;
    }
    let total = f64::from(u32::try_from(head.len()).unwrap_or(u32::MAX));
    let entropy: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum();
    // A short head cannot reach eight bits: 512 random bytes come to about 7.6.
    entropy > if head.len() < HEAD_BYTES { 7.0 } else { NOISE_BITS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &[u8], found: u64) -> &'static str {
        diagnose(Path::new("x"), &Error::NotSqlite("x".into()), head, found).code()
    }

    /// Bytes that look random, from a fixed generator.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn heads_are_told_apart() {
        let mut header = vec![0; 512];
        header[..16].copy_from_slice(MAGIC);
        header[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        header[28..32].copy_from_slice(&3_u32.to_be_bytes());
        assert_eq!(of(&header, 3 * 4096), "corrupt");
        assert_eq!(of(&header, 3 * 4096 - 1), "truncated");
        header[24] = 1;
        assert_eq!(of(&header, 4096), "corrupt", "a page count that is not valid promises nothing");
        assert_eq!(of(&noise(4096), 8192), "encrypted");
        assert_eq!(of(&noise(512), 512), "encrypted");
        assert_eq!(of(&noise(4096), 5000), "not-sqlite", "not in whole pages");
        assert_eq!(of(&b"plain words ".repeat(342)[..4096], 4096), "not-sqlite");
        assert_eq!(of(MAGIC, 16), "corrupt");
        assert_eq!(of(b"", 0), "not-sqlite");
    }
}
