//! From a file to a component that can run: read, compare with the lock, compile or take from the cache, compare with what
//! the host offers, ask it to describe itself. Every way in which this fails has one precise sentence.
//!
//! Knows nothing of schedules; the bytes that are hashed are the bytes that are compiled.

use std::{io, sync::PoisonError};

use wasmtime::component::Component;

use super::{
    Runtime,
    abi::{CheckPre, Grant},
    cache,
    compile::{self, CompileError},
    guest::{self, GuestError},
    lock::Lock,
    settings::PluginSettings,
};
use crate::{
    files,
    value::{self, Digest, Name, printable},
};

/// The version of `vitalsign:health` that this host offers.
pub const HOST_VERSION: &str = "1.0.0";

/// The package that plugins are written against.
const PACKAGE: &str = "vitalsign:health/";

/// A component that is ready to run.
pub(super) struct Loaded {
    pub(super) pre: CheckPre<guest::State>,
    /// The JSON Schema that it gives for its configuration.
    pub(super) config_schema: String,
}

/// Why a plugin could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its file could not be read.
    #[error("the component {path} cannot be read ({source})")]
    Unreadable {
        /// The path as configured.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its file is larger than `componentBytes`.
    #[error("the component {path} is larger than {}, which is its limit componentBytes", value::bytes(*.limit))]
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
    #[error("the component {path} has SHA-256 {found}, but {locked} is locked: it was changed or replaced")]
    Changed {
        /// The path as configured.
        path: String,
        /// What was found.
        found: Digest,
        /// What the lock file says.
        locked: Digest,
    },
    /// It could not be compiled.
    #[error("the component {path} {error}")]
    Compile {
        /// The path as configured.
        path: String,
        /// Why.
        error: CompileError,
    },
    /// It was built against a version that this host does not offer.
    #[error("the component {path} was built for vitalsign:health {guest}; this host offers {HOST_VERSION}")]
    Version {
        /// The path as configured.
        path: String,
        /// The version that it wants.
        guest: String,
    },
    /// It wants an interface that this host does not offer.
    #[error("the component {path} imports {import}, which this host does not offer")]
    Import {
        /// The path as configured.
        path: String,
        /// What it wants.
        import: String,
    },
    /// It is a component, but not a check.
    #[error("the component {path} does not export `{export}`: it is not a Vitalsign check")]
    Export {
        /// The path as configured.
        path: String,
        /// What is missing.
        export: &'static str,
    },
    /// Names match, but types do not.
    #[error("the component {path} does not fit this host: {difference}")]
    Mismatch {
        /// The path as configured.
        path: String,
        /// What wasmtime says.
        difference: String,
    },
    /// It failed when it was asked what it is.
    #[error("the component {path} could not describe itself: {error}")]
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
}

impl LoadError {
    /// A stable word for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "component-unreadable",
            Self::TooLarge { .. } => "component-too-large",
            Self::NotWasm { .. } => "not-wasm",
            Self::CoreModule { .. } => "core-module",
            Self::NotLocked { .. } => "not-locked",
            Self::Changed { .. } => "digest-mismatch",
            Self::Compile { .. } => "not-compiled",
            Self::Version { .. } => "wit-version",
            Self::Import { .. } => "missing-import",
            Self::Export { .. } => "not-a-check",
            Self::Mismatch { .. } => "wit-mismatch",
            Self::Describe { .. } => "describe-failed",
            Self::Grant { .. } => "grant-missing",
        }
    }

    /// What to do now.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => "check the plugin's `component` path and its permissions".into(),
            Self::TooLarge { .. } => "raise `limits.componentBytes` if you trust the component's origin".into(),
            Self::NotWasm { .. } => "point `component` at the .wasm file that the plugin's build made".into(),
            Self::CoreModule { .. } => "build for the target wasm32-wasip2, which makes components".into(),
            Self::NotLocked { .. } => "run `vitalsign plugin lock` if this plugin is meant to be here".into(),
            Self::Changed { .. } => {
                "if the change is yours, run `vitalsign plugin lock`; if not, find out who replaced the file".into()
            }
            Self::Compile { error: CompileError::TooSlow(_), .. } => {
                "raise `limits.compileTimeMs` if you trust the component's origin".into()
            }
            Self::Compile { .. } => "rebuild the component with a current toolchain".into(),
            Self::Version { .. } | Self::Mismatch { .. } => {
                format!(
                    "rebuild the plugin against the WIT package vitalsign:health@{HOST_VERSION}, or use the host it was built for"
                )
            }
            Self::Import { .. } => "rebuild the plugin without it; the docs list what plugins can import".into(),
            Self::Export { .. } => "build it against the world `check` of vitalsign:health".into(),
            Self::Describe { error: GuestError::Limit { name, .. }, .. } => {
                format!("raise `limits.{name}` if you trust the component's origin")
            }
            Self::Describe { .. } => "its `describe` must return at once and needs no grant".into(),
            Self::Grant { grant, .. } => format!("add {grant} to the plugin's `grants`, or remove the plugin"),
        }
    }
}

