//! A proxy between a client and a service, for what a network or a broken service does: it loses answers, and lies.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// A request on its way.
pub struct Request {
    pub line: String,
    pub body: Vec<u8>,
    head: String,
    upstream: SocketAddr,
}

impl Request {
    pub fn is_publish(&self) -> bool {
        self.line.starts_with("POST ") && self.line.contains("/publish ")
    }

    /// Whether it asks for a page of events, oldest first.
    pub fn is_page(&self) -> bool {
        self.line.starts_with("GET ") && self.line.contains("/events?") && self.line.contains("after=")
    }

    /// Passes it on as if it had this first line.
    pub fn forward_as(&self, line: &str) -> Option<Response> {
        forward(self, line).ok()
    }
}

/// An answer on its way back.
pub struct Response {
    pub status: u16,
    pub body: String,
    /// Other headers, each with its line end.
    pub headers: String,
}

impl Response {
    pub fn new(status: u16, body: &str) -> Self {
        Self { status, body: body.to_owned(), headers: String::new() }
    }
}

/// Passes the request on, and answers what came back, if anything did.
type Forward<'a> = &'a dyn Fn() -> Option<Response>;

/// Listens, and asks `behaviour` what becomes of each request: it may forward it, and answers what comes back, or
/// nothing: then the connection is dropped.
pub fn start(
    upstream: SocketAddr,
    behaviour: impl Fn(&Request, Forward<'_>) -> Option<Response> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let behaviour = Arc::new(behaviour);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, behaviour) = (stream.unwrap(), Arc::clone(&behaviour));
            thread::spawn(move || serve(stream, upstream, &*behaviour));
        }
    });
    url
}

fn serve(
    stream: TcpStream,
    upstream: SocketAddr,
    behaviour: &dyn Fn(&Request, Forward<'_>) -> Option<Response>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (line, head, body) = message(&mut reader).ok()?;
        let request = Request { line, body, head, upstream };
        let Response { status, body, headers } = behaviour(&request, &|| request.forward_as(&request.line))?;
        let length = body.len();
        write!(stream, "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}").ok()?;
    }
}

fn forward(request: &Request, line: &str) -> io::Result<Response> {
    let Request { head, body, upstream, .. } = request;
    let mut stream = TcpStream::connect(upstream)?;
    write!(stream, "{line}\r\n{head}content-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    let (line, headers, body) = message(&mut BufReader::new(stream))?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Response { status, body: String::from_utf8(body).map_err(io::Error::other)?, headers })
}

/// First line, headers but for the length, and body.
fn message(reader: &mut impl BufRead) -> io::Result<(String, String, Vec<u8>)> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (mut headers, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        match line.to_ascii_lowercase().strip_prefix("content-length:") {
            Some(value) => length = value.trim().parse().map_err(io::Error::other)?,
            None if line.to_ascii_lowercase().starts_with("connection:") => {}
            None => headers.push_str(&line),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((first.trim_end().to_owned(), headers, body))
}
