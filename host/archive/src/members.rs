//! Walks the members of an archive, and refuses everything that an archive of a registry does not hold.
//!
//! Allowed are regular files with plain names, at the top, under `./` or in one folder; a few of them, each once; and below
//! `include/` beside them, regular files in folders. Everything else (links, devices, `..`, absolute paths, sparse files, bytes
//! after the end) is refused, not skipped: an archive with such members is not a backup. Does not know what a member means.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::{self, Read},
    rc::Rc,
};

use super::{
    block::SLOT_BYTES,
    flaw::{Damage, Flaw, ReadError},
    member_name::INCLUDE,
    reader::ArchiveReader,
};
use vitalsign_base::value::{Digest, printable};

/// A registry's archive has seven members at the most, and a folder.
const MAX_ENTRIES: usize = 16;

/// The most files below `include/`, and the folders that other tools store with them. With the digest of each, so many take some
/// 20 MB of memory.
pub const MAX_INCLUDED: usize = 50_000;

/// The most bytes of headers before a member. Long names and the like are data of their own, which needs a limit.
const MAX_HEADERS_BYTES: u64 = 64 * 1024;

/// Zeros after the end: GNU tar fills up to 10 KiB, and some writers to more.
const MAX_TRAILER_BYTES: u64 = 1 << 20;

/// The longest name of a member.
const MAX_NAME_BYTES: usize = 255;

/// The longest name of a member below `include/`: the longest path that Linux takes.
pub const MAX_INCLUDED_NAME_BYTES: usize = 4096;

/// A member that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, without `./` and folder. Below `include/` it has the folders there.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its permission bits.
    pub mode: u32,
    /// The user who owned it.
    pub uid: u32,
    /// The group that owned it.
    pub gid: u32,
    /// When it was last written, in seconds since 1970.
    pub modified: u64,
    /// Whether its content begins as a SQLite database does, once that is known.
    pub is_database: bool,
    /// Where its content begins in the unpacked stream.
    at: u64,
}

impl Member {
    /// A file that is no member of an archive, as if it were one.
    #[must_use]
    pub fn outside(name: String, bytes: u64, mode: u32, (uid, gid): (u32, u32)) -> Self {
        Self { name, bytes, mode, uid, gid, modified: 0, is_database: false, at: 0 }
    }

    /// Whether it lies below `include/`.
    #[must_use]
    pub fn is_included(&self) -> bool {
        self.name.contains('/')
    }
}

/// An archive that was read to its end, every block of it sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The members in their order.
    pub members: Vec<Member>,
    /// The digest of the archive itself, if the source was opened for it.
    pub digest: Option<Digest>,
}

/// Stands between the tar reader and the source: limits the size of headers, and keeps the error that the tar reader would wrap.
#[derive(Clone)]
struct HeaderLimit(Rc<RefCell<HeaderLimitState>>);

struct HeaderLimitState {
    source: ArchiveReader,
    budget: Option<u64>,
    failed: Option<io::Error>,
}

impl HeaderLimit {
    fn limit(&self, budget: Option<u64>) {
        self.0.borrow_mut().budget = budget;
    }
}

