//! A report rendered once and handed out many times.
//!
//! Knows no route and no header. What it hands out is never older than [`MAX_AGE`] and never misses a result.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use tokio::time::Instant;

use crate::{
    render::json,
    run::{Chosen, Runner},
};
use vitalsign_check::report::{Report, Severity};

/// How far the ages in a rendered report may lag behind: too little for a person or a scraper to see, and long enough that
/// rendering costs nothing beside a thousand requests a second.
pub(super) const MAX_AGE: Duration = Duration::from_millis(100);

/// A rendered report and what it adds up to.
#[derive(Clone)]
pub(super) struct Rendered {
    pub(super) severity: Severity,
    pub(super) body: Bytes,
}

impl Rendered {
    fn of(report: &Report) -> Self {
        Self { severity: report.status, body: json::compact(report).into() }
    }
}

/// The rendered report on some checks.
pub(super) struct ReportCache {
    /// Which checks; `None` for every one that is enabled.
    chosen: Option<Chosen>,
    kept: Mutex<Option<CachedReport>>,
}

struct CachedReport {
    rendered: Rendered,
    version: u64,
    until: Instant,
}

impl ReportCache {
    pub(super) fn new(chosen: Option<Chosen>) -> Self {
        Self { chosen, kept: Mutex::new(None) }
    }

    /// The report as it is now, or was up to [`MAX_AGE`] ago if no result has come in since.
    pub(super) fn get(&self, runner: &Runner) -> Rendered {
        // Held while rendering, so that a thousand requests at one moment render once.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the report: a result that arrives in between makes the next request render again.
        let (now, version) = (Instant::now(), runner.version());
        match &*kept {
            Some(kept) if kept.version == version && now < kept.until => kept.rendered.clone(),
            _ => {
                let report = match &self.chosen {
                    Some(chosen) => runner.report_of(chosen),
                    None => runner.report(),
                };
                let rendered = Rendered::of(&report);
                *kept = Some(CachedReport { rendered: rendered.clone(), version, until: now + MAX_AGE });
                rendered
            }
        }
    }
}
