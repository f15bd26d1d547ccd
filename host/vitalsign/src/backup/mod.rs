//! Backups of a registry: making, verifying, listing, pruning and restoring them.
//!
//! Brings databases and archives together. Knows neither how a database is read (`sqlite`) nor how an archive is written
//! (`archive`), no configuration file and no terminal.

mod attempt;
mod catalog;
mod check;
mod create;
mod error;
mod include;
mod journal;
mod jsonl;
mod lost_rows;
mod manifest;
mod plain_copy;
mod preflight;
mod raw;
mod relative_path;
mod replaced;
mod replaced_folder;
mod restore;
mod retention;
mod reverify;
mod schedule;
mod snapshot;
mod spool;
mod swap;
#[cfg(test)]
mod tests;
mod undo;
mod unpack;
mod verify;

use std::{path::PathBuf, time::Duration};

pub use catalog::{ArchiveState, CatalogEntry, last_made, list, newest_until};
pub use check::{BackupCheck, LastRun, ROW};
pub use create::{CreatedBackup, Request, create};
pub use error::{Error, ErrorKind};
pub use include::{Include, IncludeDestination, RestoredPath, wrongly_included};
pub use manifest::{Checked, Examination, Manifest, Structure, Verdict, pin};
pub use preflight::{DatabaseSummary, ExistingDatabase, MustMatch, TableNames};
pub use replaced::{Replaced, prune_replaced, replaced};
pub use restore::{Prepared, RestoreRequest, Restored, prepare};
pub use retention::{RetentionDecision, RetentionRules, plan, prune};
pub use reverify::{Proofs, ReverifyRound, ReverifySettings, RoundEnd, proven_at, reverify};
pub use schedule::{BadCronSchedule, CronSchedule};
pub use undo::{UndoRequest, Undone, undo};
pub use verify::{Verified, verify};

use vitalsign_archive::Compression;
use vitalsign_sqlite::TransactionLimits;

/// What backups are configured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether the configuration says anything about backups; if not, there do not have to be any.
    pub configured: bool,
    /// The folder for archives.
    pub dir: PathBuf,
    /// What the operator calls the database; `None` for an identity of its file.
    pub identity: Option<String>,
    /// How archives are compressed.
    pub compression: Compression,
    /// How hard; `None` for the format's usual level.
    pub level: Option<u8>,
    /// The age past which the newest archive is too old.
    pub max_age: Option<Duration>,
    /// Which archives are kept; `None` keeps all.
    pub keep: Option<RetentionRules>,
    /// When `serve` makes one; `None` for never.
    pub schedule: Option<CronSchedule>,
    /// When `serve` verifies archives again; `None` for never.
    pub reverify: Option<ReverifySettings>,
    /// The age past which the proof of an archive is too old.
    pub max_proof_age: Option<Duration>,
    /// What the read transaction of a backup may use up.
    pub limits: TransactionLimits,
    /// What else of the registry goes into its archives; `None` where the database is not that of the registry.
    pub include: Option<Vec<Include>>,
}

impl Settings {
    /// What goes into an archive beside the database.
    #[must_use]
    pub fn included(&self) -> &[Include] {
        self.include.as_deref().unwrap_or_default()
    }
}

/// A path as text: it need not be UTF-8, and JSON has nothing else.
fn as_text<S: serde::Serializer>(path: &std::path::Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}

/// Receives the progress of a long operation. Every call must be cheap.
pub trait Progress: Sync {
    /// Something begins that handles so many bytes in all.
    fn begin(&self, doing: &'static str, bytes: u64);
    /// So many of them are done.
    fn at(&self, bytes: u64);
    /// It is over.
    fn end(&self);
    /// Whether the operation should stop; asked until something at its destination is changed.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Shows no progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &'static str, _: u64) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}
}
