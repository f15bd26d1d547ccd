//! The log of `serve`: one line for each change of a check's status, and a limit for a check that changes all the time.
//!
//! Observes the runner. Knows no check and no report.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::run::Change;
use vitalsign_base::value::{Name, printable, span};
use vitalsign_check::report::Status;

/// Lines about one check within [`WINDOW`]: enough to see that it goes up and down, and too few to fill a disk.
const MAX_LINES: u32 = 10;

/// How long lines about one check are counted together.
const WINDOW: Duration = Duration::from_secs(600);

/// How often windows that are over are looked for.
const TICK: Duration = Duration::from_secs(10);

/// The longest line, in bytes.
const MAX_LINE_BYTES: usize = 1000;

/// Logs the changes until the runner is gone.
pub(super) async fn log(mut changes: Receiver<Change>) {
    let mut counted = LineCounts::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let lines = tokio::select! {
            change = changes.recv() => match change {
                Ok(change) => counted.line(&change, Instant::now()).into_iter().collect(),
                Err(RecvError::Lagged(count)) => {
                    vec![LogLine { is_bad: true, text: format!("{count} changes of statuses came too fast to be logged") }]
                }
                Err(RecvError::Closed) => return,
            },
            _ = ticks.tick() => counted.overdue(Instant::now()),
        };
        for LogLine { is_bad, text } in lines {
            if is_bad { tracing::warn!("{text}") } else { tracing::info!("{text}") }
        }
    }
}

/// One line of the log.
#[derive(Debug, PartialEq, Eq)]
struct LogLine {
    is_bad: bool,
    text: String,
}

/// How much has been said of each check. There are as many as checks.
#[derive(Default)]
struct LineCounts(BTreeMap<Name, Window>);

struct Window {
    until: Instant,
    lines: u32,
    /// Changes that were not logged, and the last of them.
    left_out: u32,
    now: Status,
}

impl LineCounts {
    /// The line for a change; nothing for a first result that is good, nor beyond the limit.
    fn line(&mut self, change: &Change, now: Instant) -> Option<LogLine> {
        if change.before.is_none() && !is_bad(change.now) {
            return None;
        }
        let fresh = || Window { until: now + WINDOW, lines: 0, left_out: 0, now: change.now };
        let window = self.0.entry(change.check.clone()).or_insert_with(fresh);
        if window.until <= now && window.left_out == 0 {
            *window = fresh();
        }
        window.now = change.now;
        if window.lines >= MAX_LINES {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        let mut text = format!("check `{}` {}", change.check, said(change));
        if window.lines == MAX_LINES {
            text +=
                &format!("; it changes so often that the next changes are only counted, for {} at most", span(WINDOW));
        }
        Some(LogLine { is_bad: is_bad(change.now), text: printable(&text, MAX_LINE_BYTES) })
    }

    /// The lines that are due at the end of windows in which changes were left out.
    fn overdue(&mut self, now: Instant) -> Vec<LogLine> {
        let mut lines = Vec::new();
        self.0.retain(|check, window| {
            if window.until > now {
                return true;
            }
            if window.left_out > 0 {
                let (count, status) = (window.left_out, window.now.as_str());
                let times = if count == 1 { "once more".to_owned() } else { format!("{count} more times") };
                let text = format!("check `{check}` has changed {times} in {}, and is {status} now", span(WINDOW));
                lines.push(LogLine { is_bad: is_bad(window.now), text });
            }
            false
        });
        lines
    }
}

fn is_bad(status: Status) -> bool {
    !matches!(status, Status::Ok | Status::Skipped)
}

fn said(Change { before, now, summary, .. }: &Change) -> String {
    match before {
        None => format!("is {}: {summary}", now.as_str()),
        Some(before) if is_bad(*before) && !is_bad(*now) => {
            format!("is {} again, after {}: {summary}", now.as_str(), before.as_str())
        }
        Some(before) => format!("is {} now, after {}: {summary}", now.as_str(), before.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(before: Option<Status>, now: Status) -> Change {
        Change { check: Name::parse("wal").unwrap(), before, now, summary: "so it is".to_owned() }
    }

    fn text(line: Option<LogLine>) -> String {
        line.map(|line| format!("{} {}", if line.is_bad { "!" } else { "-" }, line.text)).unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn each_change_is_one_line() {
        let mut counted = LineCounts::default();
        let now = Instant::now();
        let mut said = |before, to| text(counted.line(&change(before, to), now));
        assert_eq!(said(None, Status::Ok), "");
        assert_eq!(said(None, Status::Unknown), "! check `wal` is unknown: so it is");
        assert_eq!(said(Some(Status::Ok), Status::Error), "! check `wal` is error now, after ok: so it is");
        assert_eq!(said(Some(Status::Error), Status::Ok), "- check `wal` is ok again, after error: so it is");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_flaps_is_counted() {
        let mut counted = LineCounts::default();
        let start = Instant::now();
        let flap = |counted: &mut LineCounts, at: u32| {
            let (before, to) =
                if at.is_multiple_of(2) { (Status::Ok, Status::Error) } else { (Status::Error, Status::Ok) };
            text(counted.line(&change(Some(before), to), start + Duration::from_secs(at.into())))
        };
        let lines: Vec<_> = (0..100).map(|at| flap(&mut counted, at)).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 10);
        assert!(lines[9].ends_with("the next changes are only counted, for 10 min at most"), "{}", lines[9]);
        assert_eq!(counted.overdue(start + WINDOW - Duration::from_secs(1)), []);
        let due = counted.overdue(start + WINDOW);
        assert_eq!(due[0].text, "check `wal` has changed 90 more times in 10 min, and is ok now");
        assert_eq!((due.len(), counted.overdue(start + WINDOW).len()), (1, 0));
        assert_ne!(flap(&mut counted, 600), "", "it is heard again");
    }
}
