//! Decides which archives are kept, and removes the others.
//!
//! The plan is a pure function of the list. An archive that any rule keeps stays; the newest verified one always does, and one with
//! records that the newest lacks. One that is
//! dated in the future or cannot be accessed stays, and counts for nothing.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    path::PathBuf,
};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::backup::{ArchiveState, CatalogEntry, Error, catalogue::lost_rows, catalogue::manifest};
use vitalsign_archive::parse_file_name;
use vitalsign_base::{clock::Clock, files};

/// Records in a folder, those of archives that are gone included.
const MAX_RECORDS: usize = 100_000;

/// How many archives are kept for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionRules {
    /// So many of the newest.
    pub last: u32,
    /// The newest of each of so many hours.
    pub hourly: u32,
    /// The newest of each of so many days.
    pub daily: u32,
    /// The newest of each of so many weeks, which begin on Mondays.
    pub weekly: u32,
    /// The newest of each of so many months.
    pub monthly: u32,
    /// The newest of each of so many years.
    pub yearly: u32,
}

/// What becomes of one archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionDecision {
    /// The archive.
    #[serde(serialize_with = "crate::backup::beside::relative_path::as_text")]
    pub path: PathBuf,
    /// When it was begun.
    pub created_at: Timestamp,
    /// Its size in bytes.
    pub bytes: u64,
    /// Why it stays; empty when it goes.
    pub kept: Vec<&'static str>,
}

/// Which database an archive is of: its identity, or else its path.
type DatabaseKey<'a> = (Option<&'a str>, Option<&'a str>);

/// The reason that an archive dated in the future stays.
const FUTURE: &str = "dated in the future";

/// The reason that an archive stays with records that are missing since.
const MOST: &str = "most records";

/// The reason that an archive stays of which nothing is known.
const UNREADABLE: &str = "cannot be accessed";

/// What becomes of each of the archives, which are listed newest first; those of another database are counted by themselves.
/// Periods are those of UTC.
#[must_use]
pub fn plan(listed: &[CatalogEntry], keep: RetentionRules, now: Timestamp) -> Vec<RetentionDecision> {
    // Two machines may have the same path: where an archive says which database it is of, the path says nothing.
    let mut groups: BTreeMap<DatabaseKey<'_>, Vec<(usize, &CatalogEntry)>> = BTreeMap::new();
    let mut places: BTreeMap<(&str, &str), Vec<(usize, &CatalogEntry)>> = BTreeMap::new();
    let mut out = BTreeMap::new();
    for (at, one) in listed.iter().enumerate() {
        let aside = match one.standing {
            _ if one.is_future(now) => Some(FUTURE),
            ArchiveState::Unreadable => Some(UNREADABLE),
            _ => None,
        };
        if let Some(reason) = aside {
            out.insert(at, pruned(one, vec![reason]));
            continue;
        }
        let key = match &one.identity {
            Some(identity) => (Some(identity.as_str()), None),
            None => (None, one.source.as_deref()),
        };
        groups.entry(key).or_default().push((at, one));
        // A restore makes another file of a database, at the same place.
        if let (Some(host), Some(source)) = (&one.host, &one.source) {
            places.entry((host.as_str(), source.as_str())).or_default().push((at, one));
        }
    }
    let pinned: Vec<_> = listed.iter().map(|one| one.pinned).collect();
    let needed: HashSet<usize> = groups.values().chain(places.values()).flat_map(|group| most(group, now)).collect();
    for group in groups.into_values() {
        let (at, group): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        out.extend(at.into_iter().zip(plan_one(&group, keep)));
    }
    let pin = |((at, mut one), pinned): ((usize, RetentionDecision), bool)| {
        one.kept.extend(needed.contains(&at).then_some(MOST));
        one.kept.extend(pinned.then_some("pinned"));
        one
    };
    out.into_iter().zip(pinned).map(pin).collect()
}

/// Where the archives are listed that have the records which the newest of their group lacks. While nobody has accepted that, they
/// are what the records can be restored from.
fn most(group: &[(usize, &CatalogEntry)], now: Timestamp) -> Vec<usize> {
    let archives: Vec<_> = group.iter().map(|(_, one)| *one).collect();
    let Some(lost) = lost_rows::lost(&archives, now) else { return Vec::new() };
    [Some(lost.most), lost.verified].into_iter().flatten().filter_map(|at| Some(group.get(at)?.0)).collect()
}

