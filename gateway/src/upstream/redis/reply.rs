//! Where a reply ends: RESP2, and of RESP3 what a server may send unasked-for as an answer.
//!
//! The scan goes on where it stopped when more bytes arrive; each byte of a reply is looked at once.

/// Arrays in arrays.
const DEPTH_MAX: usize = 32;

/// Why bytes are not a reply that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not the protocol.
    #[error("what the server sent is not a reply")]
    Malformed,
    /// More bytes than the limit.
    #[error("the reply is too large")]
    TooLarge,
    /// Too many arrays in arrays.
    #[error("the reply is too deep")]
    TooDeep,
}

/// The scan of one reply.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Where the next element begins.
    at: usize,
    /// How far its first line is known to have no end.
    searched: usize,
    /// Elements that are still to come, for each array from the outermost on; none is zero.
    open: Vec<u64>,
}

impl Scanner {
    /// The length of the reply at the beginning of `bytes`, if it is all there. `bytes` must begin with
    /// what the scan saw before.
    pub(super) fn scan(&mut self, bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, ReplyError> {
        let end = loop {
            match self.element(bytes, bytes_max)? {
                Step::Incomplete => break None,
                Step::Element if self.open.is_empty() => break Some(self.at),
                Step::Element | Step::Opened => {}
            }
        };
        // What is declared is checked at once; this is for what just keeps coming.
        match end.unwrap_or(bytes.len()) > bytes_max {
            true => Err(ReplyError::TooLarge),
            false => Ok(end),
        }
    }

    /// Passes over the next element, or into it.
    fn element(&mut self, bytes: &[u8], bytes_max: usize) -> Result<Step, ReplyError> {
        let Some(line_end) = self.line_end(bytes)? else { return Ok(Step::Incomplete) };
        let (kind, rest) = bytes[self.at..line_end].split_first().ok_or(ReplyError::Malformed)?;
        let behind = line_end + 2;
        match kind {
            b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_' => self.pass(behind),
            b'$' | b'=' | b'!' => match length(rest)? {
                None => self.pass(behind),
                Some(length) => {
                    let length = within(length, bytes_max)?;
                    let end = behind + length;
                    match bytes.get(end..end + 2) {
                        None => return Ok(Step::Incomplete),
                        Some(b"\r\n") => self.pass(end + 2),
                        Some(_) => return Err(ReplyError::Malformed),
                    }
                }
            },
            b'*' | b'~' | b'%' => match length(rest)? {
                None | Some(0) => self.pass(behind),
                Some(count) => {
                    let count = if *kind == b'%' { count.saturating_mul(2) } else { count };
                    // An element has three bytes at least.
                    within(count, bytes_max)?;
                    return self.enter(behind, count);
                }
            },
            _ => return Err(ReplyError::Malformed),
        }
        Ok(Step::Element)
    }

    fn enter(&mut self, behind: usize, count: u64) -> Result<Step, ReplyError> {
        if self.open.len() == DEPTH_MAX {
            return Err(ReplyError::TooDeep);
        }
        self.open.push(count);
        self.at = behind;
        self.searched = behind;
        Ok(Step::Opened)
    }

    /// An element is over; so is each array whose last it was.
    fn pass(&mut self, behind: usize) {
        self.at = behind;
        self.searched = behind;
        while let Some(left) = self.open.last_mut() {
            *left -= 1; // none is zero
            if *left > 0 {
                break;
            }
            self.open.pop();
        }
    }

    /// Where the line that begins the element ends, before its CR LF.
    fn line_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, ReplyError> {
        let unseen = bytes.get(self.searched..).unwrap_or_default();
        let Some(found) = unseen.iter().position(|byte| *byte == b'\n') else {
            self.searched = bytes.len();
            return Ok(None);
        };
        // Kept for an element that is not all there yet.
        self.searched += found;
        match self.searched.checked_sub(1) {
            Some(end) if end >= self.at && bytes[end] == b'\r' => Ok(Some(end)),
            _ => Err(ReplyError::Malformed),
        }
    }
}

/// What one step of the scan came to.
enum Step {
    Incomplete,
    /// An element has ended.
    Element,
    /// An array has begun.
    Opened,
}

/// A length or a count; `None`: there is nothing at all.
fn length(digits: &[u8]) -> Result<Option<u64>, ReplyError> {
    if digits == b"-1" {
        return Ok(None);
    }
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ReplyError::Malformed);
    }
    Ok(Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))))
}

