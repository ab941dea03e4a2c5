//! A web server, by HTTP or HTTPS, that may stop answering.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::support::{DEADLINE, Message};

/// What it answers to a request, as bytes.
type Answer = dyn Fn(&Message) -> Vec<u8> + Send + Sync;

/// A web server. It takes one request on each connection, and accepts for as long as the test lives.
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<State>,
    certificate: Option<(TempDir, PathBuf)>,
}

struct State {
    answer: Box<Answer>,
    tls: Option<Arc<ServerConfig>>,
    is_down: AtomicBool,
    requests: Mutex<Vec<Message>>,
}

impl Server {
    /// By HTTP.
    pub(crate) fn http(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(Box::new(answer), None, None)
    }

    /// By HTTPS, with a certificate of its own.
    pub(crate) fn https(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, made.cert.pem()).unwrap();
        let certificate = CertificateDer::from(made.cert.der().to_vec());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = versions.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        Self::start(Box::new(answer), Some(Arc::new(tls)), Some((folder, file)))
    }

    fn start(
        answer: Box<Answer>,
        tls: Option<Arc<ServerConfig>>,
        certificate: Option<(TempDir, PathBuf)>,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { answer, tls, is_down: AtomicBool::new(false), requests: Mutex::default() };
        let state = Arc::new(state);
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&serving);
                // The other end may be gone at any point: that is for the test to see.
                thread::spawn(move || state.serve(stream.unwrap()));
            }
        });
        Self { address, state, certificate }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.state.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// The file that holds its certificate.
    pub(crate) fn certificate(&self) -> &std::path::Path {
        &self.certificate.as_ref().unwrap().1
    }

    /// From here on connections are closed at once, or answered again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.state.is_down.store(is_down, Ordering::SeqCst);
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        if self.is_down.load(Ordering::SeqCst) {
            return Ok(());
        }
        stream.set_read_timeout(Some(DEADLINE))?;
        match &self.tls {
            None => self.exchange(stream),
            Some(tls) => {
                let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
                let mut stream = StreamOwned::new(connection, stream);
                self.exchange(&mut stream)?;
                stream.conn.send_close_notify();
                stream.flush()
            }
        }
    }

    fn exchange(&self, mut stream: impl Read + Write) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let text = String::from_utf8(head).unwrap();
        let mut lines = text.lines();
        let start = lines.next().unwrap().to_owned();
        let fields = lines.filter_map(|line| line.split_once(": "));
        let headers = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let request = Message { start, headers, ..Message::default() };
        self.requests.lock().unwrap().push(request.clone());
        stream.write_all(&(self.answer)(&request))?;
        stream.flush()
    }
}
