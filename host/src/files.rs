//! The file system: bounded reads, and writes that never replace what is there.
//!
//! The only room that opens files. Knows nothing of what is in them; never opens a database (see `sqlite`).

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::Path,
};

/// Reads a regular file of at most `max_bytes` as UTF-8 text.
///
/// # Errors
/// The system's error; `IsADirectory`, or `InvalidInput` for a pipe or device, which could block for ever;
/// `FileTooLarge`; `InvalidData` for what is not UTF-8. The error does not name the file.
#[expect(clippy::disallowed_methods, reason = "this room is where files are opened")]
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe or a device, not a file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let limit = crate::value::bytes(max_bytes);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit}")));
    }
    String::from_utf8(bytes).map_err(|why| {
        let at = why.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 text: byte {at} begins no character"))
    })
}

/// Writes `text` to a new file and syncs it; a file that exists is left alone.
///
/// # Errors
/// `AlreadyExists`, or the system's error; nothing new stays behind then.
#[expect(clippy::disallowed_methods, reason = "this room is where files are written")]
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        // The first error is the one to tell; the half-written file is ours to remove.
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_bounded_and_wants_text_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_new(&path, "1234").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "1234");
        assert_eq!(read_text(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_text(dir.path(), 3).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read_text(Path::new("/dev/zero"), 3).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read_text(&dir.path().join("b"), 3).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn writing_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_new(&path, "first").unwrap();
        assert_eq!(write_new(&path, "second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_text(&path, 99).unwrap(), "first");
    }
}
