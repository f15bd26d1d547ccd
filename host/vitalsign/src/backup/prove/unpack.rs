//! Reads an archive to its end: finds out which member is the database, which is the export, and whether the sums match.
//!
//! The caller decides, for each member, where its content goes. Does not look into the database.

use std::{collections::HashSet, fs::File, io::Read, path::Path};

use crate::{
    backup::prove::unpacked::{MAX_LIST_BYTES, UnpackError, Unpacked, UnpackedMember, copy},
    backup::{Error, Progress, include::contents::Contents, prove::include, prove::plain_copy::plain},
};
use vitalsign_archive::{
    ArchiveReader, CONTENTS, Checksums, DATABASE_MAGIC, Damage, Flaw, METADATA, Member, MemberNames, Metadata,
    ReadError, SUMS, walk,
};
use vitalsign_base::{
    files::{self},
    value::printable,
};

/// The largest `metadata.json`: some hundred bytes, and room for what other tools write.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// The longest name that a message repeats.
const MAX_SHOWN_BYTES: usize = 200;

/// Reads the archive at `path`. `place` gives the file for each member, if its content is wanted; the files are in `folder`.
pub(crate) fn unpack(
    path: &Path,
    hashed: bool,
    folder: &Path,
    place: &mut dyn FnMut(&Member) -> Result<Option<File>, Error>,
    progress: &dyn Progress,
) -> Result<Unpacked, Error> {
    let reading = |error| Error::reading(path, error);
    let total = files::stat(path).ok().flatten().map_or(0, |found| found.bytes);
    let mut source = ArchiveReader::open(path, hashed).map_err(reading)?;
    if source.is_database().map_err(reading)? {
        return plain(path, source, hashed, folder, place, progress);
    }
    let counter = source.counter();
    progress.begin("reading the archive", total);
    let (mut metadata, mut sums, mut contents) = (None, None, None);
    let mut expected = None;
    let mut pieces = Vec::new();
    let walked = walk::<UnpackError>(source, |found, content| {
        let most = match found.name.as_str() {
            METADATA => Some(MAX_TEXT_BYTES),
            SUMS | CONTENTS => Some(MAX_LIST_BYTES),
            _ => None,
        };
        let mut text = most.map(|_| Vec::new());
        if let Some(most) = most.filter(|most| found.bytes > *most) {
            let why = format!("its `{}` has {} bytes, but at most {most} are allowed", found.name, found.bytes);
            return Err(UnpackError::Read(Flaw::Refused(why).into()));
        }
        may_be_that_large(found, expected.as_ref())?;
        let mut head = Vec::with_capacity(DATABASE_MAGIC.len());
        if found.is_included() {
            (&mut *content).take(DATABASE_MAGIC.len() as u64).read_to_end(&mut head).map_err(ReadError::from)?;
        }
        let mut found = found.clone();
        found.is_database = head == DATABASE_MAGIC;
        let found = &found;
        let content = &mut head.as_slice().chain(content);
        let to = if text.is_some() { None } else { place(found).map_err(UnpackError::Error)? };
        let mut step = || {
            progress.at(counter.bytes());
            !progress.is_cancelled()
        };
        let piece = copy(found, content, to, text.as_mut(), &mut step)
            .map_err(|error| error.into_unpack_error(folder, found))?;
        match found.name.as_str() {
            METADATA => {
                expected = text.as_deref().and_then(|text| Metadata::parse(text).ok());
                metadata = text;
            }
            SUMS => sums = text,
            CONTENTS => contents = text,
            _ => {}
        }
        pieces.push(piece);
        Ok(())
    });
    progress.end();
    let walked = walked.map_err(|stop| stop.into_failure(path))?;
    let flawed = |flaw| Error::Archive { path: path.to_owned(), flaw };
    let none = || Flaw::Refused(format!("it contains no `{METADATA}`"));
    let metadata = metadata.ok_or_else(none).and_then(|text| Metadata::parse(&text)).map_err(flawed)?;
    let parse = if metadata.include.is_empty() { Checksums::parse } else { Checksums::parse_included };
    let sums = sums.map(|text| parse(&text)).transpose().map_err(flawed)?;
    let files = roles(&metadata, &pieces).map_err(flawed)?;
    verify_checksums(&metadata, sums.as_ref(), &pieces).map_err(flawed)?;
    verify_size(&metadata, &files, &pieces).map_err(flawed)?;
    let contents = contents.filter(|_| !metadata.include.is_empty()).map(|text| Contents::parse(&text)).transpose();
    let contents = contents.and_then(|contents| include::hold(&metadata, contents, &pieces)).map_err(flawed)?;
    let (has_sums, digest) = (sums.is_some(), walked.digest);
    Ok(Unpacked { metadata, pieces, files, has_sums, digest, is_plain: false, contents })
}

/// Refuses a database that is larger than the metadata says, before any of it is written.
fn may_be_that_large(found: &Member, metadata: Option<&Metadata>) -> Result<(), ReadError> {
    let Some(Metadata { files: Some(files), sqlite: Some(sqlite), .. }) = metadata else { return Ok(()) };
    let said = sqlite.page_size.saturating_mul(sqlite.page_count);
    if files.database.as_ref() != Some(&found.name) || found.bytes <= said {
        return Ok(());
    }
    let shown = printable(&found.name, MAX_SHOWN_BYTES);
    let why = format!("its member `{shown}` has {} bytes, but its `{METADATA}` says {said}", found.bytes);
    Err(Flaw::Refused(why).into())
}

