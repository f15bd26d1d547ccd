//! Compiled code kept on disk. Loading it runs native code, so nothing is loaded that this user did not compile.
//!
//! A folder of mode 0700 holds `key` (32 random bytes) and, for each component, `SHA256-ENGINE.code` and `SHA256-ENGINE.tag`.
//! The tag is keyed BLAKE3 over the entry's name and the code. Whatever does not fit is a miss, never an error.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use wasmtime::{Engine, component::Component};

use super::engine::fingerprint;
use crate::{files, value::Digest};

/// Entries kept; the oldest go first. An installation has some ten plugins, and each release of this binary adds its own.
const MAX_ENTRIES: usize = 256;

/// The cache of one user.
pub(super) struct Cache {
    folder: PathBuf,
    key: [u8; 32],
}

impl Cache {
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

    /// The tag of an entry, over its name and the code that `code` reads.
    fn tag(&self, name: &str, code: impl io::Read) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes());
        hasher.update_reader(code)?;
        Ok(hasher.finalize())
    }

    /// The compiled component, if it is here and genuine.
    pub(super) fn load(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let (code_path, tag_path, name) = self.entry(engine, digest);
        let tag: [u8; 32] = files::read_bytes(&tag_path, 32).ok()?.try_into().ok()?;
        let file = files::open(&code_path).ok()?;
        if self.tag(&name, &file).ok()? != blake3::Hash::from_bytes(tag) {
            tracing::warn!(
                "the compiled code in {} is not what was put there: it is compiled anew",
                code_path.display()
            );
            return None;
        }
        load_genuine(engine, &file)
    }

    /// Keeps `code` for next time.
    ///
    /// # Errors
    /// When it cannot be written; nothing half-written is ever taken for a whole entry.
    pub(super) fn store(&self, engine: &Engine, digest: Digest, code: &[u8]) -> io::Result<()> {
        let (code_path, tag_path, name) = self.entry(engine, digest);
        files::write_private(&code_path, code)?;
        files::write_private(&tag_path, self.tag(&name, code)?.as_bytes())?;
        files::keep_newest(&self.folder, "code", MAX_ENTRIES)?;
        files::keep_newest(&self.folder, "tag", MAX_ENTRIES)
    }
}

/// Maps code whose tag was checked through this same open file, so that no other file can take its place in between.
#[expect(unsafe_code, reason = "loading compiled code is inherently trusted; the argument stands at the call")]
fn load_genuine(engine: &Engine, file: &File) -> Option<Component> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the bytes were written by this binary from its own compiler's output, into a file of this user alone, and
    // the keyed tag over them has just been checked. The path names the very inode that was read for that.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

/// Loads code that has just come from this process's own compiling child.
///
/// # Errors
/// When wasmtime finds the code unfit for this engine.
#[expect(unsafe_code, reason = "loading compiled code is inherently trusted; the argument stands at the call")]
pub(super) fn load_fresh(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are the output of `Engine::precompile_component` in a child of this binary, received over a pipe.
    unsafe { Component::deserialize(engine, code) }
}
