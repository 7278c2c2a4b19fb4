//! Where a request comes from.
//!
//! Anybody can write `X-Forwarded-For`, and each proxy appends whom it heard from. So the list is read from its end, and
//! only as long as the one who wrote the entry is a proxy that the operator trusts.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

use super::X_FORWARDED_FOR;

/// The address of the client: the peer of the connection, or whom trusted proxies say they heard from. Where a trusted
/// proxy says something that is no address, nothing is known.
pub(super) fn client_address(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut address = peer?.to_canonical();
    let entries: Vec<&str> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("unknown").split(','))
        .map(str::trim)
        .collect();
    for entry in entries.iter().rev() {
        if !trusted.iter().any(|network| network.contains(&address)) {
            break;
        }
        address = parse(entry)?.to_canonical();
    }
    Some(address)
}

/// An address, with or without a port.
fn parse(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(entry, |(address, _)| address);
    bare.parse().ok().or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        client_address(Some(peer.parse().unwrap()), &headers, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = &["10.0.0.0/8", "fd00::/8"];
        for (peer, forwarded, trusted, expected) in [
            ("192.0.2.1", &[][..], &[][..], Some("192.0.2.1")),
            ("192.0.2.1", &["198.51.100.7"], &[], Some("192.0.2.1")),
            ("192.0.2.1", &["198.51.100.7"], proxies, Some("192.0.2.1")),
            ("10.0.0.1", &["198.51.100.7"], proxies, Some("198.51.100.7")),
            ("::ffff:10.0.0.1", &["198.51.100.7"], proxies, Some("198.51.100.7")),
            // What the client wrote stands before what the proxy wrote.
            ("10.0.0.1", &["203.0.113.9, 198.51.100.7"], proxies, Some("198.51.100.7")),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.7, 10.0.0.2"], proxies, Some("198.51.100.7")),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], proxies, Some("10.0.0.3")),
            ("fd00::1", &["[2001:db8::5]:4711"], proxies, Some("2001:db8::5")),
            ("10.0.0.1", &["198.51.100.7:80"], proxies, Some("198.51.100.7")),
            ("10.0.0.1", &["unknown"], proxies, None),
            ("10.0.0.1", &["198.51.100.7, nonsense"], proxies, None),
            ("10.0.0.1", &[], proxies, Some("10.0.0.1")),
        ] {
            assert_eq!(client(peer, forwarded, trusted).as_deref(), expected, "{peer} {forwarded:?}");
        }
    }
}
