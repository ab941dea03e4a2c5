//! A real registry: Debian's docker-registry, filled by its own HTTP API.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, DEADLINE, Gateway, Message};
use crate::{Module, ONE_WORKER, check, sha256};

const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry on a port of its own; killed when dropped.
pub(crate) struct Registry {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    /// How the test itself is let in: a field of its requests.
    pub(crate) authorization: Option<String>,
}

impl Registry {
    /// Without passwords.
    pub(crate) fn open() -> Self {
        Self::start(|_| String::new())
    }

    /// `auth` is a part of its configuration, for files in the folder that it is given. It is started again
    /// on another port if somebody else took the first meanwhile.
    pub(crate) fn start(auth: impl Fn(&TempDir) -> String) -> Self {
        for _ in 0..5 {
            if let Some(registry) = Self::try_start(&auth) {
                return registry;
            }
        }
        panic!("docker-registry does not start");
    }

    fn try_start(auth: &dyn Fn(&TempDir) -> String) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let configuration = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nhttp: {{ addr: '{address}' }}\n\
             storage: {{ filesystem: {{ rootdirectory: '{}' }} }}\n{}",
            folder.path().join("store").display(),
            auth(&folder),
        );
        fs::write(&configuration, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("no docker-registry ({error}): run `make setup-tests`"));
        let mut registry = Self { process, address, folder, authorization: None };
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            if registry.process.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(address).is_ok() {
                return Some(registry);
            }
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        None
    }

    fn ask(&self, method: &str, target: &str, kind: &str, body: &[u8]) -> Message {
        let authorization =
            self.authorization.iter().map(|field| format!("authorization: {field}\r\n")).collect::<String>();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\n{authorization}content-type: {kind}\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        Client::connect(self.address).ask([head.as_bytes(), body].concat())
    }

    /// Puts a blob into the repository `filters/guard`, and describes it.
    fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let begun = self.ask("POST", "/v2/filters/guard/blobs/uploads/", "text/plain", b"");
        assert_eq!(begun.status(), 202, "{begun:#?}");
        let (_, target) =
            begun.header("location").unwrap().split_once(&self.address.to_string()).expect("its own address");
        let digest = format!("sha256:{}", sha256(bytes));
        let done = self.ask("PUT", &format!("{target}&digest={digest}"), "application/octet-stream", bytes);
        assert_eq!(done.status(), 201, "{done:#?}");
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    /// Puts a manifest there, and describes it.
    fn manifest(&self, kind: &str, document: &Value) -> Value {
        let bytes = serde_json::to_vec(document).unwrap();
        let digest = format!("sha256:{}", sha256(&bytes));
        let done = self.ask("PUT", &format!("/v2/filters/guard/manifests/{digest}"), kind, &bytes);
        assert_eq!(done.status(), 201, "{done:#?}");
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    /// An image of one layer.
    pub(crate) fn image(&self, kind: &str, layer: &str, bytes: &[u8]) -> Value {
        let config = match kind {
            DOCKER => "application/vnd.docker.container.image.v1+json",
            _ => "application/vnd.oci.image.config.v1+json",
        };
        let config = self.blob(config, b"{}");
        let layers = [self.blob(layer, bytes)];
        let document = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
        self.manifest(kind, &document)
    }

    /// An artifact whose layer is the module: its name in a policy.
    pub(crate) fn artifact(&self, module: &Module) -> String {
        self.name(&self.image(MANIFEST, WASM, &module.bytes))
    }

    pub(crate) fn name(&self, described: &Value) -> String {
        format!("{}/filters/guard:v1@{}", self.address, described["digest"].as_str().unwrap())
    }

    /// Where it keeps a blob.
    fn file_of(&self, digest: &str) -> std::path::PathBuf {
        let blobs = self.folder.path().join("store/docker/registry/v2/blobs/sha256");
        blobs.join(&digest[..2]).join(digest).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An archive with the module among other files.
fn archive(module: &Module) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in [("etc/hosts", &b"127.0.0.1 localhost"[..]), ("plugin.wasm", &module.bytes)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn modules_come_in_every_layout() {
    let registry = Registry::open();
    let modules: [Module; 7] = std::array::from_fn(|_| Module::new());
    let [artifact, older, newest, docker, oci, plain, indexed] = &modules;
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let docker_gzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let for_wasm = registry.image(MANIFEST, WASM, &indexed.bytes);
    let mut wasm_entry = for_wasm.clone();
    wasm_entry["platform"] = json!({ "os": "wasi", "architecture": "wasm" });
    let mut other_entry = registry.image(MANIFEST, gzip, &zipped(b"no archive"));
    other_entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [other_entry, wasm_entry] });
    let images = [
        registry.image(MANIFEST, WASM, &artifact.bytes),
        registry.image(MANIFEST, "application/vnd.module.wasm.content.layer.v1+wasm", &older.bytes),
        registry.image(MANIFEST, "application/wasm", &newest.bytes),
        registry.image(DOCKER, docker_gzip, &zipped(&archive(docker))),
        registry.image(MANIFEST, gzip, &zipped(&archive(oci))),
        registry.image(MANIFEST, "application/vnd.oci.image.layer.v1.tar", &archive(plain)),
        registry.manifest(INDEX, &index),
    ];
    let (mut filters, mut routes) = (String::new(), String::new());
    for (number, image) in images.iter().enumerate() {
        filters += &format!("  f{number}: {{ wasm: {{ module: {{ oci: '{}' }} }} }}\n", registry.name(image));
        routes += &format!(
            "  - {{ match: {{ path: {{ exact: /{number} }} }}, filters: [f{number}], respond: {{ status: 200 }} }}\n"
        );
    }
    let text = format!("filters:\n{filters}routes:\n{routes}");
    let gateway = Gateway::start_with(&text, &ONE_WORKER);
    drop(registry);
    let gateway = gateway.restart(rustix::process::Signal::TERM, &ONE_WORKER, &[]);
    assert!(gateway.status()["degraded"].is_null());
    for (number, module) in modules.iter().enumerate() {
        assert_eq!(gateway.get(&format!("/{number}")).text(), module.says, "{number}");
    }
}

#[test]
fn what_a_registry_does_not_have_is_told() {
    let registry = Registry::open();
    let (none, module) = (Module::new(), Module::new());
    let missing = format!("{{ oci: '{}/filters/guard@sha256:{}' }}", registry.address, none.digest);
    let said = check(&missing, &[]).expect(1).out;
    assert!(said.contains("the image's manifest: the server answered 404"), "{said}");
    let empty = registry.image(MANIFEST, "application/vnd.oci.image.layer.v1.tar+zstd", b"zstd");
    let said = check(&format!("{{ oci: '{}' }}", registry.name(&empty)), &[]).expect(1).out;
    assert!(said.contains("no layer is a module") && said.contains("tar+zstd"), "{said}");
    let bare = registry.image(MANIFEST, "application/vnd.oci.image.layer.v1.tar", &[0; 1024]);
    let said = check(&format!("{{ oci: '{}' }}", registry.name(&bare)), &[]).expect(1).out;
    assert!(said.contains("no archive in it holds the file `plugin.wasm`"), "{said}");
    // Someone changes what it keeps.
    let name = registry.artifact(&module);
    fs::write(registry.file_of(&module.digest), vec![b'x'; module.bytes.len()]).unwrap();
    let said = check(&format!("{{ oci: '{name}' }}"), &[]).expect(1).out;
    assert!(said.contains("the image's layer has another digest"), "{said}");
}
