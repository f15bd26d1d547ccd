//! Every route, status and mode of details, without a socket; then what only a socket shows.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::advance,
};
use tower::ServiceExt;

use super::{cache::MAX_AGE, *};
use crate::run::{Runner, Selection};
use vitalsign_base::{clock::FixedClock, value::Name};
use vitalsign_check::{
    BoxFuture, Check, Context, Outcome, READY_GROUP, Schedule, Spec,
    report::{Fact, Finding, Measure, Origin, RegistrySection, Status, Subject, Weight},
};

/// What must never be seen without the right to details.
const SECRETS: [&str; 5] =
    ["/srv/secret/registry.sqlite", "SELECT secret", "secret-host", "secret_bytes", "secret_component"];

/// A check that says what it is told to, with secrets in every place that a check has.
struct Probe {
    spec: Spec,
    says: Mutex<Status>,
    runs: AtomicU32,
}

impl Check for Probe {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn run<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Outcome> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let status = *self.says.lock().unwrap();
        let finding = Finding::new(status, "secret-host", SECRETS[0]).subject(SECRETS[1]).hint(SECRETS[2]);
        let mut outcome = Outcome::of(finding);
        outcome.measures.push(Measure::new(SECRETS[3], 1.0, ""));
        outcome.facts.push(Fact::JournalMode(SECRETS[2].to_owned()));
        Box::pin(async { outcome })
    }
}

/// `/readyz` looks at `disk`, which is critical; `wal` is not, and is not looked at either.
struct World {
    disk: Arc<Probe>,
    wal: Arc<Probe>,
    runner: Arc<Runner>,
}

fn probe(name: &str, status: Status, critical: bool, group: &str) -> Arc<Probe> {
    let schedule = Schedule {
        enabled: true,
        weight: if critical { Weight::Critical } else { Weight::Ordinary },
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(2),
        failure_threshold: 1,
        success_threshold: 1,
        groups: vec![group.to_owned()],
    };
    let origin = Origin::Plugin { component: SECRETS[4].to_owned(), digest: None };
    let spec = Spec { name: Name::parse(name).unwrap(), origin, schedule };
    Arc::new(Probe { spec, says: Mutex::new(status), runs: AtomicU32::new(0) })
}

impl World {
    fn new(disk: Status, wal: Status) -> Self {
        Self::of(disk, wal, READY_GROUP)
    }

    fn of(disk: Status, wal: Status, group: &str) -> Self {
        let (disk, wal) = (probe("disk", disk, true, group), probe("wal", wal, false, "other"));
        let checks = vec![Arc::clone(&disk) as Arc<dyn Check>, Arc::clone(&wal) as Arc<dyn Check>];
        let clock = Arc::new(FixedClock("2025-10-27T12:00:00Z".parse().unwrap()));
        let runner = Runner::new(checks, Subject::default(), RegistrySection::default(), clock);
        Self { disk, wal, runner }
    }

    async fn round(&self) {
        let all = self.runner.choose(&Selection::default()).unwrap();
        self.runner.round(&all).await;
    }

    async fn looked(disk: Status, wal: Status) -> Self {
        let world = Self::new(disk, wal);
        world.round().await;
        world
    }

    fn app(&self, access: Access) -> Routes {
        routes(Arc::clone(&self.runner), access)
    }
}

