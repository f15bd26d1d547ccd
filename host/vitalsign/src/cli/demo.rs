//! `vitalsign demo`: a database with sample rows to try the commands on.

use super::{CommandFailure, Exit, args::DemoArgs, print};
use vitalsign_base::files;

pub(super) fn run(args: &DemoArgs) -> Result<Exit, CommandFailure> {
    let folder = args.dir.join("var");
    let path = folder.join("registry.sqlite");
    if path.exists() {
        return Err(CommandFailure::new(
            Exit::Refused,
            format!("{} exists already; nothing was changed", path.display()),
        )
        .hint("name another folder with --dir, or remove the file first"));
    }
    files::folder(&folder, None).map_err(|error| CommandFailure::io("make the folder", &folder, &error))?;
    vitalsign_sqlite::sample::create(&path, args.records, vitalsign_sqlite::sample::Keys::Declared)
        .map_err(|sentence| CommandFailure::new(Exit::Environment, sentence))?;
    print(&format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}
