//! What a running gateway cannot change: its sockets.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use crate::policy::Policy;
use crate::policy::listener::{AdminListener, ListenerId};

/// A policy asks for other sockets than the process has.
#[derive(Debug, Default, PartialEq, Eq, thiserror::Error)]
pub(super) struct Immutable {
    added: Vec<SocketAddr>,
    removed: Vec<SocketAddr>,
    admin: Option<Box<Admin>>,
}

/// The admin API's address before and after.
#[derive(Debug, PartialEq, Eq)]
struct Admin {
    old: Option<AdminListener>,
    new: Option<AdminListener>,
}

/// Whether `new` keeps the sockets of `old`; their order in the policy means nothing.
pub(super) fn check(old: &Policy, new: &Policy) -> Result<(), Immutable> {
    let addresses = |policy: &Policy| ListenerId::all(&policy.listeners).into_iter().collect::<BTreeSet<_>>();
    let admin = |policy: &Policy| policy.admin.clone();
    let (before, after) = (addresses(old), addresses(new));
    let changes = Immutable {
        added: after.difference(&before).map(|id| id.address).collect(),
        removed: before.difference(&after).map(|id| id.address).collect(),
        admin: (admin(old) != admin(new)).then(|| Box::new(Admin { old: admin(old), new: admin(new) })),
    };
    if changes == Immutable::default() { Ok(()) } else { Err(changes) }
}

impl fmt::Display for Immutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "cannot change at run time: ";
        for (what, addresses) in [("added", &self.added), ("removed", &self.removed)] {
            for address in addresses {
                write!(f, "{separator}listener {address} {what}")?;
                separator = ", ";
            }
        }
        if let Some(Admin { old, new }) = self.admin.as_deref() {
            write!(f, "{separator}admin address {} instead of {}", shown(new.as_ref()), shown(old.as_ref()))?;
        }
        f.write_str("; restart the gateway for that")
    }
}

fn shown(admin: Option<&AdminListener>) -> String {
    let Some(AdminListener { address, unix }) = admin else { return "none".to_owned() };
    let address = address.map(|address| address.to_string());
    let unix = unix.as_ref().map(|path| format!("unix:{}", path.display()));
    address.into_iter().chain(unix).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn policy(listeners: &[&str], admin: Option<&str>) -> Policy {
        let mut text = String::from("version: 1\nlisteners:\n");
        listeners.iter().for_each(|address| text += &format!("  - address: \"{address}\"\n"));
        if let Some(address) = admin {
            text += &format!("admin: {{ address: \"{address}\" }}\n");
        }
        text += "routes:\n  - match: { path: { prefix: / } }\n    respond: { status: 200 }\n";
        crate::policy::parse(&text, Path::new("p.yaml"), Path::new("")).unwrap().policy
    }

    #[test]
    fn the_order_of_listeners_means_nothing() {
        let (one, two) = ("127.0.0.1:8080", "127.0.0.1:8081");
        assert_eq!(check(&policy(&[one, two], None), &policy(&[two, one], None)), Ok(()));
    }

    #[test]
    fn each_change_is_named() {
        let old = policy(&["127.0.0.1:8080", "127.0.0.1:8081"], Some("127.0.0.1:9901"));
        let new = policy(&["127.0.0.1:8080", "127.0.0.1:8082"], None);
        assert_eq!(
            check(&old, &new).unwrap_err().to_string(),
            "cannot change at run time: listener 127.0.0.1:8082 added, listener 127.0.0.1:8081 removed, \
             admin address none instead of 127.0.0.1:9901; restart the gateway for that"
        );
    }
}
