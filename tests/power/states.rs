//! Every state that the disk may be in after the power has failed while a command ran.
//!
//! The model, which is what POSIX promises, and no more:
//!
//! - What was written to a file is on the disk once the file is synced. Until then each write may be there or not: the file may
//!   have its old content, all of the new one, the new length with zeros in it, the first writes only, or the last one only.
//! - A name that was created, linked, renamed or removed is on the disk once its folder is synced. Until then each of these may
//!   be there or not, in any combination; only two changes of the same name keep their order.
//! - A sync of a file says nothing about its name, and a sync of a folder nothing about the files in it.
//! - A rename happens at once. Into another folder it may leave the file under both names, and never under none.
//! - A sync covers what had ended before it began.
//!
//! Enough points in time: just before each sync, and the end, since between two syncs a later point has all states of an earlier
//! one. At each of them come every prefix of what is not synced; and every subset of the newest [`Bounds::names`] changes of names,
//! with all of the older ones and with none; and each older change missing alone; for each of these every content that the files
//! may have, all alike or one apart from the others.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, hash_map::DefaultHasher},
    fs,
    hash::{Hash as _, Hasher as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::model::{Content, Node, Op, ROOT, Recording, perform};

/// Paths, each with its file, so that a file with two names is one file, and the content; `None` for a folder.
type Tree = BTreeMap<PathBuf, (Node, Option<Arc<Vec<u8>>>)>;

/// How many combinations are tried.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Changes of names of which every subset is tried: two to the power of it.
    pub names: usize,
}

/// The disk after a crash.
pub struct State {
    tree: Tree,
    /// Whether the command had ended.
    pub is_done: bool,
    /// When the power failed, and what it took.
    pub story: String,
}

/// How much of what was not synced a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    Nothing,
    Length,
    LastWrite,
}

const PARTS: [Part; 4] = [Part::All, Part::Nothing, Part::Length, Part::LastWrite];

/// Whatever is on the disk for certain, and what is not.
struct Disk<'a> {
    ops: &'a [Op],
    nodes: Vec<Content>,
    pending: Vec<usize>,
}

/// All states, each once. Those of the end come first.
pub fn states(recording: &Recording, bounds: Bounds) -> Vec<State> {
    let mut nodes = recording.start.clone();
    nodes.extend(recording.nodes.iter().skip(nodes.len()).map(|node| match node {
        Content::File(_) => Content::File(Arc::default()),
        Content::Folder(_) => Content::Folder(BTreeMap::new()),
    }));
    let mut disk = Disk { ops: &recording.ops, nodes, pending: Vec::new() };
    let mut points = Vec::new();
    for (at, op) in recording.ops.iter().enumerate() {
        match op {
            Op::Sync { node, covers } => {
                points.push(disk.states(at, false, bounds));
                disk.sync(*node, *covers);
            }
            _ => disk.pending.push(at),
        }
    }
    points.push(disk.states(recording.ops.len(), true, bounds));
    let mut seen = HashSet::new();
    points.into_iter().rev().flatten().filter(|(hash, _)| seen.insert(*hash)).map(|(_, state)| state).collect()
}