fn within(length: u64, max: usize) -> Result<usize, ReplyError> {
    usize::try_from(length).ok().filter(|length| *length <= max).ok_or(ReplyError::TooLarge)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, ReplyError> {
        Scanner::default().scan(bytes, MAX)
    }

    #[test]
    fn finds_the_end_of_each_kind() {
        let replies: [&[u8]; 16] = [
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":-12\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"$4\r\na\r\nb\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*2\r\n:1\r\n$1\r\nx\r\n",
            b"*2\r\n*1\r\n*0\r\n+a\r\n",
            b"_\r\n",
            b"#t\r\n",
            b",1.5\r\n",
            b"%1\r\n+a\r\n*1\r\n:1\r\n",
            b"~1\r\n(12345678901234567890\r\n",
            b"=7\r\ntxt:abc\r\n",
        ];
        for reply in replies {
            let with_next = [reply, b"+NEXT\r\n"].concat();
            assert_eq!(scan(&with_next), Ok(Some(reply.len())), "{}", reply.escape_ascii());
            for cut in 0..reply.len() {
                assert_eq!(scan(&reply[..cut]), Ok(None), "{}", reply[..cut].escape_ascii());
            }
        }
    }

    #[test]
    fn refuses_what_is_no_reply() {
        let table: [(&[u8], ReplyError); 12] = [
            (b"\r\n", ReplyError::Malformed),
            (b"HTTP/1.1 400 Bad Request\r\n", ReplyError::Malformed),
            (b"+OK\n", ReplyError::Malformed),
            (b"\n", ReplyError::Malformed),
            (b"$\r\n", ReplyError::Malformed),
            (b"$-2\r\n", ReplyError::Malformed),
            (b"$1\r\nab\r\n", ReplyError::Malformed),
            (b"$?\r\n", ReplyError::Malformed),
            (b">1\r\n+a\r\n", ReplyError::Malformed),
            (b"$1048577\r\n", ReplyError::TooLarge),
            (b"*999999999999999999\r\n", ReplyError::TooLarge),
            (b"$9999999999999999999\r\n", ReplyError::Malformed),
        ];
        for (bytes, error) in table {
            assert_eq!(scan(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(scan(&b"*1\r\n".repeat(DEPTH_MAX + 1)), Err(ReplyError::TooDeep));
        assert_eq!(Scanner::default().scan(b"+abc", 3), Err(ReplyError::TooLarge));
        assert_eq!(
            Scanner::default().scan(b"*2\r\n$3\r\nabc\r\n$3\r\nabc\r\n", 20),
            Err(ReplyError::TooLarge)
        );
    }

    /// A reply and its encoding.
    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let bulk = |bytes: Vec<u8>| [format!("${}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
        let leaf = prop_oneof![
            "[a-zA-Z ]{0,20}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
            any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
            Just(b"$-1\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(bulk),
        ];
        leaf.prop_recursive(6, 60, 5, |inner| {
            proptest::collection::vec(inner, 0..5).prop_map(|elements| {
                let head = format!("*{}\r\n", elements.len()).into_bytes();
                std::iter::once(head).chain(elements).flatten().collect()
            })
        })
    }

    proptest! {
        /// However the bytes arrive, replies end where they end.
        #[test]
        fn pieces_make_no_difference(
            replies in proptest::collection::vec(reply(), 1..5),
            sizes in proptest::collection::vec(1usize..20, 1..10),
        ) {
            let stream: Vec<u8> = replies.concat();
            let (mut start, mut seen, mut found) = (0, 0, Vec::new());
            let mut scanner = Scanner::default();
            let mut sizes = sizes.iter().cycle();
            while start < stream.len() {
                match scanner.scan(&stream[start..seen], MAX).unwrap() {
                    Some(length) => {
                        found.push(stream[start..start + length].to_vec());
                        start += length;
                        scanner = Scanner::default();
                    }
                    None => {
                        prop_assert!(seen < stream.len());
                        seen = (seen + sizes.next().unwrap()).min(stream.len());
                    }
                }
            }
            prop_assert_eq!(found, replies);
        }

        /// Nothing makes it panic, and what it takes is never longer than what is there.
        #[test]
        fn anything_is_scanned(bytes in proptest::collection::vec(prop_oneof![
            Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'0'), any::<u8>()
        ], 0..200)) {
            if let Ok(Some(length)) = scan(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
