//! What is looked for, what it is replaced by, and the question "does one begin here?".

use crate::class::Class;

/// The longest literal, in bytes.
pub const MAX_LITERAL: usize = 256;

/// The most bytes that a decision can need, and so the most that a scanner keeps back.
pub const MAX_SPAN: usize = 64 + 1 + 255 + 1;

/// Whether more text may follow what is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// More may come.
    Open,
    /// This is all.
    Final,
}

/// The answer to "does one begin here?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Yes, and it is this many bytes long.
    Match(usize),
    /// No.
    No,
    /// The text at hand is too short to tell.
    More,
}

/// One thing to look for.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// These bytes, exactly.
    Literal(Box<[u8]>),
    /// These bytes, whatever the case of their ASCII letters; kept in lower case.
    AnyCase(Box<[u8]>),
    /// One of the known classes.
    Class(Class),
}

/// What stands in the place of a match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replacement {
    /// This text.
    Text(Box<[u8]>),
    /// One such byte for every byte of the match: the length of the body stays as it is.
    Mask(u8),
}

/// A target with its replacement.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What is looked for.
    pub target: Target,
    /// What stands in its place.
    pub replacement: Replacement,
}

/// All patterns of a configuration, at most 64, in the order in which they are asked.
#[derive(Debug)]
pub struct Patterns {
    patterns: Box<[Pattern]>,
    /// For each byte, the patterns that can begin with it, as bits.
    by_first_byte: Box<[u64; 256]>,
}

impl Patterns {
    /// Puts patterns together; only the first 64 count, which the configuration sees to.
    #[must_use]
    pub fn new(patterns: Vec<Pattern>) -> Self {
        let mut by_first_byte = Box::new([0; 256]);
        for (byte, bits) in (0..=u8::MAX).zip(by_first_byte.iter_mut()) {
            for (at, pattern) in patterns.iter().take(64).enumerate() {
                *bits |= u64::from(pattern.target.starts_with(byte)) << at;
            }
        }
        Self { patterns: patterns.into(), by_first_byte }
    }

    /// Whether no replacement changes the length of a body.
    #[must_use]
    pub fn keep_length(&self) -> bool {
        self.patterns.iter().all(|pattern| matches!(pattern.replacement, Replacement::Mask(_)))
    }

    /// The first pattern that begins at the start of `text`, which comes after the byte `before`.
    #[must_use]
    pub fn begin(&self, before: Option<u8>, text: &[u8], ending: Ending) -> (Outcome, Option<&Pattern>) {
        let Some(first) = text.first() else { return (Outcome::No, None) };
        let mut candidates = self.by_first_byte[usize::from(*first)];
        while candidates != 0 {
            let pattern = self.patterns.get(candidates.trailing_zeros() as usize);
            candidates &= candidates - 1;
            match pattern.map_or(Outcome::No, |pattern| pattern.target.begins(before, text, ending)) {
                Outcome::No => {}
                outcome => return (outcome, pattern),
            }
        }
        (Outcome::No, None)
    }
}

impl Target {
    fn starts_with(&self, byte: u8) -> bool {
        match self {
            Self::Literal(text) => text.first() == Some(&byte),
            Self::AnyCase(text) => text.first() == Some(&byte.to_ascii_lowercase()),
            Self::Class(class) => class.starts_with(byte),
        }
    }

    fn begins(&self, before: Option<u8>, text: &[u8], ending: Ending) -> Outcome {
        match self {
            Self::Literal(wanted) => literal(wanted, text, ending, |a, b| a == b),
            Self::AnyCase(wanted) => literal(wanted, text, ending, |a, b| a.eq_ignore_ascii_case(b)),
            Self::Class(class) => class.recognise(before, text, ending),
        }
    }
}

fn literal(wanted: &[u8], text: &[u8], ending: Ending, same: fn(&[u8], &[u8]) -> bool) -> Outcome {
    let at_hand = wanted.len().min(text.len());
    match same(&wanted[..at_hand], &text[..at_hand]) {
        true if at_hand == wanted.len() => Outcome::Match(at_hand),
        true if ending == Ending::Open => Outcome::More,
        _ => Outcome::No,
    }
}

impl Pattern {
    /// Writes what stands in the place of a match of that many bytes.
    pub fn write(&self, matched: usize, out: &mut Vec<u8>) {
        match &self.replacement {
            Replacement::Text(text) => out.extend_from_slice(text),
            Replacement::Mask(byte) => out.resize(out.len() + matched, *byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_target_needs_more_than_the_span() {
        for class in [Class::CardNumber, Class::Email, Class::Iban, Class::UsSsn] {
            assert!(class.span() <= MAX_SPAN, "{class:?}");
        }
        const { assert!(MAX_LITERAL <= MAX_SPAN) };
    }

    #[test]
    fn the_first_pattern_in_order_wins() {
        let pattern = |text: &str| Pattern {
            target: Target::Literal(text.as_bytes().into()),
            replacement: Replacement::Text(text.len().to_string().into_bytes().into()),
        };
        let patterns = Patterns::new(vec![pattern("ab"), pattern("abc"), pattern("b")]);
        let begin = |text: &str, ending| patterns.begin(None, text.as_bytes(), ending).0;
        assert_eq!(begin("abc", Ending::Open), Outcome::Match(2));
        assert_eq!(begin("a", Ending::Open), Outcome::More);
        assert_eq!(begin("a", Ending::Final), Outcome::No);
        assert_eq!(begin("ba", Ending::Open), Outcome::Match(1));
        assert_eq!(begin("", Ending::Open), Outcome::No);
    }
}
