//! Whether every foreign key refers to a row that is there.
//!
//! Goes through each table in slices of rows, each a short read of its own, so that a large table never holds up the
//! write-ahead log. Rows written meanwhile may be seen or not; rows that were there before are all seen.

use std::time::Duration;

use super::{Builtin, NoConfig, Settings, almost, every, failed, finding, number, worst};
use vitalsign_base::{
    clock::{Deadline, Stopwatch},
    value::{grouped, printable},
};
use vitalsign_check::{
    Outcome, Schedule,
    report::{Finding, Measure, Status, Weight},
};
use vitalsign_sqlite::{Database, ForeignKey, Parent, Slice};

/// Rows in the first slice of each table: well within a read's time even when each row costs a disk access.
const FIRST_SLICE: u32 = 500;

/// Rows in a slice at most.
const LARGEST_SLICE: u32 = 1 << 20;

/// A slice that took less is followed by one twice as large; the time of a read is 50 ms.
const QUICK: Duration = Duration::from_millis(10);

/// A slice that took more is followed by one half as large.
const SLOW: Duration = Duration::from_millis(25);

pub(super) struct ForeignKeysCheck {
    registry: Database,
}

/// What going through one key's rows came to.
#[derive(Default)]
struct Walk {
    rows: u64,
    broken: u64,
    example: Option<String>,
    /// What kept it from the end.
    stopped: Option<vitalsign_sqlite::Error>,
}

impl Builtin for ForeignKeysCheck {
    type Config = NoConfig;
    const NAME: &'static str = "foreign-keys";
    const SUMMARY: &'static str = "Every foreign key refers to a row that is there.";

    fn schedule() -> Schedule {
        Schedule { timeout: Duration::from_secs(10), ..every(5 * 60, Weight::Ordinary) }
    }

    fn new(registry: &Database, _: &Settings, _: NoConfig) -> Self {
        Self { registry: registry.clone() }
    }

    fn look(&self, deadline: Deadline) -> Outcome {
        let deadline = almost(deadline);
        let keys = match self.registry.look(deadline, |snapshot| snapshot.foreign_keys()) {
            Ok(keys) => keys,
            Err(error) => return failed(&error),
        };
        if keys.is_empty() {
            return Outcome::new("no foreign key is declared");
        }
        let mut outcome = Outcome::default();
        let (mut rows, mut broken) = (0, 0);
        for key in &keys {
            if key.parent_is == Parent::Mismatched {
                outcome.findings.push(mismatched(key));
                continue;
            }
            let walk = self.walk(key, deadline);
            rows += walk.rows;
            broken += walk.broken;
            outcome.findings.extend(violated(key, &walk));
            outcome.findings.extend(unfinished(key, &walk));
        }
        outcome.summary = match worst(&outcome.findings) {
            Some(worst) => worst.message.clone(),
            None if keys.len() == 1 => format!("1 foreign key holds for {} rows", grouped(rows)),
            None => format!("{} foreign keys hold for {} rows", keys.len(), grouped(rows)),
        };
        outcome.measures.push(Measure::new("foreign_keys", number(u64::try_from(keys.len()).unwrap_or(u64::MAX)), ""));
        outcome.measures.push(Measure::new("violations", number(broken), "rows"));
        outcome
    }
}

impl ForeignKeysCheck {
    fn walk(&self, key: &ForeignKey, deadline: Deadline) -> Walk {
        let mut walk = Walk::default();
        let mut slice = Slice { after: None, rows: FIRST_SLICE };
        loop {
            let watch = Stopwatch::start();
            let can_shrink = key.can_be_sliced() && slice.rows > 1;
            let found = match can_shrink {
                true => self.registry.read_part(deadline, |snapshot| snapshot.broken_references(key, slice)),
                false => self.registry.look(deadline, |snapshot| snapshot.broken_references(key, slice)),
            };
            match found {
                Ok(sliced) => {
                    walk.rows += sliced.rows;
                    walk.broken += sliced.broken;
                    walk.example = walk.example.or(sliced.example);
                    let Some(last) = sliced.last else { return walk };
                    slice.after = Some(last);
                    slice.rows = next_size(slice.rows, watch.elapsed());
                }
                Err(vitalsign_sqlite::Error::OutOfTime { .. }) if can_shrink && !deadline.has_passed() => {
                    slice.rows = (slice.rows / 4).max(1);
                }
                Err(error) => {
                    walk.stopped = Some(error);
                    return walk;
                }
            }
        }
    }
}

fn next_size(rows: u32, took: Duration) -> u32 {
    match took {
        took if took < QUICK => (rows * 2).min(LARGEST_SLICE),
        took if took > SLOW => (rows / 2).max(1),
        _ => rows,
    }
}

/// A key as people write it: `orders(customer)`.
fn shown(table: &str, columns: &[String]) -> String {
    printable(&format!("{table}({})", columns.join(", ")), 200)
}

