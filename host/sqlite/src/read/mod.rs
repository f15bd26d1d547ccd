//! Everything that is read from a database: in a snapshot, or from what the system says of its files.

pub(crate) mod btree;
pub(crate) mod detached_processes;
pub(crate) mod private_copy;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod retry;
pub(crate) mod snapshot;
pub(crate) mod version;
pub(crate) mod wal_index;

pub(crate) mod check_constraints;
pub(crate) mod count;
pub(crate) mod dump;
pub(crate) mod foreign_keys;
pub(crate) mod integrity_check;
pub(crate) mod location;
pub(crate) mod transaction;
pub(crate) mod wal_chain;

pub(crate) mod examine;
pub(crate) mod long_read;
