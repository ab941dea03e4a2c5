//! A request body that is written while it is sent, for calls that go on.
//!
//! The [`Feed`] takes pieces, the [`FedBody`] gives them to the connection as its peer takes them. What
//! waits in between is limited. A feed that is dropped before its end resets the stream.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::BoxError;

/// What a piece takes beside its bytes, roughly; it counts, for there may be many small ones.
pub const PIECE_BYTES: usize = 128;

/// The end that is written to.
#[derive(Debug)]
pub struct Feed(Rc<Pipe>);

/// The end that is sent.
#[derive(Debug)]
pub struct FedBody(Rc<Pipe>);

/// Why a piece was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// It would wait, with those before it, for more room than there is.
    #[error("too much waits to be sent")]
    Full,
    /// The body has ended, or nobody sends it any more.
    #[error("nothing more is sent")]
    Closed,
}

#[derive(Debug)]
struct Pipe {
    pieces: RefCell<VecDeque<Piece>>,
    /// What `pieces` take.
    bytes: Cell<usize>,
    bytes_max: usize,
    life: Cell<Life>,
    sender: RefCell<Option<Waker>>,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    _room: Box<dyn Any>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// The last piece has been written.
    Ended,
    /// The feed was dropped before that.
    Abandoned,
    /// The body was dropped.
    Unread,
}

/// Both ends of a body of which at most `bytes_max` wait to be sent, [`PIECE_BYTES`] more for each piece.
#[must_use]
pub fn feed(bytes_max: usize) -> (Feed, FedBody) {
    let pipe = Rc::new(Pipe {
        pieces: RefCell::default(),
        bytes: Cell::new(0),
        bytes_max,
        life: Cell::new(Life::Open),
        sender: RefCell::default(),
    });
    (Feed(Rc::clone(&pipe)), FedBody(pipe))
}

impl Feed {
    /// Writes a piece. One that is larger than all the room there is never fits. `room` is whatever is to
    /// be kept as long as the piece waits.
    ///
    /// # Errors
    /// [`FeedError`]; the piece is gone then.
    pub fn push(&self, piece: Bytes, room: impl Any) -> Result<(), FeedError> {
        let pipe = &self.0;
        if pipe.life.get() != Life::Open {
            return Err(FeedError::Closed);
        }
        let bytes = pipe.bytes.get().saturating_add(taken(&piece));
        if bytes > pipe.bytes_max {
            return Err(FeedError::Full);
        }
        pipe.bytes.set(bytes);
        pipe.pieces.borrow_mut().push_back(Piece { bytes: piece, _room: Box::new(room) });
        pipe.wake();
        Ok(())
    }

    /// Nothing follows what was written so far.
    pub fn end(&self) {
        self.0.turn(Life::Ended);
    }
}

fn taken(piece: &Bytes) -> usize {
    piece.len().saturating_add(PIECE_BYTES)
}

impl Pipe {
    /// Ends the writing, if it has not ended yet.
    fn turn(&self, life: Life) {
        if self.life.get() == Life::Open {
            self.life.set(life);
            self.wake();
        }
    }

    fn wake(&self) {
        let sender = self.sender.take();
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.turn(Life::Abandoned);
    }
}

impl Drop for FedBody {
    fn drop(&mut self) {
        self.0.life.set(Life::Unread);
        self.0.pieces.take();
    }
}

impl Body for FedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let pipe = &*self.0;
        if pipe.life.get() == Life::Abandoned {
            // The error that HTTP/2 resets the stream by.
            return Poll::Ready(Some(Err(h2::Error::from(h2::Reason::CANCEL).into())));
        }
        let piece = pipe.pieces.borrow_mut().pop_front();
        match piece {
            Some(Piece { bytes, _room }) => {
                pipe.bytes.set(pipe.bytes.get().saturating_sub(taken(&bytes)));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None if pipe.life.get() == Life::Ended => Poll::Ready(None),
            None => {
                *pipe.sender.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.life.get() == Life::Ended && self.0.pieces.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(body: &mut FedBody) -> Poll<Option<Result<Bytes, ()>>> {
        let mut cx = Context::from_waker(Waker::noop());
        let polled = Pin::new(body).poll_frame(&mut cx);
        polled.map(|frame| frame.map(|frame| frame.map_err(drop).map(|frame| frame.into_data().unwrap())))
    }

    /// Room for so many pieces of `bytes` in all.
    fn room(pieces: usize, bytes: usize) -> usize {
        pieces * PIECE_BYTES + bytes
    }

    fn piece(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn what_is_written_is_sent_in_order() {
        let (feed, mut body) = feed(room(2, 6));
        assert!(poll(&mut body).is_pending() && !body.is_end_stream());
        feed.push(piece("one"), ()).unwrap();
        feed.push(piece("two"), ()).unwrap();
        assert_eq!(poll(&mut body), Poll::Ready(Some(Ok(piece("one")))));
        feed.end();
        assert!(!body.is_end_stream());
        assert_eq!(poll(&mut body), Poll::Ready(Some(Ok(piece("two")))));
        assert!(body.is_end_stream());
        assert_eq!(feed.push(piece("three"), ()), Err(FeedError::Closed));
        drop(feed);
        assert_eq!(poll(&mut body), Poll::Ready(None), "it had ended well");
    }

    #[test]
    fn what_waits_is_limited() {
        let (feed, mut body) = feed(room(2, 5));
        assert_eq!(feed.push(piece("larger than all").repeat(20).into(), ()), Err(FeedError::Full));
        feed.push(piece("four"), ()).unwrap();
        assert_eq!(feed.push(piece("xx"), ()), Err(FeedError::Full));
        assert!(poll(&mut body).is_ready());
        feed.push(piece("xx"), ()).unwrap();
        drop(body);
        assert_eq!(feed.push(piece("x"), ()), Err(FeedError::Closed));
    }

    #[test]
    fn empty_pieces_take_room() {
        let (feed, _body) = feed(room(3, 0));
        let pushed: Vec<_> = (0..4).map(|_| feed.push(Bytes::new(), ())).collect();
        assert_eq!(pushed, [Ok(()), Ok(()), Ok(()), Err(FeedError::Full)]);
    }

    #[test]
    fn room_is_kept_as_long_as_a_piece_waits() {
        let (feed, mut body) = feed(room(2, 9));
        let room = Rc::new(());
        feed.push(piece("one"), Rc::clone(&room)).unwrap();
        feed.push(piece("two"), Rc::clone(&room)).unwrap();
        assert_eq!(feed.push(piece("three more"), Rc::clone(&room)), Err(FeedError::Full));
        assert_eq!(Rc::strong_count(&room), 3);
        assert!(poll(&mut body).is_ready());
        assert_eq!(Rc::strong_count(&room), 2);
        drop(body);
        assert_eq!(Rc::strong_count(&room), 1);
    }

    #[test]
    fn a_feed_that_breaks_off_breaks_the_body() {
        let (feed, mut body) = feed(room(1, 3));
        feed.push(piece("one"), ()).unwrap();
        drop(feed);
        assert_eq!(poll(&mut body), Poll::Ready(Some(Err(()))));
    }
}
