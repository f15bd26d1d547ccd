//! SQLite databases, opened for looking.
//!
//! The only room that knows rusqlite. Looking never creates or changes a file, and leaves none behind: how that is done
//! stands in `open`. Knows no check, no plugin and no report; what it cannot read it names as a [`Error`].

mod error;
pub mod sample;

mod checkpoint;
mod file;

mod connection;

mod read;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

// The scenes for tests are compiled into other crates too, and name this one.
#[cfg(test)]
extern crate self as vitalsign_sqlite;

pub use checkpoint::checkpoint;
pub use connection::database::Database;
pub use error::Error;
pub use file::database_files::DatabaseFiles;
pub use file::header::promised_bytes;
pub use read::count::RowCount;
pub use read::detached_processes::{DetachedProcess, Detachment};
pub use read::dump::{Cell, Facts};
pub use read::examine::{Depth, Examined};
pub use read::foreign_keys::{ForeignKey, Parent, Slice, Sliced};
pub use read::integrity_check::{Cancel, IntegrityPart, IntegrityResult, StopReason};
pub use read::location::{Location, Obstacle};
pub use read::long_read::TransactionLimits;
pub use read::private_copy::PrivateCopy;
pub use read::problem::{Problem, ProblemKind};
pub use read::query::{QueryCaps, QueryError, Rows, Value};
pub use read::snapshot::Snapshot;
pub use read::transaction::READ_BUDGET;
pub use read::version::{Version, linked_version};
pub use read::wal_chain::BadFrame;
pub use read::wal_index::{CheckpointBlocker, WalState, frame_bytes};
