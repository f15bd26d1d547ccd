//! Settles the assertions written in SQL: their names, their thresholds, their schedules.
//!
//! Runs no statement: whether it fits the database shows when the check runs.

use std::{collections::HashMap, time::Duration};

use super::{defaults, effective::Resolver, json_cursor::Cursor, raw};
use crate::checks;
use vitalsign_base::value::Name;

impl Resolver<'_> {
    /// The assertions in the order of the file, with what `health.checks` changes of them, by name. `taken` says who has a name.
    pub(super) fn assertions(
        &mut self,
        config: &raw::Config,
        top: &Cursor<'_>,
        taken: &mut HashMap<String, String>,
    ) -> (Vec<checks::Assertion>, Vec<(String, checks::CheckSettings)>) {
        let (mut assertions, mut changes) = (Vec::new(), Vec::new());
        let health = config.health.as_ref();
        for (index, raw) in health.and_then(|health| health.sql.as_ref()).into_iter().flatten().enumerate() {
            let cursor = top.key("health").key("sql").index(index);
            let Some(name) = self.free_name(&cursor, &raw.name, taken) else { continue };
            assertions.push(self.assertion(name, raw, &cursor));
            let at = top.key("health").key("checks").key(&raw.name);
            let check = health.and_then(|health| health.checks.as_ref()?.get(&raw.name));
            let place = at.key("config");
            if place.written().is_some() {
                self.fault(
                    &place,
                    format!("`{}` is an assertion; everything of it stands in `{}`", raw.name, cursor.path()),
                );
            }
            let (overrides, _) = self.schedule(&at, check, checks::assertion_schedule(), true);
            if check.is_some() {
                changes
                    .push((raw.name.clone(), checks::CheckSettings { overrides, ..checks::CheckSettings::default() }));
            }
        }
        (assertions, changes)
    }

    fn assertion(&mut self, name: Name, raw: &raw::Assertion, cursor: &Cursor<'_>) -> checks::Assertion {
        let raw::Assertion { warn, error, warn_below, error_below, .. } = *raw;
        let thresholds = checks::Thresholds { warn, error, warn_below, error_below };
        if let Some(flaw) = thresholds.flaw() {
            self.fault(cursor, format!("{flaw} (assertion `{name}`)"));
        }
        self.no_nul(&cursor.key("sql"), &raw.sql);
        let time = raw.sql_time_ms.map_or(checks::USUAL_SQL_TIME, Duration::from_millis);
        self.effective_values.note(&cursor.key("name"), name.as_str());
        self.effective_values.note(&cursor.key("sql"), raw.sql.as_str());
        for (key, threshold) in
            [("warn", warn), ("error", error), ("warnBelow", warn_below), ("errorBelow", error_below)]
        {
            self.effective_values.note(&cursor.key(key), threshold);
        }
        self.effective_values.note(&cursor.key("hint"), raw.hint.clone());
        self.effective_values.note(&cursor.key("sqlTimeMs"), defaults::millis(time));
        let key = cursor.path().to_owned();
        checks::Assertion { name, key, sql: raw.sql.clone(), thresholds, time, hint: raw.hint.clone() }
    }
}
