//! `vitalsign pin` and `vitalsign unpin`: archives that no retention rule removes.

use super::{
    CommandFailure, Exit,
    args::{Global, PinArgs},
    print, within,
};
use crate::backup;
use vitalsign_base::clock::SystemClock;

pub(super) fn run(global: &Global, args: &PinArgs, pinned: bool) -> Result<Exit, CommandFailure> {
    for archive in &args.archives {
        let archive = within(global, archive);
        backup::pin(&archive, pinned, &SystemClock).map_err(|failure| CommandFailure::backup(&failure))?;
        let word = if pinned { "pinned" } else { "no longer pinned" };
        print(&format!("{} is {word}\n", archive.display()))?;
    }
    Ok(Exit::Done)
}
