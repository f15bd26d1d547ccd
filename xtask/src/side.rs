//! Measurements from outside: the product as a process, and the server beside a bare one that returns the same bytes.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Result,
    bench::Figure,
    demo::{self, CONFIG},
    tool::{at, cargo, output, run, say, target, vitalsign},
};

/// Runs of the process; the median of so many is steady to a few percent.
const RUNS: usize = 31;

/// Rounds of requests at each server, in turns, so that a noisy neighbour hits both.
const ROUNDS: usize = 3;

const OURS: &str = "127.0.0.1:18480";
const BARE: &str = "127.0.0.1:18481";

/// `check` as a process, with ten plugins whose compiled code is cached.
pub(crate) fn processes() -> Result<Vec<Figure>> {
    let folder = target().join("bench");
    // Three plugins four times over, less two: the benchmark speaks of ten.
    demo::prepare("release", &folder, 4)?;
    let names = plugin_names(&folder)?;
    let mut words = vec!["check", "--config", CONFIG, "--format", "json", "--only"];
    words.extend(names.iter().take(10).map(String::as_str));
    say(&format!("timing `check` with 10 plugins, {RUNS} times"));
    let mut times = Vec::new();
    for round in 0..=RUNS {
        let mut command = vitalsign("release", &folder, &words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = crate::tool::status(&mut command)?;
        // The first run fills the cache of compiled code.
        if round > 0 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        if !status.success() {
            return Err(format!("`check` said {status} in {}", folder.display()));
        }
    }
    Ok(vec![figure("`check` as a process with 10 Rust plugins, code cached", median(times), "ms", Some(20.0), false)])
}

fn plugin_names(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join(CONFIG);
    let text = at(&path, fs::read_to_string(&path))?;
    let config: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let plugins = config["plugins"].as_array().into_iter().flatten();
    Ok(plugins.filter_map(|plugin| plugin["name"].as_str().map(str::to_owned)).collect())
}

/// `GET /health` against a bare axum route that returns the same bytes.
pub(crate) fn requests() -> Result<Vec<Figure>> {
    if Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        say("`wrk` is not installed: the comparison with a bare axum route is left out");
        return Ok(Vec::new());
    }
    let folder = target().join("bench");
    run(&mut cargo(&["build", "--release", "--package", "vitalsign", "--example", "bare_axum"]))?;
    let _ours =
        Server::start(&mut vitalsign("release", &folder, &["serve", "--config", CONFIG, "--listen", OURS]), OURS)?;
    let body = folder.join("health.json");
    at(&body, fs::write(&body, get(OURS)?))?;
    let bare = target().join("release/examples/bare_axum");
    let _bare = Server::start(Command::new(bare).arg(BARE).arg(&body), BARE)?;
    say(&format!("asking both servers in turns, {ROUNDS} rounds of 5 s each"));
    let (mut ours, mut bare, mut slow) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let load = wrk(OURS)?;
        ours.push(load.per_second);
        slow.push(load.p99_ms);
        bare.push(wrk(BARE)?.per_second);
    }
    let (ours, bare) = (median(ours), median(bare));
    Ok(vec![
        figure("`/health`, requests", ours, "per s", None, true),
        figure("a bare axum route with the same bytes, requests", bare, "per s", None, true),
        figure("`/health` against the bare route", ours / bare, "times", Some(0.8), true),
        figure("`/health`, p99 of its latency under that load", median(slow), "ms", None, false),
    ])
}

fn figure(name: &str, value: f64, unit: &str, target: Option<f64>, higher: bool) -> Figure {
    Figure { name: name.to_owned(), value, unit: unit.to_owned(), target, higher }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A server that ends when this does.
struct Server(Child);

impl Server {
    /// Starts it and waits until it listens, 30 s at most.
    fn start(command: &mut Command, address: &str) -> Result<Self> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut server = Self(child.map_err(|error| format!("a server could not be started: {error}"))?);
        for _ in 0..300 {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            if let Ok(Some(status)) = server.0.try_wait() {
                return Err(format!("the server for {address} ended at once ({status})"));
            }
            sleep(Duration::from_millis(100));
        }
        Err(format!("nothing listens on {address} after 30 s"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The body of `GET /health`.
fn get(address: &str) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| format!("GET http://{address}/health: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(failed)?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("an answer without a head")?;
    Ok(answer.split_off(head + 4))
}

/// What `wrk` said.
#[derive(Debug, PartialEq)]
struct Load {
    per_second: f64,
    p99_ms: f64,
}

fn wrk(address: &str) -> Result<Load> {
    let url = format!("http://{address}/health");
    let text = output(Command::new("wrk").args(["-t1", "-c32", "-d5s", "--latency", &url]))?;
    read_wrk(&text).ok_or_else(|| format!("`wrk` said nothing to go by:\n{text}"))
}

fn read_wrk(text: &str) -> Option<Load> {
    let after = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
    if after("Non-2xx or 3xx responses:").is_some() {
        return None;
    }
    let p99 = after("99%")?;
    let split = p99.find(|char: char| char.is_ascii_alphabetic())?;
    let (number, unit) = p99.split_at(split);
    let scale = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => return None,
    };
    Some(Load { per_second: after("Requests/sec:")?.parse().ok()?, p99_ms: number.parse::<f64>().ok()? * scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let text = "  Latency Distribution\n     50%    1.10ms\n     99%  500.00us\n  5 requests in 5s\nRequests/sec:  31234.50\nTransfer/sec: 1MB\n";
        assert_eq!(read_wrk(text), Some(Load { per_second: 31234.5, p99_ms: 0.5 }));
        assert_eq!(read_wrk(&format!("{text}  Non-2xx or 3xx responses: 7\n")), None);
        assert_eq!(read_wrk("unable to connect"), None);
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
