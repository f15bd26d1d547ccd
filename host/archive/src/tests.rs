//! Archives written and read again, whatever is in them.

#![allow(clippy::disallowed_methods, reason = "tests make their own files")]

use std::{fs::File, path::Path};

use super::*;
use vitalsign_base::value::Digest;

fn header(name: &str, bytes: Option<u64>) -> Header {
    Header { name: name.to_owned(), bytes, mode: 0o640, uid: 3, gid: 4, modified: 1_000_000_000 }
}

/// Bytes that compress to about half, from a fixed generator.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + (state % 16) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn written(path: &Path, compression: Compression, members: &[(&str, &[u8])]) -> Written {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    let mut writer = Writer::new(file, compression, compression.usual_level()).unwrap();
    for (at, (name, content)) in members.iter().enumerate() {
        // Every other member tells its size only at its end.
        writer.begin(header(name, (at % 2 == 0).then_some(content.len() as u64))).unwrap();
        content.chunks(100_000).for_each(|chunk| writer.write(chunk).unwrap());
        assert_eq!(writer.end().unwrap().digest, Digest::of(content));
    }
    writer.finish(&header("", None)).unwrap()
}

fn read(path: &Path) -> Result<Vec<(Member, Vec<u8>)>, ReadError> {
    let mut out = Vec::new();
    walk::<ReadError>(ArchiveReader::open(path, false)?, |found, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        out.push((found.clone(), bytes));
        Ok(())
    })?;
    Ok(out)
}

#[test]
fn what_is_written_is_read_in_every_compression() {
    let folder = tempfile::tempdir().unwrap();
    let (large, empty) = (noise(3_500_000), Vec::new());
    let members: [(&str, &[u8]); 5] =
        [("metadata.json", b"{}"), ("late", &large), ("r.sqlite", &large), ("none", &empty), ("x", b"x")];
    for compression in Compression::ALL {
        let path = folder.path().join("a");
        let made = written(&path, compression, &members);
        assert_eq!(made.bytes, std::fs::metadata(&path).unwrap().len());
        let found = read(&path).unwrap();
        let sums = Checksums::parse(&found.last().unwrap().1).unwrap();
        for ((name, content), (found, bytes)) in members.iter().zip(&found) {
            assert_eq!((found.name.as_str(), bytes.as_slice()), (*name, *content));
            assert_eq!((found.mode, found.uid, found.gid), (0o640, 3, 4));
            assert_eq!(sums.0[*name], Digest::of(content));
        }
        assert_eq!(ArchiveReader::open(&path, false).unwrap().compression(), compression);
    }
}

#[test]
fn a_member_has_the_size_that_it_promised() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("a")).unwrap();
    let mut writer = Writer::new(file, Compression::Gzip, 1).unwrap();
    writer.begin(header("a", Some(5))).unwrap();
    writer.write(b"1234").unwrap();
    assert_eq!(writer.end().unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    let name = "n".repeat(101);
    assert!(writer.begin(header(&name, None)).is_err());
}

#[test]
fn what_is_included_keeps_its_folders_and_long_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let long = format!("include/var/{}/x", "long".repeat(300));
    let put = |names: &[&str]| {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let mut writer = Writer::new(file, Compression::Gzip, 1).unwrap();
        for name in names {
            writer.begin(header(name, Some(name.len() as u64))).unwrap();
            writer.write(name.as_bytes()).unwrap();
            writer.end().unwrap();
        }
        writer.finish(&header("", None)).unwrap();
        read(&path)
    };
    let found = put(&["metadata.json", "include/a", "include/var/b", &long]).unwrap();
    let names: Vec<_> = found.iter().map(|(found, _)| (found.name.as_str(), found.is_included())).collect();
    let long = long.as_str();
    let expected =
        [("metadata.json", false), ("include/a", true), ("include/var/b", true), (long, true), (SUMS, false)];
    assert_eq!(names, expected);
    assert_eq!((found[3].1.as_slice(), found[3].0.modified), (long.as_bytes(), 1_000_000_000));
    let sums = Checksums::parse_included(&found.last().unwrap().1).unwrap();
    assert_eq!(sums.0.get(long), Some(&Digest::of(long.as_bytes())));
    assert_eq!(
        Checksums::parse_included(format!("{} *./x/include/a/b\n", sums.0[long]).as_bytes()).unwrap().0.len(),
        1
    );
    for names in [["m", "other/a"], ["m", "include/../a"], ["x/m", "include/a/b"]] {
        // The writer takes no such name; a header is made by hand.
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| put(&names)));
        assert!(!matches!(made, Ok(Ok(_))), "{names:?}");
    }
    // Below a folder of that name, all of an archive may lie, as in any other folder.
    assert!(put(&["include/metadata.json"]).is_err());
}

