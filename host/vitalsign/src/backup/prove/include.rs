//! Reads what is included out of an archive again: holds the members against their description, says where each is unpacked to,
//! and checks every database.
//!
//! No member reaches a place that the caller has not named, whatever its name is. Changes nothing but the staging folders.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::backup::{
    Error, Progress, examination::CHECK_LIMIT, examination::judged, examination::said, examination::shown,
    include::contents::Contents, include::contents::IncludedKind, prove::unpacked::UnpackedMember,
};
use vitalsign_archive::{CONTENTS, Flaw, INCLUDE, METADATA, Member, Metadata};
use vitalsign_base::{files, value::printable};
use vitalsign_sqlite::{Depth, PrivateCopy};

/// The longest name that a message repeats.
const MAX_SHOWN_BYTES: usize = 200;

/// Where members below `include/` are unpacked to.
pub(in crate::backup) enum UnpackTargets {
    /// Databases to this folder, to be checked; nothing else.
    Databases(PathBuf),
    /// Everything: what has a name, to the path beside it.
    Named(Vec<(String, PathBuf)>),
}

/// The part of a member's name that comes below an included path; empty for that path itself.
fn below<'a>(member: &'a str, name: &str) -> Option<&'a str> {
    let rest = member.strip_prefix(INCLUDE)?.strip_prefix('/')?.strip_prefix(name)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/').filter(|rest| !rest.is_empty()) }
}

/// Where a member is unpacked to; `None` where nobody wants it.
///
/// # Errors
/// [`Error::Archive`] for a member below no name that the archive's metadata say.
pub(in crate::backup) fn target(
    places: &UnpackTargets,
    found: &Member,
    archive: &Path,
) -> Result<Option<PathBuf>, Error> {
    let path = match places {
        UnpackTargets::Databases(_) if !found.is_database => return Ok(None),
        UnpackTargets::Databases(folder) => folder.join(&found.name),
        UnpackTargets::Named(named) => {
            let place = named.iter().find_map(|(name, to)| Some((to, below(&found.name, name)?)));
            let Some((to, inside)) = place else {
                let shown = printable(&found.name, MAX_SHOWN_BYTES);
                let flaw = Flaw::Refused(format!("its member `{shown}` does not belong in a backup"));
                return Err(Error::Archive { path: archive.to_owned(), flaw });
            };
            if inside.is_empty() { to.clone() } else { to.join(inside) }
        }
    };
    let folder = files::folder_of(&path);
    files::make_folders(folder).map_err(|error| Error::io("create the folder", folder, error))?;
    Ok(Some(path))
}

/// Holds what an archive says of its included members against these.
///
/// # Errors
/// [`Flaw::Refused`] for a member that is not described, and for a description of what is not there.
pub(in crate::backup) fn hold(
    metadata: &Metadata,
    contents: Option<Contents>,
    pieces: &[UnpackedMember],
) -> Result<Contents, Flaw> {
    let included = || pieces.iter().filter(|piece| piece.found.is_included());
    let contents = match contents {
        None if metadata.include.is_empty() => Contents::default(),
        None => return Err(Flaw::Refused(format!("it contains no `{CONTENTS}`, which describes what is included"))),
        Some(contents) => contents,
    };
    let stated: Vec<_> = metadata.include.iter().map(|one| &one.name).collect();
    let described: Vec<_> = contents.entries.iter().map(|entry| &entry.name).collect();
    if stated != described || stated.iter().collect::<BTreeSet<_>>().len() != stated.len() {
        return Err(Flaw::Refused(format!("its `{CONTENTS}` describes something else than its `{METADATA}` names")));
    }
    let folders = contents.folders();
    let taken: BTreeSet<_> = contents.links().chain(folders.iter().cloned()).collect();
    let is_described = |member: &str| {
        let above = member.rsplit_once('/').map(|(above, _)| above);
        let is_whole = contents.entries.iter().any(|entry| below(member, &entry.name) == Some(""));
        contents.has(member) && !taken.contains(member) && (is_whole || above.is_some_and(|it| folders.contains(it)))
    };
    if let Some(piece) = included().find(|piece| !is_described(&piece.found.name)) {
        let shown = printable(&piece.found.name, MAX_SHOWN_BYTES);
        return Err(Flaw::Refused(format!("its member `{shown}` does not belong in a backup")));
    }
    let members: BTreeMap<_, _> = included().map(|piece| (piece.found.name.as_str(), &piece.found)).collect();
    for entry in
        contents.entries.iter().filter(|entry| matches!(entry.kind, IncludedKind::Database | IncludedKind::File))
    {
        if !members.contains_key(format!("{INCLUDE}/{}", entry.name).as_str()) {
            return Err(missing(&entry.name));
        }
    }
    for (member, database) in &contents.databases {
        let said = database.sqlite.page_size.saturating_mul(database.sqlite.page_count);
        let Some(found) = members.get(member.as_str()) else { return Err(missing(member)) };
        if found.bytes != said || !found.is_database {
            let (shown, bytes) = (printable(member, MAX_SHOWN_BYTES), found.bytes);
            return Err(Flaw::Refused(format!(
                "its member `{shown}` is no database of {bytes} bytes, but its `{CONTENTS}` says {said}"
            )));
        }
    }
    Ok(contents)
}

fn missing(name: &str) -> Flaw {
    let shown = printable(name, MAX_SHOWN_BYTES);
    Flaw::Refused(format!("its `{CONTENTS}` names `{shown}`, but it contains no such member"))
}

/// What is wrong with what is included, with every database checked, which are unpacked as `places` say. The sums of the members hold already, so a fault was there when the
/// backup was made.
///
/// # Errors
/// [`Error`] only for what says nothing about the archive.
pub(in crate::backup) fn checked(
    places: &UnpackTargets,
    contents: &Contents,
    pieces: &[UnpackedMember],
    archive: &Path,
    depth: Depth,
    progress: &dyn Progress,
) -> Result<Vec<String>, Error> {
    let mut faults = contents.faults.clone();
    progress.begin("checking what is included", 0);
    let looked =
        pieces.iter().filter(|piece| piece.found.is_included() && piece.found.is_database).try_for_each(|piece| {
            if progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let member = &piece.found.name;
            let Some(path) = target(places, &piece.found, archive)? else { return Ok(()) };
            let shown = shown(member);
            let what = format!("the database {shown}");
            let copy = PrivateCopy::open(&path, Path::new(path.file_name().unwrap_or_default()), CHECK_LIMIT);
            let found = copy.and_then(|copy| copy.look(|snapshot| judged(snapshot, &what, "", depth, progress)));
            let fault = match found {
                Ok(judged) => said(&shown, judged)?,
                // A file that only begins as a database was copied as it is, and the archive says so.
                Err(error) if contents.databases.contains_key(member) => Some(format!("the database {shown}: {error}")),
                Err(_) => None,
            };
            let known = |fault: &String| faults.iter().any(|known| known == fault || known.contains(&shown));
            if let Some(fault) = fault.filter(|fault| !known(fault)) {
                faults.push(printable(&fault, MAX_FAULT_BYTES));
            }
            Ok(())
        });
    progress.end();
    looked.map(|()| faults)
}

/// The longest fault that is repeated.
const MAX_FAULT_BYTES: usize = 500;
