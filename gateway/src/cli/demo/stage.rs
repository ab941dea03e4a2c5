//! What the tour plays on: a folder, two processes and their addresses.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use super::super::fetcher;
use super::client::{self, Reply, RequestError};
use super::edit::Copy;
use super::process::Process;
use crate::policy::{self, Diagnostics, Policy};

/// How long the processes may take to be ready; from cold, the filters are compiled.
const READY_MAX: Duration = Duration::from_secs(120);
/// How long a change may take to show.
const CHANGE_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// All that the tour needs. Fields are dropped in this order: processes before their folder.
#[derive(Debug)]
pub(super) struct Stage {
    gateway: Process,
    upstream: Process,
    /// Where the gateway serves.
    pub(super) address: SocketAddr,
    /// Where its admin API listens.
    pub(super) admin: SocketAddr,
    /// The policy that it runs.
    pub(super) policy: Copy,
    folder: TempDir,
}

/// Why the tour cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("cannot {action} `{}`: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the policy of the demo is wrong (`make filters` builds its modules):\n{0}")]
    Policy(Diagnostics),
    #[error("the policy of the demo needs {0}")]
    Unfit(&'static str),
    #[error(
        "{what} needs {address}, which cannot be used: {source}\nend what listens there (`ss -ltnp` shows it), or change the address in the policy"
    )]
    Busy { what: &'static str, address: SocketAddr, source: io::Error },
    #[error("cannot start {what}: {source}")]
    Start { what: &'static str, source: io::Error },
    #[error("{what} ended ({status}); its last lines:\n{log}")]
    Ended { what: &'static str, status: std::process::ExitStatus, log: String },
    #[error("{what} within {limit:?}; the gateway's last lines:\n{log}")]
    Late { what: &'static str, limit: Duration, log: String },
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("signals cannot be listened for: {0}")]
    Signal(io::Error),
}

impl Stage {
    /// Starts everything and waits until it is ready.
    pub(super) async fn set_up(original: &Path) -> Result<Self, StageError> {
        let folder = tempfile::Builder::new().prefix("tollgate-demo-").tempdir();
        let folder = folder.map_err(|source| file("make a folder in", &std::env::temp_dir(), source))?;
        let copy = Copy::make(original, folder.path())
            .map_err(|source| file("copy the policy", original, source))?;
        let loaded = policy::load(copy.path(), &fetcher(None)).map_err(StageError::Policy)?;
        let (address, admin, target) = addresses(&loaded.policy)?;
        check_free("the gateway", address)?;
        check_free("the admin API", admin)?;
        check_free("the demo upstream", target)?;
        let listen = target.to_string();
        let upstream =
            start("the demo upstream", &["upstream", "--listen", &listen], folder.path(), "upstream.log")?;
        let access_log = folder.path().join("access.log");
        let (path, access_log) = (copy.path().to_string_lossy(), access_log.to_string_lossy());
        let arguments =
            ["run", &path, "--access-log", &access_log, "--log-format", "text", "--state-dir", "off"];
        let gateway = start("the gateway", &arguments, folder.path(), "gateway.log")?;
        let mut stage = Self { gateway, upstream, address, admin, policy: copy, folder };
        stage.wait_ready(target).await?;
        Ok(stage)
    }

    /// Whether both processes still run.
    pub(super) fn look_after(&mut self) -> Result<(), StageError> {
        for (what, process) in [("the gateway", &mut self.gateway), ("the demo upstream", &mut self.upstream)]
        {
            if let Some(status) = process.ended() {
                return Err(StageError::Ended { what, status, log: process.last_words() });
            }
        }
        Ok(())
    }

    /// Sends a request to the gateway.
    pub(super) async fn request(&self, method: &Method, path: &str) -> Result<Reply, StageError> {
        Ok(client::request(self.address, method, path).await?)
    }

    /// Sends a request to the admin API.
    pub(super) async fn ask_admin(&self, method: &Method, path: &str) -> Result<Reply, StageError> {
        Ok(client::request(self.admin, method, path).await?)
    }

    /// Waits until `/status` is as wanted.
    pub(super) async fn wait_status(
        &mut self,
        what: &'static str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, StageError> {
        let deadline = Instant::now() + CHANGE_MAX;
        loop {
            let status = self.ask_admin(&Method::GET, "/status").await?.json();
            if wanted(&status) {
                return Ok(status);
            }
            self.pause(what, CHANGE_MAX, deadline).await?;
        }
    }

    /// Runs `edit` on the policy.
    pub(super) fn change<T>(&self, edit: impl FnOnce(&Copy) -> io::Result<T>) -> Result<T, StageError> {
        edit(&self.policy).map_err(|source| file("write", self.policy.path(), source))
    }

    /// Where the access log is.
    pub(super) fn access_log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// Where the gateway's own log is.
    pub(super) fn log(&self) -> &Path {
        self.gateway.log()
    }

    async fn wait_ready(&mut self, target: SocketAddr) -> Result<(), StageError> {
        let deadline = Instant::now() + READY_MAX;
        for (address, path) in [(target, "/"), (self.admin, "/readyz")] {
            while !is_ok(address, path).await {
                self.pause("no answer", READY_MAX, deadline).await?;
            }
        }
        Ok(())
    }

    async fn pause(
        &mut self,
        what: &'static str,
        limit: Duration,
        deadline: Instant,
    ) -> Result<(), StageError> {
        self.look_after()?;
        if Instant::now() > deadline {
            return Err(StageError::Late { what, limit, log: self.gateway.last_words() });
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}

async fn is_ok(address: SocketAddr, path: &str) -> bool {
    client::request(address, &Method::GET, path).await.is_ok_and(|reply| reply.status == StatusCode::OK)
}

fn file(action: &'static str, path: &Path, source: io::Error) -> StageError {
    StageError::File { action, path: path.to_owned(), source }
}

fn start(what: &'static str, args: &[&str], folder: &Path, log: &str) -> Result<Process, StageError> {
    Process::start(args, folder.join(log)).map_err(|source| StageError::Start { what, source })
}

/// Where the gateway, its admin API and its upstream listen.
fn addresses(policy: &Policy) -> Result<(SocketAddr, SocketAddr, SocketAddr), StageError> {
    let listener = policy.listeners.first().ok_or(StageError::Unfit("a listener"))?;
    let admin =
        policy.admin.as_ref().and_then(|admin| admin.address).ok_or(StageError::Unfit("an admin address"))?;
    let endpoint = policy.upstreams.first().and_then(|upstream| upstream.endpoints.first());
    let endpoint = endpoint.ok_or(StageError::Unfit("an upstream"))?;
    let host = endpoint.host.parse().map_err(|_| StageError::Unfit("an upstream with an IP address"))?;
    Ok((listener.address, admin, SocketAddr::new(host, endpoint.port)))
}

/// The gateway shares its port among its workers, so it would share it with a stranger too.
fn check_free(what: &'static str, address: SocketAddr) -> Result<(), StageError> {
    TcpListener::bind(address).map(drop).map_err(|source| StageError::Busy { what, address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = check_free("the gateway", address).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the gateway needs {address}")), "{error}");
    }
}
