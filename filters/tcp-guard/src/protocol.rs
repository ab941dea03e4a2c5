//! What the first bytes of a connection tell about its protocol.

/// The longest beginning that may be asked for, in bytes.
pub const MAX_PREFIX: usize = 64;
/// The longest method of an HTTP request that is recognised.
const MAX_METHOD: usize = 20;

/// A protocol that is known by its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// A TLS record with a ClientHello (RFC 8446, sections 4 and 5.1).
    Tls,
    /// An HTTP/1 request line, or HTTP/2's preface, which looks like one.
    Http,
    /// The identification string (RFC 4253, section 4.2).
    Ssh,
    /// PostgreSQL's start-up, cancel and encryption requests, protocol 3.
    Postgres,
    /// A Redis command as an array of strings (RESP).
    Redis,
    /// These bytes.
    Prefix(Box<[u8]>),
}

/// Whether a beginning belongs to a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It does.
    Yes,
    /// It does not, whatever follows.
    No,
    /// More bytes are needed to tell.
    Unclear,
}

impl Protocol {
    /// Whether a connection that begins with `bytes` speaks this protocol.
    pub fn sign(&self, bytes: &[u8]) -> Sign {
        match self {
            Self::Tls => tls(bytes),
            Self::Http => http(bytes),
            Self::Ssh => prefix(b"SSH-", bytes),
            Self::Postgres => postgres(bytes),
            Self::Redis => redis(bytes),
            Self::Prefix(wanted) => prefix(wanted, bytes),
        }
    }
}

/// What all `protocols` together say: one that is recognised is enough.
pub fn sign(protocols: &[Protocol], bytes: &[u8]) -> Sign {
    let signs = || protocols.iter().map(|protocol| protocol.sign(bytes));
    if signs().any(|sign| sign == Sign::Yes) {
        return Sign::Yes;
    }
    if signs().any(|sign| sign == Sign::Unclear) { Sign::Unclear } else { Sign::No }
}

fn prefix(wanted: &[u8], bytes: &[u8]) -> Sign {
    if bytes.starts_with(wanted) {
        Sign::Yes
    } else if wanted.starts_with(bytes) {
        Sign::Unclear
    } else {
        Sign::No
    }
}

/// Each byte so far is as its test wants it; all of them must have come.
fn each(tests: &[fn(u8) -> bool], bytes: &[u8]) -> Sign {
    if !bytes.iter().zip(tests).all(|(byte, test)| test(*byte)) {
        Sign::No
    } else if bytes.len() < tests.len() {
        Sign::Unclear
    } else {
        Sign::Yes
    }
}

/// A handshake record, version 3.0 to 3.4, any length but none, whose first message is a ClientHello.
fn tls(bytes: &[u8]) -> Sign {
    let is_empty = bytes.get(3..5) == Some(&[0, 0]);
    let any: fn(u8) -> bool = |_| true;
    match each(&[|byte| byte == 0x16, |byte| byte == 3, |byte| byte <= 4, any, any, |byte| byte == 1], bytes)
    {
        Sign::Yes | Sign::Unclear if is_empty => Sign::No,
        sign => sign,
    }
}

/// A method of capital letters, then a space.
fn http(bytes: &[u8]) -> Sign {
    let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match bytes.get(letters) {
        _ if letters > MAX_METHOD => Sign::No,
        Some(b' ') if letters > 0 => Sign::Yes,
        Some(_) => Sign::No,
        None => Sign::Unclear,
    }
}

/// A length, then version 3 of the protocol or one of the requests that have numbers of their own.
fn postgres(bytes: &[u8]) -> Sign {
    const LENGTH_MAX: u32 = 10_000;
    let word =
        |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
    match (word(0), word(4)) {
        (Some(length), _) if !(8..=LENGTH_MAX).contains(&length) => Sign::No,
        (Some(_), Some(0x0003_0000..=0x0003_ffff | 80_877_102..=80_877_104)) => Sign::Yes,
        (Some(_), Some(_)) => Sign::No,
        // Lengths are small: the first two bytes are zero.
        _ if bytes.iter().take(2).any(|byte| *byte != 0) => Sign::No,
        _ => Sign::Unclear,
    }
}

fn redis(bytes: &[u8]) -> Sign {
    each(&[|byte| byte == b'*', |byte| matches!(byte, b'1'..=b'9')], bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every shorter beginning is unclear, and the whole is recognised.
    fn assert_recognised(protocol: &Protocol, bytes: &[u8], needed: usize) {
        for length in 0..bytes.len() {
            let expected = if length < needed { Sign::Unclear } else { Sign::Yes };
            assert_eq!(protocol.sign(&bytes[..length]), expected, "{protocol:?} after {length} bytes");
        }
        assert_eq!(protocol.sign(bytes), Sign::Yes, "{protocol:?}");
    }

    #[test]
    fn each_protocol_is_recognised_as_soon_as_it_can_be() {
        assert_recognised(&Protocol::Tls, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 6);
        assert_recognised(&Protocol::Http, b"GET / HTTP/1.1\r\n", 4);
        assert_recognised(&Protocol::Http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 4);
        assert_recognised(&Protocol::Ssh, b"SSH-2.0-OpenSSH_9.2\r\n", 4);
        assert_recognised(&Protocol::Postgres, b"\0\0\0\x08\x04\xd2\x16\x2f", 8);
        assert_recognised(&Protocol::Postgres, b"\0\0\0\x10\0\x03\0\0user\0me\0\0", 8);
        assert_recognised(&Protocol::Redis, b"*1\r\n$4\r\nPING\r\n", 2);
        assert_recognised(&Protocol::Prefix((*b"HELO").into()), b"HELO there", 4);
    }

    #[test]
    fn others_are_refused_at_the_first_wrong_byte() {
        for (protocol, bytes) in [
            (Protocol::Tls, &b"\x17"[..]),
            (Protocol::Tls, b"\x16\x02"),
            (Protocol::Tls, b"\x16\x03\x05"),
            (Protocol::Tls, b"\x16\x03\x01\x00\x00"),
            (Protocol::Tls, b"\x16\x03\x01\x02\x00\x02"),
            (Protocol::Http, b" "),
            (Protocol::Http, b"get / HTTP/1.1"),
            (Protocol::Http, b"GET/"),
            (Protocol::Http, b"AAAAAAAAAAAAAAAAAAAAA"),
            (Protocol::Ssh, b"SSX"),
            (Protocol::Postgres, b"GET "),
            (Protocol::Postgres, b"\0\0\0\x07"),
            (Protocol::Postgres, b"\0\0\0\x08\0\x02\0\0"),
            (Protocol::Redis, b"PING"),
            (Protocol::Redis, b"*\r"),
        ] {
            assert_eq!(protocol.sign(bytes), Sign::No, "{protocol:?} {bytes:?}");
        }
    }

    #[test]
    fn one_of_several_is_enough() {
        let both = [Protocol::Ssh, Protocol::Http];
        assert_eq!(sign(&both, b"S"), Sign::Unclear);
        assert_eq!(sign(&both, b"SEARCH "), Sign::Yes);
        assert_eq!(sign(&both, b"SSH-"), Sign::Yes);
        assert_eq!(sign(&both, b"SS:"), Sign::No);
    }
}
