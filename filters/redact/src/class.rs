//! Classes of secrets, each as a recogniser that is asked at one place in the text.
//!
//! A recogniser sees the byte before, the text from that place on, and whether more may come. It
//! either knows, or says [`Outcome::More`], which it may only do within its class's span.

use crate::pattern::{Ending, Outcome};
use serde::Deserialize;

/// What can be recognised without being spelled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// 13 to 19 digits that begin as payment cards do and pass the Luhn check, with single
    /// spaces or hyphens between them or none.
    CardNumber,
    /// An address of the usual form: `local@domain.tld` in ASCII, the local part at most 64 bytes.
    Email,
    /// An international bank account number in capitals that passes its check (ISO 13616), with
    /// single spaces or none.
    Iban,
    /// A United States social security number with its hyphens: `123-45-6789`.
    UsSsn,
}

const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
const IBAN_LENGTH: std::ops::RangeInclusive<usize> = 15..=34;
const EMAIL_LOCAL: usize = 64;
const EMAIL_DOMAIN: usize = 255;
const SSN: usize = "123-45-6789".len();

impl Class {
    /// The most bytes that one decision may need to see, the byte after the match included.
    #[must_use]
    pub fn span(self) -> usize {
        match self {
            Self::CardNumber => 2 * CARD_DIGITS.end() + 1,
            Self::Email => EMAIL_LOCAL + 1 + EMAIL_DOMAIN + 1,
            Self::Iban => 2 * IBAN_LENGTH.end() + 1,
            Self::UsSsn => SSN + 1,
        }
    }

    /// Whether a match can begin with this byte.
    #[must_use]
    pub fn starts_with(self, byte: u8) -> bool {
        match self {
            Self::CardNumber => matches!(byte, b'2'..=b'6'),
            Self::Email => is_local(byte),
            Self::Iban => byte.is_ascii_uppercase(),
            Self::UsSsn => byte.is_ascii_digit(),
        }
    }

    /// Whether the class begins at the start of `text`, which comes after the byte `before`.
    #[must_use]
    pub fn recognise(self, before: Option<u8>, text: &[u8], ending: Ending) -> Outcome {
        let inside = |of: fn(u8) -> bool| before.is_some_and(of);
        match self {
            _ if !text.first().is_some_and(|first| self.starts_with(*first)) => Outcome::No,
            Self::CardNumber if inside(|b| b.is_ascii_digit()) => Outcome::No,
            Self::Email if inside(is_local) => Outcome::No,
            Self::Iban if inside(|b| b.is_ascii_alphanumeric()) => Outcome::No,
            Self::UsSsn if inside(|b| b.is_ascii_digit() || b == b'-') => Outcome::No,
            Self::CardNumber => card_number(text, ending),
            Self::Email => email(text, ending),
            Self::Iban => iban(text, ending),
            Self::UsSsn => us_ssn(text, ending),
        }
    }
}

/// The outcome of a recogniser that has read all the text there is.
fn out_of_text(ending: Ending, best: Option<usize>) -> Outcome {
    match (ending, best) {
        (Ending::Open, _) => Outcome::More,
        (Ending::Final, Some(length)) => Outcome::Match(length),
        (Ending::Final, None) => Outcome::No,
    }
}

fn card_number(text: &[u8], ending: Ending) -> Outcome {
    let mut digits = [0_u8; *CARD_DIGITS.end()];
    let mut count = 0;
    let mut best = None;
    let mut separated = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                // A twentieth digit: what came before it only counts if it ended at a separator.
                let Some(slot) = digits.get_mut(count) else {
                    return best.map_or(Outcome::No, Outcome::Match);
                };
                *slot = byte - b'0';
                count += 1;
                separated = false;
                let follower = text.get(at + 1);
                let whole = follower.is_none_or(|next| !next.is_ascii_digit());
                if whole && CARD_DIGITS.contains(&count) && luhn(&digits[..count]) {
                    best = Some(at + 1);
                }
            }
            b' ' | b'-' if !separated => separated = true,
            _ => return best.map_or(Outcome::No, Outcome::Match),
        }
    }
    out_of_text(ending, best)
}

