//! Disks that are full or read-only: nothing that was kept is lost, the gateway serves, and says so once.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use super::small_disk::SmallDisk;
use super::{answering, change, restart_on, until_answers};
use crate::support::{Gateway, Ran, tollgate, wait_for};

const CANNOT: &str = "the history of the policy cannot be kept on disk";
const AGAIN: &str = "the history of the policy is kept on disk again";

#[test]
fn a_full_file_system_loses_nothing() {
    match SmallDisk::mounted() {
        Some(disk) => nothing_is_lost(disk),
        // The other test is the same by other means; this one must not pass by doing nothing.
        None => nothing_is_lost(SmallDisk::limited()),
    }
}

#[test]
fn writes_that_fail_lose_nothing() {
    nothing_is_lost(SmallDisk::limited());
}

fn nothing_is_lost(mut disk: SmallDisk) {
    disk.write_policy(&answering("one"));
    let gateway = disk.start();
    change(&gateway, "two");
    until_kept_on(&disk, &gateway, 2);

    // Reloads and rollbacks on the full disk.
    disk.fill(Some(&gateway));
    change(&gateway, "three");
    until_told(&gateway);
    change(&gateway, "four");
    back_to(&gateway, 3, "three");
    back_to(&gateway, 1, "one");
    assert_eq!(gateway.command(&["reload", "--admin", &gateway.admin().to_string()]).0, Some(0));
    until_answers(&gateway, "four");
    assert_eq!(count(&gateway, CANNOT), 1, "{:#?}", gateway.log());

    // A crash, and a start on the full disk.
    let gateway = restart_on(&disk, gateway, Signal::KILL);
    assert_eq!(gateway.get("/").text(), "four");
    until_told(&gateway);
    back_to(&gateway, 1, "one");
    back_to(&gateway, 2, "two");

    // A crash, and a start without a policy: what was kept before the disk was full is there.
    disk.write_policy("routes: 7\n");
    let gateway = restart_on(&disk, gateway, Signal::KILL);
    assert_eq!(gateway.get("/").text(), "two");
    assert!(!gateway.status()["degraded"].is_null());
    change(&gateway, "five");
    until_told(&gateway);

    // Room again: what could not be written is.
    disk.free(Some(&gateway));
    change(&gateway, "six");
    let number = gateway.status()["generation"]["number"].as_u64().unwrap();
    until_kept_on(&disk, &gateway, number);
    wait_for("the problem to be over", || gateway.status()["history"]["problem"].is_null().then_some(()));
    assert_eq!(count(&gateway, AGAIN), 1);
    disk.write_policy("routes: 7\n");
    let gateway = restart_on(&disk, gateway, Signal::KILL);
    assert_eq!(gateway.get("/").text(), "six");
    let (code, text) = gateway.command(&["rollback", "--admin", &gateway.admin().to_string()]);
    assert_eq!((code, gateway.get("/").text()), (Some(0), "five"), "{text}");
}

#[test]
fn a_first_start_on_a_full_disk_serves() {
    let mut disk = SmallDisk::mounted().unwrap_or_else(SmallDisk::limited);
    disk.fill(None);
    disk.write_policy(&answering("one"));
    let gateway = disk.start();
    assert_eq!(gateway.get("/").text(), "one");
    until_told(&gateway);
    change(&gateway, "two");
    back_to(&gateway, 1, "one");
    disk.free(Some(&gateway));
    change(&gateway, "three");
    until_kept_on(&disk, &gateway, 4);
}

