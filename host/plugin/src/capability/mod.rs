//! What a plugin can be allowed to use beside computing: one file for each capability.
//!
//! A capability says what it links, what a component must be granted for it, and what one run gets. To add one, write its file, its
//! field in [`Capabilities`], and its grant in `settings`. Knows no engine and no schedule.

mod log;
mod registry;

use wasmtime::component::Linker;

pub(crate) use log::{LogCapture, Stdio};
use registry::RegistryAccess;

use super::{
    abi::types::Grant,
    settings::{Grants, Limits},
};
use vitalsign_base::{clock::Deadline, value::printable};
use vitalsign_sqlite::Database;

/// The longest text of a component that a message repeats, in bytes.
const MAX_SHOWN_BYTES: usize = 80;

/// What a run is given its capabilities from.
pub(crate) struct RunContext<'a> {
    /// What the operator has granted.
    pub(crate) grants: Grants,
    pub(crate) limits: &'a Limits,
    /// When the run ends.
    pub(crate) deadline: Deadline,
    pub(crate) database: &'a Database,
}

/// One interface of the host, with what it needs.
pub(crate) trait Capability: Sized {
    /// Links the interface. `of` finds what one run has of it in the data of the run.
    ///
    /// # Errors
    /// When the name is linked already, which is a bug.
    fn link<T: 'static>(linker: &mut Linker<T>, of: fn(&mut T) -> &mut Self) -> wasmtime::Result<()>;

    /// Whether `asked` is a grant of this capability, and if so, whether it is given. The text is what `plugins[].grants` lacks.
    fn missing(asked: &Grant, grants: Grants) -> Option<Result<(), String>>;

    /// What one run gets; without the grant, something that refuses every call.
    fn for_run(run: &RunContext<'_>) -> Self;
}

/// All capabilities, as one run has them.
pub(crate) struct Capabilities {
    pub(crate) log: LogCapture,
    pub(crate) registry: RegistryAccess,
}

impl Capabilities {
    /// Links every capability. `of` finds them in the data of a run.
    ///
    /// # Errors
    /// When two interfaces have the same name, which is a bug.
    pub(crate) fn link<T: HasCapabilities>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        LogCapture::link(linker, |run: &mut T| &mut run.capabilities().log)?;
        RegistryAccess::link(linker, |run: &mut T| &mut run.capabilities().registry)
    }

    /// What one run gets of each.
    pub(crate) fn for_run(run: &RunContext<'_>) -> Self {
        Self { log: LogCapture::for_run(run), registry: RegistryAccess::for_run(run) }
    }

    /// The first grant that a component asks for and does not have, as it would be written in `plugins[].grants`.
    pub(crate) fn missing(asked: &[Grant], grants: Grants) -> Option<String> {
        asked.iter().find_map(|asked| {
            let answers = [LogCapture::missing(asked, grants), RegistryAccess::missing(asked, grants)];
            // What no capability here knows of cannot be granted.
            answers.into_iter().flatten().next().unwrap_or_else(|| Err(written(asked))).err()
        })
    }
}

/// The data of a run, which holds its capabilities.
pub(crate) trait HasCapabilities: 'static {
    fn capabilities(&mut self) -> &mut Capabilities;
}

/// A grant as it would be written in the configuration.
fn written(grant: &Grant) -> String {
    let list = |key: &str, value: &str| format!("\"{key}\": [\"{}\"]", printable(value, MAX_SHOWN_BYTES));
    match grant {
        Grant::Registry => "\"registry\": \"read\"".to_owned(),
        Grant::State => "\"state\": true".to_owned(),
        Grant::Secret(name) => list("secrets", name),
        Grant::Http(origin) => list("http", origin),
        Grant::Files(folder) => list("files", folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_granted_is_named_as_the_configuration_has_it() {
        let (none, registry) = (Grants::default(), Grants { registry: true });
        let missing = |asked: Grant, grants| Capabilities::missing(&[asked], grants);
        assert_eq!(missing(Grant::Registry, none).unwrap(), "\"registry\": \"read\"");
        assert_eq!(missing(Grant::Registry, registry), None);
        assert_eq!(missing(Grant::State, registry).unwrap(), "\"state\": true");
        assert_eq!(missing(Grant::Http("https://a".into()), registry).unwrap(), "\"http\": [\"https://a\"]");
        assert_eq!(Capabilities::missing(&[], none), None);
    }
}
