//! Connections: how many, how long, how large, and how they end.
//!
//! Knows no route. HTTP/1.1 only; `axum::serve` sets none of these bounds, so hyper is used directly.

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use super::App;

/// Connections at one time, where the system gives descriptors for twice as many; further ones wait in its queue. A
/// probe needs one. So many because each may say nothing for [`HEADER_TIMEOUT`]: whoever wants to keep probes waiting
/// has to open some 700 a second.
const MAX_CONNECTIONS: usize = 2048;

/// How long a connection may take to send a request's head, or stay idle before it. A probe asks whether we live and
/// gives up after a few seconds itself, so nobody who is silent may hold a place for longer; a scraper that kept its
/// connection opens another.
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest life of a connection: one that never reads its answer must not hold its place for ever.
const MAX_LIFE: Duration = Duration::from_secs(600);

/// The largest head of a request, in bytes: every request here fits into a tenth of it.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The most header fields of a request.
const MAX_HEADERS: usize = 64;

/// How long probes are still answered on new connections after a gentle stop has begun, so that a load balancer that
/// asks every few seconds sees `/readyz` fall before connections are refused.
const NOTICE: Duration = Duration::from_secs(5);

/// How long answers that are under way may take once no connection is accepted any more.
const DRAIN: Duration = Duration::from_secs(5);

/// The pause after the system refused to accept, which it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a server is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `/readyz` falls at once, and everything is still answered for 5 s: for orchestrators.
    Gently,
    /// No new connection from now on: for a person at a terminal.
    Now,
}

/// Serves `app` on `listener` until `stop` says how to end, then lets answers under way be finished, for 5 s at most.
pub async fn serve(listener: TcpListener, app: App, stop: impl Future<Output = Stop>) {
    serve_with(listener, app, stop, most_connections()).await;
}

/// As many connections as leave the checks at least as many descriptors, after asking the system for all it gives.
fn most_connections() -> usize {
    let limits = getrlimit(Resource::Nofile);
    // What it does not give, it does not give: the limit that holds then is read back below.
    let _best_effort = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
    let given = getrlimit(Resource::Nofile).current.and_then(|count| usize::try_from(count).ok());
    given.map_or(MAX_CONNECTIONS, |count| (count / 2).clamp(1, MAX_CONNECTIONS))
}

/// [`serve`] with at most `most` connections at one time.
pub(super) async fn serve_with(listener: TcpListener, app: App, stop: impl Future<Output = Stop>, most: usize) {
    let router = app.router();
    let places = Arc::new(Semaphore::new(most));
    let (closing, closed) = watch::channel(());
    let accepting = async {
        loop {
            // The semaphore is never closed, so there is always a place to wait for.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(stream, router.clone(), place, closed.clone()))),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted; trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    let stopping = async {
        let how = stop.await;
        app.begin_stopping();
        if how == Stop::Gently {
            sleep(NOTICE).await;
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stopping => {}
    }
    drop(listener);
    drop(closing);
    // Every place is free again once every connection has ended.
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    drop(timeout(DRAIN, places.acquire_many(all)).await);
}

/// Serves one connection until it ends, is too old, or the server closes.
async fn connection(stream: TcpStream, router: Router, place: OwnedSemaphorePermit, mut closed: watch::Receiver<()>) {
    // Answers are small and whole; waiting for more to send only delays them.
    let _best_effort = stream.set_nodelay(true);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = &mut serving => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke off");
            }
        }
        _ = timeout(MAX_LIFE, closed.changed()) => {
            serving.as_mut().graceful_shutdown();
            drop(timeout(DRAIN, serving).await);
        }
    }
    drop(place);
}

/// Whether the client went away before it was accepted, which says nothing of us.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
