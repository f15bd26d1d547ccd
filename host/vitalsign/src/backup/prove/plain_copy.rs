//! A plain copy of a database in the place of an archive: a file that `sqlite3`, `cp` or another tool made, which `gzip` or `zstd`
//! may have compressed.
//!
//! It is laid out as the only member of an archive would be, with the log or the journal that lies beside it. Changes nothing there.

use std::{fs::File, io::Read as _, path::Path};

use crate::backup::{
    Error, Progress, error::stat, in_use::refuse_if_open, include::contents::Contents, prove::unpacked::PLAIN_NAME,
    prove::unpacked::STEP_BYTES, prove::unpacked::Unpacked, prove::unpacked::copied,
};
use vitalsign_archive::{ArchiveReader, Compression, Flaw, Member, MemberNames, Metadata, ReadError};
use vitalsign_base::files::{self, Stat, beside};

/// What SQLite needs beside the database.
const SIDES: [&str; 2] = ["-wal", "-journal"];

/// The header of a database.
const HEAD_BYTES: usize = 100;

/// Lays out the database in the file at `path`, which `source` was opened for; as [`unpack`](super::unpack::unpack) does.
pub(crate) fn plain(
    path: &Path,
    source: ArchiveReader,
    hashed: bool,
    folder: &Path,
    place: &mut dyn FnMut(&Member) -> Result<Option<File>, Error>,
    progress: &dyn Progress,
) -> Result<Unpacked, Error> {
    let reading = |error| Error::reading(path, error);
    let gone = || Error::io("read", path, rustix::io::Errno::NOENT.into());
    let packed = (source.compression() != Compression::None).then_some(source);
    let is_compressed = packed.is_some();
    if !is_compressed {
        // What its writer has not written yet would be missing. By now the source is closed, so whoever has it open is another.
        refuse_if_open(path)?;
    }
    let before = states(path)?;
    let of = before.first().copied().flatten().ok_or_else(gone)?;
    // A compressed file does not say how much is in it, and that has to fit.
    let bytes = match packed {
        Some(source) => length(path, source, of.bytes, progress)?,
        None => of.bytes,
    };
    let mut pieces = Vec::new();
    let mut source = ArchiveReader::open(path, hashed).map_err(reading)?;
    let found = found(PLAIN_NAME, bytes, &of);
    progress.begin("reading the database", bytes);
    let piece = copied(&found, &mut (&mut source).take(bytes), folder, place, progress);
    progress.end();
    pieces.push(piece.map_err(|stop| stop.into_failure(path))?);
    // Reads the end of a compressed stream, so that its checksum is compared.
    let more = source.read(&mut [0]).map_err(|error| reading(error.into()))?;
    let mut files = MemberNames { database: Some(PLAIN_NAME.to_owned()), ..MemberNames::default() };
    for ((suffix, stat), to) in SIDES.iter().zip(before.iter().skip(1)).zip([&mut files.wal, &mut files.journal]) {
        let Some(stat) = stat.filter(|stat| stat.bytes > 0 && !is_compressed) else { continue };
        let side = beside(path, suffix);
        let found = self::found(&format!("{PLAIN_NAME}{suffix}"), stat.bytes, &of);
        let mut from = files::open_regular(&side).map_err(|error| Error::io("read", &side, error))?;
        let piece = copied(&found, &mut (&mut from).take(stat.bytes), folder, place, progress);
        pieces.push(piece.map_err(|stop| stop.into_failure(&side))?);
        *to = Some(found.name);
    }
    let is_same = |(one, other): (&Option<Stat>, &Option<Stat>)| match (one, other) {
        (Some(one), Some(other)) => one.same_content(other),
        (one, other) => one.is_none() && other.is_none(),
    };
    if more > 0 || !before.iter().zip(&states(path)?).all(is_same) {
        let what = format!("{} changed while it was read; nothing was changed", path.display());
        return Err(Error::refused(what, "use `vitalsign backup` for a database that is in use"));
    }
    let digest = source.finish().map_err(|flaw| reading(ReadError::Flaw(flaw)))?;
    Ok(Unpacked {
        metadata: Metadata::default(),
        pieces,
        files,
        has_sums: false,
        digest,
        is_plain: true,
        contents: Contents::default(),
    })
}

/// Refuses a copy, laid out as one file, that goes on after its last page, such as two copies in one file: SQLite does not look
/// there. Zeros may follow: a program may have its databases grow by more than is needed.
///
/// # Errors
/// [`Error::Archive`], or what the system says.
pub(crate) fn nothing_follows(archive: &Path, database: &Path) -> Result<(), Error> {
    let failed = |error| Error::io("read", database, error);
    let head = files::read_at(database, 0, HEAD_BYTES).map_err(failed)?;
    let Some(mut at @ 1..) = vitalsign_sqlite::promised_bytes(&head) else { return Ok(()) };
    loop {
        let tail = files::read_at(database, at, STEP_BYTES).map_err(failed)?;
        if tail.is_empty() {
            return Ok(());
        }
        if tail.iter().any(|byte| *byte != 0) {
            let flaw = Flaw::Refused("more data follows after the last page of its database".to_owned());
            return Err(Error::Archive { path: archive.to_owned(), flaw });
        }
        at += tail.len() as u64;
    }
}

/// The database and what lies beside it.
fn states(path: &Path) -> Result<Vec<Option<Stat>>, Error> {
    let sides = SIDES.map(|suffix| stat(&beside(path, suffix)));
    std::iter::once(stat(path)).chain(sides).collect()
}

fn found(name: &str, bytes: u64, of: &Stat) -> Member {
    Member::outside(name.to_owned(), bytes, of.mode, (of.uid, of.gid))
}

/// The bytes in a compressed database.
fn length(path: &Path, mut source: ArchiveReader, packed: u64, progress: &dyn Progress) -> Result<u64, Error> {
    let counter = source.counter();
    let mut room = vec![0; STEP_BYTES];
    let mut bytes = 0;
    progress.begin("reading the size of the database", packed);
    let ended = loop {
        match source.read(&mut room) {
            Ok(0) => break Ok(bytes),
            Ok(count) => bytes += count as u64,
            Err(error) => break Err(Error::reading(path, error.into())),
        }
        progress.at(counter.bytes());
        if progress.is_cancelled() {
            break Err(Error::Interrupted);
        }
    };
    progress.end();
    ended
}
