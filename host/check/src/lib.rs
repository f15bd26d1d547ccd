//! What a check is, and the report that checks fill.
//!
//! A built-in check and a plugin look the same from here. Knows no check, no schedule and no output format.

pub mod report;

mod contract;

pub use contract::{
    BadConfig, BoxFuture, Check, CheckInfo, Context, NoConfig, Outcome, Overrides, READY_GROUP, Schedule, Spec, every,
    parsed,
};
