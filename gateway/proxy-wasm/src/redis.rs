//! Calls to Redis: what guests of Higress's dialect say.

use std::fmt;
use std::time::Duration;

/// How a guest names a server: its name, and behind a `?` what Higress takes options from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisUpstream<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The database, `db=`; 0 if it is not said.
    pub database: u32,
}

impl<'a> RedisUpstream<'a> {
    /// Reads what a guest passed; `None` if its database is not a number. Options for buffering, which
    /// this host needs none for, are passed over, as are unknown ones.
    pub fn read(given: &'a [u8]) -> Option<Self> {
        let mut parts = given.splitn(2, |byte| *byte == b'?');
        let name = parts.next()?;
        let options = parts.next().unwrap_or_default().split(|byte| *byte == b'&');
        let database = options.filter_map(|option| option.strip_prefix(b"db=")).next_back();
        let database = match database {
            None => 0,
            Some(digits) => std::str::from_utf8(digits).ok()?.parse().ok()?,
        };
        Some(Self { name, database })
    }
}

/// How to log in, and how long calls may take.
#[derive(Clone, Copy)]
pub struct RedisLogin<'a> {
    /// The user; empty: the default one.
    pub user: &'a [u8],
    /// The password; empty: none.
    pub password: &'a [u8],
    /// For each call; `None`: as long as the gateway lets it.
    pub timeout: Option<Duration>,
}

impl fmt::Debug for RedisLogin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLogin").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_behind_the_name() {
        let table: [(&str, Option<(&str, u32)>); 7] = [
            ("redis.static", Some(("redis.static", 0))),
            ("r?db=3", Some(("r", 3))),
            ("r?db=1&buffer_flush_timeout=0&max_buffer_size_before_flush=0", Some(("r", 1))),
            ("r?other", Some(("r", 0))),
            ("", Some(("", 0))),
            ("r?db=x", None),
            ("r?db=-1", None),
        ];
        for (given, expected) in table {
            let read = RedisUpstream::read(given.as_bytes());
            let read = read.as_ref().map(|read| (read.name, read.database));
            assert_eq!(read, expected.map(|(name, database)| (name.as_bytes(), database)), "{given}");
        }
    }
}
