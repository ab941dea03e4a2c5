//! The commands of a session: those that wait to be sent, and those that wait for their reply.
//!
//! A command that nobody waits for any more, since its time is over or its caller gave up, is never sent:
//! what was reported as failed must not take effect later because a connection took long. So commands stay
//! here until the connection can take them, a batch at a time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::command::Command;
use super::{RedisBounds, RedisError};

/// Commands that wait for their reply.
const COMMANDS_MAX: usize = 10_000;
/// Bytes of these.
const BYTES_MAX: usize = 16 << 20;
/// Bytes that are handed to the connection before it has written some.
const BATCH_BYTES: usize = 64 * 1024;

/// What comes of a command.
pub(super) type Reply = Result<Bytes, RedisError>;

/// The commands of a session.
#[derive(Default)]
pub(super) struct Queue {
    waiting: RefCell<VecDeque<Waiting>>,
    /// Handed to the connection, in the order of their replies.
    sent: RefCell<VecDeque<Waiting>>,
    /// Of both.
    bytes: Cell<usize>,
    changed: Notify,
}

/// A command, and who waits for its reply.
struct Waiting {
    command: Command,
    deadline: Instant,
    reply_bytes_max: usize,
    reply: oneshot::Sender<Reply>,
}

impl Queue {
    /// Takes a command in.
    ///
    /// # Errors
    /// [`RedisError::Busy`] if too many wait.
    pub(super) fn push(
        &self,
        command: Command,
        bounds: RedisBounds,
    ) -> Result<oneshot::Receiver<Reply>, RedisError> {
        self.drop_oldest();
        let mut waiting = self.waiting.borrow_mut();
        let bytes = self.bytes.get() + command.len();
        if waiting.len() + self.sent.borrow().len() >= COMMANDS_MAX || bytes > BYTES_MAX {
            return Err(RedisError::Busy);
        }
        self.bytes.set(bytes);
        let (reply, receiver) = oneshot::channel();
        let deadline = Instant::now() + bounds.timeout;
        waiting.push_back(Waiting { command, deadline, reply_bytes_max: bounds.reply_bytes_max, reply });
        self.changed.notify_one();
        Ok(receiver)
    }

    /// Makes room, of what nobody waits for any more. Others of those are found when their turn comes.
    fn drop_oldest(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(oldest) = waiting.pop_front_if(|oldest| oldest.reply.is_closed()) {
            self.let_go(&oldest);
        }
    }

    /// Hands commands to a connection: their bytes are appended to what it is to write, up to a batch.
    pub(super) fn take_into(&self, output: &mut BytesMut) {
        while output.len() < BATCH_BYTES {
            let Some(next) = self.waiting.borrow_mut().pop_front() else { return };
            if next.reply.is_closed() || next.deadline <= Instant::now() {
                self.end(next, Err(RedisError::Timeout));
                continue;
            }
            output.extend_from_slice(next.command.bytes());
            self.sent.borrow_mut().push_back(next);
        }
    }

    /// When the connection has failed the command whose reply comes next; `None`: no reply is awaited.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sent.borrow().front().map(|oldest| oldest.deadline)
    }

    /// How large the next reply may be, if one is awaited.
    pub(super) fn reply_bytes_max(&self) -> Option<usize> {
        self.sent.borrow().front().map(|oldest| oldest.reply_bytes_max)
    }

    /// The next reply is there.
    pub(super) fn answered(&self, reply: Bytes) {
        let answered = self.sent.borrow_mut().pop_front();
        if let Some(answered) = answered {
            self.end(answered, Ok(reply));
        }
    }

    /// The connection has ended, and with it all that was sent.
    pub(super) fn fail_sent(&self, error: &RedisError) -> usize {
        self.fail(self.sent.take(), error)
    }

    /// There will be no connection for those that wait.
    pub(super) fn fail_waiting(&self, error: &RedisError) -> usize {
        self.fail(self.waiting.take(), error)
    }

    fn fail(&self, failed: VecDeque<Waiting>, error: &RedisError) -> usize {
        let count = failed.len();
        failed.into_iter().for_each(|failed| self.end(failed, Err(error.again())));
        count
    }

    fn end(&self, ended: Waiting, reply: Reply) {
        self.let_go(&ended);
        // Who does not wait any more need not know.
        let _ = ended.reply.send(reply);
    }

    fn let_go(&self, ended: &Waiting) {
        self.bytes.set(self.bytes.get().saturating_sub(ended.command.len()));
    }

    /// Whether none waits to be sent.
    pub(super) fn is_sent(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.is_sent() && self.sent.borrow().is_empty()
    }

    /// Ready when commands were added. For one who waits.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn command(text: &str) -> Command {
        Command::parse(&Command::of(&[b"ECHO", text.as_bytes()])).unwrap()
    }

    fn bounds(timeout: Duration) -> RedisBounds {
        RedisBounds { timeout, reply_bytes_max: 100 }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_nobody_waits_for_is_not_sent() {
        let (queue, mut output) = (Queue::default(), BytesMut::new());
        let mut late = queue.push(command("late"), bounds(Duration::ZERO)).unwrap();
        drop(queue.push(command("given up"), bounds(LONG)).unwrap());
        let mut kept = queue.push(command("kept"), bounds(LONG)).unwrap();
        queue.take_into(&mut output);
        assert_eq!(output, command("kept").bytes());
        assert!(matches!(late.try_recv(), Ok(Err(RedisError::Timeout))));
        assert!(queue.is_sent() && !queue.is_empty());
        queue.answered("+PONG\r\n".into());
        assert_eq!(kept.try_recv().unwrap().unwrap(), "+PONG\r\n");
        assert!(queue.is_empty());
        assert_eq!(queue.bytes.get(), 0);
    }

    #[test]
    fn a_batch_at_a_time() {
        let (queue, mut output) = (Queue::default(), BytesMut::new());
        let large = command(&"x".repeat(BATCH_BYTES / 2));
        let _replies: Vec<_> = (0..5).map(|_| queue.push(large.clone(), bounds(LONG)).unwrap()).collect();
        for taken in [2, 2, 1] {
            queue.take_into(&mut output);
            assert_eq!(output.len(), taken * large.len());
            output.clear();
        }
        assert!(queue.is_sent());
        assert_eq!(queue.fail_sent(&RedisError::Closed), 5);
    }

    #[test]
    fn what_was_given_up_makes_room() {
        let queue = Queue::default();
        let mut replies: Vec<_> =
            (0..COMMANDS_MAX).map(|_| queue.push(command("x"), bounds(LONG)).unwrap()).collect();
        assert!(matches!(queue.push(command("x"), bounds(LONG)), Err(RedisError::Busy)));
        replies.drain(..2);
        let _two: Vec<_> = (0..2).map(|_| queue.push(command("x"), bounds(LONG)).unwrap()).collect();
        assert!(matches!(queue.push(command("x"), bounds(LONG)), Err(RedisError::Busy)));
        assert_eq!(queue.fail_waiting(&RedisError::Closed), COMMANDS_MAX);
        assert_eq!(queue.bytes.get(), 0);
    }
}