async fn ask(app: &Routes, request: Request<Body>) -> (StatusCode, String) {
    let answer = app.router().oneshot(request).await.unwrap();
    for (name, value) in
        [("content-type", "application/json"), ("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
    {
        assert_eq!(answer.headers()[name], value);
    }
    let code = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (code, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(app: &Routes, path: &str) -> (u16, String) {
    let (code, body) = ask(app, Request::get(path).body(Body::empty()).unwrap()).await;
    (code.as_u16(), body)
}

fn status(body: &str) -> String {
    serde_json::from_str::<Value>(body).unwrap()["status"].as_str().unwrap().to_owned()
}

fn token() -> Access {
    Access::Token(Token::new("s3cret").unwrap())
}

#[tokio::test]
async fn every_route_answers_every_status_in_every_mode() {
    use Status::{Error, Ok, Skipped, Unknown, Warn};
    // disk (critical, ready), wal (neither): then the code and status of /health, /health/disk, /health/wal, /readyz.
    let table = [
        (Ok, Ok, (200, "ok"), (200, "ok"), (200, "ok"), (200, "ok")),
        (Ok, Warn, (200, "warn"), (200, "ok"), (200, "warn"), (200, "ok")),
        (Ok, Error, (503, "error"), (200, "ok"), (503, "error"), (200, "ok")),
        (Ok, Unknown, (200, "warn"), (200, "ok"), (503, "unknown"), (200, "ok")),
        (Skipped, Skipped, (200, "ok"), (200, "skipped"), (200, "skipped"), (200, "ok")),
        (Warn, Ok, (200, "warn"), (200, "warn"), (200, "ok"), (200, "warn")),
        (Unknown, Ok, (503, "error"), (503, "unknown"), (200, "ok"), (503, "error")),
        (Error, Warn, (503, "error"), (503, "error"), (200, "warn"), (503, "error")),
    ];
    for (disk, wal, health, one, other, ready) in table {
        let world = World::looked(disk, wal).await;
        for (access, detailed) in [(Access::Always, true), (Access::Never, false), (token(), false)] {
            let app = world.app(access);
            let routes = [
                ("/health", health, true),
                ("/health/disk", one, true),
                ("/health/wal", other, true),
                ("/readyz", ready, false),
                ("/readyz?verbose", ready, true),
                ("/livez", (200, "ok"), false),
                ("/livez?verbose", (200, "ok"), true),
            ];
            for (path, (code, word), has_details) in routes {
                let (found, body) = get(&app, path).await;
                assert_eq!((found, status(&body).as_str()), (code, word), "{path} for {disk:?} and {wal:?}");
                let status_only = format!(r#"{{"status":"{word}"}}"#);
                assert_eq!(body != status_only, detailed && has_details, "{path}: {body}");
            }
        }
    }
}

#[tokio::test]
async fn without_the_right_to_details_no_secret_is_seen() {
    let paths =
        ["/health", "/health/disk", "/health/wal", "/health/dis", "/livez?verbose", "/readyz", "/readyz?verbose", "/x"];
    for status in Status::ALL {
        let world = World::looked(status, status).await;
        let open = get(&world.app(Access::Always), "/health").await.1;
        assert!(SECRETS.iter().all(|secret| open.contains(secret)), "the secrets were planted: {open}");
        for access in [Access::Never, token()] {
            let app = world.app(access);
            for path in paths {
                let (_, body) = get(&app, path).await;
                assert!(!body.contains("secret") && !body.contains("s3cret"), "{path}: {body}");
                assert!(!body.contains("disk"), "{path} names no check: {body}");
            }
        }
    }
}

#[tokio::test]
async fn the_token_opens_details_and_a_wrong_one_does_not() {
    let app = World::looked(Status::Error, Status::Ok).await.app(token());
    for (header, opens) in [("Bearer s3cret", true), ("Bearer wrong", false), ("Basic s3cret", false)] {
        for path in ["/health", "/health/disk", "/readyz?verbose"] {
            let request = Request::get(path).header(header::AUTHORIZATION, header).body(Body::empty()).unwrap();
            let (code, body) = ask(&app, request).await;
            assert_eq!((code.as_u16(), body.contains(SECRETS[0])), (503, opens), "{path} with {header}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_a_sentence() {
    let world = World::looked(Status::Ok, Status::Ok).await;
    let open = world.app(Access::Always);
    let said = |text: &str| (404, serde_json::json!({ "error": text }).to_string());
    assert_eq!(get(&open, "/health/disc").await, said("there is no check `disc`; did you mean `disk`?"));
    assert_eq!(get(&open, "/health/%ff").await.0, 404);
    assert_eq!(
        get(&open, "/helth").await,
        said("the path /helth does not exist; the paths are /health, /health/NAME, /livez and /readyz")
    );
    assert_eq!(get(&world.app(Access::Never), "/health/disc").await, said("there is no such check"));
}

#[tokio::test]
async fn head_is_get_without_a_body_and_nothing_else_is_allowed() {
    let app = World::looked(Status::Error, Status::Ok).await.app(Access::Always);
    for path in ["/health", "/health/disk", "/livez", "/readyz"] {
        let (code, body) = ask(&app, Request::head(path).body(Body::empty()).unwrap()).await;
        assert_eq!((u32::from(code.as_u16()), body.as_str()), (u32::from(get(&app, path).await.0), ""));
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
            let request = Request::builder().method(method).uri(path).body(Body::from("ignored")).unwrap();
            let answer = app.router().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.headers()[header::ALLOW], "GET, HEAD, OPTIONS");
        }
    }
}

/// HAProxy's plain `option httpchk` asks this, and takes anything but 2xx and 3xx for dead.
#[tokio::test]
async fn options_are_answered_whatever_the_registry_says() {
    let app = World::looked(Status::Error, Status::Ok).await.app(Access::Never);
    for path in ["/health", "/health/disk", "/livez", "/readyz", "/", "*"] {
        let request = Request::options(path).body(Body::empty()).unwrap();
        let answer = app.router().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.headers()[header::ALLOW], "GET, HEAD, OPTIONS", "{path}");
        assert!(axum::body::to_bytes(answer.into_body(), 1).await.unwrap().is_empty());
    }
    let request = Request::options("/nowhere").body(Body::empty()).unwrap();
    assert_eq!(app.router().oneshot(request).await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_thousand_gets_run_no_check() {
    let world = World::new(Status::Ok, Status::Ok);
    let app = world.app(Access::Always);
    for path in ["/health", "/health/disk", "/livez?verbose", "/readyz?verbose"] {
        for _ in 0..250 {
            get(&app, path).await;
        }
    }
    assert_eq!((world.disk.runs.load(Ordering::Relaxed), world.wal.runs.load(Ordering::Relaxed)), (0, 0));
    assert!(get(&app, "/health").await.1.contains("not-yet-run"));
}

#[tokio::test(start_paused = true)]
async fn a_kept_report_misses_no_result_and_lags_by_a_tenth_of_a_second_at_most() {
    let world = World::looked(Status::Ok, Status::Ok).await;
    let app = world.app(Access::Always);
    let age = |body: &str| serde_json::from_str::<Value>(body).unwrap()["checks"][0]["age_ms"].as_u64().unwrap();
    let first = age(&get(&app, "/health").await.1);
    advance(MAX_AGE / 2).await;
    assert_eq!(age(&get(&app, "/health").await.1), first, "rendered once");
    advance(MAX_AGE / 2).await;
    assert_eq!(age(&get(&app, "/health").await.1), first + 100, "rendered again");
    *world.disk.says.lock().unwrap() = Status::Error;
    world.round().await;
    assert_eq!(get(&app, "/health").await.0, 503, "a new result shows at once");
    *world.disk.says.lock().unwrap() = Status::Ok;
    world.round().await;
    assert_eq!(get(&app, "/health").await.0, 200);
    advance(Duration::from_secs(60)).await;
    assert_eq!((get(&app, "/health").await.0, get(&app, "/readyz").await.0), (503, 503), "stale is not healthy");
    assert_eq!(get(&app, "/livez").await.0, 200);
}

#[tokio::test]
async fn readiness_falls_when_stopping_begins_and_liveness_stays() {
    let world = World::looked(Status::Ok, Status::Ok).await;
    let app = world.app(Access::Always);
    assert_eq!(get(&app, "/readyz").await.0, 200);
    app.begin_stopping();
    assert_eq!(get(&app, "/readyz").await, (503, r#"{"status":"error"}"#.to_owned()));
    assert!(get(&app, "/readyz?verbose").await.1.contains("the server is stopping"));
    assert_eq!((get(&app, "/livez").await.0, get(&app, "/health").await.0), (200, 200));
}

#[tokio::test]
async fn nothing_to_look_at_is_not_ready() {
    let world = World::of(Status::Ok, Status::Ok, "other");
    world.round().await;
    let app = world.app(Access::Always);
    assert_eq!(get(&app, "/readyz").await, (503, r#"{"status":"error"}"#.to_owned()));
    assert!(get(&app, "/readyz?verbose").await.1.contains("no enabled check is in the group `ready`"));
    assert_eq!(get(&app, "/health").await.0, 200);
}

/// A server and where it listens.
async fn started(stop: impl Future<Output = Shutdown> + Send + 'static, places: usize) -> (SocketAddr, JoinHandle<()>) {
    let app = World::looked(Status::Ok, Status::Ok).await.app(Access::Always);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(server::serve_with(vec![listener], app, stop, places)))
}

async fn served(stop: impl Future<Output = Shutdown> + Send + 'static) -> (TcpStream, JoinHandle<()>) {
    let (address, server) = started(stop, 16).await;
    (TcpStream::connect(address).await.unwrap(), server)
}

/// Reads up to the end of an answer whose body is `{"status":"…"}`.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

async fn ask_livez(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_answer(stream).await
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.is_ok() && rest.is_empty()
}

const OK: &str = "HTTP/1.1 200 OK\r\n";
const CLOSE: &str = "\r\nconnection: close\r\n";

#[tokio::test]
async fn a_connection_is_kept_alive_until_the_server_stops() {
    let (stop, stopped) = oneshot::channel();
    let (mut stream, server) = served(async { stopped.await.unwrap() }).await;
    for _ in 0..2 {
        let answer = ask_livez(&mut stream).await;
        assert!(answer.starts_with(OK) && !answer.contains(CLOSE), "{answer}");
    }
    stop.send(Shutdown::Now).unwrap();
    assert!(is_closed(&mut stream).await);
    server.await.unwrap();
}

/// No request is lost: who asks on a connection from before, or on a new one, is answered and told to ask elsewhere next.
#[tokio::test(start_paused = true)]
async fn after_a_gentle_stop_each_answer_is_the_last_of_its_connection() {
    let (stop, stopped) = oneshot::channel();
    let (address, server) = started(async { stopped.await.unwrap() }, 16).await;
    let mut before = TcpStream::connect(address).await.unwrap();
    assert!(!ask_livez(&mut before).await.contains(CLOSE));
    let mut silent = TcpStream::connect(address).await.unwrap();
    let began = tokio::time::Instant::now();
    stop.send(Shutdown::Gracefully).unwrap();
    tokio::task::yield_now().await;
    let mut later = TcpStream::connect(address).await.unwrap();
    later.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_answer(&mut later).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains(CLOSE), "{answer}");
    let answer = ask_livez(&mut before).await;
    assert!(answer.starts_with(OK) && answer.contains(CLOSE), "{answer}");
    assert!(is_closed(&mut before).await && is_closed(&mut later).await);
    // One that asks nothing is closed when the time is over, and the server ends.
    assert!(is_closed(&mut silent).await);
    server.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), (server::NOTICE + server::DRAIN).as_secs());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_was_asked_in_the_moment_of_the_stop_is_answered() {
    let (stop, stopped) = oneshot::channel();
    let (address, server) = started(async { stopped.await.unwrap() }, 16).await;
    // These are accepted by the system, and by the server only when it runs again, which is after the stop.
    let std = |_| std::net::TcpStream::connect(address).unwrap();
    let waiting: Vec<_> = (0..8).map(std).collect();
    stop.send(Shutdown::Now).unwrap();
    for stream in waiting {
        stream.set_nonblocking(true).unwrap();
        let answer = ask_livez(&mut TcpStream::from_std(stream).unwrap()).await;
        assert!(answer.starts_with(OK) && answer.contains(CLOSE), "{answer}");
    }
    server.await.unwrap();
}

/// What a client sends after its last answer must not make the system throw that answer away.
#[tokio::test]
async fn the_last_answer_arrives_although_more_was_sent() {
    let (mut stream, server) = served(std::future::pending()).await;
    let last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(&[last.as_slice(), &[b'x'; 8 * 1024]].concat()).await.unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    assert!(String::from_utf8(text).unwrap().starts_with(OK));
    server.abort();
}

#[tokio::test]
async fn a_request_without_exactly_one_host_is_refused() {
    for (head, expected) in [
        ("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        ("GET http://a/livez HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        ("GET /livez HTTP/1.0\r\n\r\n", "200"),
        ("GET /livez HTTP/1.1\r\n\r\n", "400"),
        ("GET http://a/livez HTTP/1.1\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
    ] {
        let (mut stream, server) = served(std::future::pending()).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.split(' ').nth(1), Some(expected), "{head:?}: {text}");
        assert!(expected == "200" || text.contains(CLOSE), "{text}");
        server.abort();
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (mut stream, server) = served(std::future::pending()).await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nX: ").await.unwrap();
    // The server answers and closes before it has read everything, so either end of this may be cut off.
    let _refused = stream.write_all(&[b'x'; 64 * 1024]).await;
    let mut answer = Vec::new();
    let _cut_off = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    server.abort();
}

/// A load balancer must hear from us while somebody opens connections and says nothing: half a head, nothing at all, or
/// nothing more after one answer.
#[tokio::test(start_paused = true)]
async fn a_flood_of_silent_connections_is_shed() {
    const PLACES: usize = 8;
    for what in ["half a head", "nothing", "nothing more"] {
        let (address, server) = started(std::future::pending(), PLACES).await;
        let mut flood = Vec::new();
        for _ in 0..PLACES {
            let mut stream = TcpStream::connect(address).await.unwrap();
            match what {
                "half a head" => stream.write_all(b"GET /livez HTT").await.unwrap(),
                "nothing" => {}
                _ => assert!(ask_livez(&mut stream).await.starts_with(OK)),
            }
            flood.push(stream);
        }
        let began = tokio::time::Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(ask_livez(&mut stream).await.starts_with(OK));
        assert!(
            began.elapsed() <= Duration::from_secs(4),
            "{what}, by the clock that the test moves: {:?}",
            began.elapsed()
        );
        server.abort();
    }
}

/// Time stands still and jumps to the next timer whenever everybody waits, so each limit is reached at once.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_long_and_half_a_head_is_not() {
    let lasted = async |sent: &[&[u8]], answers: usize| {
        let (mut stream, server) = served(std::future::pending()).await;
        let mut began = tokio::time::Instant::now();
        for part in sent {
            stream.write_all(part).await.unwrap();
        }
        for _ in 0..answers {
            read_answer(&mut stream).await;
            began = tokio::time::Instant::now();
        }
        assert!(is_closed(&mut stream).await);
        server.abort();
        began.elapsed().as_secs()
    };
    let whole = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".as_slice();
    assert_eq!(lasted(&[], 0).await, connection::IDLE_LIMIT.as_secs());
    assert_eq!(lasted(&[whole], 1).await, connection::IDLE_LIMIT.as_secs());
    assert_eq!(lasted(&[b"GET /livez HTT"], 0).await, connection::HEAD_LIMIT.as_secs());
    // The time of a head begins with its first byte, however long the connection was idle.
    let (mut stream, server) = served(std::future::pending()).await;
    ask_livez(&mut stream).await;
    advance(connection::IDLE_LIMIT - Duration::from_secs(1)).await;
    let began = tokio::time::Instant::now();
    stream.write_all(b"GET /livez HTT").await.unwrap();
    assert!(is_closed(&mut stream).await);
    assert_eq!(began.elapsed().as_secs(), connection::HEAD_LIMIT.as_secs());
    server.abort();
}

/// Answers that nobody reads fill the buffers of the system, and then the connection is held against its client.
#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_answer_is_closed() {
    let (stream, server) = served(std::future::pending()).await;
    let whole = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let began = tokio::time::Instant::now();
    loop {
        let mut stream = &stream;
        match tokio::time::timeout(connection::ANSWER_LIMIT * 2, async { stream.writable().await }).await {
            Ok(ready) => ready.unwrap(),
            Err(_) => panic!("it is still open after {:?}", began.elapsed()),
        }
        match stream.try_write(&whole) {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
            _ => {}
        }
        let _ = &mut stream;
    }
    assert!(began.elapsed() <= connection::ANSWER_LIMIT + Duration::from_secs(1), "{:?}", began.elapsed());
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_closed_with_an_answer() {
    let (mut stream, server) = served(std::future::pending()).await;
    ask_livez(&mut stream).await;
    let mut asked = 0;
    loop {
        advance(Duration::from_secs(60)).await;
        asked += 1;
        if ask_livez(&mut stream).await.contains(CLOSE) {
            break;
        }
    }
    assert_eq!(asked, connection::LIFE.as_secs() / 60);
    assert!(is_closed(&mut stream).await);
    server.abort();
}

#[tokio::test]
async fn all_listeners_are_served() {
    let app = World::looked(Status::Ok, Status::Ok).await.app(Access::Always);
    let listeners = bind(&["127.0.0.1:0", "127.0.0.2:0"].map(|address| address.parse().unwrap())).await.unwrap();
    let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let server = tokio::spawn(serve(listeners, app, std::future::pending()));
    for address in [addresses[0], addresses[1], addresses[1], addresses[0]] {
        assert!(ask_livez(&mut TcpStream::connect(address).await.unwrap()).await.starts_with(OK));
    }
    server.abort();
}
