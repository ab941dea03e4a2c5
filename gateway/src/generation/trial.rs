//! Which of two policies serves a request, while one is on trial beside the one in force.
//!
//! A request's key (client address, header or cookie) and the candidate's digest are hashed to a place
//! between nothing and all; the candidate serves those below its share. So a client stays on one side, on
//! all workers and on all gateways that have the same candidate, and a share that grows keeps whom it has.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use http::HeaderMap;
use http::header::COOKIE;
use sha2::{Digest, Sha256};

use crate::limit::AddressBlock;
use crate::policy::rollout::{RolloutKey, Share};
use crate::telemetry::metrics::{RolloutCells, RolloutHandle, RolloutSide, Sharded, Tally, rollout_cells};

/// One policy on trial, as all workers see it.
#[derive(Debug)]
pub struct Trial {
    key: RolloutKey,
    digest: [u8; 32],
    /// In hundredths of a percent; written by control, read by each request.
    share: AtomicU16,
    /// Whether it serves nothing more, whatever is asked of it.
    is_over: AtomicBool,
    cells: Arc<Sharded<RolloutCells>>,
}

impl Trial {
    /// A trial of the policy with this digest, which serves nothing yet, on so many workers.
    #[must_use]
    pub fn new(key: RolloutKey, digest: [u8; 32], workers: usize) -> Self {
        Self {
            key,
            digest,
            share: AtomicU16::new(0),
            is_over: AtomicBool::new(false),
            cells: rollout_cells(workers),
        }
    }

    /// The candidate serves this much from now on, unless it is over.
    pub fn set_share(&self, share: Share) {
        self.share.store(share.hundredths(), Ordering::SeqCst);
        // Whoever ends it may have done so in between.
        if self.is_over() {
            self.share.store(0, Ordering::SeqCst);
        }
    }

    /// The candidate serves nothing more, from any thread and for good.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.share.store(0, Ordering::SeqCst);
    }

    /// Whether it was ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Who serves a request of this client with these fields.
    #[must_use]
    pub fn side(&self, client: IpAddr, headers: &HeaderMap) -> RolloutSide {
        match self.place(client, headers) < self.share.load(Ordering::Relaxed) {
            true => RolloutSide::Candidate,
            false => RolloutSide::Base,
        }
    }

    /// Where a worker counts.
    #[must_use]
    pub fn cells(&self, worker: usize) -> RolloutHandle {
        self.cells.worker(worker)
    }

    /// What either policy has served so far.
    #[must_use]
    pub fn tally(&self, side: RolloutSide) -> Tally {
        Tally::of(&self.cells, side)
    }

    /// Between nothing and all, in hundredths of a percent.
    fn place(&self, client: IpAddr, headers: &HeaderMap) -> u16 {
        let mut hash = Sha256::new_with_prefix(self.digest);
        let value = match &self.key {
            RolloutKey::ClientAddress => None,
            RolloutKey::Header(name) => headers.get(name).map(http::HeaderValue::as_bytes),
            RolloutKey::Cookie(name) => cookie(headers, name.as_bytes()),
        };
        match (value, AddressBlock::of(client)) {
            (Some(value), _) => hash.update(value),
            (None, AddressBlock::V4(address)) => hash.update(address.to_be_bytes()),
            (None, AddressBlock::V6(prefix)) => hash.update(prefix.to_be_bytes()),
        }
        let [a, b, c, d, ..]: [u8; 32] = hash.finalize().into();
        // 10 000 places out of four billion: what is left over makes no difference.
        (u32::from_be_bytes([a, b, c, d]) % u32::from(Share::ALL.hundredths())) as u16
    }
}

/// The value of the first cookie of this name (RFC 6265 §4.2.1).
fn cookie<'h>(headers: &'h HeaderMap, wanted: &[u8]) -> Option<&'h [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|field| field.as_bytes().split(|b| *b == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(wanted)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn trial(key: RolloutKey, hundredths: u16) -> Trial {
        let trial = Trial::new(key, [7; 32], 1);
        trial.set_share(Share::new(hundredths).unwrap());
        trial
    }

    fn of_address(trial: &Trial, number: u32) -> RolloutSide {
        trial.side(IpAddr::V4(number.into()), &HeaderMap::new())
    }

    #[test]
    fn the_candidate_gets_its_share_and_keeps_whom_it_has() {
        let trial = trial(RolloutKey::ClientAddress, 0);
        let mut before = Vec::new();
        for (hundredths, expected) in
            [(0, 0..=0), (100, 60..=140), (5000, 4800..=5200), (10_000, 10_000..=10_000)]
        {
            trial.set_share(Share::new(hundredths).unwrap());
            let now: Vec<u32> =
                (0..10_000).filter(|n| of_address(&trial, *n) == RolloutSide::Candidate).collect();
            assert!(expected.contains(&now.len()), "{hundredths}: {}", now.len());
            assert!(before.iter().all(|number| now.contains(number)));
            before = now;
        }
    }

    #[test]
    fn a_client_of_ipv6_is_its_prefix() {
        let trial = trial(RolloutKey::ClientAddress, 5000);
        let side = |text: &str| trial.side(text.parse().unwrap(), &HeaderMap::new());
        for block in 0..64 {
            let first = side(&format!("2001:db8:0:{block:x}::1"));
            assert_eq!(first, side(&format!("2001:db8:0:{block:x}:ffff::2")));
        }
    }

    #[test]
    fn a_cookie_decides_and_without_it_the_address() {
        let trial = trial(RolloutKey::Cookie("id".into()), 5000);
        let with = |text: &str, address: u32| {
            let value = HeaderValue::try_from(text).unwrap();
            trial.side(IpAddr::V4(address.into()), &HeaderMap::from_iter([(COOKIE, value)]))
        };
        let sides: Vec<_> = (0..64).map(|n| with(&format!("id={n}"), n)).collect();
        assert!(sides.contains(&RolloutSide::Base) && sides.contains(&RolloutSide::Candidate));
        for (n, side) in (0..64).zip(sides) {
            assert_eq!(with(&format!("other=id=3;  id={n}; id=9"), 1000 + n), side);
            assert_eq!(with("idx=1; xid=2", n), of_address(&trial, n));
        }
    }

    #[test]
    fn a_header_decides() {
        let name = HeaderName::from_static("x-user");
        let trial = trial(RolloutKey::Header(name.clone()), 5000);
        let with = |user: u32, address: u32| {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from(user))]);
            trial.side(IpAddr::V4(address.into()), &headers)
        };
        for user in 0..64 {
            assert_eq!(with(user, 1), with(user, 2));
        }
    }
}
