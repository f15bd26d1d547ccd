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
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use super::App;

/// Connections at one time; further ones wait in the system's queue. A probe needs one.
const MAX_CONNECTIONS: usize = 512;

/// How long a connection may take to send a request's head, or stay idle before it: scrapers come every 15 s and may
/// keep theirs, a client that sends a byte a minute may not.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

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
    let router = app.router();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
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
