//! The handle on one database. Making one touches nothing.
//!
//! What can be asked of a database is in `read`, where each question stands beside its answer.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::pool::Pool;

/// A handle on one database, cheap to clone. Making one touches nothing.
#[derive(Clone)]
pub struct Database {
    pub(crate) pool: Arc<Pool>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Database").field(&self.path()).finish()
    }
}

impl Database {
    /// A handle on the database at `path`, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { pool: Pool::new(path) }
    }

    /// Closes the connections that are kept for the next look, which otherwise happens a little later by itself.
    pub fn close_idle(&self) {
        self.pool.close_idle();
    }

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.pool.path()
    }
}
