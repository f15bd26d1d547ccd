//! Which configuration file it is, and where relative paths begin.
//!
//! Opens nothing; knows nothing of what is in the file.

use std::{
    ffi::OsString,
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{Error, show::ValueSource};
use crate::serve::Listen;

/// The environment variable that names the configuration file.
pub const VARIABLE: &str = "VITALSIGN_CONFIG";
/// Where a configuration file is looked for, in this order, when none is named.
pub const CANDIDATES: [&str; 2] = ["app/config/registry.config.json", "registry.config.json"];

/// What the command line and the environment say about the configuration.
#[derive(Clone, Copy)]
pub struct ConfigRequest<'a> {
    /// `--root`: where relative paths begin. `.` when it is not given, so that messages show short paths.
    pub root: &'a Path,
    /// `--config`.
    pub config: Option<&'a Path>,
    /// `--db`.
    pub db: Option<&'a Path>,
    /// What the command serves with; `None` for a command that does not serve.
    pub serve: Option<&'a ServeFlags>,
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
}

impl fmt::Debug for ConfigRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, config, db, serve, env: _ } = self;
        f.debug_struct("ConfigRequest")
            .field("root", root)
            .field("config", config)
            .field("db", db)
            .field("serve", serve)
            .finish_non_exhaustive()
    }
}

/// What a serving command says about its server.
#[derive(Clone, Debug)]
pub struct ServeFlags {
    /// `--listen`, which goes before the configuration's `server.listen`.
    pub listen: Option<Listen>,
    /// `--allow-public-details`: show details to whoever can connect, from anywhere.
    pub allow_public_details: bool,
    /// Finds the addresses of a name.
    pub look_up: fn(&str) -> io::Result<Vec<IpAddr>>,
}

/// The file to read and who named it.
#[derive(Debug)]
pub(super) struct ChosenFile {
    pub(super) file: PathBuf,
    pub(super) by: ValueSource,
}

/// The configuration file, if there is one.
pub(super) fn choose(asked: &ConfigRequest<'_>) -> Result<Option<ChosenFile>, Error> {
    // Seen as `./`, an empty root is the working directory; and what is not a folder fails here, not as "no file".
    std::fs::metadata(asked.root.join(".")).map_err(|source| Error::Root { root: asked.root.to_owned(), source })?;
    // An empty variable counts as none, as `VITALSIGN_CONFIG= vitalsign …` is how a shell unsets it for one command.
    let variable = (asked.env)(VARIABLE).filter(|value| !value.is_empty());
    let named = match (asked.config, &variable) {
        (Some(path), _) => Some((path, ValueSource::Flag("--config"))),
        (None, Some(path)) => Some((Path::new(path), ValueSource::Variable(VARIABLE))),
        (None, None) => None,
    };
    if let Some((path, by)) = named {
        let file = within(asked.root, path);
        return match std::fs::metadata(&file) {
            Ok(_) => Ok(Some(ChosenFile { file, by })),
            Err(source) => Err(Error::Named { file, by, source }),
        };
    }
    for candidate in CANDIDATES {
        let file = within(asked.root, Path::new(candidate));
        // Only a name that is not there at all is passed over; a link that leads nowhere is somebody's mistake.
        match std::fs::symlink_metadata(&file).and_then(|_| std::fs::metadata(&file)) {
            Ok(_) => return Ok(Some(ChosenFile { file, by: ValueSource::Found })),
            Err(source) if !is_absent(&file, &source) => return Err(Error::Unreadable { file, source }),
            Err(_) => {}
        }
    }
    Ok(None)
}

fn is_absent(file: &Path, why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        && std::fs::symlink_metadata(file).is_err()
}

/// `path` seen from `root`; a root of `.` adds nothing, so that messages show what the user wrote.
pub(super) fn within(root: &Path, path: &Path) -> PathBuf {
    if root.as_os_str().is_empty() || root == Path::new(".") { path.to_owned() } else { root.join(path) }
}
