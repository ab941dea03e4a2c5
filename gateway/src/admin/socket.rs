//! What the admin API listens on.

use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// A socket that connections come from.
pub enum Listener {
    /// A TCP address.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixSocket),
}

/// A connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A Unix socket of mode 0600; its path is removed when it is dropped.
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Makes the socket, over one that nobody listens to any more. To be called on a runtime.
    ///
    /// # Errors
    /// If the path cannot be made, or someone listens there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if StdStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        // In a folder of mode 0700, so that nobody else connects before it has the mode that it should.
        let folder = path.parent().unwrap_or_else(|| Path::new("/"));
        let folder = tempfile::Builder::new().prefix(".new-").tempdir_in(folder)?;
        let draft = folder.path().join("s");
        let listener = StdListener::bind(&draft)?;
        fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
        fs::rename(&draft, path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, path: path.to_owned() })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // It may be gone with its folder.
        let _ = fs::remove_file(&self.path);
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixSocket> for Listener {
    fn from(socket: UnixSocket) -> Self {
        Self::Unix(socket)
    }
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(socket) => Box::new(socket.listener.accept().await?.0),
        })
    }

    /// Its address; `None` for a path, which no other machine reaches.
    pub(super) fn address(&self) -> io::Result<Option<IpAddr>> {
        match self {
            Self::Tcp(listener) => Ok(Some(listener.local_addr()?.ip())),
            Self::Unix(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_nobody_listens_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(StdListener::bind(&path).unwrap());
        let socket = UnixSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = UnixSocket::bind(&path).err().unwrap();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
    }
}
