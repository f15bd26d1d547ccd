//! What the configuration says of archives: how hard they are compressed, which are kept, and which are verified again.
//!
//! Part of settling; knows no other key.

use std::time::Duration;

use super::{defaults, locate::Spot, raw, settled::Settler};
use crate::backup::{Keep, Reverify};
use vitalsign_archive::Compression;

impl Settler<'_> {
    pub(super) fn level(&mut self, level: Option<u8>, compression: Compression, spot: &Spot<'_>) {
        self.ledger.note(spot, level.unwrap_or(compression.usual_level()));
        if level.is_some_and(|level| level > compression.highest_level()) {
            let most = compression.highest_level();
            self.fault(spot, format!("the highest level of `{}` is {most}", compression.as_str()));
        }
    }

    pub(super) fn keep(&mut self, raw: Option<raw::Keep>, spot: &Spot<'_>) -> Option<Keep> {
        let at = spot.key("keep");
        if raw.is_none() {
            self.ledger.note(&at, serde_json::Value::Null);
        }
        let keep = raw.map(|keep| {
            let mut number = |key: &str, written: Option<u32>| {
                self.ledger.note(&at.key(key), written.unwrap_or(0));
                written.unwrap_or(0)
            };
            Keep {
                last: number("last", keep.last),
                hourly: number("hourly", keep.hourly),
                daily: number("daily", keep.daily),
                weekly: number("weekly", keep.weekly),
                monthly: number("monthly", keep.monthly),
                yearly: number("yearly", keep.yearly),
            }
        });
        if keep == Some(Keep::default()) {
            self.fault(
                &at,
                "this would keep no archive at all; set `last` to 1 or more, or leave `keep` out to keep all",
            );
        }
        keep
    }

    /// When archives are verified again, and how old a proof may be.
    pub(super) fn reverify(&mut self, raw: &raw::Backup, spot: &Spot<'_>) -> (Option<Reverify>, Option<Duration>) {
        // Whoever has `serve` make archives expects it to look after them.
        let usual = if raw.schedule.is_some() { defaults::VERIFY_INTERVAL } else { Duration::ZERO };
        let every = raw.verify_interval_seconds.map_or(usual, Duration::from_secs);
        self.ledger.note(&spot.key("verifyIntervalSeconds"), every.as_secs());
        let budget = raw.verify_budget_seconds.map_or(defaults::VERIFY_BUDGET, Duration::from_secs);
        self.ledger.note(&spot.key("verifyBudgetSeconds"), budget.as_secs());
        let reverify = (!every.is_zero()).then_some(Reverify { every, budget });
        // Where nobody verifies again, every proof grows old, and that is nobody's fault until somebody asks for it.
        let usual = if reverify.is_some() { defaults::PROOF_AGE } else { Duration::ZERO };
        let age = raw.max_proof_age_seconds.map_or(usual, Duration::from_secs);
        self.ledger.note(&spot.key("maxProofAgeSeconds"), age.as_secs());
        (reverify, (!age.is_zero()).then_some(age))
    }

    /// What the operator calls the database.
    pub(super) fn identity(&mut self, written: Option<&String>, spot: &Spot<'_>) -> Option<String> {
        self.ledger.note(spot, written.map(String::as_str));
        if written.is_some_and(|written| written.trim() != written || written.chars().any(char::is_control)) {
            self.fault(spot, "it contains a control character, or begins or ends with a space");
        }
        written.cloned()
    }
}
