//! Where in a script a mistake is. Lua's message tells the line and the token; how far the compiler had
//! read tells the rest.

/// A mistake that the compiler has found.
pub(crate) struct Mistake<'s> {
    pub(crate) source: &'s [u8],
    /// Bytes that it had read: those up to the end of the wrong token, and one more unless `at_end`.
    pub(crate) read: usize,
    pub(crate) at_end: bool,
}

impl Mistake<'_> {
    /// Lua's message about `file` with the column behind the line, in characters from 1. `None` if the
    /// message is of another form.
    pub(crate) fn with_column(&self, file: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        let rest = message.strip_prefix(file)?.strip_prefix(b":")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (line, said) = rest.split_at_checked(digits)?;
        let number: usize = std::str::from_utf8(line).ok()?.parse().ok()?;
        let column = self.column(number, token(said))?;
        Some([file, b":", line, b":", column.to_string().as_bytes(), said].concat())
    }

    /// The column of a token of so many bytes on this line, which ends where the compiler stands.
    fn column(&self, line: usize, token: usize) -> Option<usize> {
        let end = self.read.saturating_sub(usize::from(!self.at_end)).min(self.source.len());
        let mut breaks =
            self.source.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let start = if line > 1 { breaks.nth(line - 2)? } else { 0 };
        let at = end.saturating_sub(token).max(start);
        // A token over several lines is told by the last of them.
        let before = self.source.get(start..at)?;
        if before.contains(&b'\n') {
            return None;
        }
        Some(1 + before.iter().filter(|byte| (**byte & 0xc0) != 0x80).count())
    }
}

/// Bytes of the token that a message ends with: `… near 'token'`.
fn token(message: &[u8]) -> usize {
    let near = message.windows(7).rposition(|window| window == b" near '");
    near.map_or(0, |at| message.len().saturating_sub(at + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `read`: one more than there is stands for the end.
    fn placed(source: &str, read: usize, message: &str) -> Option<String> {
        let at_end = read > source.len();
        let read = read.min(source.len());
        let mistake = Mistake { source: source.as_bytes(), read, at_end };
        mistake.with_column(b"a.lua", message.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_token_is_found_by_its_end() {
        let message = "a.lua:2: unexpected symbol near '='";
        assert_eq!(placed("x = 1\nä = = 2\n", 13, message).unwrap(), "a.lua:2:5: unexpected symbol near '='");
        let message = "a.lua:1: unfinished string near ''open'";
        assert_eq!(placed("x = 'open\n", 10, message).unwrap(), "a.lua:1:5: unfinished string near ''open'");
        let message = "a.lua:3: 'end' expected near <eof>";
        assert_eq!(placed("if x\nthen\n", 11, message).unwrap(), "a.lua:3:1: 'end' expected near <eof>");
    }

    #[test]
    fn a_message_of_another_form_stays_as_it_is() {
        assert_eq!(placed("x", 1, "not enough memory"), None);
        assert_eq!(placed("x", 1, "b.lua:1: near 'x'"), None);
        assert_eq!(placed("x", 1, "a.lua:9: near 'x'"), None);
        assert_eq!(placed("[[\n\nx", 5, "a.lua:1: near 'x'"), None);
    }
}
