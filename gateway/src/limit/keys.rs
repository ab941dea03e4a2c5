//! What shares a bucket: from a request to a key.
//!
//! A key is a 64-bit SipHash under a secret of this limiter, so no header value (it may be a
//! credential) is kept, every key has the same size, and nobody outside can choose keys that
//! collide or crowd one shard. Two keys that collide by chance (odds of one in 3 × 10⁹ with 100 000
//! keys) share a bucket, which is stricter.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use http::HeaderMap;

use crate::policy::filter::RateLimitKey;

/// What a request offers to make a key of.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The client's address after the trusted-proxy rule.
    pub client: IpAddr,
    /// The request's header fields, as the filter sees them.
    pub headers: &'a HeaderMap,
    /// The route's name.
    pub route: &'a str,
}

/// The name of a bucket within one limiter; meaningless in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// The bits that choose the shard. A hash table uses the lowest and the highest bits of a hash,
    /// so the choice is made by those between.
    pub(super) fn shard_bits(self) -> usize {
        (self.0 >> 32) as u16 as usize
    }
}

/// Makes keys of requests. One limiter has one, with a secret of its own.
#[derive(Debug)]
pub(super) struct Keyer {
    of: RateLimitKey,
    secret: RandomState,
}

/// Sets apart a header that is absent from one that is empty.
#[derive(Hash)]
enum HeaderValue<'a> {
    Absent,
    Present(&'a [u8]),
}

impl Keyer {
    pub(super) fn new(of: RateLimitKey) -> Self {
        Self { of, secret: RandomState::new() }
    }

    /// The key of a request.
    pub(super) fn key(&self, subject: &Subject<'_>) -> Key {
        Key(match &self.of {
            RateLimitKey::ClientAddress => self.secret.hash_one(AddressBlock::of(subject.client)),
            RateLimitKey::Header(name) => self.secret.hash_one(match subject.headers.get(name) {
                Some(value) => HeaderValue::Present(value.as_bytes()),
                None => HeaderValue::Absent,
            }),
            RateLimitKey::Route => self.secret.hash_one(subject.route),
            RateLimitKey::Fixed(name) => self.secret.hash_one(name),
        })
    }
}

/// The addresses that count as one client: an IPv4 address, or an IPv6 /64, which is what one
/// subscriber is given and can change within at will.
#[derive(Hash, PartialEq, Eq, Debug)]
pub(crate) enum AddressBlock {
    V4(u32),
    V6(u64),
}

impl AddressBlock {
    pub(crate) fn of(address: IpAddr) -> Self {
        // ::ffff:a.b.c.d is the IPv4 client a.b.c.d on a dual-stack socket.
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn address(keyer: &Keyer, text: &str) -> Key {
        let headers = HeaderMap::new();
        keyer.key(&Subject { client: text.parse().unwrap(), headers: &headers, route: "r" })
    }

    #[test]
    fn ipv4_counts_whole_and_ipv6_by_its_64() {
        let keyer = Keyer::new(RateLimitKey::ClientAddress);
        assert_ne!(address(&keyer, "192.0.2.1"), address(&keyer, "192.0.2.2"));
        assert_eq!(address(&keyer, "192.0.2.1"), address(&keyer, "::ffff:192.0.2.1"));
        assert_eq!(address(&keyer, "2001:db8:0:1::1"), address(&keyer, "2001:db8:0:1:ffff::2"));
        assert_ne!(address(&keyer, "2001:db8:0:1::1"), address(&keyer, "2001:db8:0:2::1"));
    }

    #[test]
    fn an_absent_header_is_not_an_empty_one() {
        let keyer = Keyer::new(RateLimitKey::Header(http::header::AUTHORIZATION));
        let key = |value: Option<&'static str>| {
            let headers = value
                .map(|v| (http::header::AUTHORIZATION, http::HeaderValue::from_static(v)))
                .into_iter()
                .collect::<HeaderMap>();
            keyer.key(&Subject { client: IpAddr::from([127, 0, 0, 1]), headers: &headers, route: "r" })
        };
        assert_eq!(key(None), key(None));
        assert_eq!(key(Some("a")), key(Some("a")));
        assert_ne!(key(None), key(Some("")));
        assert_ne!(key(Some("a")), key(Some("b")));
    }

    #[test]
    fn a_route_has_its_own_key_and_a_fixed_key_takes_all() {
        let headers = HeaderMap::new();
        let subject = |client: [u8; 4], route| Subject { client: client.into(), headers: &headers, route };
        let by_route = Keyer::new(RateLimitKey::Route);
        assert_eq!(by_route.key(&subject([1; 4], "a")), by_route.key(&subject([2; 4], "a")));
        assert_ne!(by_route.key(&subject([1; 4], "a")), by_route.key(&subject([1; 4], "b")));
        let fixed = Keyer::new(RateLimitKey::Fixed(Arc::from("all")));
        assert_eq!(fixed.key(&subject([1; 4], "a")), fixed.key(&subject([2; 4], "b")));
    }

    #[test]
    fn two_limiters_do_not_share_a_secret() {
        let (a, b) = (Keyer::new(RateLimitKey::Route), Keyer::new(RateLimitKey::Route));
        let headers = HeaderMap::new();
        let subject = Subject { client: IpAddr::from([1; 4]), headers: &headers, route: "r" };
        assert_ne!(a.key(&subject), b.key(&subject));
    }
}
