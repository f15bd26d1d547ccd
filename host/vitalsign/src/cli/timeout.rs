//! Waiting that has an end: for work that may hang in the system, such as a `stat` on a dead network mount, and for something
//! to become good.
//!
//! A thread that hangs is left behind. It holds nothing that the rest of the process waits for. Knows no command.

use std::{
    panic,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::print_error;
use vitalsign_base::{files, value::span};

/// Stack of such a thread, in bytes: what the main thread has, on which the same work would run otherwise.
const STACK_BYTES: usize = 8 << 20;

/// How long a file system may say nothing before that is told.
const SILENCE: Duration = Duration::from_secs(4);

/// The first pause of [`Backoff`]: a lock that is held for the length of one commit is gone by then.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause of [`Backoff`]: to look once a second costs the database nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The pauses between two looks at something that is not good yet: short at first, then longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    /// How long to wait before the next look.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 3 / 2).min(LONGEST_PAUSE);
        pause
    }
}

/// Does `work`, and waits for it for `limit` at most; `None` when it has not ended by then.
pub(super) fn with_timeout<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = mpsc::channel();
    let run = move || {
        // Nobody listens any more once the time is up.
        let _ = tell.send(work());
    };
    // Without another thread there is none to run a check on either, and the caller says that it got no answer.
    let thread = thread::Builder::new().name("limited".to_owned()).stack_size(STACK_BYTES).spawn(run).ok()?;
    match told.recv_timeout(limit) {
        Ok(answer) => Some(answer),
        Err(mpsc::RecvTimeoutError::Timeout) => None,
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => panic::resume_unwind(panic),
            Ok(()) => None,
        },
    }
}

/// Says on standard error which of these files gives no answer, while the command goes on and may be waiting for it.
///
/// Work that reads or writes archives has no limit of its own: it takes as long as they are large.
pub(super) fn tell_if_silent(paths: Vec<PathBuf>) {
    let look = move || {
        for path in paths {
            let asked = path.clone();
            if let Some(message) = silence(SILENCE, &path, move || drop(files::stat(&asked))) {
                print_error(&message);
                return;
            }
        }
    };
    // Without a thread there is no message, and the command itself says what it lacks.
    drop(thread::Builder::new().name("silence".to_owned()).spawn(look));
}

/// What to say of a file for which `look` gives no answer in time.
fn silence(limit: Duration, path: &Path, look: impl FnOnce() + Send + 'static) -> Option<String> {
    with_timeout(limit, look).is_none().then(|| {
        format!(
            "vitalsign: still waiting: the file system of {} has not answered for {}; find out why, or stop this command\n",
            path.display(),
            span(limit)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second() {
        let mut pauses = Backoff::default();
        let all: Vec<u128> = (0..12).map(|_| pauses.next().as_millis()).collect();
        assert_eq!(all, [50, 75, 112, 168, 253, 379, 569, 854, 1000, 1000, 1000, 1000]);
    }

    #[test]
    fn work_is_answered_or_given_up_on() {
        assert_eq!(with_timeout(Duration::from_secs(60), || 7), Some(7));
        let (_open, never) = mpsc::channel::<()>();
        assert_eq!(with_timeout(Duration::ZERO, move || never.recv().is_ok()), None);
    }

    #[test]
    fn a_file_system_that_is_silent_is_named() {
        let path = Path::new("/mnt/far/registry.sqlite");
        assert_eq!(silence(Duration::from_secs(60), path, || ()), None);
        let (_open, never) = mpsc::channel::<()>();
        let said = silence(Duration::ZERO, path, move || never.recv().unwrap_or_default()).unwrap();
        assert!(said.contains("the file system of /mnt/far/registry.sqlite has not answered"), "{said}");
    }
}
