//! What a filter may send: one command, whose answer is one reply.

use std::fmt;

use bytes::Bytes;

use super::reply::{ReplyError, Scanner};

/// Arguments of a command, its name among them.
const ARGUMENTS_MAX: usize = 16 * 1024;
/// What most arguments take beside their text.
const ARGUMENT_BYTES: usize = 8;

/// Commands that change what the connection is, or what it answers. It is shared, so none may: the login
/// is told when a filter sets the upstream up, transactions and several steps at once are scripts
/// (`EVAL`).
const ON_THE_CONNECTION: [&str; 22] = [
    "ASKING",
    "AUTH",
    "CLIENT",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "REPLCONF", // answered or not, as the second argument says
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SYNC",
    "UNWATCH",
    "WATCH",
];

/// Commands that wait for others, and with them all that is behind them on the connection.
const WAITING: [&str; 11] = [
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "DEBUG",
    "WAIT",
    "WAITAOF",
];

/// One command, as it goes over the wire.
#[derive(Clone)]
pub struct Command(Bytes);

/// Why bytes are not a command that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Not an array of texts, or more than one.
    #[error("not one command in the Redis protocol")]
    Malformed,
    /// More arguments than the limit.
    #[error("more than {ARGUMENTS_MAX} arguments")]
    TooLarge,
    /// It changes the connection, which others share.
    #[error("a command that changes the connection it is sent on")]
    OnTheConnection,
    /// It may wait, and others with it.
    #[error("a command that blocks the connection")]
    Blocking,
}

