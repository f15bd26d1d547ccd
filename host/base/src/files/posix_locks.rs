//! Who holds POSIX locks on a file, as `/proc/locks` tells.
//!
//! Opens nothing but `/proc`, so no lock is lost by asking. Knows no database.

use std::{io, path::Path};

use super::read_bytes;

/// More than a machine with ten thousand open databases has, and an end.
const MAX_LIST_BYTES: u64 = 8 * 1024 * 1024;

/// A lock on a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// The process that holds it; `None` for one in another PID namespace, or for a lock that belongs to an open file.
    pub pid: Option<u32>,
    /// Whether it shuts out everybody else.
    pub exclusive: bool,
    /// The first byte that is locked.
    pub first: u64,
    /// The last byte that is locked.
    pub last: u64,
}

/// The locks on the file with this inode on one of these devices.
///
/// There may be two numbers for one device: what `stat` gives, and what the [mount](super::Mount) gives.
///
/// # Errors
/// What the system says.
pub fn locks_on(inode: u64, devices: &[u64]) -> io::Result<Vec<HeldLock>> {
    let list = read_bytes(Path::new("/proc/locks"), MAX_LIST_BYTES)?;
    Ok(held(&String::from_utf8_lossy(&list), inode, devices))
}

fn held(list: &str, inode: u64, devices: &[u64]) -> Vec<HeldLock> {
    let all = list.lines().filter_map(parse);
    all.filter(|(device, file, _)| *file == inode && devices.contains(device)).map(|(.., lock)| lock).collect()
}

/// One line: `1: POSIX  ADVISORY  READ 10136 fe:00:5357578 124 124`, the device in hexadecimal. A lock that is only waited
/// for has an arrow after the number, and is left out like every other line of another form.
fn parse(line: &str) -> Option<(u64, u64, HeldLock)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    if !matches!(words.next()?, "POSIX" | "OFDLCK") {
        return None;
    }
    let exclusive = match words.nth(1)? {
        "READ" => false,
        "WRITE" => true,
        _ => return None,
    };
    let pid = words.next()?.parse::<i64>().ok()?;
    let mut file = words.next()?.split(':');
    let mut hexadecimal = || u32::from_str_radix(file.next()?, 16).ok();
    let device = rustix::fs::makedev(hexadecimal()?, hexadecimal()?);
    let inode = file.next()?.parse().ok()?;
    let first = words.next()?.parse().ok()?;
    let last = match words.next()? {
        "EOF" => u64::MAX,
        last => last.parse().ok()?,
    };
    let pid = u32::try_from(pid).ok().filter(|pid| *pid > 0);
    Some((device, inode, HeldLock { pid, exclusive, first, last }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_locks_that_are_held_on_the_file_count() {
        let list = "\
            1: POSIX  ADVISORY  READ 4711 fe:10:77 124 125\n\
            1: -> POSIX  ADVISORY  WRITE 4712 fe:10:77 124 124\n\
            2: FLOCK  ADVISORY  WRITE 4713 fe:10:77 0 EOF\n\
            3: OFDLCK ADVISORY  WRITE -1 fe:10:77 0 EOF\n\
            4: POSIX  ADVISORY  READ 0 00:2b:77 123 123\n\
            5: POSIX  ADVISORY  READ 4714 00:2a:77 123 123\n\
            6: POSIX  ADVISORY  READ 4715 fe:10:78 123 123\n\
            7: LEASE  ACTIVE    READ 4716 fe:10:77 0 EOF\n\
            nonsense\n";
        let devices = [rustix::fs::makedev(0xfe, 0x10), rustix::fs::makedev(0, 0x2b)];
        let lock = |pid, exclusive, first, last| HeldLock { pid, exclusive, first, last };
        let expected = [lock(Some(4711), false, 124, 125), lock(None, true, 0, u64::MAX), lock(None, false, 123, 123)];
        assert_eq!(held(list, 77, &devices), expected);
    }

    #[test]
    fn the_system_has_a_list() {
        assert_eq!(locks_on(0, &[0]).unwrap(), []);
    }
}
