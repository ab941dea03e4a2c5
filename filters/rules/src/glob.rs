//! Glob patterns over paths: `?` is one byte, `*` any bytes within a segment, `**` any bytes.
//!
//! A pattern is run as an automaton whose states are the bits of one number, so a match takes
//! time proportional to the path, whatever the pattern: there is no backtracking to exploit.

use std::fmt;

/// The most bytes and wildcards in a pattern.
pub const MAX_TOKENS: usize = 127;

/// A parsed pattern.
#[derive(Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Box<[Token]>,
    /// One bit for each token that may match nothing. No two of them stand side by side.
    optional: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyByte,
    Segment,
    Rest,
}

/// Why a pattern was refused: it has more than [`MAX_TOKENS`] tokens.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong(pub usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pattern has {} bytes and wildcards, at most {MAX_TOKENS} are allowed", self.0)
    }
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When it is too long.
    pub fn parse(text: &str) -> Result<Self, TooLong> {
        let mut tokens: Vec<Token> = Vec::new();
        for byte in text.bytes() {
            match (byte, tokens.last_mut()) {
                // A run of stars crosses segments as soon as there are two of them.
                (b'*', Some(star @ (Token::Segment | Token::Rest))) => *star = Token::Rest,
                (b'*', _) => tokens.push(Token::Segment),
                (b'?', _) => tokens.push(Token::AnyByte),
                (byte, _) => tokens.push(Token::Byte(byte)),
            }
        }
        if tokens.len() > MAX_TOKENS {
            return Err(TooLong(tokens.len()));
        }
        let optional = tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| matches!(token, Token::Segment | Token::Rest))
            .fold(0, |bits, (at, _)| bits | 1 << at);
        Ok(Self { tokens: tokens.into(), optional })
    }

    /// Whether the pattern matches the whole text.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let mut states = self.skip_optional(1);
        for byte in text {
            states = self.skip_optional(self.step(states, *byte));
            if states == 0 {
                return false;
            }
        }
        states >> self.tokens.len() & 1 == 1
    }

    /// The states after one byte; bit `n` stands for "token `n` is next".
    fn step(&self, mut states: u128, byte: u8) -> u128 {
        let mut next = 0;
        while states != 0 {
            let at = states.trailing_zeros();
            states &= states - 1;
            next |= match self.tokens.get(at as usize) {
                Some(Token::Byte(wanted)) if *wanted == byte => 1 << (at + 1),
                Some(Token::AnyByte) if byte != b'/' => 1 << (at + 1),
                Some(Token::Segment) if byte != b'/' => 1 << at,
                Some(Token::Rest) => 1 << at,
                _ => 0,
            };
        }
        next
    }

    fn skip_optional(&self, states: u128) -> u128 {
        states | (states & self.optional) << 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn a_star_stays_in_its_segment() {
        assert!(matches("/v*/users/*", "/v2/users/7"));
        assert!(matches("/v*/users/*", "/v/users/"));
        assert!(!matches("/v*/users/*", "/v2/x/users/7"));
        assert!(!matches("/v*/users/*", "/v2/users/7/keys"));
    }

    #[test]
    fn two_stars_cross_segments() {
        assert!(matches("/admin/**", "/admin/a/b/c"));
        assert!(matches("/admin/**", "/admin/"));
        assert!(!matches("/admin/**", "/admin"));
        assert!(matches("**.php", "/a/b.php"));
        assert!(matches("/**/keys", "/a/b/keys"));
        assert!(!matches("/**/keys", "/a/b/keys2"));
        assert!(matches("***", "/x/y"));
    }

    #[test]
    fn a_question_mark_is_one_byte_of_a_segment() {
        assert!(matches("/a?c", "/abc"));
        assert!(!matches("/a?c", "/a/c"));
        assert!(!matches("/a?c", "/ac"));
    }

    #[test]
    fn the_empty_pattern_matches_the_empty_text_alone() {
        assert!(matches("", ""));
        assert!(!matches("", "/"));
    }

    #[test]
    fn the_longest_pattern_works_and_one_more_is_refused() {
        let long = "a".repeat(MAX_TOKENS - 1) + "*";
        assert!(matches(&long, &"a".repeat(500)));
        assert!(!matches(&long, &"a".repeat(MAX_TOKENS - 2)));
        assert_eq!(Glob::parse(&"a".repeat(MAX_TOKENS + 1)), Err(TooLong(MAX_TOKENS + 1)));
    }

    #[test]
    fn it_agrees_with_the_obvious_recursive_matcher() {
        fn slow(pattern: &[u8], text: &[u8]) -> bool {
            match pattern {
                [] => text.is_empty(),
                [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| slow(rest, &text[at..])),
                [b'*', rest @ ..] => {
                    let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
                    (0..=end).any(|at| slow(rest, &text[at..]))
                }
                [b'?', rest @ ..] => matches!(text, [b, tail @ ..] if *b != b'/' && slow(rest, tail)),
                [byte, rest @ ..] => matches!(text, [b, tail @ ..] if b == byte && slow(rest, tail)),
            }
        }
        // Every pattern of up to four and every text of up to five letters of a small alphabet.
        let patterns = words(b"a/*?", 4);
        let texts = words(b"ab/", 5);
        for pattern in &patterns {
            let glob = Glob::parse(std::str::from_utf8(pattern).unwrap()).unwrap();
            for text in &texts {
                let (pattern_text, shown) = (String::from_utf8_lossy(pattern), String::from_utf8_lossy(text));
                assert_eq!(glob.matches(text), slow(pattern, text), "{pattern_text} on {shown}");
            }
        }
    }

    fn words(alphabet: &[u8], longest: usize) -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        let mut last = all.clone();
        for _ in 0..longest {
            last = last
                .iter()
                .flat_map(|word| alphabet.iter().map(move |letter| [word.as_slice(), &[*letter]].concat()))
                .collect();
            all.extend(last.clone());
        }
        all
    }
}
