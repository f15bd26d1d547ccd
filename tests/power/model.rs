//! Files and folders in memory, to which the calls of a trace are applied, and the operations that result from them.
//!
//! Knows what a call does while the machine runs. What a crash leaves of it is in `states.rs`. A call that changes files and is
//! not known here is a failure of the test, never ignored; and in the end the files in memory must be those on the disk.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use super::trace::Call;

/// A file or a folder, whatever names it has.
pub type Node = usize;

pub type Names = BTreeMap<Vec<u8>, Node>;

/// The folder that everything happens in.
pub const ROOT: Node = 0;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    File(Arc<Vec<u8>>),
    Folder(Names),
}

/// What may be missing after a crash until its file or folder is synced.
#[derive(Clone, Debug)]
pub enum Op {
    Write {
        file: Node,
        at: usize,
        bytes: Vec<u8>,
    },
    Resize {
        file: Node,
        len: usize,
    },
    /// Names of one folder that change together.
    Names {
        folder: Node,
        changes: Vec<(Vec<u8>, Option<Node>)>,
        /// The operation without which this one never happens: a rename into another folder removes no file.
        after: Option<usize>,
    },
    /// What was done to the file or folder by the first `covers` operations is on the disk.
    Sync {
        node: Node,
        covers: usize,
    },
}

/// What an open descriptor refers to.
struct OpenDescriptor {
    node: Node,
    at: usize,
    appends: bool,
}

/// A command's operations, and the files before it.
pub struct Recording {
    pub start: Vec<Content>,
    pub nodes: Vec<Content>,
    pub ops: Vec<Op>,
    root: Vec<u8>,
    open: Vec<OpenDescriptor>,
    descriptors: BTreeMap<i64, usize>,
}

impl Recording {
    /// The files below `root` as they are now, all of them on the disk. They must have one name each.
    pub fn of(root: &Path) -> Self {
        let mut nodes = Vec::new();
        load(root, &mut nodes);
        let root = root.as_os_str().as_encoded_bytes().to_vec();
        Self { start: nodes.clone(), nodes, ops: Vec::new(), root, open: Vec::new(), descriptors: BTreeMap::new() }
    }

    /// Applies the calls.
    pub fn apply(&mut self, calls: &[Call]) {
        let mut marks = Vec::new();
        for call in calls {
            marks.push(self.ops.len());
            self.one(call, marks[call.begun]);
        }
    }

    fn one(&mut self, call: &Call, before: usize) {
        match call.name.as_str() {
            "open" => self.opened(call, None, 0),
            "openat" => self.opened(call, Some(0), 1),
            "close" => drop(self.descriptors.remove(&call.number(0))),
            "dup" | "dup2" | "dup3" => self.duplicate(call),
            "fcntl" if call.args[1].starts_with("F_DUPFD") => self.duplicate(call),
            "read" => self.moved(call.number(0), |at| at + usize::try_from(call.result).unwrap()),
            "lseek" => self.moved(call.number(0), |_| usize::try_from(call.result).unwrap()),
            "write" => self.written(call.number(0), call.bytes(1), call.result, None),
            "pwrite64" => self.written(call.number(0), call.bytes(1), call.result, Some(call.number(3))),
            "ftruncate" => {
                if let Some(file) = self.node(call.number(0)) {
                    self.push(Op::Resize { file, len: usize::try_from(call.number(1)).unwrap() });
                }
            }
            "fallocate" => self.allocated(call),
            "copy_file_range" => self.copied(call),
            "rename" => self.renamed(self.spot(None, call, 0), self.spot(None, call, 1)),
            "renameat" | "renameat2" => {
                assert!(!call.args.iter().any(|arg| arg.contains("EXCHANGE")), "not known here: {call:?}");
                self.renamed(self.spot(Some(0), call, 1), self.spot(Some(2), call, 3));
            }
            "link" => self.linked(self.found(None, call, 0), self.spot(None, call, 1)),
            "linkat" => self.linked(self.found(Some(0), call, 1), self.spot(Some(2), call, 3)),
            "unlink" | "rmdir" => self.unlinked(self.spot(None, call, 0)),
            "unlinkat" => self.unlinked(self.spot(Some(0), call, 1)),
            "mkdir" => self.made(self.spot(None, call, 0), Content::Folder(Names::new())),
            "mkdirat" => self.made(self.spot(Some(0), call, 1), Content::Folder(Names::new())),
            "fsync" | "fdatasync" => {
                if let Some(node) = self.node(call.number(0)) {
                    self.ops.push(Op::Sync { node, covers: before });
                }
            }
            // It sets the disk to work and promises nothing.
            "fcntl" | "sync_file_range" => {}
            _ => assert!(!self.concerns(call), "not known here: {call:?}"),
        }
    }

