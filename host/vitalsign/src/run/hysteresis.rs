//! Hysteresis: how many results in a row it takes until a check counts as worse or as better.
//!
//! A pure state machine over statuses. Knows no time, no check and no report.

use vitalsign_check::report::{Severity, Status, Weight, severity};

/// The thresholds of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreakThresholds {
    /// Results in a row that are worse than what counts, until it gets worse.
    pub(super) failure: u32,
    /// Results in a row that are better than what counts, until it gets better.
    pub(super) success: u32,
}

/// What one check's results add up to so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hysteresis {
    effective: Option<Status>,
    /// For each level, how many of the last results in a row were at least that bad.
    at_least: [u32; 3],
    /// For each level, how many of the last results in a row were at most that bad.
    at_most: [u32; 3],
}

/// What counts after a result, and how far the results in a row have come when that is not what the result said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HysteresisResult {
    /// The status that counts.
    pub(super) effective: Status,
    /// Why it is not what the result itself said.
    pub(super) held: Option<PendingChange>,
}

/// A result that does not count yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PendingChange {
    /// The results are better than what counts: so many in a row, of so many.
    Recovering(u32, u32),
    /// The results are worse than what counts: so many in a row, of so many.
    Worsening(u32, u32),
}

const LEVELS: [Severity; 3] = [Severity::Ok, Severity::Warn, Severity::Error];

/// `unknown` is as bad as `error` here, and `skipped` as good as `ok`: going from one to the other is no change.
fn level(status: Status) -> Severity {
    severity(status, Weight::Critical)
}

impl Hysteresis {
    /// Takes in one result. The first one counts at once.
    pub(super) fn take(&mut self, result: Status, thresholds: StreakThresholds) -> HysteresisResult {
        let now = level(result);
        for (at, mark) in LEVELS.into_iter().enumerate() {
            self.at_least[at] = if now >= mark { self.at_least[at].saturating_add(1) } else { 0 };
            self.at_most[at] = if now <= mark { self.at_most[at].saturating_add(1) } else { 0 };
        }
        let before = level(self.effective.unwrap_or(result));
        // Each bound follows from the last results alone, and the newest result lies between the two.
        let bad_enough = self.at_least.map(|streak| streak >= thresholds.failure.max(1));
        let good_enough = self.at_most.map(|streak| streak >= thresholds.success.max(1));
        let floor = LEVELS.into_iter().zip(bad_enough).filter(|(_, reached)| *reached).map(|(mark, _)| mark).max();
        let ceiling = LEVELS.into_iter().zip(good_enough).find(|(_, reached)| *reached).map(|(mark, _)| mark);
        let after = before.max(floor.unwrap_or(Severity::Ok)).min(ceiling.unwrap_or(Severity::Error));
        let effective = match after {
            same if same == now => result,
            same if same == before => self.effective.unwrap_or(result),
            Severity::Ok => Status::Ok,
            Severity::Warn => Status::Warn,
            Severity::Error => Status::Error,
        };
        self.effective = Some(effective);
        let held = match LEVELS.into_iter().position(|mark| mark == after) {
            Some(at) if now < after => {
                Some(PendingChange::Recovering(self.at_most[at.saturating_sub(1)], thresholds.success))
            }
            Some(at) if now > after => {
                Some(PendingChange::Worsening(self.at_least[(at + 1).min(2)], thresholds.failure))
            }
            _ => None,
        };
        HysteresisResult { effective, held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(letter: char) -> Status {
        match letter {
            's' => Status::Skipped,
            'o' => Status::Ok,
            'w' => Status::Warn,
            'u' => Status::Unknown,
            'e' => Status::Error,
            other => panic!("{other} is no status"),
        }
    }

    fn letter(status: Status) -> char {
        status.as_str().chars().next().unwrap()
    }

    fn play(results: &str, failure: u32, success: u32) -> String {
        let mut hysteresis = Hysteresis::default();
        results
            .chars()
            .map(|result| letter(hysteresis.take(status(result), StreakThresholds { failure, success }).effective))
            .collect()
    }

    #[test]
    fn thresholds_are_counted_in_a_row() {
        for (results, failure, success, counts) in [
            ("oeoe", 1, 1, "oeoe"),
            ("e", 3, 3, "e"),
            ("u", 3, 3, "u"),
            ("oeeo", 3, 1, "oooo"),
            ("oeee", 3, 1, "oooe"),
            ("oeoee", 2, 1, "ooooe"),
            ("ouee", 3, 1, "oooe"),
            ("eooo", 1, 3, "eeeo"),
            ("eooeooo", 1, 3, "eeeeeeo"),
            // An unknown on the way back starts the count again, and counts as itself at once.
            ("eouoo", 1, 2, "eeuuo"),
            // Warnings and errors in a row are all at least warnings.
            ("owee", 3, 1, "ooow"),
            ("oewee", 2, 1, "oowwe"),
            ("eww", 1, 2, "eew"),
            ("ewo", 1, 2, "eew"),
            ("ewoo", 1, 2, "eewo"),
            // Between skipped and ok there is nothing to hold back.
            ("soso", 3, 3, "soso"),
            ("se", 2, 1, "ss"),
            // A threshold of nought is one.
            ("oeo", 0, 0, "oeo"),
        ] {
            assert_eq!(play(results, failure, success), counts, "{results} with {failure} and {success}");
        }
    }

    #[test]
    fn what_is_held_says_how_far_it_has_come() {
        let mut hysteresis = Hysteresis::default();
        let thresholds = StreakThresholds { failure: 3, success: 2 };
        let said: Vec<_> = "oeeeowoo".chars().map(|result| hysteresis.take(status(result), thresholds).held).collect();
        assert_eq!(
            said,
            [
                None,
                Some(PendingChange::Worsening(1, 3)),
                Some(PendingChange::Worsening(2, 3)),
                None,
                Some(PendingChange::Recovering(1, 2)),
                None,
                Some(PendingChange::Recovering(1, 2)),
                None,
            ]
        );
    }

    /// The definition in words: no better than the mildest of the last `failure` results, no worse than the worst of the
    /// last `success` ones, and else unchanged.
    fn by_definition(results: &[Status], failure: usize, success: usize) -> Severity {
        let mut counts = level(results[0]);
        for end in 1..=results.len() {
            let last = |n: usize| (end >= n).then(|| results[end - n..end].iter().map(|result| level(*result)));
            let floor = last(failure).and_then(Iterator::min).unwrap_or(Severity::Ok);
            let ceiling = last(success).and_then(Iterator::max).unwrap_or(Severity::Error);
            counts = counts.max(floor).min(ceiling);
        }
        counts
    }

    #[test]
    fn every_short_sequence_follows_the_definition() {
        for failure in 1..=3_u32 {
            for success in 1..=3_u32 {
                for code in 0..5_usize.pow(6) {
                    let results: Vec<_> = (0..6).map(|at| Status::ALL[code / 5_usize.pow(at) % 5]).collect();
                    let mut hysteresis = Hysteresis::default();
                    let thresholds = StreakThresholds { failure, success };
                    let verdicts: Vec<_> = results.iter().map(|result| hysteresis.take(*result, thresholds)).collect();
                    let last = verdicts[5];
                    let expected = by_definition(&results, failure as usize, success as usize);
                    assert_eq!(level(last.effective), expected, "{results:?} {failure} {success}");
                    assert_eq!(last.held.is_some(), level(results[5]) != expected, "{results:?}");
                    assert!(last.held.is_some() || last.effective == results[5], "{results:?}");
                }
            }
        }
    }
}
