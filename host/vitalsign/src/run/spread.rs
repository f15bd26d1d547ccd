//! Spreading: when a check starts first and again, so that checks with one interval do not all start at once.
//!
//! A pure function of the name and the interval. Knows no clock.

use std::time::Duration;

/// First runs are spread over this long: short, because until then the report says `not-yet-run`.
pub(super) const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// The waits from the start of the schedule to a check's first and second run; from then on its interval counts.
///
/// The first comes soon. The second lies anywhere within the interval after it, and so do all later ones.
pub(super) fn starts(name: &str, interval: Duration) -> (Duration, Duration) {
    let share = f64::from(hash(name)) / f64::from(u32::MAX);
    let first = FIRST_WITHIN.min(interval).mul_f64(share);
    (first, first + interval.mul_f64(1.0 - share))
}

/// FNV-1a with a final mix: the same on every machine and in every version, so that a schedule can be told from the names.
fn hash(name: &str) -> u32 {
    let sum = name.bytes().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    // Names that differ in the last letter only differ in the low bits so far; the share is made of the high ones.
    let sum = (sum ^ (sum >> 16)).wrapping_mul(0x85eb_ca6b);
    let sum = (sum ^ (sum >> 13)).wrapping_mul(0xc2b2_ae35);
    sum ^ (sum >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_lie_within_their_bounds_and_stay_the_same() {
        for name in ["wal", "disk", "", "provenance-chain"] {
            for interval in [Duration::from_millis(10), Duration::from_secs(15), Duration::from_secs(86_400)] {
                let (first, second) = starts(name, interval);
                assert!(first <= FIRST_WITHIN.min(interval));
                assert!(second >= first && second - first <= interval);
                assert_eq!(starts(name, interval), (first, second));
            }
        }
    }

    #[test]
    fn a_thousand_checks_of_one_interval_are_spread_evenly() {
        let mut tenths = [0; 10];
        for number in 0..1000 {
            let (first, _) = starts(&format!("check-{number}"), Duration::from_secs(15));
            tenths[usize::try_from(first.as_millis() / 100).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
    }
}