    /// Whether a call that is not known here may be about these files.
    fn concerns(&self, call: &Call) -> bool {
        let is_ours = |arg: &String| arg.parse().is_ok_and(|number| self.descriptors.contains_key(&number));
        call.args.iter().any(|arg| arg.starts_with('"'))
            || call.args.iter().any(is_ours)
            || call.name.starts_with("sync")
    }

    fn node(&self, descriptor: i64) -> Option<Node> {
        self.descriptors.get(&descriptor).map(|open| self.open[*open].node)
    }

    fn moved(&mut self, descriptor: i64, to: impl Fn(usize) -> usize) {
        if let Some(open) = self.descriptors.get(&descriptor) {
            let open = &mut self.open[*open];
            open.at = to(open.at);
        }
    }

    fn duplicate(&mut self, call: &Call) {
        match self.descriptors.get(&call.number(0)).copied() {
            Some(open) => drop(self.descriptors.insert(call.result, open)),
            None => drop(self.descriptors.remove(&call.result)),
        }
    }

    /// The folder and the name that a path means; `None` outside of the root. The root itself has no name.
    fn spot(&self, folder: Option<usize>, call: &Call, at: usize) -> Option<(Node, Vec<u8>)> {
        let path = call.bytes(at);
        let mut node = match folder.filter(|folder| call.args[*folder] != "AT_FDCWD") {
            _ if path.starts_with(b"/") => ROOT,
            Some(folder) => self.node(call.number(folder))?,
            None => ROOT,
        };
        let below = if path.starts_with(b"/") { path.strip_prefix(self.root.as_slice())? } else { &path };
        let mut names = below.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").peekable();
        while let Some(name) = names.next() {
            assert_ne!(name, b"..", "not known here: {call:?}");
            if names.peek().is_none() {
                return Some((node, name.to_vec()));
            }
            node = *self.names(node).get(name).unwrap_or_else(|| panic!("there is no such folder: {call:?}"));
        }
        Some((node, Vec::new()))
    }

    fn found(&self, folder: Option<usize>, call: &Call, at: usize) -> Option<Node> {
        let path = call.bytes(at);
        if let Some(descriptor) = path.strip_prefix(b"/proc/self/fd/") {
            return self.node(std::str::from_utf8(descriptor).unwrap().parse().unwrap());
        }
        let (folder, name) = self.spot(folder, call, at)?;
        if name.is_empty() { Some(folder) } else { self.names(folder).get(&name).copied() }
    }

    fn names(&self, folder: Node) -> &Names {
        let Content::Folder(names) = &self.nodes[folder] else { panic!("a file where a folder is needed") };
        names
    }

    fn opened(&mut self, call: &Call, folder: Option<usize>, at: usize) {
        self.descriptors.remove(&call.result);
        let has = |flag: &str| call.args[at + 1].split('|').any(|found| found == flag);
        let node = match self.found(folder, call, at) {
            Some(_) if has("O_TMPFILE") => {
                self.nodes.push(Content::File(Arc::default()));
                self.nodes.len() - 1
            }
            Some(node) => node,
            None if has("O_CREAT") => {
                let Some(spot) = self.spot(folder, call, at) else { return };
                self.made(Some(spot), Content::File(Arc::default()));
                self.nodes.len() - 1
            }
            None => return,
        };
        if has("O_TRUNC") {
            self.push(Op::Resize { file: node, len: 0 });
        }
        self.descriptors.insert(call.result, self.open.len());
        self.open.push(OpenDescriptor { node, at: 0, appends: has("O_APPEND") });
    }

    fn written(&mut self, descriptor: i64, mut bytes: Vec<u8>, count: i64, at: Option<i64>) {
        let Some(open) = self.descriptors.get(&descriptor).copied() else { return };
        bytes.truncate(usize::try_from(count).unwrap());
        let file = self.open[open].node;
        let Content::File(content) = &self.nodes[file] else { panic!("a write into a folder") };
        let end = if self.open[open].appends { content.len() } else { self.open[open].at };
        let start = at.map_or(end, |at| usize::try_from(at).unwrap());
        if at.is_none() {
            self.open[open].at = start + bytes.len();
        }
        self.push(Op::Write { file, at: start, bytes });
    }

