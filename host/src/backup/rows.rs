//! Whether records are missing since an earlier archive, and from which archive on that was accepted.
//!
//! A pure function of the list, for the check that tells of it and for the rules that keep the archive with the most records.
//! Opens no archive and removes none.

use super::Listed;
use crate::clock::Timestamp;

/// Records are missing below this share of those in an earlier archive: so many are not removed in the course of things.
const LEAST_SHARE: f64 = 0.9;

/// Fewer records than these are no loss to speak of, whatever their share.
const FEW_RECORDS: u64 = 5;

/// Two places in a list of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// The newest archive that says how many records it has.
    pub(super) newest: usize,
    /// The one with the most records, from which those that are missing can be restored.
    pub(super) most: usize,
}

/// Compares the newest of `listed`, which are archives of one database and stand newest first, with the one that has the most records.
///
/// Not with the one before it: the next backup would then hide the loss. Archives before the one in which fewer records were
/// accepted count for nothing.
pub(super) fn lost(listed: &[&Listed], now: Timestamp) -> Option<Lost> {
    // An archive from the future would have everything accepted until then.
    let accepted = listed.iter().filter_map(|one| one.fewer_rows_accepted).filter(|stamp| stamp.at <= now).max();
    let counted = || {
        let all = listed.iter().enumerate().filter(|(_, one)| accepted.is_none_or(|from| one.stamp >= from));
        all.filter_map(|(at, one)| Some((at, one.records?)))
    };
    let (newest, left) = counted().next()?;
    // Of several with as many, the newest that can be restored has the most of everything else.
    let rank = |at: usize| listed.get(at).map(|one| one.standing.is_of_use());
    let (most, before) = counted().max_by_key(|(at, records)| (*records, rank(*at), std::cmp::Reverse(*at)))?;
    let is_lost = number(left) <= number(before) * LEAST_SHARE && before - left >= FEW_RECORDS;
    is_lost.then_some(Lost { newest, most })
}

/// A count for comparing shares. Above 2^53 the last digits are lost, which decide nothing here.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn number(count: u64) -> f64 {
    count as f64
}
