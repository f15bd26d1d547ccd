//! Where the server listens: how it is written, which addresses that stands for, and taking them.
//!
//! Knows no configuration file. A name is looked up with the system's resolver, as every other program does it.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
    sync::mpsc,
    thread,
    time::Duration,
};

use tokio::net::TcpListener;

use vitalsign_base::value::printable;

/// How long a name may take to be looked up. The system's resolver asks each server for 5 s, and a start should not wait
/// for several that are down.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(5);

/// Addresses of one name that are listened on: this machine's own, of which a name has two or three.
const MAX_ADDRESSES: usize = 8;

/// The longest name of a host, as DNS has it, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// Where the server listens, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `:8080`: every address of this machine.
    Every(u16),
    /// `127.0.0.1:8080`, `[::1]:8080`.
    Address(SocketAddr),
    /// `localhost:8080`: every address of the name.
    Name(String, u16),
}

/// Why a text is not a [`Listen`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an address to listen on; write a host and a port such as `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`, or `:8080` for every address of this machine"
)]
pub struct BadListen(String);

impl FromStr for Listen {
    type Err = BadListen;

    fn from_str(text: &str) -> Result<Self, BadListen> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let bad = || BadListen(printable(text, MAX_NAME_BYTES));
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = match port.bytes().all(|byte| byte.is_ascii_digit()) {
            true => port.parse().map_err(|_| bad())?,
            false => return Err(bad()),
        };
        let in_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        match host {
            "" => Ok(Self::Every(port)),
            // What has only digits and dots is an address with a slip in it, and no resolver should guess at it.
            _ if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Err(bad()),
            _ if host.len() <= MAX_NAME_BYTES && host.bytes().all(in_a_name) => Ok(Self::Name(host.to_owned(), port)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(port) => write!(f, ":{port}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl Listen {
    /// The addresses that this stands for; `look_up` is asked for those of a name.
    ///
    /// # Errors
    /// When the name has no address.
    pub fn addresses(&self, look_up: &dyn Fn(&str) -> io::Result<Vec<IpAddr>>) -> io::Result<Vec<SocketAddr>> {
        let (found, port) = match self {
            Self::Address(address) => return Ok(vec![*address]),
            Self::Every(port) => (vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)], *port),
            Self::Name(name, port) => (look_up(name)?, *port),
        };
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found.into_iter().map(|address| SocketAddr::new(address, port)) {
            if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() { Err(io::Error::other("it has no address")) } else { Ok(addresses) }
    }
}

impl Listen {
    /// The host and port at which `listeners` answer, for people: the name that was written, with the port that was taken.
    #[must_use]
    pub fn bound(&self, listeners: &[TcpListener]) -> String {
        match (self, listeners.first().and_then(|listener| listener.local_addr().ok())) {
            (Self::Name(name, _), Some(bound)) => format!("{name}:{}", bound.port()),
            (_, Some(bound)) => bound.to_string(),
            (_, None) => self.to_string(),
        }
    }
}

/// Whether anybody but this machine can connect to `address`.
#[must_use]
pub fn is_public(address: &SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// The addresses that the system's resolver has for `name`, within 5 s.
///
/// # Errors
/// When it has none, or does not answer in time.
pub fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    let (tell, told) = mpsc::channel();
    let wanted = name.to_owned();
    // The resolver cannot be interrupted, so a thread that it holds up is left behind.
    thread::Builder::new().name("look-up".to_owned()).spawn(move || {
        let found = (wanted.as_str(), 0).to_socket_addrs();
        // Nobody listens any more when the limit is over.
        let _ = tell.send(found.map(|found| found.map(|address| address.ip()).collect()));
    })?;
    told.recv_timeout(LOOK_UP_LIMIT).unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", LOOK_UP_LIMIT.as_secs())))
    })
}

