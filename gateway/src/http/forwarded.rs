//! Who the client is, and what the upstream is told about it: `X-Forwarded-For`, `-Proto`, `-Host`.
//!
//! Only peers in `trusted_proxies` are believed. From anyone else the three fields, and
//! `Forwarded` (RFC 7239), are replaced, so that an upstream can rely on what it gets.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// `X-Forwarded-For`
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The other end of a client connection; made once per connection.
#[derive(Debug, Clone)]
pub struct Peer {
    address: IpAddr,
    text: HeaderValue,
}

/// Whether a peer's word is taken for the addresses behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It is one of `trusted_proxies`.
    Trusted,
    /// It is not.
    Untrusted,
}

/// How the client spoke to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Peer {
    /// The peer at `address`; an IPv4 address in IPv6 form becomes plain IPv4.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        // The text of an address is always a valid field value.
        let text = HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self { address, text }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it is one of the `trusted` proxies.
    #[must_use]
    pub fn trust(&self, trusted: &[IpNet]) -> Trust {
        if contains(trusted, self.address) { Trust::Trusted } else { Trust::Untrusted }
    }

    /// Writes the forwarding fields that the upstream gets. `host` is the request's Host field. A
    /// trusted peer's `-Proto` and `-Host` stay and its `-For` is added to; else all are replaced.
    /// No allocation but for a list that is added to.
    pub fn set_forwarded(
        &self,
        headers: &mut HeaderMap,
        trust: Trust,
        host: Option<&HeaderValue>,
        scheme: Scheme,
    ) {
        let proto = || match scheme {
            Scheme::Http => HeaderValue::from_static("http"),
            Scheme::Https => HeaderValue::from_static("https"),
        };
        match trust {
            Trust::Untrusted => {
                headers.remove(http::header::FORWARDED);
                headers.insert(X_FORWARDED_FOR, self.text.clone());
                headers.insert(X_FORWARDED_PROTO, proto());
                match host {
                    Some(host) => headers.insert(X_FORWARDED_HOST, host.clone()),
                    None => headers.remove(X_FORWARDED_HOST),
                };
            }
            Trust::Trusted => {
                let list = self.appended(headers);
                headers.insert(X_FORWARDED_FOR, list);
                headers.entry(X_FORWARDED_PROTO).or_insert_with(proto);
                if let Some(host) = host {
                    headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
                }
            }
        }
    }

    /// All that `X-Forwarded-For` holds, and this peer.
    fn appended(&self, headers: &HeaderMap) -> HeaderValue {
        let mut list = Vec::new();
        for value in headers.get_all(X_FORWARDED_FOR) {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(self.text.as_bytes());
        // Valid field values joined by a comma are a valid field value.
        HeaderValue::try_from(list).unwrap_or_else(|_| self.text.clone())
    }
}

/// The address of the client: the peer, or, behind `trusted` proxies, the rightmost address of
/// `X-Forwarded-For` that is not one of them. A malformed entry ends the search at the last
/// address that a trusted proxy vouched for, so nobody can choose an address by writing nonsense.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !contains(trusted, client) {
        return client;
    }
    for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for entry in value.as_bytes().rsplit(|&byte| byte == b',') {
            let Some(address) = parse_entry(entry.trim_ascii()) else { return client };
            client = address;
            if !contains(trusted, client) {
                return client;
            }
        }
    }
    client
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// An address, also with brackets and a port, as some proxies write it.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(_, port)| is_port(port))?.0,
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => {
                is_port(&text[address.len()..]).then_some(address)?
            }
            _ => text,
        },
    };
    address.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Whether `text` is empty or a colon and a port.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trusted() -> Vec<IpNet> {
        ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect()
    }

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_client_is_the_rightmost_untrusted_address() {
        let table: &[(&str, &[&str], &str)] = &[
            // an untrusted peer is the client whatever it writes
            ("192.0.2.1", &["203.0.113.9"], "192.0.2.1"),
            ("::ffff:192.0.2.1", &[], "192.0.2.1"),
            // a trusted one is believed
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.9 ,10.2.3.4"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.9", "10.2.3.4"], "203.0.113.9"),
            ("fd00::1", &["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            // nothing to go by, or only proxies
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["10.9.9.9, 10.8.8.8"], "10.9.9.9"),
            // nonsense is not searched beyond
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, bad, 10.5.5.5"], "10.5.5.5"),
            ("10.0.0.1", &["203.0.113.9,"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9:99999"], "10.0.0.1"),
            ("10.0.0.1", &["[::1"], "10.0.0.1"),
        ];
        for (peer, values, client) in table {
            let fields: Vec<_> = values.iter().map(|value| ("x-forwarded-for", *value)).collect();
            let found = client_address(peer.parse().unwrap(), &map(&fields), &trusted());
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {values:?}");
        }
    }

    #[test]
    fn an_untrusted_peer_sets_nothing() {
        let mut headers = map(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=1.1.1.1"),
        ]);
        let peer = Peer::new("192.0.2.1".parse().unwrap());
        let trust = peer.trust(&trusted());
        assert_eq!(trust, Trust::Untrusted);
        peer.set_forwarded(&mut headers, trust, Some(&HeaderValue::from_static("shop")), Scheme::Http);
        let expected = map(&[
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop"),
        ]);
        assert_eq!(headers, expected);

        peer.set_forwarded(&mut headers, trust, None, Scheme::Https);
        assert_eq!(headers, map(&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")]));
    }

    #[test]
    fn a_trusted_peer_is_added_to_the_list() {
        let mut headers = map(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
        ]);
        let peer = Peer::new("10.0.0.1".parse().unwrap());
        let trust = peer.trust(&trusted());
        peer.set_forwarded(&mut headers, trust, Some(&HeaderValue::from_static("shop")), Scheme::Http);
        let expected = map(&[
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop"),
        ]);
        assert_eq!(headers, expected);
    }

    proptest! {
        #[test]
        fn an_untrusted_peer_cannot_choose_its_address(value in "[ -~]{0,40}") {
            let peer: IpAddr = "192.0.2.1".parse().unwrap();
            prop_assert_eq!(client_address(peer, &map(&[("x-forwarded-for", &value)]), &trusted()), peer);
        }
    }
}
