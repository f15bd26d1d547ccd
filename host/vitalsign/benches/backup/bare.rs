//! The compression libraries alone, on all cores: what a backup could take at best. Knows no database and no archive.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use libdeflater::{CompressionLvl, Compressor};

/// As much as a block of an archive holds.
const BLOCK_BYTES: usize = 1 << 20;

/// Where the bytes come from.
enum Input {
    /// Bytes that are in memory already.
    Memory(Vec<u8>),
    /// A file, which is read a block at a time.
    File(File, usize),
}

impl Input {
    fn bytes(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File(_, bytes) => *bytes,
        }
    }

    /// Block number `number`, in `room` if it has to be read.
    fn block<'a>(&'a self, number: usize, room: &'a mut [u8]) -> &'a [u8] {
        let start = number * BLOCK_BYTES;
        let end = self.bytes().min(start + BLOCK_BYTES);
        match self {
            Self::Memory(bytes) => &bytes[start..end],
            Self::File(file, _) => {
                let room = &mut room[..end - start];
                file.read_exact_at(room, start as u64).unwrap();
                room
            }
        }
    }
}

/// How long libdeflate needs for the content of `files`, which is in memory before the clock starts.
pub(crate) fn libdeflate(files: &[&Path], level: i32) -> Duration {
    let inputs = files.iter().map(|path| Input::Memory(std::fs::read(path).unwrap())).collect::<Vec<_>>();
    on_all_cores(&inputs, || {
        let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
        let mut out = vec![0; compressor.deflate_compress_bound(BLOCK_BYTES)];
        move |block| compressor.deflate_compress(block, &mut out).unwrap()
    })
}

/// How long it takes to read `files` and to compress them with zstd.
pub(crate) fn read_and_zstd(files: &[&Path], level: i32) -> Duration {
    let open = |path: &&Path| {
        let file = File::open(path).unwrap();
        let bytes = usize::try_from(file.metadata().unwrap().len()).unwrap();
        Input::File(file, bytes)
    };
    on_all_cores(&files.iter().map(open).collect::<Vec<_>>(), || {
        let mut compressor = zstd::bulk::Compressor::new(level).unwrap();
        move |block| compressor.compress(block).unwrap().len()
    })
}

/// Every core takes the next block until none is left.
fn on_all_cores<C: FnMut(&[u8]) -> usize>(inputs: &[Input], compressor: impl Fn() -> C + Sync) -> Duration {
    let start = Instant::now();
    for input in inputs {
        let (next, blocks) = (AtomicUsize::new(0), input.bytes().div_ceil(BLOCK_BYTES));
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    let (mut compress, mut room) = (compressor(), vec![0; BLOCK_BYTES]);
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= blocks {
                            break;
                        }
                        std::hint::black_box(compress(input.block(number, &mut room)));
                    }
                });
            }
        });
    }
    start.elapsed()
}
