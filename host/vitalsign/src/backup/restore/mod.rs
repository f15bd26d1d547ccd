//! Restoring: what is there before, the swap, and the way back.

pub(crate) mod include;
pub(crate) mod preflight;
pub(crate) mod replaced;
pub(crate) mod swap;

pub(crate) mod prepare;
pub(crate) mod undo;
