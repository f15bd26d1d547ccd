//! From a plugin's settings to a plugin that can run: read its file, compare it with the lock file, make the component ready,
//! ask it to describe itself, compare its needs with its grants. Each way in which this fails has one precise sentence.
//!
//! Knows no schedule. The bytes that are hashed are the bytes that are compiled.

use std::{io, path::Path, sync::Arc};

use tokio::{runtime::Handle, task::spawn_blocking};

use super::{
    Plugins, RuntimeError,
    abi::Description,
    capability::Capabilities,
    component::{self, ComponentBytes, ComponentError, Loaded},
    guest::{self, GuestError},
    lock::LockEntry,
    settings::PluginSettings,
};
use vitalsign_base::{
    clock::Stopwatch,
    files,
    value::{self, Digest, Name},
};

/// Why a plugin could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No plugin can run on this machine.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Its path leads to the registry's database. Opening and closing that would drop the locks that this process holds on it.
    #[error("the component {path} is the database or a part of it, and was not opened")]
    IsDatabase {
        /// The path as configured.
        path: String,
    },
    /// Its file could not be read.
    #[error("the component {path} cannot be read ({source})")]
    Unreadable {
        /// The path as configured.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its file is larger than `componentBytes`.
    #[error("the component {path} is larger than its limit of {}", value::bytes(*.limit))]
    TooLarge {
        /// The path as configured.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// It is not WebAssembly at all.
    #[error("{path} is not WebAssembly")]
    NotWasm {
        /// The path as configured.
        path: String,
    },
    /// It is a core module.
    #[error("{path} is a core WebAssembly module, not a component")]
    CoreModule {
        /// The path as configured.
        path: String,
    },
    /// The lock file does not name it.
    #[error("the plugin {name} is not in the lock file")]
    NotLocked {
        /// The plugin's name.
        name: Name,
    },
    /// The lock file names another digest.
    #[error(
        "the component {path} has the SHA-256 {found}, but the lock file pins {locked}: it was changed or replaced"
    )]
    Changed {
        /// The path as configured.
        path: String,
        /// What was found.
        found: Digest,
        /// What the lock file says.
        locked: Digest,
    },
    /// The component cannot be used.
    #[error("the component {path} {unfit}")]
    Component {
        /// The path as configured.
        path: String,
        /// Why.
        unfit: Arc<ComponentError>,
    },
    /// It failed when it was asked what it is.
    #[error("the component {path} could not describe itself: it {error}")]
    Describe {
        /// The path as configured.
        path: String,
        /// How it failed.
        error: GuestError,
    },
    /// It needs a grant that it does not have.
    #[error("the plugin {name} needs the grant {grant} and does not have it")]
    Grant {
        /// The plugin's name.
        name: Name,
        /// What it needs, as in the configuration.
        grant: String,
    },
    /// A bug of ours.
    #[error("the component {path} could not be loaded, because of a bug in Vitalsign")]
    Panicked {
        /// The path as configured.
        path: String,
    },
}

impl LoadError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Runtime(_) => "no-engine",
            Self::IsDatabase { .. } => "component-is-database",
            Self::Unreadable { .. } => "component-unreadable",
            Self::TooLarge { .. } => "component-too-large",
            Self::NotWasm { .. } => "not-wasm",
            Self::CoreModule { .. } => "core-module",
            Self::NotLocked { .. } => "not-locked",
            Self::Changed { .. } => "digest-mismatch",
            Self::Component { unfit, .. } => unfit.code(),
            Self::Describe { .. } => "describe-failed",
            Self::Grant { .. } => "grant-missing",
            Self::Panicked { .. } => "not-loaded",
        }
    }

    /// What to do now, for the plugin `name`.
    #[must_use]
    pub fn hint(&self, name: &Name) -> String {
        match self {
            Self::Runtime(_) => "Give this process more address space and threads (`ulimit -v`, `ulimit -u`).".into(),
            Self::Unreadable { .. } => {
                format!("Check `plugins[].component` of the plugin {name} and the permissions of the file.")
            }
            Self::TooLarge { .. } => {
                format!("Raise `plugins[].limits.componentBytes` of the plugin {name} if you trust the component.")
            }
            Self::IsDatabase { .. } | Self::NotWasm { .. } => {
                format!("Set `plugins[].component` of the plugin {name} to the .wasm file that its build made.")
            }
            Self::CoreModule { .. } => "Build it for a target that makes components, such as wasm32-wasip2.".into(),
            Self::NotLocked { .. } => "Run `vitalsign plugin lock` if this plugin is meant to be here.".into(),
            Self::Changed { .. } => {
                "If the change is yours, run `vitalsign plugin lock`. If not, find out who replaced the file.".into()
            }
            Self::Component { unfit, .. } => unfit.hint(name),
            Self::Describe { error, .. } => error.hint(name),
            Self::Grant { grant, .. } => {
                format!("Add {grant} to `plugins[].grants` of the plugin {name}, or remove the plugin.")
            }
            Self::Panicked { .. } => "Report it to the authors of Vitalsign.".into(),
        }
    }
}

