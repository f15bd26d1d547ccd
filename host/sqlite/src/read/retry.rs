//! Whether a read that failed is tried again, and after what pause.
//!
//! Knows no database and asks no clock: it is told what happened. The caller's deadline ends everything besides.

use std::time::Duration;

/// How often a read starts over because files changed under it: for about a second, by the pauses below.
const MAX_OVERTAKEN: u32 = 30;

/// The pause before such a read starts over: none the first time, then longer each time by about what a small commit takes.
const OVERTAKEN_STEP: Duration = Duration::from_millis(2);

/// How often a read may be cut off that had the processor for most of its time. A second try finds warm caches; what needs more
/// than that does not fit, and trying on would only keep the write-ahead log from being reset.
const MAX_CUT: u32 = 2;

/// How often a read may be cut off while it waited for the processor or the disk: the reads of [`crate::READ_BUDGET`]
/// that fit into ten seconds.
const MAX_STARVED: u32 = 200;

/// The pause before a starved read is tried again. In it a writer finds no reader, so its log can be reset.
const STARVED_PAUSE: Duration = Duration::from_millis(10);

/// Why a read came to nothing, where trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryReason {
    /// Writers opened, closed or replaced files meanwhile.
    Overtaken,
    /// Its time was over while it waited for the processor or the disk.
    Starved,
    /// Its time was over, and it had used it.
    TimedOut,
}

impl RetryReason {
    /// What a read is called that was cut off after `limit`, having had the processor for `ran`.
    pub(crate) fn of_cut(ran: Duration, limit: Duration) -> Self {
        // Half of it is far more than a throttled or waiting thread gets, and far less than a computing one takes.
        if ran < limit / 2 { Self::Starved } else { Self::TimedOut }
    }
}

/// What has befallen one read so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RetryCount {
    overtaken: u32,
    starved: u32,
    cut: u32,
}

impl RetryCount {
    /// The pause before the next try; `None` when there should be none.
    pub(crate) fn after(&mut self, setback: RetryReason) -> Option<Duration> {
        let growing = OVERTAKEN_STEP * self.overtaken;
        let (count, most, pause) = match setback {
            RetryReason::Overtaken => (&mut self.overtaken, MAX_OVERTAKEN, growing),
            RetryReason::Starved => (&mut self.starved, MAX_STARVED, STARVED_PAUSE),
            RetryReason::TimedOut => (&mut self.cut, MAX_CUT, STARVED_PAUSE),
        };
        *count += 1;
        (*count < most).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses, in milliseconds, of a read that always fails in the same way.
    fn pauses(setback: RetryReason) -> Vec<u128> {
        let mut tries = RetryCount::default();
        std::iter::from_fn(|| tries.after(setback)).map(|pause| pause.as_millis()).collect()
    }

    #[test]
    fn every_kind_of_setback_ends() {
        let overtaken = pauses(RetryReason::Overtaken);
        assert_eq!((overtaken.len(), &overtaken[..3]), (29, &[0, 2, 4][..]));
        assert_eq!(pauses(RetryReason::TimedOut), [10], "one more try, with warm caches");
        assert_eq!(pauses(RetryReason::Starved), [10; 199]);
    }

    #[test]
    fn setbacks_are_counted_apart() {
        let mut tries = RetryCount::default();
        for _ in 0..10 {
            assert_eq!(tries.after(RetryReason::Starved), Some(STARVED_PAUSE));
        }
        assert_eq!(tries.after(RetryReason::Overtaken), Some(Duration::ZERO));
        assert_eq!(tries.after(RetryReason::TimedOut), Some(STARVED_PAUSE));
        assert_eq!(tries.after(RetryReason::TimedOut), None);
    }

    #[test]
    fn whoever_had_the_processor_was_not_starved() {
        let of = |ran| RetryReason::of_cut(Duration::from_millis(ran), Duration::from_millis(50));
        assert_eq!([of(0), of(5), of(24)], [RetryReason::Starved; 3]);
        assert_eq!([of(25), of(50), of(60)], [RetryReason::TimedOut; 3]);
    }
}
