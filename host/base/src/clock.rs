//! Time: the wall clock, and deadlines on the monotonic clock.
//!
//! The only module that may ask the system for the time. Does not know what the time is for.

use std::time::{Duration, Instant};

pub use jiff::Timestamp;

/// A source of wall-clock time, passed in so that tests can hold it still.
pub trait Clock: Send + Sync {
    /// The current time in UTC.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this room is where the clock is asked")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still: for tests and for reports that must not differ from run to run.
#[derive(Clone, Copy, Debug)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// The moment on the monotonic clock at which some work has to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline `limit` from now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this room is where the clock is asked")]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// The time left; zero once it has passed.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this room is where the clock is asked")]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether the time is up.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The earlier of this deadline and one `limit` from now.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        self.min(Self::after(limit))
    }

    /// The deadline as an instant, for timers.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }
}

/// How long this thread has had a processor so far: what is waited for, a disk or a turn, does not count.
#[must_use]
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Measures how long something takes, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this room is where the clock is asked")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
