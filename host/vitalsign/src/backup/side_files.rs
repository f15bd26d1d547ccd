//! The files that SQLite keeps beside a database.

/// The files that SQLite keeps beside a database.
pub(crate) const SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];