/// The check of ISO/IEC 7812: from the right, every second digit doubled, its digits summed.
fn luhn(digits: &[u8]) -> bool {
    let value = |(at, digit): (usize, &u8)| match (at % 2, u32::from(*digit)) {
        (1, digit) if digit > 4 => digit * 2 - 9,
        (1, digit) => digit * 2,
        (_, digit) => digit,
    };
    digits.iter().rev().enumerate().map(value).sum::<u32>() % 10 == 0
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-')
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')
}

fn email(text: &[u8], ending: Ending) -> Outcome {
    let local = text.iter().take(EMAIL_LOCAL + 1).take_while(|byte| is_local(**byte)).count();
    match text.get(local) {
        _ if local > EMAIL_LOCAL => return Outcome::No,
        Some(b'@') => {}
        Some(_) => return Outcome::No,
        None => return out_of_text(ending, None),
    }
    let rest = &text[local + 1..];
    let length = rest.iter().take(EMAIL_DOMAIN).take_while(|byte| is_domain(**byte)).count();
    if length == rest.len() && length < EMAIL_DOMAIN && ending == Ending::Open {
        return Outcome::More;
    }
    domain(&rest[..length]).map_or(Outcome::No, |domain| Outcome::Match(local + 1 + domain))
}

/// The length of the longest domain name at the start of the text: labels with dots between
/// them, at least two, the last one of letters.
fn domain(text: &[u8]) -> Option<usize> {
    let mut best = None;
    let mut end = 0;
    for (at, label) in text.split(|byte| *byte == b'.').enumerate() {
        end += label.len();
        let letters = label.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if at > 0 && letters == label.len() && letters >= 2 {
            best = Some(end);
        }
        let hyphen = |byte: Option<&u8>| byte == Some(&b'-');
        if label.is_empty() || label.len() > 63 || hyphen(label.first()) || hyphen(label.last()) {
            break;
        }
        end += 1; // the dot
    }
    best
}

fn iban(text: &[u8], ending: Ending) -> Outcome {
    let mut code = [0_u8; *IBAN_LENGTH.end()];
    let mut count = 0;
    let mut best = None;
    let mut separated = false;
    for (at, byte) in text.iter().enumerate() {
        let fits = match (count, byte) {
            (_, b' ') => count >= 4 && !separated,
            (0 | 1, byte) => byte.is_ascii_uppercase(),
            (2 | 3, byte) => byte.is_ascii_digit(),
            (_, byte) => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        };
        if !fits {
            return best.map_or(Outcome::No, Outcome::Match);
        }
        separated = *byte == b' ';
        if separated {
            continue;
        }
        let Some(slot) = code.get_mut(count) else { return best.map_or(Outcome::No, Outcome::Match) };
        *slot = *byte;
        count += 1;
        let whole = text.get(at + 1).is_none_or(|next| !next.is_ascii_alphanumeric());
        if whole && IBAN_LENGTH.contains(&count) && iban_check(&code[..count]) {
            best = Some(at + 1);
        }
    }
    out_of_text(ending, best)
}

/// ISO 13616: the first four moved to the end, letters as 10 to 35, the number is 1 modulo 97.
fn iban_check(code: &[u8]) -> bool {
    let (head, tail) = code.split_at(4);
    let step = |rest: u32, byte: &u8| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    };
    tail.iter().chain(head).fold(0, step) == 1
}

fn us_ssn(text: &[u8], ending: Ending) -> Outcome {
    let fits = |(at, byte): (usize, &u8)| match at {
        3 | 6 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    if !text.iter().take(SSN).enumerate().all(fits) {
        return Outcome::No;
    }
    let Some(number) = text.get(..SSN) else { return out_of_text(ending, None) };
    // Never issued: these areas, and any part that is all zeros.
    let issued = !matches!(&number[..3], b"000" | b"666" | [b'9', ..]) && &number[4..6] != b"00";
    if !issued || &number[7..] == b"0000" {
        return Outcome::No;
    }
    match text.get(SSN) {
        Some(next) if next.is_ascii_digit() || *next == b'-' => Outcome::No,
        None if ending == Ending::Open => Outcome::More,
        _ => Outcome::Match(SSN),
    }
}

#[cfg(test)]
#[path = "class_tests.rs"]
mod tests;
