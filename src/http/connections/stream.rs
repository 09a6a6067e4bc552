//! The socket of a client connection, as the HTTP library reads and writes it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Connections,
    connection::{Connection, Cut},
    own_answers,
    transport::Transport,
};
use crate::http::problem::Problem;

/// A client that acknowledges nothing for this long loses its connection.
const CLIENT_TCP_TIMEOUT: Duration = Duration::from_secs(30);
/// What the system holds of an answer that the client has not taken. Without a limit it grows to megabytes.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// What is read of a connection before the others of its thread have their turn: a large body comes as fast as it is read.
const READ_TURN_BYTES: usize = 128 * 1024;

/// The socket of a client connection. It notes what goes through it, and fails once the connection is cut.
pub(crate) struct ClientStream {
    stream: Transport,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
    /// Whether bytes were read that the library may not have looked at yet.
    fresh: bool,
    /// Bytes that were read in this turn.
    read_in_turn: usize,
    /// What is left to be written in place of an answer of the HTTP library.
    replacement: Option<Bytes>,
}

impl ClientStream {
    pub(super) fn new(
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        connection: Arc<Connection>,
        connections: Arc<Connections>,
    ) -> Self {
        set_up(&stream);
        if tls.is_some() {
            connection.handshake_begins();
        }
        let stream = Transport::new(stream, tls);
        Self { stream, connection, connections, fresh: false, read_in_turn: 0, replacement: None }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The error that ends a connection which is cut; `None` for all others.
    fn cut(&self) -> Option<(Cut, io::Error)> {
        self.connection.cut().map(|cut| (cut, io::ErrorKind::TimedOut.into()))
    }

    /// The client takes nothing now.
    fn wait_for_client<T>(&self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.connection.write_blocked();
        self.connection.waker.register(cx.waker());
        // It may have been cut before its waker was known.
        self.cut().map_or(Poll::Pending, |(_, error)| Poll::Ready(Err(error)))
    }

    /// Writes the document in place of the library's answer, and then says that the answer is written.
    fn poll_replace(&mut self, cx: &mut Context<'_>, replaced_bytes: usize) -> Poll<io::Result<usize>> {
        while let Some(rest) = self.replacement.as_mut().filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            rest.advance(written);
        }
        self.replacement = None;
        Poll::Ready(Ok(replaced_bytes))
    }

    /// What of `bytes` may be written as it is. Nothing, if an answer of the library begins them.
    fn replace_own_answer<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some((start, document)) = own_answers::find(bytes) else { return bytes };
        if start == 0 {
            self.connections.count_malformed();
            // Behind an answer that ends the connection nobody expects another one.
            self.replacement = Some(if self.connection.is_closing() { Bytes::new() } else { document });
        }
        &bytes[..start]
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_in_turn >= READ_TURN_BYTES {
            self.read_in_turn = 0;
            self.fresh = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let was_in_handshake = self.stream.is_in_handshake();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if was_in_handshake && !self.stream.is_in_handshake() {
            self.connection.handshake_ends();
        }
        if let Poll::Ready(read) = read {
            let bytes = buf.filled().len() - before;
            if bytes == 0 && std::mem::take(&mut self.fresh) {
                // The library gives the same error for broken chunks as for a client that is gone. So it gets to
                // see the end only when it has judged all bytes before it.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.fresh = bytes > 0;
            self.read_in_turn += bytes;
            self.connection.note_read(&buf.filled()[before..]);
            return Poll::Ready(match self.cut() {
                Some((_, error)) => Err(error),
                None => read,
            });
        }
        self.fresh = false;
        self.read_in_turn = 0;
        self.connection.waker.register(cx.waker());
        let Some((cut, error)) = self.cut() else { return Poll::Pending };
        if cut == Cut::SlowHead {
            let document = Problem::head_too_slow().to_wire();
            // It fits into the buffer of the socket, or nobody reads it.
            let _ = Pin::new(&mut self.stream).poll_write(cx, &document);
        }
        Poll::Ready(Err(error))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some((_, error)) = self.cut() {
            return Poll::Ready(Err(error));
        }
        if self.replacement.is_some() {
            return self.poll_replace(cx, bytes.len());
        }
        let plain = self.replace_own_answer(bytes);
        if plain.is_empty() && !bytes.is_empty() {
            return self.poll_replace(cx, bytes.len());
        }
        match Pin::new(&mut self.stream).poll_write(cx, plain) {
            Poll::Ready(Ok(written)) => {
                self.connection.bytes_written(written);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait_for_client(cx),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            return self.wait_for_client(cx);
        }
        // The library flushes only when it has written all that there was.
        self.connection.flushed();
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.connections.remove(&self.connection);
    }
}

/// Answers are small and must not be delayed, and a client that is gone must not hold one for ever.
fn set_up(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // It fails only where the client is gone already.
    let _ = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(CLIENT_TCP_TIMEOUT)))
        .and_then(|()| socket.set_send_buffer_size(SEND_BUFFER_BYTES));
}