    fn allocated(&mut self, call: &Call) {
        let Some(file) = self.node(call.number(0)) else { return };
        assert!(call.args[1] == "0" || call.args[1].contains("KEEP_SIZE"), "not known here: {call:?}");
        let end = usize::try_from(call.number(2) + call.number(3)).unwrap();
        let Content::File(content) = &self.nodes[file] else { panic!("a folder is allocated") };
        if call.args[1] == "0" && content.len() < end {
            self.push(Op::Resize { file, len: end });
        }
    }

    fn copied(&mut self, call: &Call) {
        assert!(call.args[1] == "NULL" && call.args[3] == "NULL", "not known here: {call:?}");
        let count = usize::try_from(call.result).unwrap();
        if self.node(call.number(2)).is_none() {
            return;
        }
        let from = self.descriptors.get(&call.number(0)).copied().unwrap_or_else(|| panic!("not known here: {call:?}"));
        let (Content::File(content), at) = (&self.nodes[self.open[from].node], self.open[from].at) else {
            panic!("a folder is copied")
        };
        let bytes = content[at..at + count].to_vec();
        self.open[from].at += count;
        self.written(call.number(2), bytes, call.result, None);
    }

    fn made(&mut self, spot: Option<(Node, Vec<u8>)>, content: Content) {
        let Some((folder, name)) = spot else { return };
        self.nodes.push(content);
        let node = self.nodes.len() - 1;
        self.push(Op::Names { folder, changes: vec![(name, Some(node))], after: None });
    }

    fn linked(&mut self, node: Option<Node>, spot: Option<(Node, Vec<u8>)>) {
        let Some((folder, name)) = spot else { return };
        let node = node.expect("a link from outside");
        self.push(Op::Names { folder, changes: vec![(name, Some(node))], after: None });
    }

    fn unlinked(&mut self, spot: Option<(Node, Vec<u8>)>) {
        let Some((folder, name)) = spot else { return };
        self.push(Op::Names { folder, changes: vec![(name, None)], after: None });
    }

    fn renamed(&mut self, from: Option<(Node, Vec<u8>)>, to: Option<(Node, Vec<u8>)>) {
        let (Some(from), Some(to)) = (from, to) else { return };
        let node = Some(self.names(from.0)[&from.1]);
        if from.0 == to.0 {
            self.push(Op::Names { folder: to.0, changes: vec![(from.1, None), (to.1, node)], after: None });
        } else {
            self.push(Op::Names { folder: to.0, changes: vec![(to.1, node)], after: None });
            let after = Some(self.ops.len() - 1);
            self.push(Op::Names { folder: from.0, changes: vec![(from.1, None)], after });
        }
    }

    fn push(&mut self, op: Op) {
        perform(&mut self.nodes, &op);
        self.ops.push(op);
    }
}

/// Does an operation to the files.
pub fn perform(nodes: &mut [Content], op: &Op) {
    match op {
        Op::Write { file, at, bytes } => {
            let Content::File(content) = &mut nodes[*file] else { panic!("a write into a folder") };
            let content = Arc::make_mut(content);
            content.resize(content.len().max(at + bytes.len()), 0);
            content[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Op::Resize { file, len } => {
            let Content::File(content) = &mut nodes[*file] else { panic!("a folder is resized") };
            Arc::make_mut(content).resize(*len, 0);
        }
        Op::Names { folder, changes, .. } => {
            let Content::Folder(names) = &mut nodes[*folder] else { panic!("a name in a file") };
            for (name, node) in changes {
                match node {
                    Some(node) => drop(names.insert(name.clone(), *node)),
                    None => drop(names.remove(name)),
                }
            }
        }
        Op::Sync { .. } => {}
    }
}

fn load(path: &Path, nodes: &mut Vec<Content>) -> Node {
    use std::os::unix::ffi::OsStringExt as _;
    let node = nodes.len();
    if !path.is_dir() {
        nodes.push(Content::File(Arc::new(fs::read(path).unwrap())));
        return node;
    }
    nodes.push(Content::Folder(Names::new()));
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    entries.sort();
    let names = entries.into_iter().map(|name| (name.clone().into_vec(), load(&path.join(name), nodes))).collect();
    nodes[node] = Content::Folder(names);
    node
}
