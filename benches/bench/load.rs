//! A light load generator: it shares the machine with the service and the database, and must not be the bound.
//!
//! It speaks HTTP/1.1 over plain sockets, builds each body in one pass into a buffer that it keeps, and looks at
//! an answer's status line and length alone.
//!
//! It runs in a process of its own, and prints one line of JSON.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, mpsc},
};

/// Publish events as fast as the service answers, or at a fixed rate
#[derive(Args, Clone)]
pub struct Load {
    /// The service
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// Connections, each with one request under way
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Events in a request; 1 sends a bare event
    #[arg(long, default_value_t = 1000)]
    batch: usize,
    /// Events to send in all
    #[arg(long, default_value_t = 500_000)]
    events: u64,
    /// Bytes of an id: 36 for a UUID alone
    #[arg(long, default_value_t = UUID_BYTES)]
    id_bytes: usize,
    /// Names of namespaces, with commas between. With a rate, requests go to each in turn; without, each connection
    /// has its own
    #[arg(long, value_delimiter = ',')]
    namespace: Vec<String>,
    /// Share of events that repeat an earlier one of the same connection
    #[arg(long, default_value_t = 0.0)]
    duplicates: f64,
    /// Requests a second over all connections, sent open-loop: latency counts from the planned time
    #[arg(long)]
    rate: Option<f64>,
    /// Read pages of a topic's newest 100 events instead of publishing; each counts as one event
    #[arg(long)]
    reads: bool,
    /// The key to present
    #[arg(long, env = "SEKALI_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Ask for the counts alone
    #[arg(long)]
    minimal: bool,
    /// Of the ids; another seed sends other events
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after this many seconds, whatever is left to send
    #[arg(long, default_value_t = 60.0)]
    seconds_max: f64,
}

/// What one run of the generator measured.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Measured {
    pub events: u64,
    pub requests: u64,
    pub refused: u64,
    pub seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Measured {
    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

/// Sends what `load` says.
#[tokio::main(flavor = "current_thread")]
pub async fn run(load: Load) -> io::Result<Measured> {
    let load = Arc::new(load);
    let sent = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut connections = Vec::new();
    let planned = load.rate.map(|rate| Arc::new(Mutex::new(plan(rate, begun))));
    for number in 0..load.connections {
        let connection = publish(Arc::clone(&load), number, Arc::clone(&sent), begun, planned.clone());
        connections.push(tokio::spawn(connection));
    }
    let mut latency = new_histogram();
    let mut refused = 0;
    for connection in connections {
        let (measured, refusals) = connection.await.map_err(io::Error::other)??;
        latency.add(&measured).map_err(io::Error::other)?;
        refused += refusals;
    }
    let requests = latency.len();
    let millis = |micros: u64| micros as f64 / 1_000.0;
    Ok(Measured {
        events: (requests - refused) * if load.reads { 1 } else { load.batch as u64 },
        requests,
        refused,
        seconds: begun.elapsed().as_secs_f64(),
        p50_ms: millis(latency.value_at_quantile(0.5)),
        p99_ms: millis(latency.value_at_quantile(0.99)),
        max_ms: millis(latency.max()),
    })
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are constant and valid")
}

/// The moments at which requests are due, each told when it has come. A thread of its own sleeps to them, since
/// the runtime's timers are a millisecond coarse.
fn plan(rate: f64, begun: Instant) -> mpsc::UnboundedReceiver<Instant> {
    let (due, planned) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for number in 0_u64.. {
            let moment = begun + Duration::from_secs_f64(number as f64 / rate);
            std::thread::sleep(moment.saturating_duration_since(Instant::now()));
            if due.send(moment).is_err() {
                return;
            }
        }
    });
    planned
}

/// One connection: request after request until all are sent. Answers the latencies in microseconds and how many
/// requests were refused.
async fn publish(
    load: Arc<Load>,
    number: usize,
    sent: Arc<AtomicU64>,
    begun: Instant,
    planned: Option<Arc<Mutex<mpsc::UnboundedReceiver<Instant>>>>,
) -> io::Result<(Histogram<u64>, u64)> {
    let mut stream = TcpStream::connect(load.address).await?;
    stream.set_nodelay(true)?;
    let mut ids = Ids::new(load.seed, number, load.duplicates);
    let mut latency = new_histogram();
    let mut refused = 0;
    let (mut request, mut answer) = (Vec::new(), Vec::with_capacity(256 * 1024));
    loop {
        let before = sent.fetch_add(load.batch as u64, Ordering::Relaxed);
        if before >= load.events || begun.elapsed().as_secs_f64() > load.seconds_max {
            return Ok((latency, refused));
        }
        let turn = if load.rate.is_some() { before as usize / load.batch } else { number };
        match load.reads {
            true => write_read(&mut request, &load, ids.next()),
            false => write_request(&mut request, &load, turn, &mut ids),
        }
        let mut since = Instant::now();
        if let Some(planned) = &planned
            && let Some(moment) = planned.lock().await.recv().await
        {
            since = moment;
        }
        stream.write_all(&request).await?;
        let status = read_answer(&mut stream, &mut answer).await?;
        refused += u64::from(status != 200);
        latency.saturating_record(since.elapsed().as_micros() as u64);
    }
}