/// Reads the component and checks it against the lock; the digest is known even when the lock refuses it.
pub(super) fn read(settings: &PluginSettings, lock: Option<&Lock>) -> (Option<Digest>, Result<Vec<u8>, LoadError>) {
    let path = settings.written.clone();
    let limit = settings.limits.component_bytes;
    let bytes = match files::read_bytes(&settings.component, limit) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return (None, Err(LoadError::TooLarge { path, limit }));
        }
        Err(source) => return (None, Err(LoadError::Unreadable { path, source })),
    };
    let found = Digest::of(&bytes);
    let verdict = match lock.map(|lock| lock.digest(&settings.name)) {
        Some(None) => Err(LoadError::NotLocked { name: settings.name.clone() }),
        Some(Some(locked)) if locked != found => Err(LoadError::Changed { path, found, locked }),
        _ => check_header(&bytes, path).map(|()| bytes),
    };
    (Some(found), verdict)
}

/// Tells components from core modules and from everything else, by the eight bytes that all WebAssembly starts with.
fn check_header(bytes: &[u8], path: String) -> Result<(), LoadError> {
    match bytes.first_chunk::<8>() {
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', _, _, 0, 0]) => Err(LoadError::CoreModule { path }),
        _ => Err(LoadError::NotWasm { path }),
    }
}

/// Makes `bytes` ready to run and asks the guest what it is.
pub(super) fn load(
    runtime: &Runtime,
    settings: &PluginSettings,
    digest: Digest,
    bytes: &[u8],
) -> Result<Loaded, LoadError> {
    let path = || settings.written.clone();
    let ready = || runtime.ready.lock().unwrap_or_else(PoisonError::into_inner);
    let known = ready().get(&digest).cloned();
    let pre = match known {
        Some(pre) => pre,
        None => {
            let pre = prepare(runtime, settings, digest, bytes)?;
            ready().insert(digest, pre.clone());
            pre
        }
    };
    let mut loaded = Loaded { pre, config_schema: String::new() };
    let description =
        guest::describe(runtime, &loaded, settings).map_err(|error| LoadError::Describe { path: path(), error })?;
    for grant in description.grants {
        let missing = match grant {
            Grant::Registry if settings.grants.registry => continue,
            Grant::Registry => "\"registry\": \"read\"".to_owned(),
            Grant::State => "\"state\": true".to_owned(),
            Grant::Secret(name) => format!("\"secrets\": [\"{}\"]", printable(&name, 80)),
            Grant::Http(origin) => format!("\"http\": [\"{}\"]", printable(&origin, 80)),
            Grant::Files(folder) => format!("\"files\": [\"{}\"]", printable(&folder, 80)),
        };
        return Err(LoadError::Grant { name: settings.name.clone(), grant: missing });
    }
    loaded.config_schema = description.config_schema;
    Ok(loaded)
}

/// Compiles the component, or takes it from the cache, and links it with what this host offers.
fn prepare(
    runtime: &Runtime,
    settings: &PluginSettings,
    digest: Digest,
    bytes: &[u8],
) -> Result<CheckPre<guest::State>, LoadError> {
    let path = || settings.written.clone();
    let component =
        compiled(runtime, settings, digest, bytes).map_err(|error| LoadError::Compile { path: path(), error })?;
    fits(runtime, &component, &settings.written)?;
    let mismatch = |error: wasmtime::Error| LoadError::Mismatch { path: path(), difference: plain(&error) };
    let pre = runtime.linker.instantiate_pre(&component).map_err(mismatch)?;
    CheckPre::new(pre).map_err(mismatch)
}

