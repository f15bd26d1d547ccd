//! Making an archive: a snapshot of the database, what else goes in, and the proof before it gets its name.

pub(crate) mod request;
pub(crate) mod snapshot;
pub(crate) mod spool;

pub(crate) mod gather;
pub(crate) mod raw;

pub(crate) mod create;