/// Where nothing may be mounted, a folder of `/sys` stands for the read-only disk: nobody can write there.
#[test]
fn a_read_only_disk_loses_nothing() {
    let Some(disk) = SmallDisk::mounted() else { return a_read_only_folder_serves() };
    disk.write_policy(&answering("one"));
    // A link, so that the access log is on the disk, too.
    std::os::unix::fs::symlink("state/access.log", disk.folder().join("access.log")).unwrap();
    let gateway = disk.start();
    change(&gateway, "two");
    until_kept_on(&disk, &gateway, 2);
    gateway.signal(Signal::KILL);
    drop(gateway.wait());
    fs::remove_file(disk.see(&disk.folder().join("state/access.log"))).unwrap();

    disk.remount("ro");
    let gateway = disk.start();
    assert_eq!(gateway.get("/").text(), "two");
    until_told(&gateway);
    change(&gateway, "three");
    back_to(&gateway, 1, "one");
    let lost = r#"tollgate_access_log_records_total{outcome="failed"}"#;
    wait_for("lost lines", || (gateway.metric(lost) >= Some(1.0)).then_some(()));
    assert_eq!(count(&gateway, "access log: cannot open"), 1, "{:#?}", gateway.log());
    disk.write_policy("routes: 7\n");
    let gateway = restart_on(&disk, gateway, Signal::KILL);
    assert_eq!(gateway.get("/").text(), "two");

    disk.remount("rw");
    change(&gateway, "four");
    let number = gateway.status()["generation"]["number"].as_u64().unwrap();
    until_kept_on(&disk, &gateway, number);
    wait_for("the access log", || {
        let text = fs::read_to_string(disk.see(&disk.folder().join("state/access.log"))).ok()?;
        text.contains("\"status\":200").then_some(())
    });
}

fn a_read_only_folder_serves() {
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink("/sys/kernel", folder.path().join("state")).unwrap();
    fs::write(folder.path().join("policy.yaml"), crate::support::PREAMBLE.to_owned() + &answering("one"))
        .unwrap();
    let gateway = Gateway::start_in(folder, &super::ONE_WORKER, &[]);
    change(&gateway, "two");
    until_told(&gateway);
    back_to(&gateway, 1, "one");
}

/// Standard error is where nothing can be written, as a log file on a full disk is.
#[test]
fn a_log_that_takes_nothing_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, socket) = (folder.path().join("policy.yaml"), folder.path().join("admin.sock"));
    let admin = format!("unix:{}", socket.display());
    let text = |body: &str| {
        let socket = socket.display();
        let head =
            format!("version: 1\nlisteners: [{{ address: '127.0.0.1:0' }}]\nadmin: {{ unix: '{socket}' }}\n");
        head + &answering(body)
    };
    fs::write(&policy, text("one")).unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("run")
        .arg(&policy)
        .args(["--workers", "1", "--state-dir", "off", "--access-log", "/dev/full", "--cache-dir"])
        .arg(folder.path().join("cache"))
        .env_remove("TOLLGATE_LOG")
        .stdout(Stdio::null())
        .stderr(full)
        .spawn()
        .unwrap();
    let reload = || Ran::of(tollgate().args(["reload", "--admin", &admin]));
    wait_for("an answer", || (reload().code == Some(0)).then_some(()));
    fs::write(&policy, text("two")).unwrap();
    let told = reload();
    assert!(told.code == Some(0) && told.out.contains("generation 2"), "{}", told.out);
    fs::write(&policy, "routes: 7\n").unwrap();
    assert_eq!(reload().code, Some(1));
    assert_eq!(gateway.try_wait().unwrap(), None, "it has ended");
    rustix::process::kill_process(rustix::process::Pid::from_child(&gateway), Signal::TERM).unwrap();
    let status = wait_for("the end", || gateway.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

/// Goes back to the policy of a generation, which answers `text`.
fn back_to(gateway: &Gateway, generation: u64, text: &str) {
    let admin = gateway.admin().to_string();
    let (code, told) = gateway.command(&["rollback", &generation.to_string(), "--admin", &admin]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(gateway.get("/").text(), text);
}

/// Waits until the log, `/status` and the metrics say that the history cannot be kept.
fn until_told(gateway: &Gateway) {
    wait_for("the problem to be told", || {
        let is_told = !gateway.status()["history"]["problem"].is_null()
            && gateway.metric("tollgate_policy_history_failures_total") >= Some(1.0)
            && count(gateway, CANNOT) == 1;
        is_told.then_some(())
    });
}

fn count(gateway: &Gateway, message: &str) -> usize {
    gateway.log().iter().filter(|line| line.contains(message)).count()
}

/// Waits until the disk has the policy in force.
fn until_kept_on(disk: &SmallDisk, gateway: &Gateway, generation: u64) {
    let folder = gateway.status()["history"]["folder"].as_str().unwrap().to_owned();
    let path = disk.see(std::path::Path::new(&folder)).join("current.json");
    wait_for("the policy to be kept", || {
        let current: Value = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        (current["generation"].as_u64()? >= generation).then_some(())
    });
}
