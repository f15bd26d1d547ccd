//! Looking whether a database in an archive, or in a copy, is sound.

use crate::backup::{
    Error, Progress, catalogue::manifest::Checked, catalogue::manifest::Examination, catalogue::manifest::Structure,
};
use std::time::Duration;
use vitalsign_archive::INCLUDE;
use vitalsign_base::value::printable;
use vitalsign_sqlite::{Depth, Examined, Snapshot};
/// The longest sentence of SQLite's that is repeated.
const MAX_TEXT_BYTES: usize = 500;

/// Problems of a database that are repeated in a message.
const MAX_PROBLEMS: usize = 3;

/// Faults that are written down.
const MAX_FAULTS: usize = 10;

/// How long the comparison of indexes with their tables may take in a backup, a verification or a restore. It looks up one row after
/// the other: 200 MB take a second and a half, which doubles the time of a restore, and a large database would keep whoever restores
/// it waiting for minutes.
pub(crate) const INDEX_LIMIT: Duration = Duration::from_secs(1);

/// How long checking a copy may take: a day checks some hundred terabytes.
pub(crate) const CHECK_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// What a look through the whole database finds. One that uses functions or collations of its own program cannot be checked here;
/// one that may have lost rows is a failure.
pub(crate) fn judged(
    snapshot: &Snapshot<'_>,
    what: &str,
    hint: &'static str,
    depth: Depth,
    progress: &dyn Progress,
) -> Result<Result<Examination, Error>, vitalsign_sqlite::Error> {
    let found = match snapshot.until(&|| progress.is_cancelled(), || snapshot.examine(depth)) {
        Ok(found) => found,
        Err(vitalsign_sqlite::Error::OutOfTime { .. }) if progress.is_cancelled() => {
            return Ok(Err(Error::Interrupted));
        }
        Err(vitalsign_sqlite::Error::Other { detail, .. }) => return Ok(Ok(Examination::not_checked(detail))),
        Err(error) => return Err(error),
    };
    let said = |most: usize| {
        let mut texts: Vec<_> =
            found.problems.iter().take(most).map(|one| printable(&one.text, MAX_TEXT_BYTES)).collect();
        if let more @ 1.. = found.problems.len().saturating_sub(most) {
            texts.push(format!("and {more} more"));
        }
        texts
    };
    if found.may_lose_rows() {
        return Ok(Err(Error::Structure { what: what.to_owned(), problems: said(MAX_PROBLEMS), hint }));
    }
    let structure = if found.problems.is_empty() { Structure::Sound } else { Structure::Flawed(said(MAX_FAULTS)) };
    let Examined { indexes, references, why_not, .. } = found;
    Ok(Ok(Examination { structure, checked: Checked { pages: true, rows: true, indexes, references, why_not } }))
}

/// What a look through an included database found, as a fault of the archive if it is one.
pub(crate) fn said(shown: &str, judged: Result<Examination, Error>) -> Result<Option<String>, Error> {
    match judged {
        Ok(Examination { structure: Structure::Flawed(faults), .. }) => {
            Ok(Some(format!("the database {shown} has faults: {}", faults.join("; "))))
        }
        Ok(_) => Ok(None),
        Err(Error::Structure { problems, .. }) => {
            Ok(Some(format!("the database {shown} is damaged: {}", problems.join("; "))))
        }
        Err(failure) => Err(failure),
    }
}

/// A member as messages name it: by the path that was included.
pub(crate) fn shown(member: &str) -> String {
    let inside = member.strip_prefix(INCLUDE).and_then(|rest| rest.strip_prefix('/'));
    format!("`{}`", inside.unwrap_or(member))
}
