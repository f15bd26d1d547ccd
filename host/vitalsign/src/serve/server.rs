//! Connections together: how many there are, and how they end when the server stops.
//!
//! Knows no route. HTTP/1.1 only; `axum::serve` sets no bounds, so hyper is used directly.

use std::{future::Future, io, net, sync::Arc, task::Poll, time::Duration};

use axum::Router;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{
    Routes,
    connection::{self, ConnectionRules},
};

/// Connections at one time, where the system gives descriptors for twice as many; further ones wait in its queue. A
/// probe needs one.
pub(super) const MAX_CONNECTIONS: usize = 2048;

/// How long everything is still answered after a gentle stop has begun, new connections included, so that a load balancer
/// that asks every few seconds sees `/readyz` fall before connections are refused.
pub(super) const NOTICE: Duration = Duration::from_secs(5);

/// How long the connections that are left after a gentle stop may take to be told, by an answer, that they are closed. With
/// [`NOTICE`] it stays below the ten seconds after which `docker stop` kills.
pub(super) const DRAIN: Duration = Duration::from_secs(4);

/// The same where a person waits for the stop.
pub(super) const QUICK_DRAIN: Duration = Duration::from_secs(1);

/// The pause after the system refused to accept, which it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a server is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// `/readyz` falls at once, and everything is still answered for 5 s: for orchestrators.
    Gracefully,
    /// No new connection from now on: for a person at a terminal.
    Now,
}

/// Serves `routes` on all of `listeners` until `stop` says how to end. From then on each answer is the last on its connection
/// and says so; connections that ask nothing more are closed after 9 s at most, or after 1 s when it is to stop now.
pub async fn serve(listeners: Vec<TcpListener>, routes: Routes, stop: impl Future<Output = Shutdown>) {
    serve_with(listeners, routes, stop, most_connections()).await;
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
pub(super) async fn serve_with(
    listeners: Vec<TcpListener>,
    routes: Routes,
    stop: impl Future<Output = Shutdown>,
    most: usize,
) {
    let app = App { router: routes.router(), places: Arc::new(Semaphore::new(most)), most, rules: Arc::default() };
    let stopping = async {
        let how = stop.await;
        routes.begin_stopping();
        app.rules.stop();
        if how == Shutdown::Gracefully {
            sleep(NOTICE).await;
        }
        how
    };
    let how = tokio::select! {
        () = app.accept(&listeners) => Shutdown::Now,
        how = stopping => how,
    };
    listeners.into_iter().for_each(|listener| app.accept_pending(listener));
    let drain = if how == Shutdown::Gracefully { DRAIN } else { QUICK_DRAIN };
    // Every place is free again once every connection has ended.
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    drop(timeout(drain, app.places.acquire_many(all)).await);
    app.rules.end();
}

/// What every connection is given, and how many there may be.
struct App {
    router: Router,
    places: Arc<Semaphore>,
    most: usize,
    rules: Arc<ConnectionRules>,
}

impl App {
    /// Takes connections for as long as it is polled.
    async fn accept(&self, listeners: &[TcpListener]) {
        let mut turn = 0;
        loop {
            // The semaphore is never closed, so there is always a place to wait for.
            let Some(place) = self.place().await else { return };
            turn += 1;
            match next(listeners, turn).await {
                Ok(stream) => self.serve(stream, place),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted; trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place for one more connection. Where there is none, those who ask nothing have to leave.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            if self.places.available_permits() > self.most / 4 {
                self.rules.clear_crowded();
            }
            return Some(place);
        }
        self.rules.set_crowded();
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    fn serve(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let serving = connection::serve(stream, self.router.clone(), Arc::clone(&self.rules));
        drop(tokio::spawn(async move {
            serving.await;
            drop(place);
        }));
    }

    /// Takes what the system has accepted already and would reset when the listener is closed.
    fn accept_pending(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            let Ok((stream, _)) = listener.accept() else { return };
            if let Ok(stream) = unblocked(stream) {
                self.serve(stream, place);
            }
        }
    }
}

fn unblocked(stream: net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

/// The next connection of any listener, another one being asked first at each turn.
async fn next(listeners: &[TcpListener], turn: usize) -> io::Result<TcpStream> {
    std::future::poll_fn(|cx| {
        let (later, first) = listeners.split_at(turn % listeners.len().max(1));
        for listener in first.iter().chain(later) {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted.map(|(stream, _)| stream));
            }
        }
        Poll::Pending
    })
    .await
}

/// Whether the client went away before it was accepted, which says nothing of us.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
