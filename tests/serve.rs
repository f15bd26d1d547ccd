//! `vitalsign serve` as a process: answers, signals, refusals.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::env::TestEnv;

/// A server that has said where it listens.
pub struct Server {
    child: Child,
    address: String,
    /// What it has logged since.
    log: Arc<Mutex<String>>,
}

impl Server {
    pub fn start(place: &TestEnv) -> Self {
        Self::listening(place, "127.0.0.1:0")
    }

    fn listening(place: &TestEnv, listen: &str) -> Self {
        let mut command = place.command(["serve", "--listen", listen]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.find_map(|line| line.ok().filter(|line| line.contains("http://"))).expect("it says where");
        let address = line.split_once("http://").unwrap().1.trim_end_matches("/health").to_owned();
        // What it says later must not fill the pipe.
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| *kept.lock().unwrap() += &(line + "\n"))
        });
        Self { child, address, log }
    }

    /// The lines of its log that hold all of these words.
    fn logged(&self, words: &[&str]) -> usize {
        let log = self.log.lock().unwrap();
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// The code of one answer, without its body.
    fn code(&self, path: &str) -> u16 {
        self.get(path).0
    }

    /// Asks for liveness until something is so: a bounded wait of a minute or so.
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        assert!((0..100_000).any(|_| is_so() || self.get("/livez").0 != 200), "never came to pass: {what}");
    }

    /// The status and the body of one request.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path);
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
    }

    /// The report once every check has run: until then it says `unknown` of those that have not.
    fn settled(&self) -> (u16, Value) {
        let looked = |report: &Value| {
            let mut checks = report["checks"].as_array().into_iter().flatten();
            !checks.any(|check| check["checked_at"].is_null())
        };
        // Each request is answered from memory, so this is a bounded wait for seconds at the most.
        (0..100_000).map(|_| self.json("/health")).find(|(_, report)| looked(report)).expect("every check runs")
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Sends a signal and gives the exit code.
    pub fn stop(mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server whose checks look every second, so that a change is seen soon.
fn with_short_intervals(place: &TestEnv, change: impl FnOnce(&mut Value)) {
    place.configure(|config| {
        for name in ["wal", "schema", "records", "disk", "sqlite", "foreign-keys"] {
            config["health"]["checks"][name] = json!({ "intervalSeconds": 1 });
        }
        change(config);
    });
}

#[test]
fn it_outlives_what_it_watches() {
    let place = TestEnv::empty();
    with_short_intervals(&place, |_| ());
    let server = Server::start(&place);
    assert_eq!((server.code("/livez"), server.code("/health"), server.code("/readyz")), (200, 503, 503));
    let (_, report) = server.settled();
    assert!(report["errors"].as_array().unwrap().iter().any(|error| error.as_str().unwrap().contains("no database")));
    let made = TestEnv::with_registry(3);
    std::fs::rename(made.path("registry.sqlite"), place.path("registry.sqlite")).unwrap();
    server.until("the database is there and seen", || server.code("/health") == 200 && server.code("/readyz") == 200);
    std::fs::rename(place.path("registry.sqlite"), place.path("away.sqlite")).unwrap();
    server.until("the database is missed", || server.code("/health") == 503 && server.code("/readyz") == 503);
    std::fs::rename(place.path("away.sqlite"), place.path("registry.sqlite")).unwrap();
    server.until("the database is seen again", || server.code("/health") == 200);
    // Each change is one line, whatever was looked at in between.
    let counts = || {
        let bad = server.logged(&["WARN", "check `schema` is error", "there is no database"]);
        (bad, server.logged(&["INFO", "check `schema` is ok again, after error"]))
    };
    server.until("the changes are logged", || counts() == (2, 2));
    assert_eq!(server.code("/livez"), 200);
    assert_eq!(counts(), (2, 2));
    assert_eq!(server.stop("-INT"), Some(0));
}

/// A check that hangs in the system holds up neither the answers nor the end.
#[test]
fn a_check_that_hangs_in_the_system_is_reported() {
    let place = TestEnv::with_registry(3);
    place.configure(|_| ());
    place.write("registry.sqlite-shm", "x");
    assert!(Command::new("mkfifo").arg(place.path("registry.sqlite-wal")).status().unwrap().success());
    let server = Server::start(&place);
    server.until("it is reported", || server.code("/health") == 503 && server.settled().0 == 503);
    assert_eq!(server.code("/livez"), 200);
    assert_eq!(server.stop("-INT"), Some(0));
}

#[test]
fn a_terminal_that_closes_does_not_end_it() {
    let place = TestEnv::with_registry(3);
    place.configure(|_| ());
    let server = Server::start(&place);
    server.signal("-HUP");
    server.until("it says so", || server.logged(&["SIGHUP is ignored"]) == 1);
    assert_eq!(server.code("/livez"), 200);
    assert_eq!(server.stop("-INT"), Some(0));
}

#[test]
fn it_answers_and_ends_at_a_signal() {
    let place = TestEnv::with_registry(42);
    place.configure(|_| ());
    let server = Server::start(&place);
    let (status, report) = server.settled();
    assert_eq!((status, &report["registry"]["records"]), (200, &json!(42)), "{report:#}");
    assert_eq!(report["status"], "ok");
    assert_eq!(server.json("/health/wal").0, 200);
    assert_eq!(server.json("/health/wall").0, 404);
    assert_eq!(server.get("/livez").0, 200);
    assert_eq!(server.get("/readyz").0, 200);
    assert_eq!(server.get("/nowhere").0, 404);
    assert_eq!(server.stop("-INT"), Some(0));
}

/// Whoever asks twice does not want to wait for the drain; the process still ends in order, not by the signal itself.
#[test]
fn a_second_signal_ends_it_in_order() {
    let place = TestEnv::with_registry(1);
    place.configure(|_| ());
    let server = Server::start(&place);
    server.signal("-TERM");
    (0..100_000).find(|_| server.get("/readyz").0 == 503).expect("it begins to stop");
    assert_eq!(server.stop("-TERM"), Some(0));
}

#[test]
fn a_client_that_closes_its_sending_side_gets_its_answer() {
    let place = TestEnv::with_registry(42);
    let server = Server::start(&place);
    for path in ["/livez", "/health"] {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 "), "{path}: {text:?}");
    }
}

#[test]
fn details_are_for_those_who_may_see_them() {
    let place = TestEnv::with_registry(42);
    place.configure(|config| config["server"] = json!({ "details": "never" }));
    let server = Server::start(&place);
    server.until("the first results are there", || server.code("/health") == 200);
    let (status, report) = server.json("/health");
    assert_eq!(status, 200);
    assert_eq!(report.as_object().unwrap().keys().collect::<Vec<_>>(), ["status"], "{report}");
    assert_eq!(server.json("/health/wal").1.as_object().unwrap().keys().collect::<Vec<_>>(), ["status"]);
    assert_eq!(
        server.get("/health/wall"),
        (404, "{\"error\":\"there is no such check\"}".to_owned()),
        "no name is told"
    );
}

#[test]
fn an_address_that_is_taken_and_one_that_is_public() {
    let place = TestEnv::with_registry(1);
    place.configure(|_| ());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = place.run(["serve", "--listen", &address]);
    assert_eq!(ran.code, 6);
    assert!(ran.stderr.contains(&format!("cannot listen on {address}")), "{}", ran.stderr);
    let ran = place.run(["serve", "--listen", "0.0.0.0:0"]);
    insta::assert_snapshot!(format!("{}: {}", ran.code, ran.stderr), @r#"3: vitalsign: --listen: listening on 0.0.0.0:0 with `"details": "always"` would show paths, SQL and facts about this host to whoever can connect; set `server.details` to `never` or `token`, or pass `--allow-public-details`"#);
}

#[test]
fn a_container_asks_for_its_health_without_curl() {
    let place = TestEnv::with_registry(1);
    place.configure(|_| ());
    let server = Server::start(&place);
    server.settled();
    let ask = |path: &str| place.run(["healthcheck", &format!("http://{}{path}", server.address)]);
    let healthy = ask("/health");
    assert_eq!((healthy.code, healthy.stderr.as_str()), (0, ""));
    assert_eq!(healthy.stdout, format!("http://{}/health answered 200 OK\n", server.address));
    assert_eq!(ask("/no-such-page").code, 1);
    let address = server.address.clone();
    assert_eq!(server.stop("-INT"), Some(0));
    let gone = place.run(["healthcheck", &format!("http://{address}/health"), "--timeout", "60"]);
    assert_eq!(gone.code, 6);
    let shown = gone.stderr.replace(&address, "ADDRESS");
    insta::assert_snapshot!(shown, @"
    vitalsign: http://ADDRESS/health gave no answer: Connection refused (os error 111)
      → see whether `vitalsign serve` listens on ADDRESS
    ");
    // A server that takes the connection and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let late = place.run(["healthcheck", &url, "--timeout", "0.2"]);
    assert_eq!(late.code, 6);
    insta::assert_snapshot!(late.stderr.replace(&url, "URL"), @"
    vitalsign: URL gave no answer within 0.2 s
      → give the server more time with --timeout SECONDS
    ");
    assert_eq!(place.run(["healthcheck", "127.0.0.1"]).code, 2);
}

#[test]
fn a_name_is_listened_on() {
    let place = TestEnv::with_registry(1);
    place.configure(|_| ());
    let server = Server::listening(&place, "localhost:0");
    assert!(server.address.starts_with("localhost:") && !server.address.ends_with(":0"), "{}", server.address);
    assert_eq!(server.get("/livez").0, 200);
    assert_eq!(server.stop("-INT"), Some(0));
    let ran = place.run(["serve", "--listen", "no_such_host..:0"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(
        ran.stderr.starts_with("vitalsign: --listen: no address is found for `no_such_host..:0`"),
        "{}",
        ran.stderr
    );
    assert_eq!(place.run(["serve", "--listen", "localhost"]).code, 2);
}

#[test]
fn a_guest_that_hangs_delays_nobody() {
    let place = TestEnv::with_registry(42);
    place.configure(|config| {
        let hang = |name: &str, how: Value| {
            json!({ "name": name, "component": crate::env::GUESTS.join("hostile.wasm"), "config": how,
                    "grants": { "registry": "read" }, "limits": { "timeoutMs": 60_000 } })
        };
        config["plugins"] = json!([
            hang("spins", json!({ "mode": "spin" })),
            hang("sleeps", json!({ "mode": "sleep", "ms": 3_600_000 })),
            hang("traps", json!({ "mode": "trap" })),
            hang("eats", json!({ "mode": "allocate" })),
        ]);
    });
    let server = Server::start(&place);
    let settled = (0..100_000).find_map(|_| {
        let (_, report) = server.json("/health");
        let status = |name: &str| crate::env::entry(&report, name)["raw_status"].clone();
        let looked = status("records") == "ok" && !crate::env::entry(&report, "traps")["checked_at"].is_null();
        looked.then_some(report)
    });
    let report = settled.expect("the other checks have run while two guests hang");
    assert_eq!(crate::env::entry(&report, "spins")["status"], "unknown");
    assert_eq!(crate::env::entry(&report, "sleeps")["status"], "unknown");
    let log = Arc::clone(&server.log);
    assert_eq!(server.stop("-INT"), Some(0));
    let log = log.lock().unwrap();
    assert!(!log.contains("internal error") && !log.contains("panicked"), "runs that are under way end quietly: {log}");
}
