//! The file system: bounded reads, durable writes, locks, mounts, and who has which file open.
//!
//! The only module that opens files. It never opens a database: closing a descriptor on one drops every lock this process holds on it.

#![expect(clippy::disallowed_methods, reason = "this is the module where files are touched")]

mod lease;
mod quota;
mod space;
mod stat;

mod path;
mod read;

mod private;

mod attributes;
mod identity;
mod mounts;
mod posix_locks;
mod processes;
mod rights;

mod rename;

mod draft;
mod flusher;
mod folder;

mod marker;
mod process_lock;
mod whole_file_lock;
mod write;

mod tree;

pub use attributes::{copy_attributes, has_default_list, owner_for_new_file, set_owner_and_mode};
pub use draft::Draft;
pub use flusher::Flusher;
pub use folder::{folder, found_in, new_private_folder, remove_empty_folder};
pub use identity::{host_name, identity, is_identity};
pub use marker::{MARKER_BYTES, Marked, Marker};
pub use mounts::{FileSystemClass, Mount, mount_of, mounted_below, place_in_file_system};
pub use path::{beside, folder_of, is_link, is_same_file, link_destination, resolved};
pub use posix_locks::{HeldLock, locks_on};
pub use private::{create_private, is_root, keep_newest, private_folder, private_key, temporary_folder};
pub use process_lock::ProcessLock;
pub use processes::{
    OpenFile, Process, folder_seen_by, is_mounted_alone, open_files, process_ids, process_name, processes_using,
};
pub use quota::{QuotaLeft, quota_left};
pub use read::{is_written_elsewhere, open, open_regular, read_bytes, read_text};
pub use rename::{copy_with_attributes, hard_link_or_copy, move_to, remove, replace_by, sync_folder};
pub use rights::{Refusal, Right, refusal};
pub use space::{Space, free_bytes, space};
pub use stat::{FileId, FileKind, Stat, is_read_only, may_read, read_at, stat};
pub use tree::{
    FolderEntry, files_below, finish_folder, is_changed_since, is_open_beneath, make_folders, make_link, names_in,
    node, open_beneath, remove_folder, set_modified, stat_of,
};
pub use whole_file_lock::WholeFileLock;
pub use write::{append_line, create_atomically, write_atomically, write_new, write_private};
