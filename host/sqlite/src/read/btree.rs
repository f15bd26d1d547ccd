//! One page of a SQLite b-tree, as bytes.
//!
//! The page's header stands at byte 0, on page 1 at byte 100 (behind the database header); all numbers are big-endian:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 1 | kind: 2 interior index, 5 interior table, 10 leaf index, 13 leaf table |
//! | 3 | 2 | number of cells |
//! | 8 | 4 | interior pages only: the rightmost child |
//!
//! Then (at 12 on interior pages, at 8 on leaves) one 2-byte offset a cell, from the start of the page. An interior cell
//! begins with its left child (4 bytes); on an interior table page the child's largest rowid follows as a varint: up to
//! nine bytes of seven bits, high bit set on all but the last, the ninth with eight bits.
//!
//! Each row of a table is one cell on a leaf. Each row of an index (and of a WITHOUT ROWID table) is one cell on a leaf
//! or on an interior page. Reads no file: it is handed bytes, and believes none of them.

/// A parsed page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Whether it belongs to an index (or a WITHOUT ROWID table).
    pub(crate) is_index: bool,
    /// The number of cells.
    pub(crate) cells: usize,
    /// The children in key order, none on a leaf.
    pub(crate) children: Vec<Child>,
}

/// A child of an interior page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    /// Its page number.
    pub(crate) page: u32,
    /// In a table, the largest rowid below it; `None` for the rightmost child.
    pub(crate) last_rowid: Option<i64>,
}

/// Reads page number `number`; `None` when its bytes do not fit the format.
pub(crate) fn parse(number: u32, bytes: &[u8]) -> Option<Page> {
    let start = if number == 1 { 100 } else { 0 };
    let (is_index, is_leaf) = match bytes.get(start)? {
        2 => (true, false),
        5 => (false, false),
        10 => (true, true),
        13 => (false, true),
        _ => return None,
    };
    let cells = u16::from_be_bytes(bytes.get(start + 3..start + 5)?.try_into().ok()?);
    if is_leaf {
        return Some(Page { is_index, cells: usize::from(cells), children: Vec::new() });
    }
    let mut children = Vec::with_capacity(usize::from(cells) + 1);
    for cell in 0..usize::from(cells) {
        let pointer = start + 12 + 2 * cell;
        let offset = usize::from(u16::from_be_bytes(bytes.get(pointer..pointer + 2)?.try_into().ok()?));
        let last_rowid = if is_index { None } else { Some(varint(bytes.get(offset + 4..)?)?) };
        children.push(Child { page: page_number(bytes, offset)?, last_rowid });
    }
    children.push(Child { page: page_number(bytes, start + 8)?, last_rowid: None });
    Some(Page { is_index, cells: usize::from(cells), children })
}

fn page_number(bytes: &[u8], at: usize) -> Option<u32> {
    let number = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
    (number != 0).then_some(number)
}

fn varint(bytes: &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for at in 0..8 {
        let byte = *bytes.get(at)?;
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(value.cast_signed());
        }
    }
    Some(((value << 8) | u64::from(*bytes.get(8)?)).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_parsed_and_nonsense_is_not() {
        let mut page = vec![0; 512];
        page[..14].copy_from_slice(&[5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9, 1, 0]);
        page[256..262].copy_from_slice(&[0, 0, 0, 7, 0x81, 0x01]);
        let children = vec![Child { page: 7, last_rowid: Some(129) }, Child { page: 9, last_rowid: None }];
        assert_eq!(parse(2, &page), Some(Page { is_index: false, cells: 1, children }));
        page[12] = 0xff;
        assert_eq!(parse(2, &page), None, "a cell beyond the page");
        page[0] = 13;
        assert_eq!(parse(2, &page), Some(Page { is_index: false, cells: 1, children: Vec::new() }));
        page[0] = 7;
        assert_eq!(parse(2, &page), None, "no such kind");
        assert_eq!(parse(1, &[5; 20]), None);
        assert_eq!(parse(2, &[]), None);
    }

    #[test]
    fn varints_reach_nine_bytes() {
        assert_eq!(varint(&[0x7f]), Some(127));
        assert_eq!(varint(&[0xff; 9]), Some(-1));
        assert_eq!(varint(&[0x80]), None);
    }
}
