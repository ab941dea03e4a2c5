//! Traffic that runs while the policy changes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::{Client, RequestError};

/// Connections at once.
pub(super) const CONNECTIONS: usize = 32;

/// What to send, and what the answers must show.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) address: SocketAddr,
    pub(super) path: &'static str,
    /// The response header by which the two policies are told apart, and its two values.
    pub(super) header: &'static str,
    pub(super) old: Arc<str>,
    pub(super) new: Arc<str>,
}

/// A load that runs.
#[derive(Debug)]
pub(super) struct Load {
    connections: JoinSet<Tally>,
    stop: watch::Sender<()>,
    begun: Instant,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) failed: u64,
    /// The first failure, in words.
    pub(super) first_failure: Option<String>,
    /// When the first answer by the new policy came, and the last one by the old.
    pub(super) first_new: Option<Instant>,
    pub(super) last_old: Option<Instant>,
    pub(super) took: Duration,
}

impl Load {
    /// Starts [`CONNECTIONS`] connections, each with one request after the other.
    pub(super) fn start(request: &Request) -> Self {
        let (stop, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            connections.spawn(connection(request.clone(), stopped.clone()));
        }
        Self { connections, stop, begun: Instant::now() }
    }

    /// Lets the last requests end, and sums up.
    pub(super) async fn stop(mut self) -> Tally {
        drop(self.stop);
        let mut total = Tally::default();
        while let Some(tally) = self.connections.join_next().await {
            total.add(tally.unwrap_or_else(|error| Tally::of_failure(error.to_string())));
        }
        total.took = self.begun.elapsed();
        total
    }
}

async fn connection(request: Request, stopped: watch::Receiver<()>) -> Tally {
    let mut tally = Tally::default();
    let mut client = None;
    // The sender is dropped to stop.
    while stopped.has_changed().is_ok() {
        tally.sent += 1;
        if let Err(failure) = send(&mut client, &request, &mut tally).await {
            // A new connection for the next; not at once, lest a refused one spins.
            client = None;
            tally.fail(failure);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    tally
}

async fn send(client: &mut Option<Client>, request: &Request, tally: &mut Tally) -> Result<(), String> {
    let told = |error: RequestError| error.to_string();
    let connection = match client {
        Some(connection) => connection,
        None => client.insert(Client::connect(request.address).await.map_err(told)?),
    };
    let sent = Instant::now();
    let reply = connection.send(&Method::GET, request.path).await.map_err(told)?;
    let came = Instant::now();
    if reply.status != StatusCode::OK {
        return Err(format!("answered with {}", reply.status));
    }
    match reply.header(request.header) {
        Some(value) if *value == *request.new => tally.first_new = earlier(tally.first_new, Some(came)),
        // By the old policy, so it was in force when this was sent.
        Some(value) if *value == *request.old => tally.last_old = tally.last_old.max(Some(sent)),
        value => return Err(format!("neither policy answers with {}: {value:?}", request.header)),
    }
    Ok(())
}

impl Tally {
    fn of_failure(failure: String) -> Self {
        Self { failed: 1, first_failure: Some(failure), ..Self::default() }
    }

    fn fail(&mut self, failure: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(failure);
    }

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.first_new = earlier(self.first_new, other.first_new);
        self.last_old = self.last_old.max(other.last_old);
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let (early, late) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut total = Tally { sent: 2, first_new: Some(late), last_old: Some(early), ..Tally::default() };
        total.add(Tally { sent: 3, first_new: Some(early), last_old: Some(late), ..Tally::default() });
        total.add(Tally::of_failure("gone".into()));
        total.fail("also".into());
        assert_eq!((total.sent, total.failed), (5, 2));
        assert_eq!((total.first_new, total.last_old), (Some(early), Some(late)));
        assert_eq!(total.first_failure.as_deref(), Some("gone"));
    }
}
