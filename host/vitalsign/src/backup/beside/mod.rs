//! The files beside a database that belong to restores: where they are, and the journal of a swap.

pub(crate) mod destination;
pub(crate) mod relative_path;

pub(crate) mod replaced_folder;

pub(crate) mod journal;
