//! How a long operation tells of its progress. Knows no terminal.

/// Receives the progress of a long operation. Every call must be cheap.
pub trait Progress: Sync {
    /// Something begins that handles so many bytes in all.
    fn begin(&self, doing: &'static str, bytes: u64);
    /// So many of them are done.
    fn at(&self, bytes: u64);
    /// It is over.
    fn end(&self);
    /// Whether the operation should stop; asked until something at its destination is changed.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Shows no progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &'static str, _: u64) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}
}
