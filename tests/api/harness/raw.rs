//! HTTP byte by byte, for what a decent client would never send.

use std::{net::SocketAddr, time::Duration};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::Answer;

const PATIENCE: Duration = Duration::from_secs(20);

/// One connection to the service.
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// As another peer: connects from an address of the loopback network.
    pub async fn connect_from(peer: [u8; 4], address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((peer, 0).into()).unwrap();
        Self { stream: socket.connect(address).await.unwrap(), read: Vec::new() }
    }

    /// With hardly any room for answers in the system, so that they stay in the service until they are read.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        Self { stream: socket.connect(address).await.unwrap(), read: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// Sends what the service may refuse to take to its end.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("the service takes bytes")
    }

    /// Goes away without a word: the service gets a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Sends no more, and still reads.
    pub async fn shut_down_sending(&mut self) {
        let _ = self.stream.shutdown().await; // which fails only where the service has closed it already
    }

    /// Whatever comes next; nothing at the end.
    pub async fn read_some(&mut self) -> Vec<u8> {
        let mut piece = vec![0; 64 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut piece)).await.expect("something comes").unwrap();
        piece.truncate(read);
        piece
    }

    /// So many bytes that come next, or less; nothing at the end, in whatever way.
    pub async fn read_at_most(&mut self, bytes: usize) -> Vec<u8> {
        let mut piece = vec![0; bytes];
        let read = timeout(PATIENCE, self.stream.read(&mut piece)).await.expect("something comes");
        piece.truncate(read.unwrap_or(0));
        piece
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
        self.read_answer(true).await
    }

    /// The next answer, which has a head alone.
    pub async fn answer_to_head(&mut self) -> Answer {
        self.read_answer(false).await
    }

    /// Waits until the service closes the connection; answers what it still sent.
    pub async fn until_closed(&mut self) -> Vec<u8> {
        while self.read_more().await {}
        std::mem::take(&mut self.read)
    }

    async fn read_answer(&mut self, with_body: bool) -> Answer {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.read_more().await, "closed before an answer: {:?}", self.shown());
        };
        let head = String::from_utf8(self.read.drain(..head_end).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        let length = headers.get("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
        let length: usize = if with_body { length.unwrap_or(0) } else { 0 };
        while self.read.len() < length {
            assert!(self.read_more().await, "closed within an answer: {:?}", self.shown());
        }
        let text = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        Answer { status, headers, text }
    }

    async fn read_more(&mut self) -> bool {
        let reading = self.stream.read_buf(&mut self.read);
        match timeout(PATIENCE, reading).await.expect("the service answers or closes") {
            Ok(count) => count > 0,
            Err(_) => false, // reset
        }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

/// A whole POST /publish as it goes over the wire.
pub fn publish_bytes(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut request = publish_head(&format!("Content-Length: {}", body.len())).into_bytes();
    request.extend_from_slice(body);
    request
}

/// The head of a POST /publish of JSON, with further header lines.
pub fn publish_head(lines: &str) -> String {
    format!("POST /publish HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{lines}\r\n\r\n")
}
