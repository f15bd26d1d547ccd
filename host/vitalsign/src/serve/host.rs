//! The rule on `Host`: a request of HTTP/1.1 has exactly one, and it names a host (RFC 9112, section 3.2).
//!
//! Knows no route. Behind a proxy, requests with two are how others are smuggled past its rules.

use std::net::Ipv6Addr;

use axum::http::{HeaderMap, Version, header::HOST};

/// What is wrong with the `Host` of a request, as a sentence; `None` when nothing is.
pub(super) fn fault(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Some("this request has more than one Host header; send exactly one"),
        (Some(host), None) if !is_host(host.as_bytes()) => {
            Some("the Host header of this request names no host; send for example `Host: localhost:8080`")
        }
        // Probes of HTTP/1.0 have none, and that version allows it.
        (None, None) if version >= Version::HTTP_11 => Some("this request has no Host header; HTTP/1.1 asks for one"),
        _ => None,
    }
}

/// Whether `text` is `uri-host [":" port]`. The empty text is one, and monitors of some balancers send it.
fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let (host_is_good, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let Some((address, rest)) = inner.split_once(']') else { return false };
            (address.parse::<Ipv6Addr>().is_ok(), rest)
        }
        None => {
            let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_name(name), rest)
        }
    };
    let is_port =
        |port: &str| port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    host_is_good && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// Whether `name` is a `reg-name` of RFC 3986, which an IPv4 address is as well.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'%' => bytes.by_ref().take(2).filter(u8::is_ascii_hexdigit).count() == 2,
            byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte),
        };
        if !good {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(version: Version, hosts: &[&'static str]) -> bool {
        let headers = hosts.iter().map(|host| (HOST, host.parse().unwrap())).collect();
        fault(version, &headers).is_some()
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        assert!(!refused(Version::HTTP_11, &["a"]));
        assert!(refused(Version::HTTP_11, &[]));
        assert!(!refused(Version::HTTP_10, &[]));
        for version in [Version::HTTP_10, Version::HTTP_11] {
            assert!(refused(version, &["a", "a"]) && refused(version, &["a", "b"]) && refused(version, &["a b"]));
        }
    }

    #[test]
    fn a_host_names_a_host() {
        for good in [
            "",
            "a",
            "localhost:8080",
            "registry.example.org",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8080",
            "a:",
            "a_b-c.d~e",
            "xn--bcher-kva.example",
            "%41.example",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b",
            " ",
            "a/b",
            "a@b",
            "user:pw@b",
            "a:b",
            "a:80:80",
            "a:65536",
            "::1",
            "[::1",
            "[::1]x",
            "[a]",
            "a#b",
            "a?b",
            "a\\b",
            "a\"b",
            "<a>",
            "%4",
            "%zz",
            "ä",
            "a\tb",
            "[::1]:",
            "[::1%25lo]",
        ] {
            assert_eq!(is_host(bad.as_bytes()), bad == "[::1]:", "{bad}");
        }
        assert!(!is_host(b"\xff"));
    }
}
