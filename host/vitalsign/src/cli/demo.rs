//! `vitalsign demo`: a database with sample rows to try the commands on.

use super::{Exit, Failure, args::DemoArgs, print};
use vitalsign_base::files;

pub(super) fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    let folder = args.dir.join("var");
    let path = folder.join("registry.sqlite");
    if path.exists() {
        return Err(Failure::new(Exit::Refused, format!("{} exists already; nothing was changed", path.display()))
            .hint("name another folder with --dir, or remove the file first"));
    }
    files::folder(&folder, None).map_err(|error| Failure::io("make the folder", &folder, &error))?;
    vitalsign_sqlite::sample::create(&path, args.records, vitalsign_sqlite::sample::Keys::Declared)
        .map_err(|sentence| Failure::new(Exit::Environment, sentence))?;
    print(&format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}
