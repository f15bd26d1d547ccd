//! The time that a check allows itself, so that it ends by itself and says how far it got.
//!
//! A run that passes the host's `timeoutMs` is ended by the host, and all it found is lost.

use std::time::{Duration, Instant};

/// Time that runs from when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    start: Instant,
    most: Duration,
}

impl Budget {
    /// A budget of so many milliseconds, from now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a guest has no other clock than the one that the host lends it")]
    pub fn millis(most: u64) -> Self {
        Self { start: Instant::now(), most: Duration::from_millis(most) }
    }

    /// Whether the time is up.
    #[must_use]
    pub fn spent(&self) -> bool {
        self.start.elapsed() >= self.most
    }
}