impl Disk<'_> {
    fn sync(&mut self, node: Node, covers: usize) {
        let is_of = |op: &Op| match op {
            Op::Write { file, .. } | Op::Resize { file, .. } => *file == node,
            Op::Names { folder, .. } => *folder == node,
            Op::Sync { .. } => false,
        };
        let mut done: BTreeSet<_> =
            self.pending.iter().copied().filter(|at| *at < covers && is_of(&self.ops[*at])).collect();
        done.extend(done.clone().into_iter().filter_map(|at| self.needs(at)).filter(|at| self.pending.contains(at)));
        for at in &done {
            perform(&mut self.nodes, &self.ops[*at]);
        }
        self.pending.retain(|at| !done.contains(at));
    }

    fn needs(&self, at: usize) -> Option<usize> {
        if let Op::Names { after, .. } = &self.ops[at] { *after } else { None }
    }

    /// The states that are possible now, with what tells them apart.
    fn states(&self, point: usize, is_done: bool, bounds: Bounds) -> Vec<(u64, State)> {
        let mut out = Vec::new();
        let mut seen = HashSet::new();
        let mut add = |nodes: &[Content], story: &dyn Fn() -> String| {
            let tree = tree(nodes);
            let hash = hash(&tree);
            if seen.insert(hash) {
                let story = format!("power fails after {point} operations, with {}", story());
                out.push((hash, State { tree, is_done, story }));
            }
        };
        for count in 0..=self.pending.len() {
            let mut nodes = self.nodes.clone();
            self.pending[..count].iter().for_each(|at| perform(&mut nodes, &self.ops[*at]));
            add(&nodes, &|| format!("the first {count} of {} that are not synced", self.pending.len()));
        }
        for chosen in self.subsets(bounds) {
            let mut nodes = self.nodes.clone();
            chosen.iter().for_each(|at| perform(&mut nodes, &self.ops[*at]));
            let dirty = self.dirty(&nodes);
            for part in PARTS {
                for apart in std::iter::once(None).chain(dirty.iter().map(Some)) {
                    // All alike; or one has this part and all others are whole.
                    let mut nodes = nodes.clone();
                    for file in &dirty {
                        let part = if apart.is_none_or(|apart| apart == file) { part } else { Part::All };
                        self.write(&mut nodes, *file, part);
                    }
                    add(&nodes, &|| {
                        let missing = self.pending.iter().filter(|at| !chosen.contains(at));
                        let missing: Vec<_> = missing.filter_map(|at| names_of(&self.ops[*at])).collect();
                        format!("{part:?} of the writes to {apart:?} of {dirty:?}, and without {}", missing.join(", "))
                    });
                }
            }
        }
        out
    }

    fn subsets(&self, bounds: Bounds) -> BTreeSet<Vec<usize>> {
        let names: Vec<usize> =
            self.pending.iter().copied().filter(|at| matches!(self.ops[*at], Op::Names { .. })).collect();
        let (older, newest) = names.split_at(names.len().saturating_sub(bounds.names));
        let mut out = BTreeSet::new();
        for bits in 0..1_u64 << newest.len() {
            let some = newest.iter().copied().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, op)| op);
            let some: Vec<usize> = some.collect();
            out.insert([older, &some].concat());
            out.insert(some);
        }
        for gone in older {
            out.insert(names.iter().copied().filter(|at| at != gone).collect());
        }
        let is_possible = |chosen: &Vec<usize>| {
            chosen.iter().filter_map(|at| self.needs(*at)).all(|at| chosen.contains(&at) || !self.pending.contains(&at))
        };
        out.retain(is_possible);
        out
    }

    /// The files that have a name and writes that are not synced.
    fn dirty(&self, nodes: &[Content]) -> BTreeSet<Node> {
        let there: BTreeSet<Node> = tree(nodes).into_values().map(|(node, _)| node).collect();
        let written = self.pending.iter().filter_map(|at| match &self.ops[*at] {
            Op::Write { file, .. } | Op::Resize { file, .. } => Some(*file),
            _ => None,
        });
        written.filter(|file| there.contains(file)).collect()
    }

    fn write(&self, nodes: &mut [Content], node: Node, part: Part) {
        let is_its = |op: &Op| matches!(op, Op::Write { file, .. } | Op::Resize { file, .. } if *file == node);
        let writes: Vec<&Op> = self.pending.iter().map(|at| &self.ops[*at]).filter(|op| is_its(op)).collect();
        match part {
            Part::All => writes.iter().for_each(|op| perform(nodes, op)),
            Part::Nothing => {}
            Part::LastWrite => writes.iter().rev().take(1).for_each(|op| perform(nodes, op)),
            Part::Length => {
                let Content::File(old) = nodes[node].clone() else { return };
                writes.iter().for_each(|op| perform(nodes, op));
                let Content::File(new) = &mut nodes[node] else { return };
                let len = new.len();
                *new = old;
                Arc::make_mut(new).resize(len, 0);
            }
        }
    }
}

/// A change of names, for people.
fn names_of(op: &Op) -> Option<String> {
    let Op::Names { folder, changes, .. } = op else { return None };
    let one = |(name, node): &(Vec<u8>, Option<Node>)| match node {
        Some(node) => format!("{} = {node}", String::from_utf8_lossy(name)),
        None => format!("no {}", String::from_utf8_lossy(name)),
    };
    Some(format!("{} (in {folder})", changes.iter().map(one).collect::<Vec<_>>().join(" and ")))
}

