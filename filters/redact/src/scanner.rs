//! The streaming scanner: one for each direction of a request that is looked at.

use crate::pattern::{Ending, Outcome, Patterns};

/// What is remembered between two chunks: at most [`crate::pattern::MAX_SPAN`] bytes.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The end of the text so far, where a match may have begun.
    kept: Vec<u8>,
    /// The byte before it.
    before: Option<u8>,
}

/// What becomes of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// It goes on as it came.
    Unchanged,
    /// This goes on in its place.
    Replaced(Vec<u8>),
}

impl Scanner {
    /// Takes the next chunk. Over a whole body, what goes on is the same however the body was cut
    /// into chunks.
    pub fn feed(&mut self, patterns: &Patterns, chunk: &[u8], ending: Ending) -> Output {
        if self.kept.is_empty() {
            return self.scan(patterns, chunk, ending, Kept::Nothing);
        }
        let mut text = std::mem::take(&mut self.kept);
        text.extend_from_slice(chunk);
        self.scan(patterns, &text, ending, Kept::Something)
    }

    fn scan(&mut self, patterns: &Patterns, text: &[u8], ending: Ending, earlier: Kept) -> Output {
        let mut out = Vec::new();
        let mut copied = 0;
        let mut at = 0;
        while at < text.len() {
            let before = at.checked_sub(1).map_or(self.before, |before| Some(text[before]));
            match patterns.begin(before, &text[at..], ending) {
                (Outcome::Match(length), Some(pattern)) => {
                    out.extend_from_slice(&text[copied..at]);
                    pattern.write(length, &mut out);
                    at += length.max(1);
                    copied = at;
                }
                (Outcome::More, _) => break,
                _ => at += 1,
            }
        }
        let untouched = copied == 0 && at == text.len();
        self.before = at.checked_sub(1).map_or(self.before, |before| Some(text[before]));
        self.kept.extend_from_slice(&text[at..]);
        if untouched && earlier == Kept::Nothing {
            return Output::Unchanged;
        }
        out.extend_from_slice(&text[copied..at]);
        Output::Replaced(out)
    }
}

/// Whether bytes were kept back from earlier chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nothing,
    Something,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::pattern::MAX_SPAN;

    fn patterns(json: &str) -> Patterns {
        Config::parse(format!(r#"{{"patterns": {json}}}"#).as_bytes()).unwrap().patterns
    }

    fn everything() -> Patterns {
        patterns(
            r#"[{"literal": "secret"}, {"literal": "TOKEN", "ignore_case": true, "mask": "*"},
                {"class": "card_number"}, {"class": "email", "replacement": "<mail>"}, {"class": "iban"},
                {"class": "us_ssn", "mask": "X"}]"#,
        )
    }

    /// Feeds the text in the given cuts; the bytes that went on.
    fn feed<'a>(patterns: &Patterns, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut scanner = Scanner::default();
        let mut all = Vec::new();
        let mut take = |scanner: &mut Scanner, chunk: &[u8], ending| {
            match scanner.feed(patterns, chunk, ending) {
                Output::Unchanged => all.extend_from_slice(chunk),
                Output::Replaced(text) => all.extend(text),
            }
            assert!(scanner.kept.len() <= MAX_SPAN, "{} bytes kept back", scanner.kept.len());
        };
        for chunk in chunks {
            take(&mut scanner, chunk, Ending::Open);
        }
        take(&mut scanner, b"", Ending::Final);
        assert_eq!(scanner.kept, b"");
        all
    }

    const TEXT: &str = "a secret, a seccret, Token tOKEn to; card 4111-1111-1111-1111 or 4111-1111-1111-1112; \
        mail jo@shop.example.com. iban GB82 WEST 1234 5698 7654 32 ssn 123-45-6789 secretsecret sec";
    const CLEAN: &str = "a [redacted], a seccret, ***** ***** to; card [redacted] or 4111-1111-1111-1112; \
        mail <mail>. iban [redacted] ssn XXXXXXXXXXX [redacted][redacted] sec";

    #[test]
    fn all_of_it_is_found_in_one_chunk() {
        let out = feed(&everything(), [TEXT.as_bytes()]);
        assert_eq!(String::from_utf8_lossy(&out), CLEAN);
    }

    #[test]
    fn where_a_body_is_cut_makes_no_difference() {
        let patterns = everything();
        let text = TEXT.as_bytes();
        for size in 1..=text.len() {
            let out = feed(&patterns, text.chunks(size));
            assert_eq!(String::from_utf8_lossy(&out), CLEAN, "chunks of {size}");
        }
        for first in 0..text.len() {
            let (head, tail) = text.split_at(first);
            let out = feed(&patterns, [head, b"", tail]);
            assert_eq!(String::from_utf8_lossy(&out), CLEAN, "cut at {first}");
        }
    }

    #[test]
    fn any_bytes_pass_and_come_out_the_same_however_they_are_cut() {
        let patterns = everything();
        // A fixed pseudo-random stream over bytes that like to begin matches.
        let mut state = 1_u32;
        let alphabet = b"sectok@.-4151 AGB82\xff\x00\xc3\"";
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            alphabet[(state >> 16) as usize % alphabet.len()]
        })
        .take(20_000)
        .collect();
        let whole = feed(&patterns, [bytes.as_slice()]);
        for size in [1, 2, 3, 7, 64, 321, 4096] {
            assert_eq!(feed(&patterns, bytes.chunks(size)), whole, "chunks of {size}");
        }
    }

    #[test]
    fn a_chunk_with_nothing_in_it_is_left_alone() {
        let patterns = patterns(r#"[{"literal": "secret"}]"#);
        let mut scanner = Scanner::default();
        assert_eq!(scanner.feed(&patterns, b"nothing here", Ending::Open), Output::Unchanged);
        assert_eq!(scanner.feed(&patterns, b"a se", Ending::Open), Output::Replaced(b"a ".to_vec()));
        assert_eq!(scanner.feed(&patterns, b"", Ending::Final), Output::Replaced(b"se".to_vec()));
    }

    #[test]
    fn masks_keep_the_length() {
        let patterns = patterns(r#"[{"literal": "secret", "mask": "x"}, {"class": "email", "mask": "x"}]"#);
        assert!(patterns.keep_length());
        assert_eq!(feed(&patterns, [b"a secret b@c.de".as_slice()]), b"a xxxxxx xxxxxx");
        assert!(!everything().keep_length());
    }
}
