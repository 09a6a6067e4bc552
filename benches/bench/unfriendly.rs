//! Twelve kinds of unfriendly clients at once, from an address of their own: what honest clients feel of them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

/// Be unfriendly to a service until the time is over
#[derive(Args, Clone)]
pub struct Unfriendly {
    /// The service
    #[arg(long)]
    address: SocketAddr,
    /// How long
    #[arg(long)]
    seconds: f64,
}

/// Where the unfriendly clients come from; the honest ones come from 127.0.0.1.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const LARGE_BODY_BYTES: usize = 16 << 20;
/// A connection that was ended is opened again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const DROP_EVERY: Duration = Duration::from_millis(200);
/// How long a connection that does nothing more is kept, if the service keeps it.
const SILENCE: Duration = Duration::from_secs(3_600);

/// What one connection does, until the service ends it.
#[derive(Clone, Copy)]
enum Kind {
    TricklingHead,
    HalfSecondHead,
    Idle,
    AnnouncedBody,
    SilentBody,
    TricklingBody,
    UnreadStats,
    UnreadPage,
    SlowReader,
    Malformed,
    EscapedKeys,
    UnreadResults,
}

/// Each kind, and how many connections are of it.
const KINDS: [(Kind, usize); 12] = [
    (Kind::TricklingHead, 64),
    (Kind::HalfSecondHead, 256),
    (Kind::Idle, 512),
    (Kind::AnnouncedBody, 256),
    (Kind::SilentBody, 4),
    (Kind::TricklingBody, 32),
    (Kind::UnreadStats, 256),
    (Kind::UnreadPage, 32),
    (Kind::SlowReader, 8),
    (Kind::Malformed, 4),
    (Kind::EscapedKeys, 2),
    (Kind::UnreadResults, 8),
];

/// Runs all kinds side by side.
#[tokio::main(flavor = "current_thread")]
pub async fn run(unfriendly: Unfriendly) {
    let until = Instant::now() + Duration::from_secs_f64(unfriendly.seconds);
    let mut clients = Vec::new();
    for (kind, connections) in KINDS {
        for _ in 0..connections {
            clients.push(tokio::spawn(async move {
                while Instant::now() < until {
                    // How it ends is the service's choice, and no matter here.
                    let _ = timeout(until - Instant::now(), kind.one(unfriendly.address)).await;
                    sleep(AGAIN_AFTER).await;
                }
            }));
        }
    }
    for client in clients {
        let _ = client.await;
    }
}

impl Kind {
    async fn one(self, service: SocketAddr) -> io::Result<()> {
        let mut stream = connect(service, matches!(self, Kind::UnreadStats | Kind::UnreadPage)).await?;
        match self {
            Kind::TricklingHead => {
                stream.write_all(b"GET /stats HTTP/1.1\r\nHost: a\r\nX: ").await?;
                trickle(&mut stream, b"y").await
            }
            Kind::HalfSecondHead => {
                ask_livez(&mut stream).await?;
                stream.write_all(b"GET /li").await?;
                until_closed(&mut stream).await
            }
            Kind::Idle => {
                ask_livez(&mut stream).await?;
                until_closed(&mut stream).await
            }
            Kind::AnnouncedBody => {
                stream.write_all(&head("Content-Length: 65536")).await?;
                until_closed(&mut stream).await
            }
            Kind::SilentBody => {
                stream.write_all(&head(&format!("Content-Length: {LARGE_BODY_BYTES}"))).await?;
                stream.write_all(&vec![b' '; LARGE_BODY_BYTES - 1]).await?;
                until_closed(&mut stream).await
            }
            Kind::TricklingBody => {
                stream.write_all(&head("Transfer-Encoding: chunked")).await?;
                trickle(&mut stream, b"1\r\n \r\n").await
            }
            Kind::UnreadStats => {
                stream.write_all(b"GET /stats HTTP/1.1\r\nHost: a\r\n\r\n").await?;
                sleep(SILENCE).await;
                Ok(())
            }
            Kind::UnreadPage => {
                stream.write_all(b"GET /events?limit=1000 HTTP/1.1\r\nHost: a\r\n\r\n").await?;
                sleep(SILENCE).await;
                Ok(())
            }
            Kind::SlowReader => {
                stream.write_all(b"GET /events?limit=1000 HTTP/1.1\r\nHost: a\r\n\r\n").await?;
                read_slowly(&mut stream).await
            }
            Kind::Malformed => {
                stream.write_all(b"GET /\x01 HTTP/9.9\r\n\r\n").await?;
                until_closed(&mut stream).await
            }
            Kind::EscapedKeys => send_whole(&mut stream, &escaped_keys(), true).await,
            Kind::UnreadResults => send_whole(&mut stream, &repeats(), false).await,
        }
    }
}

async fn connect(service: SocketAddr, small_buffer: bool) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if small_buffer {
        socket.set_recv_buffer_size(4_096)?;
    }
    socket.bind(SocketAddr::from((FROM, 0)))?;
    socket.connect(service).await
}

fn head(line: &str) -> Vec<u8> {
    format!("POST /publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{line}\r\n\r\n")
        .into_bytes()
}

async fn ask_livez(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let read = stream.read(&mut [0; 1_024]).await?;
    if read > 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

async fn trickle(stream: &mut TcpStream, drop_by_drop: &[u8]) -> io::Result<()> {
    loop {
        stream.write_all(drop_by_drop).await?;
        sleep(DROP_EVERY).await;
    }
}

async fn until_closed(stream: &mut TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 1_024]).await? > 0 {}
    Ok(())
}

/// 16 KB a second.
async fn read_slowly(stream: &mut TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 1_600]).await? > 0 {
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn send_whole(stream: &mut TcpStream, body: &[u8], reads: bool) -> io::Result<()> {
    stream.write_all(&head(&format!("Content-Length: {}", body.len()))).await?;
    stream.write_all(body).await?;
    match reads {
        true => stream.read(&mut [0; 1_024]).await.map(drop),
        false => {
            sleep(SILENCE).await;
            Ok(())
        }
    }
}

/// A body of the largest size, made of keys that have to be unescaped.
fn escaped_keys() -> Vec<u8> {
    let mut body = b"{\"topic\":\"unfriendly\",\"payload\":{},".to_vec();
    while body.len() < LARGE_BODY_BYTES - 64 {
        body.extend_from_slice(b"\"\\u0061\":0,");
    }
    body.extend_from_slice(b"\"source\":\"a\"}");
    body
}

/// As many copies of one event as a request may have: the answer is larger than what a socket holds.
fn repeats() -> Vec<u8> {
    let event = r#"{"topic":"unfriendly","event_id":"one","timestamp":"2026-06-18T12:00:00Z","source":"a","payload":{}}"#;
    format!("[{}]", vec![event; 10_000].join(",")).into_bytes()
}
