//! What the configuration says of archives: how hard they are compressed, which are kept, and which are verified again.
//!
//! Part of settling; knows no other key.

use std::time::Duration;

use super::{defaults, effective::Resolver, json_cursor::Cursor, raw};
use crate::backup::{RetentionRules, ReverifySettings};
use vitalsign_archive::Compression;

impl Resolver<'_> {
    pub(super) fn level(&mut self, level: Option<u8>, compression: Compression, cursor: &Cursor<'_>) {
        self.effective_values.note(cursor, level.unwrap_or(compression.usual_level()));
        if level.is_some_and(|level| level > compression.highest_level()) {
            let most = compression.highest_level();
            self.fault(cursor, format!("the highest level of `{}` is {most}", compression.as_str()));
        }
    }

    pub(super) fn keep(&mut self, raw: Option<raw::Keep>, cursor: &Cursor<'_>) -> Option<RetentionRules> {
        let at = cursor.key("keep");
        if raw.is_none() {
            self.effective_values.note(&at, serde_json::Value::Null);
        }
        let keep = raw.map(|keep| {
            let mut number = |key: &str, written: Option<u32>| {
                self.effective_values.note(&at.key(key), written.unwrap_or(0));
                written.unwrap_or(0)
            };
            RetentionRules {
                last: number("last", keep.last),
                hourly: number("hourly", keep.hourly),
                daily: number("daily", keep.daily),
                weekly: number("weekly", keep.weekly),
                monthly: number("monthly", keep.monthly),
                yearly: number("yearly", keep.yearly),
            }
        });
        if keep == Some(RetentionRules::default()) {
            self.fault(
                &at,
                "this would keep no archive at all; set `last` to 1 or more, or leave `keep` out to keep all",
            );
        }
        keep
    }

    /// When archives are verified again, and how old a proof may be.
    pub(super) fn reverify(
        &mut self,
        raw: &raw::Backup,
        cursor: &Cursor<'_>,
    ) -> (Option<ReverifySettings>, Option<Duration>) {
        // Whoever has `serve` make archives expects it to look after them.
        let usual = if raw.schedule.is_some() { defaults::VERIFY_INTERVAL } else { Duration::ZERO };
        let every = raw.verify_interval_seconds.map_or(usual, Duration::from_secs);
        self.effective_values.note(&cursor.key("verifyIntervalSeconds"), every.as_secs());
        let budget = raw.verify_budget_seconds.map_or(defaults::VERIFY_BUDGET, Duration::from_secs);
        self.effective_values.note(&cursor.key("verifyBudgetSeconds"), budget.as_secs());
        let reverify = (!every.is_zero()).then_some(ReverifySettings { every, budget });
        // Where nobody verifies again, every proof grows old, and that is nobody's fault until somebody asks for it.
        let usual = if reverify.is_some() { defaults::PROOF_AGE } else { Duration::ZERO };
        let age = raw.max_proof_age_seconds.map_or(usual, Duration::from_secs);
        self.effective_values.note(&cursor.key("maxProofAgeSeconds"), age.as_secs());
        (reverify, (!age.is_zero()).then_some(age))
    }

    /// What the operator calls the database.
    pub(super) fn identity(&mut self, written: Option<&String>, cursor: &Cursor<'_>) -> Option<String> {
        self.effective_values.note(cursor, written.map(String::as_str));
        if written.is_some_and(|written| written.trim() != written || written.chars().any(char::is_control)) {
            self.fault(cursor, "it contains a control character, or begins or ends with a space");
        }
        written.cloned()
    }
}