fn write_read(request: &mut Vec<u8>, load: &Load, id: u128) {
    let topic = TOPICS[id as usize % TOPICS.len()];
    *request = format!("GET /events?topic={topic}&limit=100 HTTP/1.1\r\nhost: {}\r\n\r\n", load.address)
        .into_bytes();
}

impl Load {
    /// What stands before the path of what a namespace has.
    fn prefix(&self, turn: usize) -> String {
        match self.namespace.len() {
            0 => String::new(),
            namespaces => format!("/namespaces/{}", self.namespace[turn % namespaces]),
        }
    }
}

fn write_request(request: &mut Vec<u8>, load: &Load, turn: usize, ids: &mut Ids) {
    let key = load.key.as_ref().map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    let head_bytes = 256 + key.len();
    request.clear();
    request.resize(head_bytes, b' ');
    if load.batch > 1 {
        request.push(b'[');
    }
    for place in 0..load.batch {
        if place > 0 {
            request.push(b',');
        }
        write_event(request, ids.next(), load.id_bytes);
    }
    if load.batch > 1 {
        request.push(b']');
    }
    // The head is padded in front of its first line end, by a header's white space.
    let prefer = if load.minimal { "prefer: return=minimal\r\n" } else { "" };
    let head = format!(
        "POST {}/publish HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{prefer}{key}content-length: {}\r\n",
        load.prefix(turn),
        load.address,
        request.len() - head_bytes,
    );
    let padding = head_bytes - head.len() - "x: \r\n\r\n".len();
    let head = format!("{head}x: {}\r\n\r\n", "-".repeat(padding));
    request[..head_bytes].copy_from_slice(head.as_bytes());
}

/// Where the events go.
pub const TOPICS: [&str; 8] =
    ["orders", "payments", "shipments", "returns", "logins", "clicks", "metrics", "audit"];

/// A UUID in text.
pub const UUID_BYTES: usize = 36;

/// About 230 bytes, as a small real event has, where the id is a UUID alone.
fn write_event(request: &mut Vec<u8>, id: u128, id_bytes: usize) {
    let mut hex = [0; 32];
    for (place, digit) in hex.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(id >> (124 - 4 * place)) as usize & 15];
    }
    request.extend_from_slice(b"{\"topic\":\"");
    request.extend_from_slice(TOPICS[id as usize % TOPICS.len()].as_bytes());
    request.extend_from_slice(b"\",\"event_id\":\"");
    for (place, part) in
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].into_iter().enumerate()
    {
        if place > 0 {
            request.push(b'-');
        }
        request.extend_from_slice(part);
    }
    request.resize(request.len() + id_bytes.saturating_sub(UUID_BYTES), b'x');
    request.extend_from_slice(
        b"\",\"timestamp\":\"2026-06-18T12:00:00.123456Z\",\"source\":\"load\",\"payload\":{\"n\":",
    );
    request.extend(hex[..9].iter().map(|digit| digit & 7 | b'1'));
    request.extend_from_slice(
        b",\"note\":\"a payload of about a hundred bytes, as a small real event has it\",\"ok\":true}}",
    );
}

async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<u16> {
    answer.clear();
    let mut whole = None;
    while whole.is_none_or(|whole| answer.len() < whole) {
        if stream.read_buf(answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if whole.is_none() {
            whole = whole_message(answer);
        }
    }
    Ok(number(&answer[9..12]) as u16)
}

/// How long the HTTP message that begins here is, once its head is there.
pub fn whole_message(message: &[u8]) -> Option<usize> {
    let head = find(message, b"\r\n\r\n")?;
    let length = find(&message[..head], b"content-length: ").map_or(0, |at| number(&message[at + 16..head]));
    Some(head + 4 + length)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn number(text: &[u8]) -> usize {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number, digit| number * 10 + (digit - b'0') as usize)
}

/// Random ids, a share of which repeat one of the last ones of the connection.
struct Ids {
    state: u64,
    duplicates: f64,
    earlier: Vec<u128>,
    next: usize,
}

impl Ids {
    const EARLIER: usize = 10_000;

    fn new(seed: u64, connection: usize, duplicates: f64) -> Self {
        let mut ids = Self { state: seed, duplicates, earlier: Vec::with_capacity(Self::EARLIER), next: 0 };
        // Neighbouring states are neighbours on one sequence: far apart, no two seeds or connections meet.
        ids.state = ids.random().wrapping_add(connection as u64);
        ids.state = ids.random();
        ids
    }

    /// SplitMix64, public domain.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn next(&mut self) -> u128 {
        let repeat = (self.random() >> 11) as f64 / (1_u64 << 53) as f64;
        if repeat < self.duplicates && !self.earlier.is_empty() {
            let place = self.random() as usize % self.earlier.len();
            return self.earlier[place];
        }
        let id = u128::from(self.random()) << 64 | u128::from(self.random());
        if self.earlier.len() < Self::EARLIER {
            self.earlier.push(id);
        } else {
            self.earlier[self.next % Self::EARLIER] = id;
            self.next += 1;
        }
        id
    }
}
