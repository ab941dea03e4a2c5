//! Writing JSON, piece by piece, up to a size.

/// Bytes of one text.
pub(crate) const BYTES_MAX: usize = 8 << 20;

/// A text that grows.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

/// Why a text cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the JSON text would be longer than {BYTES_MAX} bytes")
    }
}

impl Writer {
    /// Appends what stands for itself.
    pub(crate) fn raw(&mut self, text: &[u8]) -> Result<(), TooLong> {
        if self.0.len() + text.len() > BYTES_MAX {
            return Err(TooLong);
        }
        self.0.extend_from_slice(text);
        Ok(())
    }

    /// Appends a string; bytes that are not UTF-8 are replaced.
    pub(crate) fn string(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.0.len() + bytes.len() + 2 > BYTES_MAX {
            return Err(TooLong);
        }
        // Writing to a vector does not fail.
        let _ = serde_json::to_writer(&mut self.0, &String::from_utf8_lossy(bytes));
        Ok(())
    }

    /// Appends a number, which is finite.
    pub(crate) fn number(&mut self, number: f64) -> Result<(), TooLong> {
        let _ = serde_json::to_writer(&mut self.0, &number);
        Ok(())
    }

    /// Appends a whole number.
    pub(crate) fn integer(&mut self, number: i64) -> Result<(), TooLong> {
        let _ = serde_json::to_writer(&mut self.0, &number);
        Ok(())
    }

    /// The text.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_and_bounded() {
        let mut writer = Writer::default();
        writer.string(b"a\"\n\xff").unwrap();
        writer.raw(b":").unwrap();
        writer.number(0.5).unwrap();
        writer.integer(-7).unwrap();
        assert_eq!(String::from_utf8(writer.finish()).unwrap(), "\"a\\\"\\n\u{fffd}\":0.5-7");
        assert_eq!(Writer::default().raw(&vec![0; BYTES_MAX + 1]), Err(TooLong));
    }
}
