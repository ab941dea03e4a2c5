//! What a process takes on as it starts: its open files, and whose life it shares.

use rustix::process::{Resource, Rlimit, Signal};

/// Lets this process be killed when the thread that started it ends, however that comes about.
pub(super) fn end_with_parent() {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        tracing::debug!(%error, "this process may outlive its parent");
    }
}

/// Raises the limit on open files to what this process may have at most: every connection is one.
pub(super) fn raise_open_files() {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let most = Rlimit { current: now.maximum, maximum: now.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, limit = now.current, "the limit on open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_raised_to_the_hard_limit() {
        raise_open_files();
        let limit = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
