//! What is known of the files of a database without a connection: their names, their bytes, and who has them open here.

pub(crate) mod database_files;
pub(crate) mod header;
pub(crate) mod open_handles;
pub(crate) mod wal_checksum;
