//! Compiled code kept on disk. Loading it runs native code, so nothing is loaded that this user did not compile.
//!
//! A folder of mode 0700 holds `key` (32 random bytes) and, for each component, `SHA256-ENGINE.code` and `SHA256-ENGINE.tag`.
//! The tag is keyed BLAKE3 over the entry's name and the code. An entry that does not fit is a miss, never an error.
//! Code is read into memory, checked there and run from there: a file that is changed or cut short later harms no run.

use std::{
    io,
    path::{Path, PathBuf},
};

use wasmtime::{Engine, component::Component};

use super::engine::fingerprint;
use vitalsign_base::{files, value::Digest};

/// The largest entry that is read: what the compiling process may hand over at the most.
const MAX_ENTRY_BYTES: u64 = super::compile::MAX_CODE_BYTES;

/// Entries kept; the oldest are removed first. An installation has some ten plugins, and each release of this binary adds its own.
const MAX_ENTRIES: usize = 256;

/// The cache of one user.
pub(super) struct CodeCache {
    folder: PathBuf,
    key: [u8; 32],
}

impl CodeCache {
    /// Opens the cache in `folder`, making both if they are missing.
    ///
    /// # Errors
    /// When the folder cannot be made, or is not this user's alone.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        files::private_folder(folder)?;
        let key = files::private_key(&folder.join("key"))?;
        Ok(Self { folder: folder.to_owned(), key })
    }

    fn entry(&self, engine: &Engine, digest: Digest) -> (PathBuf, PathBuf, String) {
        let name = format!("{digest}-{:016x}", fingerprint(engine));
        (self.folder.join(format!("{name}.code")), self.folder.join(format!("{name}.tag")), name)
    }

    /// The tag of an entry, over its name and its code.
    fn tag(&self, name: &str, code: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(name.as_bytes()).update(code).finalize()
    }

    /// The compiled component, if it is here and genuine.
    pub(super) fn load(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let (code_path, tag_path, name) = self.entry(engine, digest);
        let tag: [u8; 32] = files::read_bytes(&tag_path, 32).ok()?.try_into().ok()?;
        let code = files::read_bytes(&code_path, MAX_ENTRY_BYTES).ok()?;
        if self.tag(&name, &code) != blake3::Hash::from_bytes(tag) {
            tracing::warn!(
                "the compiled code in {} is not what was stored there; the component is compiled again",
                code_path.display()
            );
            return None;
        }
        load_code(engine, &code).ok()
    }

    /// Keeps `code` for next time.
    ///
    /// # Errors
    /// When it cannot be written. An entry that was written in part has no valid tag and is a miss.
    pub(super) fn store(&self, engine: &Engine, digest: Digest, code: &[u8]) -> io::Result<()> {
        let (code_path, tag_path, name) = self.entry(engine, digest);
        files::write_private(&code_path, code)?;
        files::write_private(&tag_path, self.tag(&name, code).as_bytes())?;
        files::keep_newest(&self.folder, "code", MAX_ENTRIES)?;
        files::keep_newest(&self.folder, "tag", MAX_ENTRIES)
    }
}

/// Loads compiled code from memory that belongs to this process alone.
///
/// # Errors
/// When wasmtime finds the code unfit for this engine.
#[expect(unsafe_code, reason = "loading compiled code is inherently trusted; the argument stands at the call")]
pub(super) fn load_code(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are the output of `Engine::precompile_component` of this binary. Either they have just come over a
    // pipe from its own child, or `CodeCache::load` has just checked the keyed tag over these very bytes, which only this user
    // can make. Wasmtime copies them, so nothing can change them between that check and their use.
    unsafe { Component::deserialize(engine, code) }
}
