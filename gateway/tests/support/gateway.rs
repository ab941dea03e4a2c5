//! The real binary with a policy.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, get};
use super::message::Message;
use super::origin::Origin;
use super::{guest, wait_for};

/// What every policy of a test begins with: any port, and the admin API.
pub const PREAMBLE: &str = "\
version: 1
listeners: [{ address: '127.0.0.1:0' }]
admin: { address: '127.0.0.1:0' }
";

/// The name of a Unix socket in a gateway's folder.
const SOCKET: &str = "admin.sock";

/// One route that forwards everything to the upstream `u`.
pub const FORWARD_ALL: &str = "routes: [{ name: all, forward: { upstream: u } }]\n";

/// The section `upstreams` with one upstream, `u`.
pub fn upstream(origin: &Origin) -> String {
    format!("upstreams: {{ u: {{ endpoints: ['{}'] }} }}\n", origin.address())
}

/// How a gateway is started.
pub struct Options {
    pub workers: usize,
    /// In tracing's syntax.
    pub log: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self { workers: 2, log: "info" }
    }
}

/// A running gateway; killed when dropped.
pub struct Gateway {
    child: Child,
    folder: Arc<TempDir>,
    /// What its policies begin with.
    preamble: String,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    listeners: Vec<SocketAddr>,
    admin: SocketAddr,
}

/// What a gateway left behind.
pub struct Stopped {
    pub status: ExitStatus,
    /// One object for each request, in the order of their ends.
    pub access_log: Vec<Value>,
    /// The program's own log.
    pub log: Vec<String>,
}

impl Gateway {
    /// Runs the policy `rest`, to which [`PREAMBLE`] is added, and waits until it serves.
    pub fn start(rest: &str) -> Self {
        Self::start_with(rest, &Options::default())
    }

    /// Forwards everything to one origin.
    pub fn before(origin: &Origin) -> Self {
        Self::start(&format!("{}{FORWARD_ALL}", upstream(origin)))
    }

    /// Starts with other options.
    pub fn start_with(rest: &str, options: &Options) -> Self {
        Self::start_whole(&format!("{PREAMBLE}{rest}"), options)
    }

    /// Starts with an admin API on a Unix socket, too.
    pub fn start_with_socket(rest: &str, options: &Options) -> Self {
        let folder = TempDir::new().unwrap();
        let admin = format!("admin: {{ unix: '{}', address", folder.path().join(SOCKET).display());
        let preamble = PREAMBLE.replace("admin: { address", &admin);
        std::fs::write(folder.path().join("policy.yaml"), format!("{preamble}{rest}")).unwrap();
        let mut gateway = Self::start_in(Arc::new(folder), options, &[]);
        gateway.preamble = preamble;
        gateway
    }

