//! Connections that only read: how a database is opened, what SQLite may do with its files, and what ends a read.

pub(crate) mod authorizer;
pub(crate) mod busy_handler;
pub(crate) mod watchdog;

pub(crate) mod functions;
pub(crate) mod vfs;

pub(crate) mod open;

pub(crate) mod pool;

pub(crate) mod database;
