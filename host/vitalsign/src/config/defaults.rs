//! What holds when the configuration does not say: the values that the contract names.
//!
//! Defaults that belong to a check or a plugin live with it, in its own room.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::serve::Listen;
use vitalsign_check::{Schedule, report::Weight};

/// The database.
pub(super) const DB: &str = "var/registry.sqlite";
/// The table of records.
pub(super) const RECORDS: &str = "records";
/// The table of provenance.
pub(super) const PROVENANCE: &str = "provenance";
/// Free bytes below which the disk is an error: 256 MiB.
pub(super) const MIN_FREE_BYTES: u64 = 256 << 20;
/// The folder for archives.
pub(super) const BACKUP_DIR: &str = "artifacts/registry/backups";
/// The age of the newest archive: a day, and two hours for a backup that is late.
pub(super) const BACKUP_AGE: Duration = Duration::from_secs(26 * 3600);
/// The time of a backup's read transaction: 400 GB at the speed of an ordinary machine.
pub(super) const BACKUP_TIME: Duration = Duration::from_secs(3600);
/// What the write-ahead log may grow by meanwhile: 4 GiB.
pub(super) const BACKUP_WAL_GROWTH: u64 = 4 << 30;
/// How often `serve` verifies archives again, where it makes them: the nights are quiet, and a day's loss is told within a day.
pub(super) const VERIFY_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// How long that may go on before no further archive is begun: some hundred GB at the speed of an ordinary disk, and less than one percent of a day.
pub(super) const VERIFY_BUDGET: Duration = Duration::from_secs(600);
/// The age of the oldest proof, where archives are verified again: each day verifies one archive at least, and the usual rules keep
/// about 30, so this is twice as long as a full round takes.
pub(super) const PROOF_AGE: Duration = Duration::from_secs(60 * 24 * 3600);
/// Where the server listens.
pub(super) const LISTEN: Listen = Listen::Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080));

/// When a plugin runs: once a minute, and no plugin is critical unless its operator says so.
pub(super) fn plugin_schedule(timeout: Duration) -> Schedule {
    Schedule {
        enabled: true,
        weight: Weight::Ordinary,
        interval: Duration::from_secs(60),
        timeout,
        failure_threshold: 1,
        success_threshold: 1,
        groups: Vec::new(),
    }
}

/// A duration in whole milliseconds, as the configuration writes it.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
