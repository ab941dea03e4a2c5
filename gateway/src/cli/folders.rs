//! Where compiled modules and past policies are kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder for the cache: as given, else the user's cache folder by the XDG rule, else one of
/// this user's own under `/var/tmp`, which outlasts a restart.
pub(super) fn cache(given: Option<&Path>) -> PathBuf {
    choose(given, &CACHE, std::env::var_os(CACHE.variable), std::env::var_os("HOME"), user())
}

/// The folder for past policies, likewise; none if `off` is given.
pub(super) fn state(given: Option<&Path>) -> Option<PathBuf> {
    let is_off = given.is_some_and(|given| given.as_os_str() == "off");
    let chosen = || choose(given, &STATE, std::env::var_os(STATE.variable), std::env::var_os("HOME"), user());
    (!is_off).then(chosen)
}

/// A kind of folder by the XDG rule.
struct Kind {
    variable: &'static str,
    in_home: &'static str,
    /// Where it is without a home; the user's number follows.
    homeless: &'static str,
}

const CACHE: Kind = Kind { variable: "XDG_CACHE_HOME", in_home: ".cache", homeless: "/var/tmp/tollgate-" };
const STATE: Kind =
    Kind { variable: "XDG_STATE_HOME", in_home: ".local/state", homeless: "/var/tmp/tollgate-state-" };

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Relative and empty variables count as absent, as the XDG rule says.
fn choose(
    given: Option<&Path>,
    kind: &Kind,
    variable: Option<OsString>,
    home: Option<OsString>,
    user: u32,
) -> PathBuf {
    let absolute = |variable: Option<OsString>| variable.map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(given) = given {
        return given.to_owned();
    }
    absolute(variable)
        .or_else(|| Some(absolute(home)?.join(kind.in_home)))
        .map_or_else(|| format!("{}{user}", kind.homeless).into(), |folder| folder.join("tollgate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(given: Option<&str>, cache: Option<&str>, home: Option<&str>) -> PathBuf {
        choose(given.map(Path::new), &CACHE, cache.map(OsString::from), home.map(OsString::from), 7)
    }

    #[test]
    fn what_is_given_counts_first_and_the_home_last() {
        let (cache, home) = (Some("/cache"), Some("/home/ada"));
        assert_eq!(chosen(Some("here"), cache, home), Path::new("here"));
        assert_eq!(chosen(None, cache, home), Path::new("/cache/tollgate"));
        assert_eq!(chosen(None, None, home), Path::new("/home/ada/.cache/tollgate"));
        assert_eq!(chosen(None, None, None), Path::new("/var/tmp/tollgate-7"));
    }

    #[test]
    fn past_policies_are_state_and_may_be_off() {
        let home = Some(OsString::from("/home/ada"));
        assert_eq!(choose(None, &STATE, None, home, 7), Path::new("/home/ada/.local/state/tollgate"));
        assert_eq!(choose(None, &STATE, None, None, 7), Path::new("/var/tmp/tollgate-state-7"));
        assert_eq!(state(Some(Path::new("off"))), None);
        assert_eq!(state(Some(Path::new("here"))), Some("here".into()));
    }

    #[test]
    fn empty_and_relative_variables_do_not_count() {
        assert_eq!(chosen(None, Some(""), Some("home")), Path::new("/var/tmp/tollgate-7"));
        assert_eq!(chosen(None, Some("cache"), Some("/home/ada")), Path::new("/home/ada/.cache/tollgate"));
    }
}
