//! What every other crate of Vitalsign stands on: basic types, the clock, and the file system.
//!
//! Knows no database, no archive and no check.

pub mod value;

pub mod clock;
pub mod files;
