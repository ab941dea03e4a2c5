//! The admin API on a Unix socket, and how commands find the gateway.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use super::{ONE_WORKER, noted, restart};
use crate::support::{Gateway, wait_for};

fn start(socket: &Path) -> Gateway {
    let text = format!(
        "version: 1\nlisteners: [{{ address: '127.0.0.1:0' }}]\n\
         admin: {{ address: '127.0.0.1:0', unix: '{}' }}\nroutes: [{{ respond: {{ status: 200 }} }}]\n",
        socket.display()
    );
    noted(Gateway::start_whole(&text, &ONE_WORKER))
}

#[test]
fn the_socket_answers_its_user_and_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let gateway = start(&socket);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, text) = gateway.command(&["history", "--admin", &format!("unix:{}", socket.display())]);
    assert!(code == Some(0) && text.contains("applied"), "{text}");
    // Without being told which gateway, as soon as it has left its note.
    wait_for("the gateway to be found", || (gateway.command(&["history"]).0 == Some(0)).then_some(()));
    // A socket that a killed gateway left is taken.
    let gateway = restart(gateway, Signal::KILL);
    let (code, text) = gateway.command(&["reload", "--admin", &format!("unix:{}", socket.display())]);
    assert!(code == Some(0) && text.contains("nothing to do"), "{text}");
    gateway.stop();
    assert!(!socket.exists());
}

#[test]
fn another_socket_at_run_time_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(&folder.path().join("admin.sock"));
    let text = fs::read_to_string(gateway.policy_path()).unwrap();
    gateway.write_whole(&text.replace("admin.sock", "other.sock"));
    let outcome = gateway.reload();
    assert_eq!(outcome.status(), 409, "{}", outcome.text());
    assert!(outcome.text().contains("other.sock"));
}

/// `explain` and `diff` of the policy that a gateway runs, which its file may say no more.
#[test]
fn the_running_policy_is_explained_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let gateway = start(&socket);
    let text = fs::read_to_string(gateway.policy_path()).unwrap();
    let admin = format!("unix:{}", socket.display());
    let ask = |args: &[&str]| gateway.command(&[args, &["--admin", &admin]].concat());
    let candidate = folder.path().join("candidate.yaml");
    let new = text.replace(
        "[{ respond: { status: 200 } }]",
        "[{ name: new, match: { path: { exact: /new } }, respond: { status: 204 } }]",
    );
    fs::write(&candidate, new).unwrap();
    let candidate = candidate.to_str().unwrap();

    let (code, told) = ask(&["explain", "@running", "GET", "http://a.example/x", "-H", "x-key: secret"]);
    assert!(code == Some(0) && told.contains("route     route-1") && !told.contains("secret"), "{told}");
    let (code, told) = ask(&["diff", "@running", candidate]);
    assert!(code == Some(1) && told.contains("+ route new"), "{told}");
    let (code, told) = ask(&["diff", "@running", gateway.policy_path().to_str().unwrap()]);
    assert!(code == Some(0) && told.starts_with("nothing changes"), "{told}");
    let (code, told) = ask(&["diff", "@running", candidate, "--json"]);
    let comparison: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &comparison["routes"][0]["name"]), (Some(1), &"new".into()));

    gateway.write_whole(&fs::read_to_string(candidate).unwrap());
    assert_eq!(ask(&["reload"]).0, Some(0));
    let (code, told) = ask(&["explain", "@running", "GET", "/x", "--json"]);
    assert_eq!(code, Some(1), "no route takes it: {told}");
    // A policy may name files of the gateway's machine, so that it is not taken from whoever reaches a port.
    let tcp = gateway.admin().to_string();
    let (code, told) = gateway.command(&["diff", "@running", candidate, "--admin", &tcp]);
    assert!(code == Some(1) && told.contains("Unix socket"), "{told}");
}