fn tree(nodes: &[Content]) -> Tree {
    use std::os::unix::ffi::OsStrExt as _;
    let mut out = BTreeMap::new();
    let mut folders = vec![(PathBuf::new(), ROOT)];
    while let Some((path, folder)) = folders.pop() {
        let Content::Folder(names) = &nodes[folder] else { continue };
        for (name, node) in names {
            let path = path.join(std::ffi::OsStr::from_bytes(name));
            let content = match &nodes[*node] {
                Content::File(content) => Some(Arc::clone(content)),
                Content::Folder(_) => None,
            };
            if content.is_none() {
                folders.push((path.clone(), *node));
            }
            out.insert(path, (*node, content));
        }
    }
    out
}

fn hash(tree: &Tree) -> u64 {
    let mut hasher = DefaultHasher::new();
    tree.hash(&mut hasher);
    hasher.finish()
}

impl State {
    /// The content of a file.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        self.tree.get(Path::new(path))?.1.as_deref().map(Vec::as_slice)
    }

    pub fn files(&self) -> impl Iterator<Item = (&Path, &Vec<u8>)> {
        self.tree.iter().filter_map(|(path, (_, content))| Some((path.as_path(), content.as_deref()?)))
    }

    /// Puts the files on a real disk, with the time stamps that `stamps` knows.
    pub fn build(&self, folder: &Path, stamps: &BTreeMap<PathBuf, SystemTime>) {
        let mut built: BTreeMap<Node, PathBuf> = BTreeMap::new();
        for (path, (node, content)) in &self.tree {
            let to = folder.join(path);
            match (content, built.get(node)) {
                (None, _) => fs::create_dir(&to).unwrap(),
                (Some(_), Some(first)) => fs::hard_link(first, &to).unwrap(),
                (Some(content), None) => {
                    fs::write(&to, content.as_slice()).unwrap();
                    if let Some(stamp) = stamps.get(path) {
                        fs::File::options().write(true).open(&to).unwrap().set_modified(*stamp).unwrap();
                    }
                    built.insert(*node, to);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trace, *};
    use crate::backup::has;

    /// Every content that `name` may have after a crash while the script runs in a folder with a file `f` of content `old`, as
    /// its states at the end and all states.
    fn contents(script: &str) -> [BTreeSet<Option<String>>; 2] {
        let (place, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = place.path().canonicalize().unwrap();
        fs::write(root.join("f"), "old").unwrap();
        let mut recording = Recording::of(&root);
        let trace = outside.path().join("trace");
        let mut command = trace::tracer(&trace);
        assert!(command.args(["sh", "-ec", script]).current_dir(&root).status().unwrap().success());
        recording.apply(&trace::calls(&fs::read_to_string(trace).unwrap()));
        let states = states(&recording, Bounds { names: 8 });
        let content = |state: &State| state.read("f").map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        [states.iter().filter(|state| state.is_done).map(content).collect(), states.iter().map(content).collect()]
    }

    fn set(contents: &[&str]) -> BTreeSet<Option<String>> {
        contents.iter().map(|content| Some((*content).to_owned())).collect()
    }

    /// The classic fault: the name is on the disk before the content, so the old content is lost and the new one too.
    #[test]
    fn a_rename_of_a_file_that_is_not_synced_is_found_faulty() {
        if !has("strace") {
            return;
        }
        let [_, ever] = contents("printf new > n; mv n f; sync .");
        assert_eq!(ever, set(&["", "\0\0\0", "new", "old"]));
    }

    #[test]
    fn a_rename_whose_folder_is_not_synced_may_be_undone() {
        if !has("strace") {
            return;
        }
        let [done, ever] = contents("printf new > n; sync n; mv n f");
        assert_eq!((done, ever), (set(&["new", "old"]), set(&["new", "old"])));
    }

    #[test]
    fn a_file_that_is_synced_renamed_and_synced_by_name_is_old_or_new() {
        if !has("strace") {
            return;
        }
        let [done, ever] = contents("printf new > n; sync n; mv n f; sync .");
        assert_eq!((done, ever), (set(&["new"]), set(&["new", "old"])));
    }

    #[test]
    fn a_sync_before_the_last_write_does_not_cover_it() {
        if !has("strace") {
            return;
        }
        let [done, _] = contents("exec 3> n; printf a >&3; sync n; printf b >&3; mv n f; sync .");
        assert_eq!(done, set(&["a", "a\0", "ab"]));
    }

    #[test]
    fn a_new_folder_that_is_not_synced_takes_its_files_with_it() {
        if !has("strace") {
            return;
        }
        let [done, ever] = contents("mkdir d; mv f d/f; sync d");
        // It is in `d`, where it cannot be reached; a removed name that is not synced may still be there.
        assert!(done.contains(&None) && ever.contains(&Some("old".to_owned())));
    }
}