fn compiled(
    runtime: &Runtime,
    settings: &PluginSettings,
    digest: Digest,
    bytes: &[u8],
) -> Result<Component, CompileError> {
    if let Some(component) = runtime.cache.as_ref().and_then(|cache| cache.load(&runtime.engine, digest)) {
        return Ok(component);
    }
    let code = compile::in_child(&runtime.compiler, bytes, settings.limits.compile_time)?;
    if let Some(Err(error)) = runtime.cache.as_ref().map(|cache| cache.store(&runtime.engine, digest, &code)) {
        tracing::warn!(
            "the compiled code of {} could not be cached ({error}): it is compiled at every start",
            settings.name
        );
    }
    cache::load_fresh(&runtime.engine, &code).map_err(|error| CompileError::Refused(plain(&error)))
}

/// Compares what the component imports and exports with what the host offers and needs, by name and version.
fn fits(runtime: &Runtime, component: &Component, path: &str) -> Result<(), LoadError> {
    let kind = component.component_type();
    for (name, _) in kind.imports(&runtime.engine) {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        if interface.starts_with(PACKAGE) && !serves(version, HOST_VERSION) {
            return Err(LoadError::Version { path: path.to_owned(), guest: printable(version, 40) });
        }
        if !OFFERED.contains(&interface) {
            return Err(LoadError::Import { path: path.to_owned(), import: format!("`{}`", printable(name, 200)) });
        }
    }
    for export in ["describe", "run"] {
        if kind.get_export(&runtime.engine, export).is_none() {
            return Err(LoadError::Export { path: path.to_owned(), export });
        }
    }
    Ok(())
}

/// Whether a host of version `offered` serves a guest that was built for version `wanted`: the same major, no later minor.
fn serves(wanted: &str, offered: &str) -> bool {
    let parts = |text: &str| -> Option<(u32, u32)> {
        let mut numbers = text.split('.').map(|part| part.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    match (parts(wanted), parts(offered)) {
        (Some((major, minor)), Some((host_major, host_minor))) => major == host_major && minor <= host_minor,
        _ => false,
    }
}

/// Wasmtime's words in one line, causes included.
pub(super) fn plain(error: &wasmtime::Error) -> String {
    printable(&format!("{error:#}").replace('\n', " "), 500)
}

/// Every interface that a plugin can import, without its version.
pub const OFFERED: &[&str] = &[
    "vitalsign:health/log",
    "vitalsign:health/registry",
    "vitalsign:health/types",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Reads a component's digest, for the lock file.
///
/// # Errors
/// [`LoadError`] when it cannot be read or is no component.
pub fn digest_of(settings: &PluginSettings) -> Result<Digest, LoadError> {
    match read(settings, None) {
        (Some(digest), Ok(_)) => Ok(digest),
        (_, Err(error)) => Err(error),
        (None, Ok(_)) => Err(LoadError::NotWasm { path: settings.written.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_serves_its_own_major_up_to_its_minor() {
        for (wanted, offered, expected) in [
            ("1.0.0", "1.0.0", true),
            ("1.0.7", "1.0.0", true),
            ("1.0.0", "1.2.0", true),
            ("1.1.0", "1.0.0", false),
            ("2.0.0", "1.0.0", false),
            ("0.9.0", "1.0.0", false),
            ("", "1.0.0", false),
            ("one", "1.0.0", false),
        ] {
            assert_eq!(serves(wanted, offered), expected, "{wanted} on {offered}");
        }
    }

    #[test]
    fn the_first_bytes_tell_components_from_modules() {
        let path = String::new;
        assert!(check_header(b"\0asm\x0d\0\x01\0", path()).is_ok());
        assert!(matches!(check_header(b"\0asm\x01\0\0\0", path()), Err(LoadError::CoreModule { .. })));
        assert!(matches!(check_header(b"\0asm", path()), Err(LoadError::NotWasm { .. })));
        assert!(matches!(check_header(b"#!/bin/sh\n", path()), Err(LoadError::NotWasm { .. })));
    }
}
