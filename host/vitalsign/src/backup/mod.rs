//! Backups of a registry: making, verifying, listing, pruning and restoring them.
//!
//! Brings databases and archives together. Knows neither how a database is read (`sqlite`) nor how an archive is written
//! (`archive`), no configuration file and no terminal.

mod error;
mod jsonl;
mod progress;
mod schedule;
mod side_files;

mod catalogue;
mod in_use;
mod include;
mod locking;
mod space;

mod beside;
mod examination;

mod prove;

mod make;
mod restore;
mod reverify;

mod settings;

mod check;

#[cfg(test)]
mod tests;

pub use catalogue::catalog::{ArchiveState, CatalogEntry, last_made, list, newest_until};
pub use catalogue::manifest::{Checked, Examination, Manifest, Structure, Verdict, pin};
pub use catalogue::retention::{RetentionDecision, RetentionRules, plan, prune};
pub use check::{BackupCheck, LastRun, ROW};
pub use error::{Error, ErrorKind};
pub use include::{Include, wrongly_included};
pub use make::{
    create::{CreatedBackup, create},
    request::Request,
};
pub use progress::{Progress, Silent};
pub use prove::verify::{Verified, verify};
pub use restore::include::{IncludeDestination, RestoredPath};
pub use restore::preflight::{DatabaseSummary, ExistingDatabase, MustMatch, TableNames};
pub use restore::prepare::{Prepared, RestoreRequest, Restored, prepare};
pub use restore::replaced::{Replaced, prune_replaced, replaced};
pub use restore::undo::{UndoRequest, Undone, undo};
pub use reverify::{Proofs, ReverifyRound, ReverifySettings, RoundEnd, proven_at, reverify};
pub use schedule::{BadCronSchedule, CronSchedule};
pub use settings::Settings;
