//! A backup of a registry's files as they lie on disk, for one that SQLite can no longer read.
//!
//! Opens the files outside SQLite. Closing them would drop every lock that this process holds on them, so they stay open to
//! its end, and nothing in this process has the database open through SQLite while this runs.

use std::{io::Read as _, path::PathBuf};

use crate::backup::{
    Error, Progress, catalogue::manifest::Examination, error::stat, make::request::Request, make::request::estimate,
    make::snapshot::ArchiveStage, make::snapshot::BackupContext, make::snapshot::ProvenArchive,
    make::snapshot::WrittenSnapshot, make::snapshot::text, space::require_space,
};
use vitalsign_archive::{MemberNames, Metadata, Writer, Written};
use vitalsign_base::files::{self, Stat, beside};

/// How often the files may change while they are read.
const MAX_TRIES: u32 = 5;

/// Bytes read at a time.
const STEP_BYTES: usize = 256 * 1024;

struct RawFile {
    path: PathBuf,
    member: String,
    stat: Stat,
}

/// Writes an archive of the files as they are. Starts again when the files changed while they were copied.
pub(crate) fn take(
    about: &BackupContext<'_>,
    request: &Request<'_>,
    writer: impl Fn() -> Result<Writer, Error>,
    prove: &dyn Fn(Written) -> Result<ProvenArchive, Error>,
    progress: &dyn Progress,
) -> Result<WrittenSnapshot, Error> {
    for _ in 0..MAX_TRIES {
        let parts = parts(about)?;
        let total: u64 = parts.iter().map(|part| part.stat.bytes).sum();
        require_space(request.out, estimate(request, total))?;
        progress.begin("copying the database files", total);
        let taken = copy(about, &parts, writer()?, progress);
        progress.end();
        let taken = taken?;
        let still =
            |part: &RawFile| stat(&part.path).is_ok_and(|now| now.is_some_and(|now| now.same_content(&part.stat)));
        if parts.iter().all(still) && self::parts(about)?.len() == parts.len() {
            let (written, metadata) = taken;
            return Ok(WrittenSnapshot {
                state: ArchiveStage::ProvenArchive(prove(written)?),
                metadata,
                judged: Examination::not_checked("--raw"),
            });
        }
    }
    let what = format!("{} changed during each of {MAX_TRIES} attempts to copy its files", about.real.display());
    Err(Error::refused(
        format!("{what}; no archive was made"),
        "stop the registry, then try again; a backup without --raw works while the registry runs",
    ))
}

/// The database and what lies beside it.
fn parts(about: &BackupContext<'_>) -> Result<Vec<RawFile>, Error> {
    let mut parts = Vec::new();
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = beside(about.real, suffix);
        // An empty journal says nothing, and has no other use.
        if let Some(stat) = stat(&path)?.filter(|stat| suffix != "-journal" || stat.bytes > 0) {
            parts.push(RawFile { path, member: format!("{}{suffix}", about.member()), stat });
        }
    }
    Ok(parts)
}

fn copy(
    about: &BackupContext<'_>,
    parts: &[RawFile],
    mut writer: Writer,
    progress: &dyn Progress,
) -> Result<(Written, Metadata), Error> {
    let named = |suffix: &str| {
        let name = format!("{}{suffix}", about.member());
        parts.iter().any(|part| part.member == name).then_some(name)
    };
    let files = MemberNames {
        database: named(""),
        wal: named("-wal"),
        shm: named("-shm"),
        journal: named("-journal"),
        provenance: None,
    };
    // The header may be damaged, so the metadata repeats nothing from it.
    let metadata = about.metadata(files);
    text(&mut writer, about, &metadata).map_err(|error| Error::io("write the archive of", about.real, error))?;
    let mut done = 0;
    let mut room = vec![0; STEP_BYTES];
    for part in parts {
        let writing = |error| Error::io("write the archive of", &part.path, error);
        let reading = |error| Error::io("read", &part.path, error);
        let mut file = std::mem::ManuallyDrop::new(files::open_regular(&part.path).map_err(reading)?);
        writer.begin(about.kept_header(&part.member, part.stat.bytes)).map_err(writing)?;
        let mut left = part.stat.bytes;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(STEP_BYTES).min(STEP_BYTES);
            let room = room.get_mut(..most).unwrap_or_default();
            // A file that became shorter is filled with zeros up to the size in its tar header; the comparison afterwards finds the change.
            let count = fill(&mut file, room).map_err(reading)?;
            room.iter_mut().skip(count).for_each(|byte| *byte = 0);
            writer.write(room).map_err(writing)?;
            left -= most as u64;
            done += most as u64;
            progress.at(done);
        }
        writer.end().map_err(writing)?;
    }
    let written =
        writer.finish(&about.header("", None)).map_err(|error| Error::io("write the archive of", about.real, error))?;
    Ok((written, metadata))
}

/// Reads until `room` is full or the file ends.
fn fill(file: &mut std::fs::File, room: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
