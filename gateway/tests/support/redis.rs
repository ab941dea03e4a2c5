//! A real redis-server. The tests inside the crate use it as well.
#![allow(unreachable_pub)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A redis-server on a port of its own; killed when dropped.
pub struct Redis {
    process: Child,
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Redis {
    /// Starts one, and again on another port if somebody else took the first meanwhile.
    pub fn start(options: &[&str]) -> Self {
        for _ in 0..5 {
            if let Some(redis) = Self::try_start(options) {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }

    fn try_start(options: &[&str]) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(address.port().to_string())
            .arg("--dir")
            .arg(folder.path())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("no redis-server ({error}): run `make setup-tests`"));
        let mut redis = Self { process, address, _folder: folder };
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if redis.process.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(address).is_ok() {
                return Some(redis);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