/// Which member is the database, which the export and so on: as the metadata says, else by content and name. Every member has
/// exactly one role.
fn roles(metadata: &Metadata, pieces: &[UnpackedMember]) -> Result<MemberNames, Flaw> {
    let named = metadata.files.clone().unwrap_or_default();
    let files = match (&named.database, metadata.format_version) {
        (Some(_), Some(_)) => named,
        (Some(database), None) => completed(named.clone(), database, pieces),
        (None, _) => completed(MemberNames::default(), &the_database(pieces)?, pieces),
    };
    let mut known = vec![METADATA, SUMS];
    known.extend((!metadata.include.is_empty()).then_some(CONTENTS));
    for name in [&files.database, &files.wal, &files.shm, &files.journal, &files.provenance].into_iter().flatten() {
        let shown = printable(name, MAX_SHOWN_BYTES);
        if !pieces.iter().any(|piece| piece.found.name == *name) {
            return Err(Flaw::Refused(format!("its `{METADATA}` names `{shown}`, but it contains no such member")));
        }
        if known.contains(&name.as_str()) {
            return Err(Flaw::Refused(format!("its `{METADATA}` names `{shown}` for two different members")));
        }
        known.push(name);
    }
    let is_stranger = |piece: &&UnpackedMember| match piece.found.is_included() {
        // Each of them is held against the description that the archive has then.
        true => metadata.include.is_empty(),
        false => !known.contains(&piece.found.name.as_str()),
    };
    match pieces.iter().find(is_stranger) {
        Some(piece) => {
            let shown = printable(&piece.found.name, MAX_SHOWN_BYTES);
            Err(Flaw::Refused(format!("its member `{shown}` does not belong in a backup")))
        }
        None => Ok(files),
    }
}

/// The one member that is a SQLite database.
fn the_database(pieces: &[UnpackedMember]) -> Result<String, Flaw> {
    let databases: Vec<_> = pieces.iter().filter(|piece| piece.is_sqlite).map(|piece| &piece.found.name).collect();
    match databases.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Flaw::Refused("it contains no SQLite database".to_owned())),
        [one, two, ..] => {
            let (one, two) = (printable(one, MAX_SHOWN_BYTES), printable(two, MAX_SHOWN_BYTES));
            Err(Flaw::Refused(format!(
                "it contains two databases, `{one}` and `{two}`, and its `{METADATA}` does not say which one was backed up"
            )))
        }
    }
}

/// Finds the members that the metadata of an older archive does not name by the ending of their names.
fn completed(files: MemberNames, database: &str, pieces: &[UnpackedMember]) -> MemberNames {
    let there = |name: String| pieces.iter().any(|piece| piece.found.name == name).then_some(name);
    MemberNames {
        wal: files.wal.or_else(|| there(format!("{database}-wal"))),
        shm: files.shm.or_else(|| there(format!("{database}-shm"))),
        journal: files.journal.or_else(|| there(format!("{database}-journal"))),
        provenance: files
            .provenance
            .or_else(|| pieces.iter().map(|piece| piece.found.name.clone()).find(|name| name.ends_with(".jsonl"))),
        database: Some(database.to_owned()),
    }
}

/// Fails unless every sum names a member and matches it, and, in archives of this format, every member has a sum.
fn verify_checksums(metadata: &Metadata, sums: Option<&Checksums>, pieces: &[UnpackedMember]) -> Result<(), Flaw> {
    let Some(Checksums(sums)) = sums else {
        return match metadata.format_version {
            None => Ok(()),
            Some(_) => {
                Err(Flaw::Refused(format!("it contains no `{SUMS}`, which is written last, so it may be incomplete")))
            }
        };
    };
    let mut damages = Vec::new();
    let names: HashSet<_> = pieces.iter().map(|piece| &piece.found.name).collect();
    for piece in pieces.iter().filter(|piece| piece.found.name != SUMS) {
        match sums.get(&piece.found.name) {
            Some(digest) if *digest == piece.digest => {}
            Some(_) => {
                damages.push(Damage { member: Some(piece.found.name.clone()), range: 0..piece.found.bytes });
            }
            None if metadata.format_version.is_none() => {}
            None => {
                let shown = printable(&piece.found.name, MAX_SHOWN_BYTES);
                return Err(Flaw::Refused(format!("its `{SUMS}` has no line for `{shown}`")));
            }
        }
    }
    if let Some(name) = sums.keys().find(|name| !names.contains(name)) {
        let shown = printable(name, MAX_SHOWN_BYTES);
        return Err(Flaw::Refused(format!("its `{SUMS}` names `{shown}`, but it contains no such member")));
    }
    if damages.is_empty() { Ok(()) } else { Err(Flaw::Differs { damages }) }
}

/// Fails unless a database without a log has as many bytes as its pages need.
fn verify_size(metadata: &Metadata, files: &MemberNames, pieces: &[UnpackedMember]) -> Result<(), Flaw> {
    let database = pieces.iter().find(|piece| Some(&piece.found.name) == files.database.as_ref());
    let (Some(sqlite), Some(database), None) = (&metadata.sqlite, database, &files.wal) else { return Ok(()) };
    let expected = sqlite.page_size.saturating_mul(sqlite.page_count);
    if expected == database.found.bytes {
        return Ok(());
    }
    let (name, bytes) = (&database.found.name, database.found.bytes);
    Err(Flaw::Refused(format!("its member `{name}` has {bytes} bytes, but its `{METADATA}` says {expected}")))
}
