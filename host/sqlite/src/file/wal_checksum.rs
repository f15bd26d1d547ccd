//! The checksum of SQLite's write-ahead log and of its index: two sums over pairs of 32-bit words, each of which takes in the other.
//!
//! From SQLite's page "Database File Format", section 4.2. Reads no file.

/// A checksum that goes on from what was added before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalChecksum {
    big_endian: bool,
    at: (u32, u32),
}

impl WalChecksum {
    /// The sum of nothing, over words of this byte order.
    pub(crate) fn new(big_endian: bool) -> Self {
        Self { big_endian, at: (0, 0) }
    }

    /// The same over words as this machine has them in memory, as in the index of a log.
    pub(crate) fn of_this_machine() -> Self {
        Self::new(cfg!(target_endian = "big"))
    }

    /// Adds bytes, eight at a time; what is left over is not added.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let word = if self.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        for pair in bytes.as_chunks::<8>().0 {
            let [a, b, c, d, e, f, g, h] = *pair;
            self.at.0 = self.at.0.wrapping_add(word([a, b, c, d])).wrapping_add(self.at.1);
            self.at.1 = self.at.1.wrapping_add(word([e, f, g, h])).wrapping_add(self.at.0);
        }
    }

    /// As it stands in a log, which is always big-endian.
    pub(crate) fn in_log(self) -> [u8; 8] {
        self.bytes(u32::to_be_bytes)
    }

    /// As it stands in the index of a log.
    pub(crate) fn in_index(self) -> [u8; 8] {
        self.bytes(u32::to_ne_bytes)
    }

    fn bytes(self, order: fn(u32) -> [u8; 4]) -> [u8; 8] {
        let mut out = [0; 8];
        let (first, second) = out.split_at_mut(4);
        first.copy_from_slice(&order(self.at.0));
        second.copy_from_slice(&order(self.at.1));
        out
    }
}
