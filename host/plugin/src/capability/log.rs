//! The capability `log`, and the guest's standard output and error, which end in the same place.
//!
//! What a guest writes is kept until its run is over, capped by `logBytes` over everything together, and made printable.

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use wasmtime::component::{HasSelf, Linker};

use super::{Capability, RunContext};
use crate::{
    abi::{
        log::{self, Level},
        types::Grant,
    },
    settings::Grants,
};
use vitalsign_base::value::{Name, printable};

/// One line in the host's log is at most this long.
const MAX_LINE_BYTES: usize = 1024;

/// Lines that one run may write, whatever their size: an empty line costs the host as much as a short one.
const MAX_LINES: usize = 200;

/// What one run has written.
#[derive(Clone)]
pub(crate) struct LogCapture(Arc<Mutex<LogCaptureState>>);

struct LogCaptureState {
    left_bytes: usize,
    lines: Vec<(Level, String)>,
    dropped: bool,
    raw: Vec<u8>,
}

impl LogCapture {
    fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(LogCaptureState {
            left_bytes: max_bytes,
            lines: Vec::new(),
            dropped: false,
            raw: Vec::new(),
        })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut LogCaptureState) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last line that the guest wrote to its standard output or error: with Rust guests, the panic message.
    pub(crate) fn last_words(&self) -> Option<String> {
        self.with(|inner| {
            let text = String::from_utf8_lossy(&inner.raw);
            let said = text.lines().rfind(|line| !line.trim().is_empty() && !line.starts_with("note: "));
            said.map(|line| printable(line.trim(), 300))
        })
    }

    /// Hands the lines to the host's log under the check's name.
    pub(crate) fn publish(&self, check: &Name) {
        self.with(|inner| {
            let text = String::from_utf8_lossy(&inner.raw).into_owned();
            let raw = text.lines().map(|line| (Level::Info, printable(line, MAX_LINE_BYTES)));
            let lines: Vec<_> = inner.lines.drain(..).chain(raw).collect();
            inner.dropped |= lines.len() > MAX_LINES;
            for (level, line) in lines.into_iter().take(MAX_LINES) {
                match level {
                    Level::Debug => tracing::debug!(check = %check, "{line}"),
                    Level::Info => tracing::info!(check = %check, "{line}"),
                    Level::Warn => tracing::warn!(check = %check, "{line}"),
                    Level::Error => tracing::error!(check = %check, "{line}"),
                }
            }
            if inner.dropped {
                tracing::warn!(check = %check, "more was written than `plugins[].limits.logBytes` or {MAX_LINES} lines allow; the rest is dropped");
            }
        });
    }
}

impl Capability for LogCapture {
    fn link<T: 'static>(linker: &mut Linker<T>, of: fn(&mut T) -> &mut Self) -> wasmtime::Result<()> {
        log::add_to_linker::<T, HasSelf<Self>>(linker, of)
    }

    /// Every plugin may write to the log, within its limit.
    fn missing(_: &Grant, _: Grants) -> Option<Result<(), String>> {
        None
    }

    fn for_run(run: &RunContext<'_>) -> Self {
        Self::new(run.limits.log_bytes)
    }
}

impl log::Host for LogCapture {
    fn write(&mut self, level: Level, message: String) {
        self.with(|inner| {
            if message.len() > inner.left_bytes || inner.lines.len() >= MAX_LINES {
                inner.dropped = true;
            } else {
                inner.left_bytes -= message.len();
                inner.lines.push((level, printable(&message, MAX_LINE_BYTES)));
            }
        });
    }
}

/// A guest's standard output or error.
pub(crate) struct Stdio(pub(crate) LogCapture);

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, which is not offered.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Stdio(self.0.clone()))
    }
}

#[async_trait]
impl Pollable for Stdio {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Stdio {
    fn write(&mut self, bytes: wasmtime_wasi_io::bytes::Bytes) -> StreamResult<()> {
        self.0.with(|inner| {
            let kept = bytes.len().min(inner.left_bytes);
            inner.left_bytes -= kept;
            inner.dropped |= kept < bytes.len();
            inner.raw.extend_from_slice(&bytes[..kept]);
        });
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        // What is beyond the limit is taken and dropped, so that a talkative guest is not mistaken for a broken one.
        Ok(MAX_LINE_BYTES * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_capped_and_the_last_words_are_found() {
        let log_capture = LogCapture::new(100);
        let mut stderr = Stdio(log_capture.clone());
        stderr.write("thread panicked\n\x1b[1mboom\nnote: run with\n".into()).unwrap();
        assert_eq!(log_capture.last_words().unwrap(), "\\u{1b}[1mboom");
        log::Host::write(&mut log_capture.clone(), Level::Info, "x".repeat(90));
        assert!(log_capture.with(|inner| inner.dropped && inner.lines.is_empty()));
    }
}