/// Why the server cannot listen on an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Listens on all of `addresses` that this machine has, on one port when they leave it open.
///
/// # Errors
/// [`BindError`] when one is taken or not allowed, or when this machine has none of them.
pub async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    let mut bound: Vec<TcpListener> = Vec::new();
    let mut absent = None;
    for address in addresses {
        let first = bound.first().and_then(|listener| listener.local_addr().ok());
        let mut address = *address;
        if let (0, Some(first)) = (address.port(), first) {
            address.set_port(first.port());
        }
        match TcpListener::bind(address).await {
            Ok(listener) => bound.push(listener),
            // `localhost` has an IPv6 address in many containers that have no IPv6.
            Err(source) if is_absent(&source) => absent = Some(BindError { address, source }),
            // `[::]` takes connections over IPv4 as well on most systems, and then has the port of `0.0.0.0` already.
            Err(source)
                if source.kind() == io::ErrorKind::AddrInUse
                    && address.ip() == Ipv4Addr::UNSPECIFIED
                    && first.is_some_and(|first| first.ip() == Ipv6Addr::UNSPECIFIED) => {}
            Err(source) => return Err(BindError { address, source }),
        }
    }
    match absent {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

/// Whether this machine does not have such an address.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::AFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::Error::other("not asked"))
    }

    #[test]
    fn every_usual_way_to_write_an_address_is_read_and_printed() {
        for text in ["127.0.0.1:8080", "[::1]:0", "0.0.0.0:80", "localhost:8080", "db_1.example-x.org:1", ":8080"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "8080",
            "localhost",
            "127.0.0.1",
            "::1:80",
            "localhost:",
            ":",
            "localhost:http",
            "localhost:65536",
            "localhost:-1",
            "localhost:+1",
            "http://localhost:80",
            "a b:80",
            "256.0.0.1:80",
            "1.2.3:80",
            "*:80",
        ] {
            let error = bad.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains("`127.0.0.1:8080`") && error.contains("`:8080`"), "{error}");
        }
    }

    #[test]
    fn a_text_stands_for_addresses() {
        let listen = |text: &str| text.parse::<Listen>().unwrap();
        let two = |_: &str| Ok(["::1", "127.0.0.1", "::1"].map(|ip| ip.parse().unwrap()).to_vec());
        let text = |found: Vec<SocketAddr>| found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(listen("localhost:80").addresses(&two).unwrap()), ["[::1]:80", "127.0.0.1:80"]);
        assert_eq!(text(listen(":80").addresses(&nobody).unwrap()), ["[::]:80", "0.0.0.0:80"]);
        assert_eq!(text(listen("127.0.0.1:80").addresses(&nobody).unwrap()), ["127.0.0.1:80"]);
        assert!(listen("localhost:80").addresses(&nobody).is_err());
        assert!(listen("localhost:80").addresses(&|_| Ok(Vec::new())).is_err());
        for (address, public) in [
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("[::]:1", true),
            ("10.0.0.1:1", true),
        ] {
            assert_eq!(is_public(&address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn the_system_knows_this_machine_and_no_nonsense() {
        assert!(look_up("localhost").unwrap().iter().all(IpAddr::is_loopback));
        // No name has a label of 64 bytes, so nothing is sent to find that out.
        assert!(look_up(&"a".repeat(64)).is_err());
    }

    #[tokio::test]
    async fn what_is_taken_is_refused_and_what_is_not_there_is_left_out() {
        let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
        // An address for documentation, which no machine has.
        let elsewhere: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let bound = bind(&[elsewhere, here]).await.unwrap();
        assert_eq!(bound.len(), 1);
        let taken = bound[0].local_addr().unwrap();
        assert_eq!(bind(&[taken]).await.unwrap_err().address, taken);
        assert_eq!(bind(&[elsewhere]).await.unwrap_err().address, elsewhere);
        let two = bind(&[here, "127.0.0.2:0".parse().unwrap()]).await.unwrap();
        assert_eq!(two[0].local_addr().unwrap().port(), two[1].local_addr().unwrap().port());
    }
}