fn pruned(one: &CatalogEntry, kept: Vec<&'static str>) -> RetentionDecision {
    RetentionDecision { path: one.path.clone(), created_at: one.created_at, bytes: one.bytes, kept }
}

fn plan_one(listed: &[&CatalogEntry], keep: RetentionRules) -> Vec<RetentionDecision> {
    let mut out: Vec<RetentionDecision> = listed.iter().map(|one| pruned(one, Vec::new())).collect();
    let last = usize::try_from(keep.last).unwrap_or(usize::MAX);
    let sound = out.iter_mut().zip(listed).filter(|(_, one)| one.standing != ArchiveState::Damaged);
    sound.take(last).for_each(|(one, _)| one.kept.push("last"));
    for (reason, most, period) in [
        ("hourly", keep.hourly, hour as fn(Timestamp) -> String),
        ("daily", keep.daily, day),
        ("weekly", keep.weekly, week),
        ("monthly", keep.monthly, month),
        ("yearly", keep.yearly, year),
    ] {
        // A period is represented by its newest proven archive, else by its newest; a damaged one represents nothing.
        let mut best: Vec<(String, usize)> = Vec::new();
        for (at, one) in listed.iter().enumerate().filter(|(_, one)| one.standing != ArchiveState::Damaged) {
            let name = period(one.created_at);
            match best.last_mut() {
                // The list is in the order of time, so a period's archives stand together.
                Some((other, kept)) if *other == name => {
                    let is_proven =
                        |at: usize| listed.get(at).is_some_and(|one| one.standing == ArchiveState::Verified);
                    if is_proven(at) && !is_proven(*kept) {
                        *kept = at;
                    }
                }
                _ => best.push((name, at)),
            }
        }
        for (_, at) in best.into_iter().take(usize::try_from(most).unwrap_or(usize::MAX)) {
            if let Some(one) = out.get_mut(at) {
                one.kept.push(reason);
            }
        }
    }
    let verified = listed.iter().position(|one| one.standing == ArchiveState::Verified);
    // Where none is verified, the newest is the best there is.
    if let Some(one) = out.get_mut(verified.unwrap_or(0)) {
        one.kept.push(if verified.is_some() { "newest verified" } else { "newest" });
    }
    out
}

fn hour(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H").to_string()
}

fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

fn week(at: Timestamp) -> String {
    let week = at.to_zoned(TimeZone::UTC).date().iso_week_date();
    format!("{}-W{}", week.year(), week.week())
}

fn month(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m").to_string()
}

fn year(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y").to_string()
}

/// Removes what the plan does not keep, oldest first, each with its record.
///
/// # Errors
/// What the system says of the first archive that cannot be removed; those before it are gone.
pub fn prune(plan: &[RetentionDecision], clock: &dyn Clock) -> Result<(), Error> {
    for one in plan.iter().rev().filter(|one| one.kept.is_empty()) {
        let path = &one.path;
        files::remove(path).map_err(|error| Error::io("remove", path, error))?;
        let record = manifest::path_of(path);
        files::remove(&record).map_err(|error| Error::io("remove", &record, error))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let details = serde_json::json!({ "archive": name, "bytes": one.bytes });
        manifest::note(path, "prune", &format!("{:.0}", clock.now()), details)?;
    }
    let Some(folder) = plan.first().and_then(|one| one.path.parent()) else { return Ok(()) };
    tidy(folder)
}

/// Removes records whose archive is gone, as a prune that was killed leaves them.
fn tidy(folder: &std::path::Path) -> Result<(), Error> {
    let failed = |error| Error::io("remove old records in", folder, error);
    let of_record = |name: &OsStr| {
        let archive = name.to_str()?.strip_suffix(".json")?;
        parse_file_name(archive).map(|_| archive.to_owned())
    };
    for archive in files::found_in(folder, MAX_RECORDS, of_record).map_err(failed)?.iter().map(|name| folder.join(name))
    {
        // One that cannot be accessed is not gone, and neither is one behind a link to a disk that is not mounted.
        if matches!(files::stat(&archive), Ok(None)) && !files::is_link(&archive) {
            files::remove(&manifest::path_of(&archive)).map_err(failed)?;
        }
    }
    files::sync_folder(folder).map_err(failed)
}
