//! The archives of a folder: the record beside each, failed attempts, retention.

pub(crate) mod attempt;
pub(crate) mod lost_rows;
pub(crate) mod manifest;

pub(crate) mod catalog;
pub(crate) mod retention;
