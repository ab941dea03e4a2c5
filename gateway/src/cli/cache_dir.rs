//! Where compiled modules are kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder for the cache: as given, else the user's cache folder by the XDG rule, else one of
/// this user's own under `/var/tmp`, which outlasts a restart.
pub(super) fn choose(given: Option<&Path>) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    choose_from(given, std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"), user)
}

/// Relative and empty variables count as absent, as the XDG rule says.
fn choose_from(given: Option<&Path>, cache: Option<OsString>, home: Option<OsString>, user: u32) -> PathBuf {
    let absolute = |variable: Option<OsString>| variable.map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(given) = given {
        return given.to_owned();
    }
    absolute(cache)
        .or_else(|| Some(absolute(home)?.join(".cache")))
        .map_or_else(|| PathBuf::from(format!("/var/tmp/tollgate-{user}")), |cache| cache.join("tollgate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(given: Option<&str>, cache: Option<&str>, home: Option<&str>) -> PathBuf {
        choose_from(given.map(Path::new), cache.map(OsString::from), home.map(OsString::from), 7)
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
    fn empty_and_relative_variables_do_not_count() {
        assert_eq!(chosen(None, Some(""), Some("home")), Path::new("/var/tmp/tollgate-7"));
        assert_eq!(chosen(None, Some("cache"), Some("/root")), Path::new("/root/.cache/tollgate"));
    }
}
