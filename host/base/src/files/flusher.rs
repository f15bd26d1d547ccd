//! Syncs a file in the background while it is being written, so that the last sync is short.

use std::{
    fs::File,
    io,
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
};

/// After so many bytes the disk is set to work: small beside what a disk writes in a second, large beside one write.
const STEP_BYTES: usize = 16 << 20;

/// A thread that syncs a file now and then.
#[derive(Debug)]
pub struct Flusher {
    wake: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
    written: usize,
}

impl Flusher {
    /// A flusher of `file`, at work once enough was written.
    ///
    /// # Errors
    /// When the system gives no thread or no second descriptor.
    pub fn new(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (wake, woken) = sync_channel::<()>(1);
        let thread = std::thread::Builder::new()
            .name("flusher".to_owned())
            .spawn(move || woken.iter().try_for_each(|()| file.sync_data()))?;
        Ok(Self { wake, thread, written: 0 })
    }

    /// Takes note that so many bytes more were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written >= STEP_BYTES {
            self.written = 0;
            match self.wake.try_send(()) {
                // Busy with the last step, or ended by an error that `finish` tells.
                Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }

    /// Waits for the step under way. What was written since is not synced yet.
    ///
    /// # Errors
    /// The error of a sync: the system reports each error only once, so it must not be lost.
    pub fn finish(self) -> io::Result<()> {
        drop(self.wake);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that syncs the file stopped unexpectedly")))
    }
}
