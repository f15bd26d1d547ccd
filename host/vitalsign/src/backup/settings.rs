//! What backups are configured with. Does not know how a configuration is written.

use std::{path::PathBuf, time::Duration};

use vitalsign_archive::Compression;
use vitalsign_sqlite::TransactionLimits;

use crate::backup::{CronSchedule, Include, RetentionRules, ReverifySettings};

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
