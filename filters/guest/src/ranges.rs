//! Addresses and ranges of them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Ranges of one set.
pub const RANGES_MAX: usize = 20_000;

/// Address ranges, merged and sorted, so that a look-up is a binary search.
#[derive(Debug, Default)]
pub struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    /// The set of these ranges.
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let mut spans: Vec<_> =
            nets.into_iter().map(|net| (number(net.network()), number(net.broadcast()))).collect();
        spans.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(spans.len());
        for (from, to) in spans {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// Whether one of them holds the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let wanted = number(address);
        let behind = self.0.partition_point(|(from, _)| *from <= wanted);
        behind > 0 && self.0[behind - 1].1 >= wanted
    }
}

/// IPv4 as IPv6 sees it: both families in one order, and a mapped address is the one it maps.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A range, or a single address.
pub fn parse(text: &[u8]) -> Option<IpNet> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// An address.
pub fn parse_address(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_its_ranges_hold() {
        let set = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32"];
        let set = Ranges::new(set.iter().map(|range| parse(range.as_bytes()).unwrap()));
        let holds = |text: &str| set.contains(parse_address(text.as_bytes()).unwrap());
        assert!(
            ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8::1", "::ffff:10.1.1.1"]
                .map(holds)
                .iter()
                .all(|x| *x)
        );
        assert!(
            !["9.255.255.255", "11.0.0.0", "192.0.2.8", "2001:db9::", "::1"].map(holds).iter().any(|x| *x)
        );
        assert!(!Ranges::default().contains(IpAddr::from([1, 2, 3, 4])));
        assert!(parse(b"10.0.0.0/33").is_none() && parse(b"\xff").is_none());
    }
}
