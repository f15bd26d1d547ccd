//! How long a read waits for others before it begins, and how often it asks.
//!
//! SQLite's own waiting naps for up to 100 ms between two looks at a lock. A writer with one commit after another leaves gaps
//! of a millisecond, which such a sleeper misses again and again; so locks are asked for densely here. Knows no database.

use std::{cell::Cell, time::Duration};

use vitalsign_base::clock::Deadline;

/// The nap between two looks at a lock, on average: most gaps between two commits are longer.
const NAP: Duration = Duration::from_micros(500);

/// After so many naps (half a second) the lock belongs to something long, and is looked at less often.
const SHORT_NAPS: u32 = 1000;

/// The nap from then on, on average.
const LONG_NAP: Duration = Duration::from_millis(3);

thread_local! {
    /// Until when this thread's read waits before it begins; `None` when it is not waiting.
    static UNTIL: Cell<Option<Deadline>> = const { Cell::new(None) };
}

/// Does `work`, in which SQLite may wait until `deadline` for locks, and for the log to be read through.
pub(crate) fn until<T>(deadline: Deadline, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Deadline>);
    impl Drop for Restore {
        fn drop(&mut self) {
            UNTIL.set(self.0);
        }
    }
    let _restore = Restore(UNTIL.replace(Some(deadline)));
    work()
}

/// Whether this thread is waiting and has waited long enough.
pub(crate) fn is_over() -> bool {
    UNTIL.get().is_some_and(Deadline::has_passed)
}

/// SQLite's question whether to ask again for a lock that it has asked for `tried` times. Waits a moment before it says yes.
pub(crate) fn on_busy(tried: i32) -> bool {
    let Some(left) = UNTIL.get().map(Deadline::remaining).filter(|left| !left.is_zero()) else { return false };
    std::thread::park_timeout(nap(tried.unsigned_abs()).min(left));
    true
}

/// The nap after that many tries: between half and one and a half of the average, spread evenly, so as not to keep step with a
/// writer whose every commit takes as long as a nap.
fn nap(tried: u32) -> Duration {
    let average = if tried < SHORT_NAPS { NAP } else { LONG_NAP };
    // Multiples of the golden ratio fall evenly over the numbers that they overflow.
    let spread = f64::from(tried.wrapping_mul(0x9e37_79b9)) / f64::from(u32::MAX);
    average.mul_f64(0.5 + spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_are_short_and_differ() {
        let naps: Vec<_> = (0..SHORT_NAPS).map(nap).collect();
        assert!(naps.iter().all(|nap| (NAP / 2..=NAP * 3 / 2).contains(nap)));
        let mean = naps.iter().sum::<Duration>() / SHORT_NAPS;
        assert!(mean.abs_diff(NAP) < NAP / 100, "{mean:?}");
        let tenth = |at: u128| naps.iter().filter(|nap| (nap.as_nanos() - 250_000) * 10 / 500_001 == at).count();
        assert!((0..10).all(|at| (90..=110).contains(&tenth(at))), "not spread evenly");
        assert!(nap(SHORT_NAPS) >= LONG_NAP / 2);
    }

    #[test]
    fn nobody_waits_unless_told_to() {
        assert!(!on_busy(0) && !is_over());
        until(Deadline::after(Duration::from_secs(60)), || {
            assert!(on_busy(0) && !is_over());
            until(Deadline::after(Duration::ZERO), || assert!(!on_busy(0) && is_over()));
            assert!(on_busy(1));
        });
        assert!(!on_busy(0) && !is_over());
    }
}
