//! Makes the seeds in `corpus`: each a shape of archive that a fuzzer would be long in finding.
//!
//! Run by hand after a change of the format: `cargo run --manifest-path tests/fuzz/Cargo.toml --bin seeds`. Seeds are small
//! and few, since every run reads them all.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "a developer's tool")]

#[allow(dead_code, reason = "recipes are written here, not followed")]
mod recipe;

use std::{fs, path::Path};

use recipe::{MENDED, SLOT_BYTES, Wrap, frame, indexed, member};
use tar::{Builder, EntryType, Header};

/// No seed is larger.
const MAX_SEED_BYTES: usize = 4096;

const METADATA: (&str, &[u8]) = (
    "metadata.json",
    br#"{"formatVersion":1,"createdAt":"2025-10-27T16:43:49Z","files":{"database":"r.sqlite","wal":null,"shm":null,"provenance":null},"records":1}"#,
);
const DATABASE: (&str, &[u8]) = ("r.sqlite", b"SQLite format 3\0 and what follows");
const SUMS: (&str, &[u8]) =
    ("SHA256SUMS", b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  r.sqlite\n");

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let whole = tar(|tar| [METADATA, DATABASE].into_iter().for_each(|member| add(tar, header(member), member)));
    for wrap in Wrap::ALL {
        // A block boundary in the middle of a header, and blocks smaller than a member.
        let name = format!("{wrap:?}").to_lowercase();
        keep(&folder, &name, wrap, 8, &whole);
    }
    for (name, stream) in shapes() {
        keep(&folder, name, Wrap::Bare, 0, &stream);
    }
    for (name, archive) in lies() {
        keep(&folder, name, Wrap::Bare, 0, &archive);
    }
}

fn keep(folder: &Path, name: &str, wrap: Wrap, step: u8, stream: &[u8]) {
    let how = u8::try_from(Wrap::ALL.iter().position(|one| *one == wrap).unwrap()).unwrap();
    let seed = [&[how | MENDED, step], stream].concat();
    assert!(seed.len() <= MAX_SEED_BYTES, "{name} has {} bytes", seed.len());
    fs::write(folder.join(name), &seed).unwrap();
    println!("{name}: {} bytes", seed.len());
}

/// Streams that an archive of a registry is not, or just still is.
fn shapes() -> Vec<(&'static str, Vec<u8>)> {
    let one = |make: &dyn Fn(&mut Header)| {
        tar(|tar| {
            let mut header = header(DATABASE);
            make(&mut header);
            add(tar, header, DATABASE);
        })
    };
    vec![
        ("sums", tar(|tar| [METADATA, SUMS].into_iter().for_each(|member| add(tar, header(member), member)))),
        (
            "folder",
            tar(|tar| {
                let mut top = header(("b/", b""));
                top.set_entry_type(EntryType::Directory);
                add(tar, top, ("", b""));
                add(tar, header(("b/r.sqlite", DATABASE.1)), DATABASE);
            }),
        ),
        ("dot", tar(|tar| add(tar, header(("./r.sqlite", DATABASE.1)), DATABASE))),
        ("link", one(&|header| header.set_entry_type(EntryType::Symlink))),
        ("sparse", one(&|header| header.set_entry_type(EntryType::GNUSparse))),
        ("huge", one(&|header| header.set_size(u64::MAX - 1024))),
        ("twice", tar(|tar| [DATABASE, DATABASE].into_iter().for_each(|member| add(tar, header(member), member)))),
        (
            "pax",
            tar(|tar| {
                tar.append_pax_extensions([("path", &b"r.sqlite"[..]), ("size", b"34"), ("uid", b"7")]).unwrap();
                add(tar, header(("x", b"")), DATABASE);
            }),
        ),
        (
            "long-name",
            tar(|tar| {
                let mut long = header(("././@LongLink", b"r.sqlite\0"));
                long.set_entry_type(EntryType::GNULongName);
                add(tar, long, ("", b"r.sqlite\0"));
                add(tar, header(DATABASE), DATABASE);
            }),
        ),
        ("trailing", [tar(|tar| add(tar, header(DATABASE), DATABASE)), vec![0; 600], b"x".to_vec()].concat()),
    ]
}

/// Blocks that say one thing to whoever trusts their lengths, and another to whoever unpacks them.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let end = vec![0; 2 * SLOT_BYTES];
    let part = |member| {
        let mut stream = tar(|tar| add(tar, header(member), member));
        stream.truncate(stream.len() - end.len());
        stream
    };
    let (seen, hidden) = (part(METADATA), part(DATABASE));
    let stretched = |behind: &[u8]| {
        let mut block = [&indexed(&seen), behind].concat();
        let length = u32::try_from(block.len()).unwrap();
        block[16..20].copy_from_slice(&length.to_le_bytes());
        [block, indexed(&end)].concat()
    };
    // A frame of one segment whose size is said to be 0, and in it one block, the last, of 8 bytes as they are.
    let full = [&b"\x28\xb5\x2f\xfd\x20\x00\x41\x00\x00"[..], b"12345678"].concat();
    let frame = |all: Vec<u8>, data: &[u8]| frame(all, data).unwrap();
    vec![
        ("hidden-member", stretched(&member(&hidden))),
        ("hidden-bytes", stretched(b"hidden")),
        ("full-empty-frame", frame([frame(Vec::new(), &seen), full].concat(), &end)),
    ]
}

fn tar(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

fn header((name, content): (&str, &[u8])) -> Header {
    let mut header = Header::new_gnu();
    // The library refuses names that lead out of an archive, and these have to be possible.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(EntryType::Regular);
    header.set_size(content.len() as u64);
    header.set_mode(0o600);
    header
}

fn add(tar: &mut Builder<Vec<u8>>, mut header: Header, (_, content): (&str, &[u8])) {
    header.set_cksum();
    tar.append(&header, content).unwrap();
}
