//! The addresses of an endpoint: a literal, or a DNS name by the system's resolver.
//!
//! An answer is used for half a minute; then the next request that needs a new connection asks
//! again, while others go on with the old answer. A failure leaves the last good answer in force,
//! or, if there is none, stands for two seconds. One question at a time is under way for a name.
//! Only endpoints of the policy are ever looked up, so the cache is as large as the policy.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::policy::upstream::Endpoint;

/// How long an answer is used before it is asked for again.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// After a failure, how long until the next question.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Addresses kept of an answer.
const ADDRESSES_MAX: usize = 4;

/// Where an endpoint is.
pub(super) enum Resolver {
    /// At this address.
    Literal(Rc<[SocketAddr]>),
    /// Where its name says.
    Name(Name),
}

/// A DNS name and what is known of it.
pub(super) struct Name {
    host: String,
    port: u16,
    known: RefCell<Known>,
    /// Held by the one that asks.
    asking: Mutex<()>,
}

/// What is known of a name.
#[derive(Default)]
struct Known {
    answer: Option<Rc<[SocketAddr]>>,
    /// Why there is no answer at all.
    failure: Option<(io::ErrorKind, String)>,
    /// Until when either is good enough.
    good_until: Option<Instant>,
}

impl Resolver {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        match endpoint.host.parse::<IpAddr>() {
            Ok(address) => Self::Literal(Rc::new([SocketAddr::new(address, endpoint.port)])),
            Err(_) => Self::Name(Name::new(endpoint.host.to_string(), endpoint.port)),
        }
    }

    /// The addresses, at least one and at most four.
    pub(super) async fn addresses(&self) -> io::Result<Rc<[SocketAddr]>> {
        match self {
            Self::Literal(address) => Ok(Rc::clone(address)),
            Self::Name(name) => name.addresses(lookup).await,
        }
    }
}

impl Name {
    fn new(host: String, port: u16) -> Self {
        Self { host, port, known: RefCell::default(), asking: Mutex::new(()) }
    }

    async fn addresses<F>(&self, lookup: impl FnOnce(String, u16) -> F) -> io::Result<Rc<[SocketAddr]>>
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        if let Some(known) = self.known.borrow().current() {
            return known;
        }
        // One asks; the others take the old answer, or wait for the first one.
        let old = self.known.borrow().answer.clone();
        let _asking = match (self.asking.try_lock(), old) {
            (Ok(guard), _) => guard,
            (Err(_), Some(old)) => return Ok(old),
            (Err(_), None) => self.asking.lock().await,
        };
        if let Some(known) = self.known.borrow().current() {
            return known;
        }
        let answer = lookup(self.host.clone(), self.port).await.and_then(non_empty);
        self.known.borrow_mut().update(answer, &self.host)
    }
}

impl Known {
    /// The answer, or the failure, while it is good.
    fn current(&self) -> Option<io::Result<Rc<[SocketAddr]>>> {
        if self.good_until.is_none_or(|until| Instant::now() >= until) {
            return None;
        }
        match (&self.answer, &self.failure) {
            (Some(answer), _) => Some(Ok(Rc::clone(answer))),
            (None, Some((kind, text))) => Some(Err(io::Error::new(*kind, text.clone()))),
            (None, None) => None,
        }
    }

    fn update(&mut self, answer: io::Result<Vec<SocketAddr>>, host: &str) -> io::Result<Rc<[SocketAddr]>> {
        match answer {
            Ok(addresses) => {
                let addresses: Rc<[SocketAddr]> = addresses.into();
                self.answer = Some(Rc::clone(&addresses));
                self.good_until = Some(Instant::now() + FRESH_FOR);
                Ok(addresses)
            }
            Err(error) => {
                self.good_until = Some(Instant::now() + RETRY_AFTER);
                self.failure = Some((error.kind(), error.to_string()));
                match &self.answer {
                    Some(answer) => {
                        tracing::warn!(host, %error, "name not resolved, last answer kept");
                        Ok(Rc::clone(answer))
                    }
                    None => Err(error),
                }
            }
        }
    }
}

async fn lookup(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.take(ADDRESSES_MAX).collect())
}

fn non_empty(addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    match addresses.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_and_survive_a_failure() {
        let name = Name::new("a.test".into(), 80);
        let says = |text| move |_, _| ready(Ok(vec![address(text)]));
        let fails = |_, _| ready(Err(io::Error::other("down")));
        assert!(name.addresses(fails).await.is_err());
        // The failure stands for a while.
        assert!(name.addresses(says("1.1.1.1:80")).await.is_err());
        tokio::time::advance(RETRY_AFTER).await;
        assert_eq!(*name.addresses(says("1.1.1.1:80")).await.unwrap(), [address("1.1.1.1:80")]);
        // Fresh: not asked.
        tokio::time::advance(FRESH_FOR - Duration::from_secs(1)).await;
        assert_eq!(*name.addresses(says("2.2.2.2:80")).await.unwrap(), [address("1.1.1.1:80")]);
        // Stale: asked, fails, last answer.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(*name.addresses(fails).await.unwrap(), [address("1.1.1.1:80")]);
        // Not asked at once again.
        assert_eq!(*name.addresses(says("2.2.2.2:80")).await.unwrap(), [address("1.1.1.1:80")]);
        tokio::time::advance(RETRY_AFTER).await;
        assert_eq!(*name.addresses(says("2.2.2.2:80")).await.unwrap(), [address("2.2.2.2:80")]);
        // No address is a failure.
        tokio::time::advance(FRESH_FOR).await;
        let none = |_, _| ready(Ok(Vec::new()));
        assert_eq!(*name.addresses(none).await.unwrap(), [address("2.2.2.2:80")]);
    }

    #[tokio::test]
    async fn one_question_at_a_time() {
        let name = Name::new("a.test".into(), 80);
        let (answer, asked) = tokio::sync::oneshot::channel();
        let first = name.addresses(|_, _| async { Ok(asked.await.unwrap_or_default()) });
        let second = name.addresses(|_, _| async { unreachable!("a question is under way") });
        let third = async { answer.send(vec![address("1.1.1.1:80")]).unwrap() };
        let (first, second, ()) = tokio::join!(first, second, third);
        assert_eq!(first.unwrap(), second.unwrap());
    }

    #[tokio::test]
    async fn literals_and_localhost() {
        let of = |host: &str| Endpoint { host: host.into(), port: 81 };
        for (host, expected) in [("192.0.2.1", "192.0.2.1:81"), ("2001:db8::1", "[2001:db8::1]:81")] {
            assert_eq!(*Resolver::new(&of(host)).addresses().await.unwrap(), [address(expected)]);
        }
        let found = Resolver::new(&of("localhost")).addresses().await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 81));
    }
}