#[test]
fn a_full_disk_is_told_by_whoever_writes() {
    // Writing there always says that there is no room.
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let mut writer = Writer::new(full, Compression::None, 0).unwrap();
    writer.begin(header("a", None)).unwrap();
    let chunk = vec![0; 1 << 20];
    let failed = (0..100).find_map(|_| writer.write(&chunk).err()).unwrap();
    assert_eq!(failed.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn blocks_lie_where_the_index_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    written(&path, Compression::Gzip, &[("a", &noise(2_500_000))]);
    let bytes = std::fs::read(&path).unwrap();
    let mut at = 0;
    // The header, three of data, the header of the sums, the sums with the end.
    let mut blocks = 0;
    while at < bytes.len() {
        assert_eq!(bytes[at..at + 4], [0x1f, 0x8b, 8, 4]);
        assert_eq!(&bytes[at + 12..at + 16], b"VS\x08\0");
        at += u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize;
        blocks += 1;
    }
    assert_eq!((at, blocks), (bytes.len(), 6));
}

#[test]
fn every_block_but_the_damaged_ones_is_still_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for compression in [Compression::Gzip, Compression::Zstd] {
        written(&path, compression, &[("a", &noise(5_000_000))]);
        let mut bytes = std::fs::read(&path).unwrap();
        let length = bytes.len();
        bytes[length * 3 / 10] ^= 1;
        bytes[length * 7 / 10] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let Err(ReadError::Flaw(Flaw::Damaged(damages))) = read(&path) else { panic!("not seen") };
        let ranges: Vec<_> = damages.iter().map(|damage| (damage.member.as_deref(), damage.range.start)).collect();
        assert_eq!(ranges, [(Some("a"), 1 << 20), (Some("a"), 3 << 20)], "{compression:?}");
    }
}

/// Another reader would see what a block hides behind its own end.
#[test]
fn a_block_that_holds_more_than_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    written(&path, Compression::Gzip, &[("a", b"1"), ("b", b"2")]);
    let good = std::fs::read(&path).unwrap();
    let end = |at: usize| at + u32::from_le_bytes(good[at + 16..at + 20].try_into().unwrap()) as usize;
    let (one, two) = (end(0), end(end(0)));
    for hidden in [&good[one..two], b"bytes of which nobody knows".as_slice()] {
        // The first block says that what comes behind it is still its own, with or without a second trailer.
        for trailer in [&[], &good[one - 8..one]] {
            let mut bad = [&good[..one], hidden, trailer, &good[one..]].concat();
            let length = u32::try_from(one + hidden.len() + trailer.len()).unwrap();
            bad[16..20].copy_from_slice(&length.to_le_bytes());
            std::fs::write(&path, &bad).unwrap();
            assert!(matches!(read(&path), Err(ReadError::Flaw(Flaw::Damaged(_)))), "{} bytes hidden", hidden.len());
        }
    }
    // A zstd frame that says it is empty, and is not.
    written(&path, Compression::Zstd, &[("a", b"1")]);
    let good = std::fs::read(&path).unwrap();
    let lie = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 0x09, 0, 0, b'x'], good.as_slice()].concat();
    std::fs::write(&path, &lie).unwrap();
    assert!(read(&path).is_err());
}
