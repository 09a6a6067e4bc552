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

    fn is_stream(&self) -> bool {
        self.line.starts_with("GET ") && self.line.contains("/stream?")
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
    start_with_streams(upstream, behaviour, str::to_owned)
}

/// The same, and asks `change_frame` what becomes of each frame of a stream, which it gets with its empty line.
pub fn start_with_streams(
    upstream: SocketAddr,
    behaviour: impl Fn(&Request, Forward<'_>) -> Option<Response> + Send + Sync + 'static,
    change_frame: impl Fn(&str) -> String + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let behaviour = Arc::new((behaviour, change_frame));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, behaviour) = (stream.unwrap(), Arc::clone(&behaviour));
            thread::spawn(move || serve(stream, upstream, &behaviour.0, &behaviour.1));
        }
    });
    url
}

fn serve(
    stream: TcpStream,
    upstream: SocketAddr,
    behaviour: &dyn Fn(&Request, Forward<'_>) -> Option<Response>,
    change_frame: &dyn Fn(&str) -> String,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (line, head, body) = message(&mut reader).ok()?;
        let request = Request { line, body, head, upstream };
        if request.is_stream() {
            return forward_stream(&request, stream, change_frame).ok();
        }
        let Response { status, body, headers } = behaviour(&request, &|| request.forward_as(&request.line))?;
        let length = body.len();
        write!(stream, "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}").ok()?;
    }
}

/// Passes a stream on, frame by frame, until one side ends it.
fn forward_stream(
    request: &Request,
    mut stream: TcpStream,
    change_frame: &dyn Fn(&str) -> String,
) -> io::Result<()> {
    let mut upstream = TcpStream::connect(request.upstream)?;
    write!(upstream, "{}\r\n{}\r\n", request.line, request.head)?;
    let mut reader = BufReader::new(upstream);
    let (first, headers, _) = message(&mut reader)?;
    let is_kept = |line: &&str| !line.to_ascii_lowercase().starts_with("transfer-encoding:");
    let headers: String = headers.split_inclusive('\n').filter(is_kept).collect();
    write!(stream, "{first}\r\n{headers}connection: close\r\n\r\n")?;
    let mut unsent = String::new();
    while let Some(chunk) = chunk(&mut reader)? {
        unsent.push_str(&chunk);
        while let Some(end) = unsent.find("\n\n") {
            let frame: String = unsent.drain(..end + 2).collect();
            stream.write_all(change_frame(&frame).as_bytes())?;
        }
    }
    Ok(())
}

/// The next chunk of a body, unless it was the last.
fn chunk(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut size = String::new();
    reader.read_line(&mut size)?;
    let length = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
    let mut bytes = vec![0; length + 2];
    reader.read_exact(&mut bytes)?;
    bytes.truncate(length);
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok((length > 0).then_some(text))
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
