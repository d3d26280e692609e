//! The worker's end of the socket pair: never blocks, never holds much.

use super::WorkerError;
use rustix::event::PollFlags;
use skywave_media::worker_proto::{FromWorker, MessageReader, ToWorker, encode};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Read in one go, so that a server that sends without end cannot keep the worker from everything else.
const READ_BYTES: usize = 256 * 1024;

/// Output that the server has not read, beyond which it is taken to be gone: tens of seconds of video.
const MAX_UNREAD_BYTES: usize = 16 * 1024 * 1024;

/// Messages in and out.
pub(super) struct Link {
    socket: UnixStream,
    reader: MessageReader<ToWorker>,
    unread: VecDeque<u8>,
    scratch: Vec<u8>,
    chunk: Vec<u8>,
    closed: bool,
}

impl Link {
    pub(super) fn new(socket: UnixStream) -> Result<Self, std::io::Error> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            reader: MessageReader::new(),
            unread: VecDeque::new(),
            scratch: Vec::new(),
            chunk: vec![0; READ_BYTES],
            closed: false,
        })
    }

    /// The next message from the server.
    pub(super) fn poll_message(&mut self) -> Result<Option<ToWorker>, WorkerError> {
        Ok(self.reader.poll()?)
    }

    /// Takes in what the server has sent, up to a bound.
    pub(super) fn read(&mut self) -> Result<(), WorkerError> {
        match self.socket.read(&mut self.chunk) {
            Ok(0) => self.closed = true,
            Ok(count) => self.reader.handle_bytes(&self.chunk[..count]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) if is_hang_up(&e) => self.closed = true,
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Queues a message.
    pub(super) fn send(&mut self, message: &FromWorker) -> Result<(), WorkerError> {
        self.scratch.clear();
        encode(message, &mut self.scratch)?;
        self.unread.extend(&self.scratch);
        if self.unread.len() > MAX_UNREAD_BYTES {
            return Err(WorkerError::Unread(self.unread.len()));
        }
        Ok(())
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) -> Result<(), WorkerError> {
        while !self.unread.is_empty() {
            let (front, _) = self.unread.as_slices();
            match self.socket.write(front) {
                Ok(count) => drop(self.unread.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if is_hang_up(&e) => {
                    self.closed = true;
                    break;
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFlags {
        if self.unread.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// The server has hung up.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_hang_up(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
