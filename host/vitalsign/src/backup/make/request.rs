//! What a backup is asked to make.

use crate::backup::{Include, catalogue::manifest::Manifest};
use std::{path::Path, time::Duration};
use vitalsign_archive::{Compression, Tag, parse_file_name};
use vitalsign_sqlite::TransactionLimits;
/// What is needed beyond the archive itself: the record, the ledger, the folder.
pub(crate) const SPARE_BYTES: u64 = 1 << 20;

/// The size of an archive relative to its database, where no earlier archive shows it. JSON and text compress better than this.
const USUAL_RATIO: f64 = 0.5;

/// The margin for error of an estimate that comes from an earlier archive.
const RATIO_MARGIN: f64 = 1.1;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The database.
    pub db: &'a Path,
    /// What the operator calls the database; `None` for an identity of its file.
    pub identity: Option<&'a str>,
    /// The folder for the archive; made when it is not there.
    pub out: &'a Path,
    /// What is added to the archive's name.
    pub tag: Option<Tag>,
    /// How it is compressed.
    pub compression: Compression,
    /// How hard; `None` for the format's usual level.
    pub level: Option<u8>,
    /// Whether the files are kept as they lie on disk, unread by SQLite.
    pub raw: bool,
    /// Whether the archive is proven.
    pub verify: bool,
    /// Whether it is made also while another process works on the database in a way that the backup does not see.
    pub despite_other_writers: bool,
    /// Whether it may have fewer records than those before it, with which the check on backups then no longer compares it.
    pub accept_fewer_rows: bool,
    /// How long is waited for another backup or restore of the same database to end.
    pub wait: Duration,
    /// What the read transaction may use up.
    pub limits: TransactionLimits,
    /// The table that holds the records.
    pub records_table: &'a str,
    /// The table that holds the provenance.
    pub provenance_table: &'a str,
    /// What else of the registry goes into the archive, unless it is raw.
    pub include: &'a [Include],
    /// Where locks lie when the database's own folder may not be written.
    pub scratch: &'a Path,
}

/// About how large an archive of `bytes` will be, by the ratio of the newest one in the folder that has a record.
pub(crate) fn estimate(request: &Request<'_>, bytes: u64) -> u64 {
    let usual = if request.compression == Compression::None { 1.0 } else { USUAL_RATIO };
    let ratio = newest_ratio(request.out, request.compression).map_or(usual, |ratio| ratio * RATIO_MARGIN);
    scaled(bytes, ratio).saturating_add(SPARE_BYTES)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn newest_ratio(out: &Path, compression: Compression) -> Option<f64> {
    let names = crate::backup::catalogue::catalog::names(out).ok()?;
    let newest = names.iter().rev().find(|name| parse_file_name(name).is_some_and(|(.., kind)| kind == compression))?;
    let record = Manifest::of(&out.join(newest))?;
    (record.database_bytes > 0).then(|| record.bytes as f64 / record.database_bytes as f64)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate, and a float that is too large saturates"
)]
fn scaled(bytes: u64, ratio: f64) -> u64 {
    (bytes as f64 * ratio) as u64
}