impl Read for HeaderLimit {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let inner = &mut *self.0.borrow_mut();
        let most = inner.budget.map_or(room.len(), |left| usize::try_from(left).unwrap_or(usize::MAX).min(room.len()));
        if most == 0 && !room.is_empty() {
            let flaw = Flaw::Refused(format!("one of its headers takes more than {MAX_HEADERS_BYTES} bytes"));
            inner.failed = Some(flaw.into());
            return Err(io::ErrorKind::InvalidData.into());
        }
        match inner.source.read(room.get_mut(..most).unwrap_or_default()) {
            Ok(count) => {
                inner.budget = inner.budget.map(|left| left.saturating_sub(count as u64));
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                inner.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// Reads all of an archive, handing each member with its content to `each`, in their order.
///
/// # Errors
/// [`ReadError`] when the archive is damaged, incomplete, or holds what a backup archive never holds; or the error of `each`.
/// A damaged block is reported instead of the errors that it caused.
pub fn walk<E: From<ReadError>>(
    source: ArchiveReader,
    mut each: impl FnMut(&Member, &mut dyn Read) -> Result<(), E>,
) -> Result<Walked, E> {
    let gate = HeaderLimit(Rc::new(RefCell::new(HeaderLimitState { source, budget: None, failed: None })));
    let mut members = Vec::new();
    let walked = entries(&gate, &mut members, &mut each);
    let inner = gate.0.borrow();
    let damages = damages(inner.source.damages(), &members);
    if !damages.is_empty() {
        return Err(ReadError::Flaw(Flaw::Damaged(damages)).into());
    }
    walked?;
    Ok(Walked { digest: inner.source.digest(), members })
}

fn entries<E: From<ReadError>>(
    gate: &HeaderLimit,
    members: &mut Vec<Member>,
    each: &mut impl FnMut(&Member, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut tar = tar::Archive::new(gate.clone());
    let mut folder = None;
    let mut names = BTreeSet::new();
    let (mut end, mut own, mut included) = (0, 0, 0);
    let mut entries = tar.entries().map_err(|error| failed(gate, &error))?;
    loop {
        gate.limit(Some(MAX_HEADERS_BYTES));
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|error| failed(gate, &error))?;
        gate.limit(None);
        let judged = judge(&entry, &mut folder)?;
        let (count, most, of) = match judged.is_included {
            true => (&mut included, MAX_INCLUDED, " below `include/`"),
            false => (&mut own, MAX_ENTRIES, ""),
        };
        *count += 1;
        if *count > most {
            return Err(refused(format!("it has more than {most} members{of}")).into());
        }
        if let Some(found) = judged.found {
            if !names.insert(found.name.clone()) {
                return Err(refused(format!("it contains `{}` twice", found.name)).into());
            }
            members.push(found.clone());
            each(&found, &mut MemberReader { entry: &mut entry, gate })?;
        }
        io::copy(&mut entry, &mut io::sink()).map_err(|error| failed(gate, &error))?;
        end = entry.raw_file_position() + entry.size().next_multiple_of(SLOT_BYTES as u64);
    }
    gate.limit(None);
    if gate.0.borrow().source.position() <= end {
        return Err(ReadError::from(Flaw::CutOff(end)).into());
    }
    trailer(gate).map_err(E::from)
}

/// A member's content. An error of the source reaches the reader unchanged.
struct MemberReader<'a, 'b> {
    entry: &'a mut tar::Entry<'b, HeaderLimit>,
    gate: &'a HeaderLimit,
}

impl Read for MemberReader<'_, '_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.entry.read(room).map_err(|error| self.gate.0.borrow_mut().failed.take().unwrap_or(error))
    }
}

/// Reads to the very end, so that the last checksum is verified, and fails when there is anything but zeros.
fn trailer(gate: &HeaderLimit) -> Result<(), ReadError> {
    let mut room = [0; 4096];
    let mut total = 0;
    let inner = &mut *gate.0.borrow_mut();
    loop {
        let count = inner.source.read(&mut room)?;
        if count == 0 {
            return Ok(());
        }
        total += count as u64;
        if total > MAX_TRAILER_BYTES || room.get(..count).is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0)) {
            return Err(refused("more data follows after its end".to_owned()));
        }
    }
}

/// What an entry is.
struct EntryRole {
    /// The member; `None` for a folder that may hold some.
    found: Option<Member>,
    /// Whether it lies below `include/`.
    is_included: bool,
}

