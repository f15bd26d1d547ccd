//! One connection: what it waits for, how long it may, and how it ends without losing an answer.
//!
//! Knows no route. Hyper has one limit for the time until a head is read, and counts the idle time before it; balancers keep
//! connections for longer than a head may take, so the two are told apart here, by what passes through the socket.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, header::CONNECTION},
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{host, routes};

/// How long the head of a request may take, from its first byte. Every head here is one packet, and a probe gives up after
/// a few seconds itself.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(3);

/// How long a connection may stay idle. The proxies in use keep theirs for 60 s at most before they ask again (nginx, AWS),
/// so that it is they who close, and never we, while a request is on its way.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(75);

/// How long it may stay idle while no place is left for another connection: whoever wants to keep probes out by saying
/// nothing has to open all places anew every 3 s, which is some 700 connections a second.
pub(super) const CROWDED_IDLE_LIMIT: Duration = Duration::from_secs(3);

/// How long an answer may stay where it is because its client reads nothing.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// From this age on a connection is closed with its next answer, so that clients of a balanced name spread anew.
pub(super) const LIFE: Duration = Duration::from_secs(600);

/// How long what a client still sends is read after the last answer: closing on unread bytes would make the system throw
/// away the answer on its way.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// The largest head of a request, in bytes: every request here fits into a tenth of it.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The most header fields of a request.
pub(super) const MAX_HEADERS: usize = 64;

/// What holds for all connections of a server at the moment.
#[derive(Default)]
pub(super) struct ConnectionRules {
    state: AtomicU8,
    changed: Notify,
}

impl ConnectionRules {
    const CROWDED: u8 = 1;
    const STOPPING: u8 = 2;
    const OVER: u8 = 4;

    fn has(&self, flag: u8) -> bool {
        self.state.load(Ordering::Relaxed) & flag != 0
    }

    fn set(&self, flag: u8) {
        self.state.fetch_or(flag, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// No place is left: whoever has been idle for some seconds is closed.
    pub(super) fn set_crowded(&self) {
        if !self.has(Self::CROWDED) {
            self.set(Self::CROWDED);
        }
    }

    /// There is room again.
    pub(super) fn clear_crowded(&self) {
        if self.has(Self::CROWDED) {
            self.state.fetch_and(!Self::CROWDED, Ordering::Relaxed);
        }
    }

    /// From now on each answer is the last one on its connection, and says so.
    pub(super) fn stop(&self) {
        self.set(Self::STOPPING);
    }

    /// Every connection ends now.
    pub(super) fn end(&self) {
        self.set(Self::OVER);
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A request.
    Idle,
    /// The rest of a request's head.
    Head,
    /// An answer to be made.
    Making,
    /// An answer to be taken.
    Sending,
    /// The client to close its side too.
    Leaving,
}

/// What a connection waits for, and since when; shared by its socket, its requests and its limits.
struct ConnectionTimer {
    began: Instant,
    now: Mutex<(Phase, Instant)>,
}

impl ConnectionTimer {
    fn start() -> Self {
        let began = Instant::now();
        Self { began, now: Mutex::new((Phase::Idle, began)) }
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on from one phase to the next, whose time begins now.
    fn step(&self, from: Phase, next: Phase) {
        let mut now = self.lock();
        if now.0 == from {
            *now = (next, Instant::now());
        }
    }

    /// A request is being answered. Its time goes on from its head, which saves looking at the clock.
    fn make(&self) {
        let mut now = self.lock();
        if matches!(now.0, Phase::Idle | Phase::Head) {
            now.0 = Phase::Making;
        }
    }

    /// The answer is there and is being sent.
    fn send(&self) {
        let mut now = self.lock();
        if now.0 == Phase::Making {
            now.0 = Phase::Sending;
        }
    }

    /// The moment at which the connection has waited for too long.
    fn end(&self, rules: &ConnectionRules) -> Instant {
        if rules.has(ConnectionRules::OVER) {
            return self.began;
        }
        let (phase, since) = *self.lock();
        let limit = match phase {
            Phase::Idle if rules.has(ConnectionRules::CROWDED) => CROWDED_IDLE_LIMIT,
            Phase::Idle => IDLE_LIMIT,
            Phase::Head => HEAD_LIMIT,
            Phase::Making | Phase::Sending => ANSWER_LIMIT,
            Phase::Leaving => LINGER,
        };
        // Beyond its life a connection has been told to close with its last answer, or is one that takes its answer in drops.
        (since + limit).min(self.began + LIFE + IDLE_LIMIT)
    }

    /// Whether the next answer is the last.
    fn closes(&self, rules: &ConnectionRules) -> bool {
        rules.has(ConnectionRules::STOPPING) || self.began.elapsed() >= LIFE
    }
}

/// The socket, which notes what passes through it.
struct Socket {
    stream: TcpStream,
    timer: Arc<ConnectionTimer>,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if into.filled().len() > before {
            self.timer.step(Phase::Idle, Phase::Head);
        }
        read
    }
}

impl Socket {
    /// Bytes that the client took count as life, so that only silence is held against it.
    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            let mut now = self.timer.lock();
            if matches!(now.0, Phase::Idle | Phase::Making | Phase::Sending) {
                now.1 = Instant::now();
            }
        }
        written
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.timer.step(Phase::Sending, Phase::Idle);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.timer.lock().0 != Phase::Leaving {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            *self.timer.lock() = (Phase::Leaving, Instant::now());
        }
        let mut unread = [0; 1024];
        // Bounded by the limit on this phase.
        loop {
            let mut unread = ReadBuf::new(&mut unread);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut unread))?;
            if unread.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Serves one connection until its client closes it, a limit is reached, or the rules say that it is over.
pub(super) async fn serve(stream: TcpStream, router: Router, rules: Arc<ConnectionRules>) {
    // Answers are small and whole; waiting for more to send only delays them.
    let _best_effort = stream.set_nodelay(true);
    let shared = Arc::new(ConnectionTimer::start());
    let (timer, rules) = (&*shared, &*rules);
    let router = TowerToHyperService::new(router);
    let requests = service_fn(|request| answer(request, &router, timer, rules));
    let socket = TokioIo::new(Socket { stream, timer: Arc::clone(&shared) });
    let mut serving = pin!(
        http1::Builder::new()
            .header_read_timeout(None)
            // A client that has nothing more to ask may close its side and still wait for the answer.
            .half_close(true)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(socket, requests)
    );
    let mut changed = pin!(rules.changed.notified());
    let mut alarm = pin!(sleep_until(timer.end(rules)));
    poll_fn(|cx| {
        if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke off");
            }
            return Poll::Ready(());
        }
        while changed.as_mut().poll(cx).is_ready() {
            changed.set(rules.changed.notified());
        }
        // The alarm is moved only when it rings, or would ring too late: not at each request.
        loop {
            let end = timer.end(rules);
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            if alarm.is_elapsed() || alarm.deadline() > end {
                alarm.as_mut().reset(end);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// The answer to one request.
async fn answer(
    request: Request<Incoming>,
    router: &TowerToHyperService<Router>,
    timer: &ConnectionTimer,
    rules: &ConnectionRules,
) -> Result<Response<Body>, Infallible> {
    timer.make();
    let fault = host::fault(request.version(), request.headers());
    let mut answer = match fault {
        None => router.call(request).await?,
        Some(why) => routes::bad_request(why),
    };
    if fault.is_some() || timer.closes(rules) {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    timer.send();
    Ok(answer)
}
