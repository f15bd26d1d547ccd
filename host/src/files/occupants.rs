//! Which processes have a file open, as far as `/proc` tells this user.
//!
//! Another user's processes show only to root. Opens nothing but `/proc`.

use std::{fs, os::unix::fs::MetadataExt as _};

use super::FileId;
use crate::value::printable;

/// Descriptors looked at in all: far more than a machine has open, and an end.
const MAX_DESCRIPTORS: usize = 4_000_000;

/// A process that has a file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Its number.
    pub pid: u32,
    /// What it calls itself.
    pub name: String,
}

/// The processes that have one of these files open, this one left out, in order of their numbers.
#[must_use]
pub fn occupants(files: &[FileId]) -> Vec<Occupant> {
    let own = std::process::id();
    let mut budget = MAX_DESCRIPTORS;
    let mut out = Vec::new();
    // A process that ends meanwhile has nothing open any more, so every error here is an answer.
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let pid = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != own) else { continue };
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let has_one = descriptors.take(budget).any(|descriptor| {
            budget = budget.saturating_sub(1);
            fs::metadata(descriptor.path())
                .is_ok_and(|found| files.contains(&FileId { device: found.dev(), inode: found.ino() }))
        });
        if has_one {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            out.push(Occupant { pid, name: printable(name.trim(), 64) });
        }
    }
    out.sort_by_key(|occupant| occupant.pid);
    out
}
