//! Whether a folder has room for what is written next.

use crate::backup::Error;
use std::path::Path;
use vitalsign_base::files::{self};
/// Fails when the folder has less free space than `needed` bytes.
pub(crate) fn require_space(folder: &Path, needed: u64) -> Result<(), Error> {
    let free = files::free_bytes(folder).map_err(|error| Error::io("find out the free space of", folder, error))?;
    if free >= needed { Ok(()) } else { Err(Error::Space { folder: folder.to_owned(), free, needed }) }
}