/// What an entry is: a member, or a folder that may hold them.
fn judge(entry: &tar::Entry<'_, HeaderLimit>, folder: &mut Option<String>) -> Result<EntryRole, ReadError> {
    let path = entry.path_bytes();
    let path =
        std::str::from_utf8(&path).map_err(|_| refused("the name of one of its members is not UTF-8".to_owned()))?;
    let shown = printable(path, 200);
    let kind = entry.header().entry_type();
    let parts: Vec<&str> = path.split('/').filter(|part| *part != ".").collect();
    let (parts, is_folder) = match parts.split_last() {
        Some((&"", rest)) => (rest, true),
        _ => (parts.as_slice(), kind.is_dir()),
    };
    if kind.is_dir() != is_folder || !(kind.is_dir() || kind.is_file()) {
        return Err(refused(format!("its member `{shown}` is not a regular file")));
    }
    let clean = |part: &&str| !part.is_empty() && *part != ".." && !part.chars().any(char::is_control);
    // Only beside members whose place is known, so that a folder of this name may hold them all, as any other may.
    let below = match (folder.as_deref(), parts) {
        (Some(""), [INCLUDE, ..]) => Some(parts),
        (Some(inside), [first, rest @ ..]) if inside == *first && rest.first() == Some(&INCLUDE) => Some(rest),
        _ => None,
    };
    let below = below.filter(|below| is_folder || below.len() > 1);
    let longest = if below.is_some() { MAX_INCLUDED_NAME_BYTES } else { MAX_NAME_BYTES };
    if !parts.iter().all(clean) || path.len() > longest {
        return Err(refused(format!("the name of its member `{shown}` is not safe")));
    }
    if let Some(below) = below {
        let found = (!is_folder).then(|| member(entry, below.join("/")));
        return Ok(EntryRole { found, is_included: true });
    }
    let none = EntryRole { found: None, is_included: false };
    let (inside, name) = match parts {
        [] if is_folder => return Ok(none),
        [name] if is_folder => (*name, None),
        [name] => ("", Some(*name)),
        [inside, name] if !is_folder => (*inside, Some(*name)),
        _ => return Err(refused(format!("its member `{shown}` is in a folder inside a folder"))),
    };
    if folder.get_or_insert_with(|| inside.to_owned()) != inside {
        return Err(refused(format!("its member `{shown}` is not in the same folder as the others")));
    }
    Ok(EntryRole { found: name.map(|name| member(entry, name.to_owned())), ..none })
}

fn member(entry: &tar::Entry<'_, HeaderLimit>, name: String) -> Member {
    let header = entry.header();
    let number = |value: io::Result<u64>| value.ok().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    Member {
        name,
        bytes: entry.size(),
        mode: header.mode().unwrap_or(0o600) & 0o777,
        uid: number(header.uid()),
        gid: number(header.gid()),
        modified: header.mtime().unwrap_or(0),
        is_database: false,
        at: entry.raw_file_position(),
    }
}

fn refused(why: String) -> ReadError {
    ReadError::Flaw(Flaw::Refused(why))
}

/// The error behind an error of the tar reader.
fn failed(gate: &HeaderLimit, error: &io::Error) -> ReadError {
    let inner = &mut *gate.0.borrow_mut();
    match inner.failed.take() {
        Some(error) => error.into(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Flaw::CutOff(inner.source.position()).into(),
        None => refused(format!("its tar structure is damaged: {}", printable(&error.to_string(), 200))),
    }
}

/// Damaged places of the stream as places of members.
fn damages(ranges: &[std::ops::Range<u64>], members: &[Member]) -> Vec<Damage> {
    let mut out = Vec::new();
    for range in ranges {
        let before = out.len();
        for found in members {
            let (start, end) = (range.start.max(found.at), range.end.min(found.at + found.bytes));
            if start < end {
                let range = start - found.at..end - found.at;
                out.push(Damage { member: Some(found.name.clone()), range });
            }
        }
        if out.len() == before {
            out.push(Damage { member: None, range: range.clone() });
        }
    }
    out
}