/// What [`load`] tells while it works.
#[derive(Clone, Copy)]
pub(super) enum LoadProgress {
    /// The component was read and has this digest; the lock file may still refuse it.
    Digest(Digest),
    /// The component is being compiled or waits for its turn, since then.
    Compiling(Stopwatch),
}

/// Loads a plugin, and gives what it says of itself. `tell` is called with what is known on the way.
///
/// # Errors
/// Why the plugin cannot be loaded. Another call may succeed.
pub(super) async fn load(
    plugins: &Arc<Plugins>,
    settings: &Arc<PluginSettings>,
    pin: LockEntry,
    tell: impl Fn(LoadProgress),
) -> Result<(Arc<Loaded>, Description), LoadError> {
    let broke_off = || LoadError::Panicked { path: settings.written.clone() };
    let runtime = plugins.runtime().await?;
    let (reading, registry) = (Arc::clone(settings), plugins.registry.clone());
    let (digest, bytes) = runtime.in_turn(move || read(&reading, registry.path(), pin)).await.ok_or_else(broke_off)?;
    digest.map(LoadProgress::Digest).into_iter().for_each(&tell);
    let bytes = bytes?;
    let read = ComponentBytes { digest: digest.ok_or_else(broke_off)?, bytes };
    let ready =
        component::ready(runtime, &plugins.components, settings, read, |since| tell(LoadProgress::Compiling(since)));
    let ready = ready.await.map_err(|unfit| LoadError::Component { path: settings.written.clone(), unfit })?;
    let loaded = Arc::new(Loaded { runtime: Arc::clone(runtime), ready });
    let (asked, whom) = (Arc::clone(&loaded), Arc::clone(settings));
    // On a thread of its own, as every guest that runs.
    let description = spawn_blocking(move || Handle::current().block_on(guest::describe(&asked, &whom)));
    let description = description.await.map_err(|_| broke_off())?;
    let description = description.map_err(|error| LoadError::Describe { path: settings.written.clone(), error })?;
    match Capabilities::missing(&description.grants, settings.grants) {
        Some(grant) => Err(LoadError::Grant { name: settings.name.clone(), grant }),
        None => Ok((loaded, description)),
    }
}

/// Reads the component and compares it with the lock file; the digest is known even when the lock file refuses it.
fn read(settings: &PluginSettings, db: &Path, pin: LockEntry) -> (Option<Digest>, Result<Vec<u8>, LoadError>) {
    let path = settings.written.clone();
    if is_part_of(db, &settings.component) {
        return (None, Err(LoadError::IsDatabase { path }));
    }
    let limit = settings.limits.component_bytes;
    let bytes = match files::read_bytes(&settings.component, limit) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return (None, Err(LoadError::TooLarge { path, limit }));
        }
        Err(source) => return (None, Err(LoadError::Unreadable { path, source })),
    };
    let found = Digest::of(&bytes);
    let verdict = match pin {
        LockEntry::Missing => Err(LoadError::NotLocked { name: settings.name.clone() }),
        LockEntry::To(locked) if locked != found => Err(LoadError::Changed { path, found, locked }),
        LockEntry::To(_) | LockEntry::Unpinned => check_header(&bytes, path).map(|()| bytes),
    };
    (Some(found), verdict)
}

/// Whether a file is the database or one of the files that SQLite keeps beside it, under whatever name.
fn is_part_of(db: &Path, file: &Path) -> bool {
    let real = files::resolved(db).unwrap_or_else(|_| db.to_owned());
    ["", "-wal", "-shm", "-journal"].iter().any(|ending| files::is_same_file(&files::beside(&real, ending), file))
}

/// Tells components from core modules and from everything else, by the eight bytes that all WebAssembly starts with.
fn check_header(bytes: &[u8], path: String) -> Result<(), LoadError> {
    match bytes.first_chunk::<8>() {
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', _, _, 0, 0]) => Err(LoadError::CoreModule { path }),
        _ => Err(LoadError::NotWasm { path }),
    }
}

/// Reads a component's digest, for the lock file. `db` is the registry's database, which is never opened.
///
/// # Errors
/// [`LoadError`] when it cannot be read or is no component.
pub fn digest_of(settings: &PluginSettings, db: &Path) -> Result<Digest, LoadError> {
    match read(settings, db, LockEntry::Unpinned) {
        (Some(digest), Ok(_)) => Ok(digest),
        (_, Err(error)) => Err(error),
        (None, Ok(_)) => Err(LoadError::NotWasm { path: settings.written.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_components_from_modules() {
        let path = String::new;
        assert!(check_header(b"\0asm\x0d\0\x01\0", path()).is_ok());
        assert!(matches!(check_header(b"\0asm\x01\0\0\0", path()), Err(LoadError::CoreModule { .. })));
        assert!(matches!(check_header(b"\0asm", path()), Err(LoadError::NotWasm { .. })));
        assert!(matches!(check_header(b"#!/bin/sh\n", path()), Err(LoadError::NotWasm { .. })));
    }
}
