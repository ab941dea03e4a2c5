//! One connection and what it may do; knows no host.

use crate::config::Config;
use crate::protocol::{self, Sign};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// A side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who connected.
    Client,
    /// Where the connection goes.
    Upstream,
}

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They go on.
    Pass,
    /// They wait, and are shown again with what follows.
    Hold,
    /// The connection is to be closed.
    Deny(Reason),
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The client's address may not connect.
    Client,
    /// The first bytes are of no protocol that is allowed.
    Protocol,
    /// A side has sent more than it may.
    Bytes(Side),
}

/// One connection.
#[derive(Debug)]
pub struct Guard {
    config: Rc<Config>,
    /// Whether the first bytes have shown a protocol that is allowed.
    is_recognised: bool,
    client_bytes: u64,
    upstream_bytes: u64,
}

impl Guard {
    /// A connection that has just come.
    pub fn new(config: Rc<Config>) -> Self {
        let is_recognised = config.protocols.is_empty();
        Self { config, is_recognised, client_bytes: 0, upstream_bytes: 0 }
    }

    /// What it is guarded by.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a client may connect; `address` as the host tells it, with a port.
    pub fn admit(&self, address: Option<&[u8]>) -> Verdict {
        let client = address.and_then(parse_address);
        let is_in = |networks: &[IpNet], unknown: bool| {
            client.map_or(unknown, |client| networks.iter().any(|network| network.contains(&client)))
        };
        let is_denied = !self.config.deny.is_empty() && is_in(&self.config.deny, true);
        let is_allowed = self.config.allow.as_ref().is_none_or(|networks| is_in(networks, false));
        if is_allowed && !is_denied { Verdict::Pass } else { Verdict::Deny(Reason::Client) }
    }

    /// Whether the client's first bytes are needed for [`Guard::client_data`].
    pub fn wants_beginning(&self) -> bool {
        !self.is_recognised
    }

    /// What becomes of `size` bytes from the client that begin with `beginning`, those held back before
    /// among them; `is_last` if no more follow.
    pub fn client_data(&mut self, beginning: &[u8], size: usize, is_last: bool) -> Verdict {
        if exceeds(self.client_bytes, size, self.config.client_bytes_max) {
            return Verdict::Deny(Reason::Bytes(Side::Client));
        }
        if !self.is_recognised {
            match protocol::sign(&self.config.protocols, beginning) {
                Sign::Yes => self.is_recognised = true,
                Sign::No => return Verdict::Deny(Reason::Protocol),
                // One that says nothing and ends, such as a health check, does no harm.
                Sign::Unclear if is_last && size == 0 => return Verdict::Pass,
                Sign::Unclear if is_last => return Verdict::Deny(Reason::Protocol),
                Sign::Unclear => return Verdict::Hold,
            }
        }
        self.client_bytes = add(self.client_bytes, size);
        Verdict::Pass
    }

    /// What becomes of `size` bytes from the upstream.
    pub fn upstream_data(&mut self, size: usize) -> Verdict {
        if exceeds(self.upstream_bytes, size, self.config.upstream_bytes_max) {
            return Verdict::Deny(Reason::Bytes(Side::Upstream));
        }
        self.upstream_bytes = add(self.upstream_bytes, size);
        Verdict::Pass
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "the client's address may not connect",
            Self::Protocol => "the client speaks no protocol that is allowed",
            Self::Bytes(Side::Client) => "the client sent more than it may",
            Self::Bytes(Side::Upstream) => "the upstream sent more than it may",
        })
    }
}

/// An address with a port, or, from other hosts, without one.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = text.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| text.parse());
    address.ok().map(|address: IpAddr| address.to_canonical())
}

fn add(sum: u64, size: usize) -> u64 {
    sum.saturating_add(u64::try_from(size).unwrap_or(u64::MAX))
}

fn exceeds(sum: u64, size: usize, max: Option<u64>) -> bool {
    max.is_some_and(|max| add(sum, size) > max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(json: &str) -> Guard {
        Guard::new(Rc::new(Config::parse(json.as_bytes()).unwrap()))
    }

    fn admits(guard: &Guard, address: &str) -> bool {
        guard.admit(Some(address.as_bytes())) == Verdict::Pass
    }

    #[test]
    fn clients_are_admitted_by_address() {
        let both =
            guard(r#"{"clients": {"allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.9.0.0/16"]}}"#);
        assert!(admits(&both, "10.1.2.3:4711"));
        assert!(admits(&both, "[::ffff:10.1.2.3]:4711"));
        assert!(admits(&both, "[2001:db8::1]:4711"));
        assert!(admits(&both, "10.1.2.3"));
        assert!(!admits(&both, "10.9.2.3:4711"));
        assert!(!admits(&both, "192.0.2.1:4711"));
        let deny = guard(r#"{"clients": {"deny": ["10.9.0.0/16"]}}"#);
        assert!(admits(&deny, "192.0.2.1:4711"));
        assert!(!admits(&deny, "10.9.0.1:4711"));
    }

    #[test]
    fn an_unknown_address_is_in_every_list_that_denies_and_in_none_that_allows() {
        for clients in [r#"{"allow": ["0.0.0.0/0", "::/0"]}"#, r#"{"deny": ["192.0.2.1"]}"#] {
            let guard = guard(&format!(r#"{{"clients": {clients}}}"#));
            assert_eq!(guard.admit(None), Verdict::Deny(Reason::Client));
            assert!(!admits(&guard, "somewhere"));
        }
        assert_eq!(guard(r#"{"client_bytes": 1}"#).admit(None), Verdict::Pass);
    }

    #[test]
    fn the_beginning_is_held_until_it_is_clear() {
        let mut guard = guard(r#"{"protocols": ["ssh", "tls"], "client_bytes": 12}"#);
        assert!(guard.wants_beginning());
        assert_eq!(guard.client_data(b"S", 1, false), Verdict::Hold);
        assert_eq!(guard.client_data(b"SSH", 3, false), Verdict::Hold);
        assert_eq!(guard.client_data(b"SSH-2.0", 7, false), Verdict::Pass);
        assert!(!guard.wants_beginning());
        assert_eq!(guard.client_data(b"", 5, false), Verdict::Pass, "what was held counts once");
        assert_eq!(guard.client_data(b"", 1, false), Verdict::Deny(Reason::Bytes(Side::Client)));
    }

    #[test]
    fn other_protocols_and_half_beginnings_are_denied() {
        let denied = Verdict::Deny(Reason::Protocol);
        assert_eq!(guard(r#"{"protocols": ["ssh"]}"#).client_data(b"GET /", 5, false), denied);
        assert_eq!(guard(r#"{"protocols": ["ssh"]}"#).client_data(b"SS", 2, true), denied);
        assert_eq!(guard(r#"{"protocols": ["ssh"]}"#).client_data(b"", 0, true), Verdict::Pass);
    }

    #[test]
    fn each_side_has_its_limit() {
        let mut guard = guard(r#"{"upstream_bytes": 10}"#);
        assert_eq!(guard.client_data(b"", usize::MAX, false), Verdict::Pass);
        assert_eq!(guard.upstream_data(10), Verdict::Pass);
        assert_eq!(guard.upstream_data(0), Verdict::Pass);
        assert_eq!(guard.upstream_data(1), Verdict::Deny(Reason::Bytes(Side::Upstream)));
    }
}
