//! How much of a body a filter is shown.

use std::num::NonZeroU32;

/// What a filter sees of the body of one side, and of the trailers behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BodyMode {
    /// Nothing: its body and trailers callbacks are not called.
    None,
    /// Each piece as it comes, together with what it holds back; then the trailers.
    #[default]
    Stream,
    /// The whole body, once, at its end; then the trailers. The head waits until then. A body of more
    /// bytes than this is refused: 413 for a request, 502 for a response.
    Buffer(NonZeroU32),
    /// The first so many bytes, once, or the whole body if it has fewer; then, only if it was whole,
    /// the trailers. The head waits until then; the rest passes unseen.
    Peek(NonZeroU32),
}

/// Both sides of one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BodyModes {
    /// Of the request.
    pub request: BodyMode,
    /// Of the response.
    pub response: BodyMode,
}
