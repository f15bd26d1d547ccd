//! What a guest sees of the machine when it tries everything that WASI has: a test holds it against "nothing".

use std::{
    fmt::{Debug, Display},
    io::Write as _,
    net::{TcpStream, UdpSocket},
};

use vitalsign_plugin::Report;

/// Tries the environment, the arguments, files, sockets and standard input; one finding for each thing that it got.
#[expect(clippy::disallowed_methods, reason = "this guest tries to do what it must not")]
pub(crate) fn look_around() -> Report {
    let mut report = Report::new("");
    let mut lines = Vec::new();
    let mut told = |what: &str, got: Result<String, String>| {
        if let Ok(got) = &got {
            report.error("got-out", format!("{what}: {got}")).subject(what);
        }
        lines.push(format!("{what}: {}", got.unwrap_or_else(|error| format!("refused: {error}"))));
    };
    told("variables", found(std::env::vars_os()));
    told("arguments", found(std::env::args_os()));
    told("current folder", found(std::env::current_dir().ok().filter(|folder| folder.read_dir().is_ok())));
    for folder in ["/", "."] {
        told(&format!("folder {folder}"), tried(std::fs::read_dir(folder).map(|entries| entries.count())));
    }
    for file in ["/etc/passwd", "/proc/self/environ", "registry.sqlite", "var/registry.sqlite"] {
        told(file, tried(std::fs::read(file).map(|bytes| format!("{} bytes", bytes.len()))));
    }
    told("writing", tried(std::fs::write("/tmp/vitalsign-was-here", "x")));
    told("tcp", connected(TcpStream::connect("127.0.0.1:1")));
    told("udp", tried(UdpSocket::bind("127.0.0.1:0")));
    told("names", tried(std::net::ToSocketAddrs::to_socket_addrs("localhost:1").map(Iterator::count)));
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    told(
        "standard input",
        read.map_err(text).and_then(|bytes| if bytes == 0 { Err("empty".into()) } else { Ok(line) }),
    );
    report.summary = lines.join("; ");
    report
}

/// A refused connection means that the packet went out: only "not permitted" means that it did not.
fn connected(result: std::io::Result<TcpStream>) -> Result<String, String> {
    use std::io::ErrorKind;
    match result {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(format!("reached the network: {error}")),
        result => tried(result),
    }
}

fn found<T: Debug>(things: impl IntoIterator<Item = T>) -> Result<String, String> {
    let things: Vec<_> = things.into_iter().collect();
    if things.is_empty() { Err("none".to_owned()) } else { Ok(format!("{things:?}")) }
}

fn tried<T: Debug>(result: std::io::Result<T>) -> Result<String, String> {
    result.map(|got| format!("{got:?}")).map_err(text)
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Writes to standard output and to standard error, so many bytes each.
pub(crate) fn flood(bytes: usize) -> Report {
    const EACH: usize = 1000;
    let mut line = vec![b'x'; EACH - 1];
    line.push(b'\n');
    let (mut out, mut err) = (0, 0);
    for _ in 0..bytes.div_ceil(EACH) {
        out += usize::from(std::io::stdout().write_all(&line).is_ok());
        err += usize::from(std::io::stderr().write_all(&line).is_ok());
    }
    Report::new(format!("wrote {out} lines to standard output, {err} to standard error"))
}
