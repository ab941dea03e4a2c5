//! A connection and its buffers.

use std::future::pending;
use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::time::{Instant, sleep_until};

use super::command::Command;
use super::queue::Queue;
use super::reply::Scanner;
use super::server::Server;
use super::{Login, RedisError};

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Answers to a login are short.
const LOGIN_REPLY_BYTES_MAX: usize = 4 * 1024;

/// A connection.
pub(super) struct Wire {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new() }
    }

    /// Says who speaks, and to which database.
    pub(super) async fn log_in(&mut self, login: &Login) -> Result<(), RedisError> {
        if !login.password.is_empty() {
            let (user, password) = (login.user.as_bytes(), login.password.as_bytes());
            let command = match login.user.is_empty() {
                true => Command::of(&[b"AUTH", password]),
                false => Command::of(&[b"AUTH", user, password]),
            };
            self.ask(&command).await?;
        }
        if login.database != 0 {
            self.ask(&Command::of(&[b"SELECT", login.database.to_string().as_bytes()])).await?;
        }
        Ok(())
    }

    /// Sends a command that must be answered with OK.
    async fn ask(&mut self, command: &[u8]) -> Result<(), RedisError> {
        self.stream.write_all(command).await.map_err(|_| RedisError::Closed)?;
        let mut scanner = Scanner::default();
        loop {
            if let Some(length) = scanner.scan(&self.input, LOGIN_REPLY_BYTES_MAX)? {
                let reply = self.input.split_to(length);
                return if reply.starts_with(b"+") { Ok(()) } else { Err(RedisError::Login) };
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), RedisError> {
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) | Err(_) => Err(RedisError::Closed),
            Ok(_) => Ok(()),
        }
    }

    /// Carries the commands of a queue; comes back with what ended that. Those that have not been taken
    /// from the queue by then were not sent.
    pub(super) async fn carry(&mut self, server: &Server, queue: &Queue) -> RedisError {
        let mut scanner = Scanner::default();
        loop {
            queue.take_into(&mut self.output);
            let deadline = queue.deadline();
            let idle = Instant::now() + server.definition.idle_timeout;
            let Self { stream, input, output } = &mut *self;
            let (mut reader, mut writer) = stream.split();
            input.reserve(READ_BYTES);
            let result = tokio::select! {
                // What can be written is, before a deadline is looked at: only a command that the server
                // could have read may end the connection.
                biased;
                written = write(&mut writer, output) => written.map(|()| true),
                read = reader.read_buf(input) => read.map(|count| count > 0),
                () = queue.changed() => Ok(true),
                () = sleep_until(deadline.unwrap_or(idle)) => {
                    return if deadline.is_some() { RedisError::Timeout } else { RedisError::Closed };
                }
            };
            if !matches!(result, Ok(true)) {
                return RedisError::Closed;
            }
            if let Err(error) = deliver(input, &mut scanner, queue) {
                return error;
            }
        }
    }
}

/// Writes some of `output`; waits for ever if there is nothing.
async fn write(writer: &mut WriteHalf<'_>, output: &mut BytesMut) -> io::Result<()> {
    if !output.has_remaining() {
        return pending().await;
    }
    match writer.write_buf(output).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(()),
    }
}

/// Hands out the replies that are all there, in the order of their commands.
fn deliver(input: &mut BytesMut, scanner: &mut Scanner, queue: &Queue) -> Result<(), RedisError> {
    while !input.is_empty() {
        // A reply that nobody asked for is no reply.
        let bytes_max = queue.reply_bytes_max().ok_or(RedisError::Closed)?;
        let Some(length) = scanner.scan(input, bytes_max)? else { return Ok(()) };
        *scanner = Scanner::default();
        queue.answered(input.split_to(length).freeze());
    }
    Ok(())
}
