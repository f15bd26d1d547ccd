//! System calls as `strace` prints them: which were made, with which bytes, and which of them ran at the same time.
//!
//! Strings are printed as hexadecimal bytes, so that nothing in them looks like syntax. Does not know what a call does.

use std::{collections::BTreeMap, path::Path, process::Command};

/// The calls that change files or folders, that sync them, and that say which file a descriptor is.
const TRACED: &str = "open,openat,creat,close,dup,dup2,dup3,fcntl,chdir,fchdir,read,write,pwrite64,writev,pwritev,pwritev2,lseek,\
                      truncate,ftruncate,fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,\
                      mkdir,mkdirat,fsync,fdatasync,sync_file_range,sync,syncfs,copy_file_range,sendfile,splice";

/// The longest string that is recorded, in bytes: more than any write of these tests.
const MAX_STRING_BYTES: usize = 64 << 20;

/// One call that succeeded.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    pub args: Vec<String>,
    pub result: i64,
    /// How many calls had ended when this one began: only what they did can be relied upon in it.
    pub begun: usize,
}

/// `strace` before a command, writing to `trace`.
pub fn tracer(trace: &Path) -> Command {
    let mut command = Command::new("strace");
    // What is read is not needed, only how much: it moves the place in the file where the next write goes.
    command.args(["-f", "-qq", "-xx", "-s", &MAX_STRING_BYTES.to_string(), "-e", "raw=read", "-e"]);
    command.arg(format!("trace={TRACED}")).arg("-o").arg(trace);
    command
}

/// The calls in a trace, in the order in which they ended.
pub fn calls(trace: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished: BTreeMap<&str, (String, usize)> = BTreeMap::new();
    for line in trace.lines() {
        let (thread, text) = line.split_once(' ').unwrap_or_else(|| panic!("a line of a trace: {line}"));
        let text = text.trim_start();
        if let Some(start) = text.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (start.to_owned(), calls.len()));
            continue;
        }
        let (text, begun) = match text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>")) {
            Some((_, rest)) => {
                let (start, begun) = unfinished.remove(thread).unwrap();
                (start + rest, begun)
            }
            None => (text.to_owned(), calls.len()),
        };
        calls.extend(call(&text, begun));
    }
    calls
}

fn call(text: &str, begun: usize) -> Option<Call> {
    let (call, result) = text.rsplit_once(" = ")?;
    let result = result.split_whitespace().next()?;
    let result = match result.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok()?,
        None => result.parse().ok()?,
    };
    let (name, args) = call.trim_end().strip_suffix(')')?.split_once('(')?;
    let args = args.split(", ").map(|arg| arg.trim().to_owned()).collect();
    (result >= 0).then(|| Call { name: name.to_owned(), args, result, begun })
}

impl Call {
    /// An argument that is a number.
    pub fn number(&self, at: usize) -> i64 {
        let text = &self.args[at];
        let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| i64::from_str_radix(digits, 16));
        parsed.unwrap_or_else(|_| panic!("argument {at} is a number: {self:?}"))
    }

    /// An argument that is a string.
    pub fn bytes(&self, at: usize) -> Vec<u8> {
        let digits = self.args[at].strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let digits = digits.unwrap_or_else(|| panic!("argument {at} is a whole string: {self:?}"));
        let byte = |digits| u8::from_str_radix(digits, 16).unwrap();
        digits.split("\\x").skip(1).map(byte).collect()
    }
}

#[test]
fn a_call_that_was_under_way_meanwhile_is_put_together() {
    let calls = calls(concat!(
        "7     openat(AT_FDCWD, \"\\x61\\x2c\", O_RDWR|O_CREAT, 0600) = 3\n",
        "7     fsync(3 <unfinished ...>\n",
        "8     pwrite64(3, \"\\x00\\xff\", 2, 4096) = 2\n",
        "7     <... fsync resumed>)              = 0\n",
        "7     unlink(\"\\x62\") = -1 ENOENT (No such file or directory)\n",
        "7     read(0x3, 0x7ffc, 0x10)            = 0x2\n",
    ));
    let shown: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.result, call.begun)).collect();
    assert_eq!(shown, [("openat", 3, 0), ("pwrite64", 2, 1), ("fsync", 0, 1), ("read", 2, 3)]);
    assert_eq!((calls[0].bytes(1), calls[1].bytes(1), calls[1].number(3)), (b"a,".to_vec(), vec![0, 255], 4096));
}