impl Command {
    /// Checks what a filter wants sent: an array of bulk strings and nothing behind it.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CommandError> {
        let complete = match Scanner::default().scan(bytes, bytes.len()) {
            Ok(length) => length == Some(bytes.len()),
            Err(ReplyError::Malformed | ReplyError::TooLarge | ReplyError::TooDeep) => false,
        };
        if !complete {
            return Err(CommandError::Malformed);
        }
        let arguments = arguments(bytes).ok_or(CommandError::Malformed)?;
        let (name, rest) = arguments.split_first().ok_or(CommandError::Malformed)?;
        let is_one_of =
            |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let is_read = is_one_of(&["XREAD", "XREADGROUP"]);
        if arguments.len() > ARGUMENTS_MAX {
            Err(CommandError::TooLarge)
        } else if is_one_of(&ON_THE_CONNECTION)
            || is_one_of(&["SUNSUBSCRIBE", "UNSUBSCRIBE"])
            || (is_one_of(&["SCRIPT"]) && is_debugging(rest))
        {
            Err(CommandError::OnTheConnection)
        } else if is_one_of(&WAITING) || (is_read && is_blocking_read(rest)) {
            Err(CommandError::Blocking)
        } else {
            // Encoded anew: Redis is stricter than a reader of replies (no leading zeros, say), and closes
            // the connection, which others share, on what it does not take.
            Ok(Self(Self::of(&arguments).into()))
        }
    }

    /// A command of our own.
    pub(super) fn of(arguments: &[&[u8]]) -> Vec<u8> {
        let texts: usize = arguments.iter().map(|argument| argument.len() + ARGUMENT_BYTES).sum();
        let mut bytes = Vec::with_capacity(ARGUMENT_BYTES + texts);
        bytes.push(b'*');
        bytes.extend_from_slice(arguments.len().to_string().as_bytes());
        bytes.extend_from_slice(b"\r\n");
        for argument in arguments {
            bytes.push(b'$');
            bytes.extend_from_slice(argument.len().to_string().as_bytes());
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(argument);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    /// Its length on the wire.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// `SCRIPT DEBUG` makes the next `EVAL` a session of the debugger.
fn is_debugging(arguments: &[&[u8]]) -> bool {
    arguments.first().is_some_and(|what| what.eq_ignore_ascii_case(b"DEBUG"))
}

/// Whether `BLOCK` stands among the options of an `XREAD` or `XREADGROUP`, as Redis reads them: what an
/// option takes is no option, whatever it says, and `STREAMS` ends them. Behind an option that is not
/// known nothing is, so that any `BLOCK` counts.
fn is_blocking_read(mut arguments: &[&[u8]]) -> bool {
    let is = |argument: &[u8], name: &str| argument.eq_ignore_ascii_case(name.as_bytes());
    while let [option, rest @ ..] = arguments {
        let takes = match option {
            _ if is(option, "STREAMS") => return false,
            _ if is(option, "BLOCK") => return true,
            _ if is(option, "GROUP") => 2,
            _ if is(option, "COUNT") || is(option, "CLAIM") => 1,
            _ if is(option, "NOACK") => 0,
            _ => return rest.iter().any(|argument| is(argument, "BLOCK")),
        };
        arguments = rest.get(takes..).unwrap_or_default();
    }
    false
}

/// The texts of an array, of bytes that are a whole RESP value.
fn arguments(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, mut rest) = number(bytes, b'*')?;
    let mut arguments = Vec::new();
    for _ in 0..count {
        let (length, behind) = number(rest, b'$')?;
        arguments.push(behind.get(..length)?);
        rest = behind.get(length.checked_add(2)?..)?;
    }
    Some(arguments)
}

/// The number on a line of this kind, and what is behind the line.
fn number(bytes: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    let digits = bytes[..end].strip_prefix(&[kind])?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, bytes.get(end + 2..)?))
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("bytes", &self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<(), CommandError> {
        let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
        Command::parse(&Command::of(&arguments)).map(drop)
    }

    #[test]
    fn takes_commands_with_one_reply() {
        for command in [
            &["GET", "a"][..],
            &["set", "k", "\r\n*1"],
            &["EVAL", "return 1", "0"],
            &["XREAD", "COUNT", "1", "STREAMS", "BLOCK", "0"],
            &["XREADGROUP", "GROUP", "block", "BLOCK", "NOACK", "STREAMS", "s", ">"],
            &["XREADGROUP", "group", "g", "block", "count", "5", "streams", "s", ">"],
            &["PUBLISH", "c", "m"],
            &["SCRIPT", "LOAD", "DEBUG"],
        ] {
            assert_eq!(parse(command), Ok(()), "{command:?}");
        }
    }

    #[test]
    fn refuses_what_changes_or_blocks_the_connection() {
        for name in ["SUBSCRIBE", "select", "Multi", "AUTH", "quit", "CLIENT", "UNSUBSCRIBE"] {
            assert_eq!(parse(&[name, "x"]), Err(CommandError::OnTheConnection), "{name}");
        }
        // One is not always answered, the others make the next command another.
        for command in [&["replconf", "ACK", "0"][..], &["ASKING"], &["Script", "debug", "YES"]] {
            assert_eq!(parse(command), Err(CommandError::OnTheConnection), "{command:?}");
        }
        for command in [
            &["BLPOP", "l", "0"][..],
            &["xread", "block", "0", "streams", "s", "$"],
            &["XREAD", "COUNT", "1", "BLOCK", "0", "STREAMS", "s", "$"],
            &["XREADGROUP", "GROUP", "streams", "c", "BLOCK", "0", "STREAMS", "s", ">"],
            &["XREADGROUP", "GROUP", "g", "STREAMS", "NOACK", "block", "0", "STREAMS", "s", ">"],
            &["XREAD", "COUNT", "STREAMS", "BLOCK", "0", "STREAMS", "s", "$"],
            // Whatever a later Redis makes of it.
            &["XREAD", "NEWER", "STREAMS", "BLOCK", "0", "STREAMS", "s", "$"],
        ] {
            assert_eq!(parse(command), Err(CommandError::Blocking), "{command:?}");
        }
    }

    #[test]
    fn refuses_what_is_not_one_command() {
        for bytes in [
            &b""[..],
            b"PING\r\n",
            b"+PING\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*1\r\n:1\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n*1\r\n$4\r\nPING\r\n",
            b"*1\r\n$4\r\nPING",
            b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
            b"*1\r\n$4\r\nPING\r\n\r\n",
        ] {
            assert_eq!(
                Command::parse(bytes).err(),
                Some(CommandError::Malformed),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn is_sent_as_redis_writes_it() {
        let command = Command::parse(b"*02\r\n$0004\r\nPING\r\n$000\r\n\r\n").unwrap();
        assert_eq!(command.bytes(), b"*2\r\n$4\r\nPING\r\n$0\r\n\r\n");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 1..10)
        ) {
            let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let bytes = Command::of(&texts);
            prop_assert_eq!(arguments(&bytes), Some(texts));
        }

        #[test]
        fn anything_is_parsed(bytes in proptest::collection::vec(prop_oneof![
            Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), any::<u8>()
        ], 0..100)) {
            let _ = Command::parse(&bytes);
        }
    }
}