fn mismatched(key: &ForeignKey) -> Finding {
    let (child, parent) = (shown(&key.table, &key.columns), shown(&key.parent, &key.parent_columns));
    let message = format!("`{child}` refers to `{parent}`, which is not unique: SQLite refuses to write such rows");
    Finding::new(Status::Warn, "foreign-key-mismatch", message)
        .subject(printable(&key.table, 100))
        .hint("make a unique index on the columns that are referred to, or correct the foreign key")
}

fn violated(key: &ForeignKey, walk: &Walk) -> Option<Finding> {
    let example = printable(walk.example.as_deref()?, 200);
    let (child, parent) = (shown(&key.table, &key.columns), printable(&key.parent, 100));
    let rows = if walk.broken == 1 { "1 row".to_owned() } else { format!("{} rows", grouped(walk.broken)) };
    let verb = if walk.broken == 1 { "refers" } else { "refer" };
    let missing = if key.parent_is == Parent::Missing { "the table" } else { "rows of" };
    let gone = if key.parent_is == Parent::Missing { ", which does not exist" } else { " that do not exist" };
    let message = format!("{rows} of `{child}` {verb} to {missing} `{parent}`{gone}, such as {example}");
    let hint = "list them with `PRAGMA foreign_key_check`, then add what they refer to or remove them";
    Some(Finding::new(Status::Error, "foreign-key-violation", message).subject(printable(&key.table, 100)).hint(hint))
}

fn unfinished(key: &ForeignKey, walk: &Walk) -> Option<Finding> {
    let error = walk.stopped.as_ref()?;
    // A lock that was met on the way is one that was waited for until the end of the time.
    let ran_out_of_time = match error {
        vitalsign_sqlite::Error::OutOfTime { .. } => true,
        vitalsign_sqlite::Error::Locked { .. } => walk.rows > 0,
        _ => false,
    };
    if !ran_out_of_time {
        return Some(finding(error).subject(printable(&key.table, 100)));
    }
    let child = shown(&key.table, &key.columns);
    let (why, hint) = if key.can_be_sliced() {
        (
            format!("only {} rows of `{child}` could be looked at in time", grouped(walk.rows)),
            "enlarge `timeoutMs` of `health.checks.foreign-keys`",
        )
    } else {
        (
            format!("`{child}` has no rowid and is too large to be looked at in one short read"),
            "run `PRAGMA foreign_key_check` on a copy of the database, such as a backup",
        )
    };
    Some(Finding::new(Status::Unknown, "incomplete", why).subject(printable(&key.table, 100)).hint(hint))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::testing::*, *};
    use crate::testing::Scene;

    #[test]
    fn nothing_is_declared() {
        insta::assert_snapshot!(run(&Scene::with(REGISTRY), "foreign-keys"), @"ok: no foreign key is declared");
    }

    #[test]
    fn keys_that_hold() {
        let scene = Scene::with(
            "CREATE TABLE p(id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1); CREATE TABLE c(p REFERENCES p); \
             INSERT INTO c WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 3000) SELECT 1 FROM r;",
        );
        insta::assert_snapshot!(run(&scene, "foreign-keys"), @"
        ok: 1 foreign key holds for 3,000 rows
        * foreign_keys = 1
        * violations = 0 rows
        ");
    }

    #[test]
    fn keys_that_are_broken() {
        let scene = Scene::with(
            "PRAGMA foreign_keys = off; CREATE TABLE p(id INTEGER PRIMARY KEY, n); \
             CREATE TABLE c(p REFERENCES p); INSERT INTO c VALUES (7), (8), (NULL); \
             CREATE TABLE d(g REFERENCES gone); INSERT INTO d VALUES (1); CREATE TABLE e(n REFERENCES p(n));",
        );
        insta::assert_snapshot!(run(&scene, "foreign-keys"), @"
        error: 2 rows of `c(p)` refer to rows of `p` that do not exist, such as p=7
        - error foreign-key-violation: 2 rows of `c(p)` refer to rows of `p` that do not exist, such as p=7
          about c
          list them with `PRAGMA foreign_key_check`, then add what they refer to or remove them
        - error foreign-key-violation: 1 row of `d(g)` refers to the table `gone`, which does not exist, such as g=1
          about d
          list them with `PRAGMA foreign_key_check`, then add what they refer to or remove them
        - warn foreign-key-mismatch: `e(n)` refers to `p(n)`, which is not unique: SQLite refuses to write such rows
          about e
          make a unique index on the columns that are referred to, or correct the foreign key
        * foreign_keys = 3
        * violations = 3 rows
        ");
    }

    #[test]
    fn slices_adapt() {
        let after = |millis| next_size(1000, Duration::from_millis(millis));
        assert_eq!([after(1), after(15), after(40)], [2000, 1000, 500]);
        assert_eq!(next_size(LARGEST_SLICE, Duration::ZERO), LARGEST_SLICE);
    }
}
