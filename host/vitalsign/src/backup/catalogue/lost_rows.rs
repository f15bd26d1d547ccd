//! Whether records are missing since an earlier archive, and from which archive on that was accepted.
//!
//! A pure function of the list, for the check that tells of it and for the rules that keep the archive with the most records.
//! Opens no archive and removes none.

use crate::backup::{ArchiveState, CatalogEntry};
use vitalsign_base::clock::Timestamp;

/// Records are missing below this share of those in an earlier archive: so many are not removed in the course of things.
const LEAST_SHARE: f64 = 0.9;

/// Fewer records than these are no loss to speak of, whatever their share.
const FEW_RECORDS: u64 = 5;

/// Two places in a list of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostRows {
    /// The newest archive that says how many records it has.
    pub(crate) newest: usize,
    /// The one with the most records, from which those that are missing can be restored. It is one that is known to be bad only
    /// where no other has them.
    pub(crate) most: usize,
    /// The verified one with the most records, where that is another: what is not verified may turn out to be bad.
    pub(crate) verified: Option<usize>,
}

/// Compares the newest of `listed`, which are archives of one database and stand newest first, with the one that has the most records.
///
/// Not with the one before it: the next backup would then hide the loss. Archives before the one in which fewer records were
/// accepted count for nothing.
pub(crate) fn lost(listed: &[&CatalogEntry], now: Timestamp) -> Option<LostRows> {
    // An archive from the future would have everything accepted until then.
    let accepted = listed.iter().filter_map(|one| one.fewer_rows_accepted).filter(|stamp| stamp.at <= now).max();
    let counted = || {
        let all = listed.iter().enumerate().filter(|(_, one)| accepted.is_none_or(|from| one.stamp >= from));
        all.filter_map(|(at, one)| Some((at, one.records?)))
    };
    let (newest, left) = counted().next()?;
    let standing = |at: usize| listed.get(at).map(|one| one.standing);
    let is_lost = |before: u64| number(left) <= number(before) * LEAST_SHARE && before - left >= FEW_RECORDS;
    let most_of = |counts: &dyn Fn(ArchiveState) -> bool| {
        let those = counted().filter(|(at, records)| *records >= left && standing(*at).is_some_and(counts));
        // Of several with as many, the newest that can be restored has the most of everything else.
        let rank = |at: usize| standing(at).map(ArchiveState::is_of_use);
        let most = those.max_by_key(|(at, records)| (*records, rank(*at), std::cmp::Reverse(*at)));
        most.filter(|(_, records)| is_lost(*records)).map(|(at, _)| at)
    };
    let most = most_of(&|standing| !matches!(standing, ArchiveState::Damaged | ArchiveState::Changed))
        .or(most_of(&|_| true))?;
    let verified = most_of(&|standing| standing == ArchiveState::Verified).filter(|at| *at != most);
    Some(LostRows { newest, most, verified })
}

/// A count for comparing shares. Above 2^53 the last digits are lost, which decide nothing here.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn number(count: u64) -> f64 {
    count as f64
}