    /// Runs a policy that names its own sockets; it must have an admin API.
    pub fn start_whole(text: &str, options: &Options) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("policy.yaml"), text).unwrap();
        Self::start_in(Arc::new(folder), options, &[])
    }

    /// Ends it by this signal, and starts another in its folder with what it left there.
    pub fn restart(self, signal: Signal, options: &Options, args: &[&str]) -> Self {
        let folder = Arc::clone(&self.folder);
        self.signal(signal);
        drop(self.wait());
        Self::start_in(folder, options, args)
    }

    /// Runs the policy of a folder, with more on its command line.
    pub fn start_in(folder: Arc<TempDir>, options: &Options, args: &[&str]) -> Self {
        let mut gateway = Self::spawn(folder, options, args);
        gateway.wait_until_serving();
        gateway
    }

    /// The same by a command that runs what stands behind it.
    pub fn start_through(before: &[String], folder: Arc<TempDir>, options: &Options) -> Self {
        let mut gateway = Self::spawn_through(before, folder, options, &[]);
        gateway.wait_until_serving();
        gateway
    }

    /// The same without waiting until it serves; there are no addresses yet.
    pub fn spawn(folder: Arc<TempDir>, options: &Options, args: &[&str]) -> Self {
        Self::spawn_through(&[], folder, options, args)
    }

    fn spawn_through(before: &[String], folder: Arc<TempDir>, options: &Options, args: &[&str]) -> Self {
        let policy = folder.path().join("policy.yaml");
        let program = env!("CARGO_BIN_EXE_tollgate");
        let mut command = match before {
            [] => Command::new(program),
            [first, others @ ..] => {
                let mut command = Command::new(first);
                command.args(others).arg(program);
                command
            }
        };
        let mut child = command
            .arg("run")
            .arg(&policy)
            .args(["--workers", &options.workers.to_string(), "--log-format", "json", "--log", options.log])
            .arg("--cache-dir")
            .arg(guest::cache_dir())
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .arg("--access-log")
            .arg(folder.path().join("access.log"))
            .args(args)
            .env_remove("TOLLGATE_LOG")
            .env_remove("TOLLGATE_STATE_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::default();
        let reader = Some(read_log(child.stderr.take().unwrap(), Arc::clone(&log)));
        let (listeners, admin, preamble) = (Vec::new(), ([0; 4], 0).into(), PREAMBLE.to_owned());
        Self { child, folder, preamble, log, reader, listeners, admin }
    }

    fn wait_until_serving(&mut self) {
        let serving = wait_for("the gateway to serve", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.reader.take().unwrap().join().unwrap();
                panic!("the gateway ended with {status}:\n{}", self.log().join("\n"));
            }
            let lines = self.log();
            let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            events.map(fields).find(|fields| fields["message"] == "serving")
        });
        let addresses = serving["listeners"].as_str().unwrap();
        self.listeners = addresses.split(' ').map(|address| address.parse().unwrap()).collect();
        self.admin = serving["admin"].as_str().unwrap().parse().unwrap();
    }

    /// The first listener.
    pub fn address(&self) -> SocketAddr {
        self.listeners[0]
    }

    /// All listeners, in the order of the policy.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listeners
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Of one that was started with it, as `--admin` takes it.
    pub fn admin_socket(&self) -> String {
        format!("unix:{}", self.folder.path().join(SOCKET).display())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// One request on a connection of its own.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Message {
        self.client().ask(request)
    }

    /// A GET on a connection of its own.
    pub fn get(&self, target: &str) -> Message {
        self.ask(get(target, &[]))
    }

    pub fn policy_path(&self) -> PathBuf {
        self.folder.path().join("policy.yaml")
    }

    /// A folder of its own, with the policy and the access log; for modules and other files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The same, to be used when the gateway is gone.
    pub fn shared_folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// Puts another policy into the place of the first, in one step.
    pub fn write_policy(&self, rest: &str) {
        self.write_whole(&format!("{}{rest}", self.preamble));
    }

    /// The same for a policy that names its own sockets.
    pub fn write_whole(&self, text: &str) {
        let draft = self.folder.path().join("policy.draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.policy_path()).unwrap();
    }

    /// `POST /policy/reload`, answered in JSON.
    pub fn reload(&self) -> Message {
        let request = format!(
            "POST /policy/reload HTTP/1.1\r\nhost: {}\r\naccept: application/json\r\ncontent-length: 0\r\n\r\n",
            self.admin
        );
        Client::connect(self.admin).ask(request)
    }

    /// A command of the same program for this gateway: its exit code, and what it said.
    pub fn command(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(args)
            .env("TOLLGATE_STATE_DIR", self.folder.path().join("state"))
            .env_remove("TOLLGATE_ADMIN")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// `GET` of the admin API.
    pub fn admin_get(&self, path: &str) -> Message {
        Client::connect(self.admin).ask(get(path, &[("host", &self.admin.to_string())]))
    }

    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.admin_get("/status").body).unwrap()
    }

    /// The value of a series as written in the exposition, if it is there.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let page = self.admin_get("/metrics");
        let mut lines = page.text().lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().unwrap())
    }

    /// Waits until a series has this value.
    pub fn wait_for_metric(&self, series: &str, value: f64) {
        wait_for(series, || (self.metric(series) == Some(value)).then_some(()));
    }

    /// The program's log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The access log so far.
    pub fn access_log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The access log as soon as it has so many lines.
    pub fn wait_for_access_log(&self, lines: usize) -> Vec<Value> {
        wait_for("the access log", || Some(self.access_log()).filter(|log| log.len() >= lines))
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of a gateway that was told to end.
    pub fn wait(mut self) -> Stopped {
        let status = wait_for("the gateway to end", || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        Stopped { status, access_log: self.access_log(), log: self.log() }
    }

    /// Ends it in order, which writes out the access log.
    pub fn stop(self) -> Stopped {
        self.signal(Signal::TERM);
        let stopped = self.wait();
        assert!(stopped.status.success(), "{}\n{}", stopped.status, stopped.log.join("\n"));
        stopped
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log().join("\n"));
        }
    }
}

/// An event's fields, wherever the format puts them.
fn fields(event: Value) -> Value {
    match event.get("fields") {
        Some(fields) => fields.clone(),
        None => event,
    }
}

fn read_log(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            log.lock().unwrap().push(line.unwrap());
        }
    })
}
