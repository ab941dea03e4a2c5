//! A disk that a test can fill, for the folder of past policies.
//!
//! * [`SmallDisk::mounted`]: a file system in memory of some pages, mounted for the gateway alone: in a user and
//!   a mount namespace that a process of the test holds (`unshare`), and that each gateway enters (`nsenter`,
//!   both of util-linux). It may not be had in a container.
//! * [`SmallDisk::limited`]: a limit on the size of files, by which every write of the gateway fails, wherever
//!   it goes. It may be had everywhere.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Resource, Rlimit};
use tempfile::TempDir;

use super::ONE_WORKER;
use crate::support::{Gateway, PREAMBLE};

/// Room for two policies and what belongs to them, in pages of 4 KiB.
const SIZE: &str = "size=96k,mode=700";

/// The disk of the gateways of one folder.
pub(super) struct SmallDisk {
    folder: Arc<TempDir>,
    way: Way,
}

enum Way {
    Mounted(Namespaces),
    Limited { full: bool },
}

/// Namespaces that live as long as a process in them.
struct Namespaces {
    holder: Child,
    kinds: &'static [&'static str],
}

impl SmallDisk {
    /// A file system of its own on the folder `state`. `None` where none may be mounted, which is said.
    pub(super) fn mounted() -> Option<Self> {
        let folder = with_folder();
        // As root without user namespaces, a mount namespace is enough.
        let ways: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];
        let namespaces = ways.iter().find_map(|kinds| Namespaces::hold(kinds, &folder.path().join("state")));
        if namespaces.is_none() {
            eprintln!("NOT TESTED on a file system: `unshare` may not mount one here");
        }
        Some(Self { folder, way: Way::Mounted(namespaces?) })
    }

    /// The limit.
    pub(super) fn limited() -> Self {
        Self { folder: with_folder(), way: Way::Limited { full: false } }
    }

    /// A gateway on this disk, with the policy that is in the folder.
    pub(super) fn start(&self) -> Gateway {
        let before = match &self.way {
            Way::Mounted(namespaces) => namespaces.enter(),
            // The signal that comes with the limit would end the process.
            Way::Limited { full } => {
                let limit = if *full { "0" } else { "unlimited" };
                let script = format!("trap '' XFSZ; ulimit -S -f {limit}; exec \"$@\"");
                ["sh", "-c", &script, "sh"].map(str::to_owned).into()
            }
        };
        Gateway::start_through(&before, Arc::clone(&self.folder), &ONE_WORKER)
    }

    /// Writes the policy's file, which is on another disk.
    pub(super) fn write_policy(&self, rest: &str) {
        fs::write(self.folder.path().join("policy.yaml"), format!("{PREAMBLE}{rest}")).unwrap();
    }

    /// Leaves no room.
    pub(super) fn fill(&mut self, running: Option<&Gateway>) {
        match &mut self.way {
            Way::Mounted(namespaces) => {
                let path = namespaces.see(&self.folder.path().join("state/filler"));
                let mut filler = OpenOptions::new().create(true).append(true).open(path).unwrap();
                while filler.write(&[0; 512]).is_ok() {}
            }
            Way::Limited { full } => {
                *full = true;
                limit(running, Some(0));
            }
        }
    }

    /// Makes room again.
    pub(super) fn free(&mut self, running: Option<&Gateway>) {
        match &mut self.way {
            Way::Mounted(namespaces) => {
                fs::remove_file(namespaces.see(&self.folder.path().join("state/filler"))).unwrap();
            }
            Way::Limited { full } => {
                *full = false;
                limit(running, None);
            }
        }
    }

    /// Makes a mounted one read-only (`ro`), or not (`rw`); nobody may be writing then.
    pub(super) fn remount(&self, mode: &str) {
        let Way::Mounted(namespaces) = &self.way else { panic!("there is nothing mounted") };
        let enter = namespaces.enter();
        let done = Command::new(&enter[0])
            .args(&enter[1..])
            .args(["mount", "-o", &format!("remount,{mode}")])
            .arg(self.folder.path().join("state"))
            .status();
        assert!(done.unwrap().success(), "remount,{mode}");
    }

    /// Where the test finds what the gateway sees at `path`.
    pub(super) fn see(&self, path: &Path) -> PathBuf {
        match &self.way {
            Way::Mounted(namespaces) => namespaces.see(path),
            Way::Limited { .. } => path.to_owned(),
        }
    }

    /// The folder of the gateways, which is not on the disk.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn with_folder() -> Arc<TempDir> {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();
    Arc::new(folder)
}

/// Sets the largest size of the gateway's files, in bytes.
fn limit(running: Option<&Gateway>, bytes: Option<u64>) {
    let Some(gateway) = running else { return };
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap());
    let limit = Rlimit { current: bytes, maximum: None };
    rustix::process::prlimit(pid, Resource::Fsize, limit).unwrap();
}

impl Namespaces {
    fn hold(kinds: &'static [&'static str], mount_point: &Path) -> Option<Self> {
        let mut holder = Command::new("unshare")
            .args(kinds)
            .args(["sh", "-c", "mount -t tmpfs -o \"$1\" tollgate \"$2\" && echo mounted && exec cat", "sh"])
            .arg(SIZE)
            .arg(mount_point)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("`unshare` of util-linux: {error}"));
        let mut line = String::new();
        let _ = BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line);
        let namespaces = Self { holder, kinds };
        (line == "mounted\n").then_some(namespaces)
    }

    /// A command that runs what stands behind it in these namespaces, as the same process.
    fn enter(&self) -> Vec<String> {
        let mut command = vec!["nsenter".to_owned(), "--target".to_owned(), self.holder.id().to_string()];
        if self.kinds.contains(&"--user") {
            command.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        command.push("--mount".to_owned());
        command
    }

    fn see(&self, path: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(path.strip_prefix("/").unwrap())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
