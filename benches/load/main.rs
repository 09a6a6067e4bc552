//! A light load generator: it shares the machine with the service and the database, and must not be the bound.
//!
//! It speaks HTTP/1.1 over plain sockets, builds each body in one pass into a buffer that it keeps, and looks at
//! an answer's status line and length alone.
//!
//! ```text
//! cargo bench --bench load -- --address 127.0.0.1:8080 --connections 8 --batch 1000 --events 1000000 --duplicates 0.3
//! ```

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Publishes events as fast as the service answers, or at a fixed rate
#[derive(Parser, Clone)]
struct Load {
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
    /// Share of events that repeat an earlier one of the same connection
    #[arg(long, default_value_t = 0.0)]
    duplicates: f64,
    /// Requests a second over all connections, sent open-loop: latency counts from the planned time
    #[arg(long)]
    rate: Option<f64>,
    /// Ask for the counts alone
    #[arg(long)]
    minimal: bool,
    /// Of the ids; another seed sends other events
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let load = Load::parse();
    let sent = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut connections = Vec::new();
    for number in 0..load.connections {
        connections.push(tokio::spawn(publish(load.clone(), number, Arc::clone(&sent), begun)));
    }
    let mut latency = new_histogram();
    let mut refused = 0;
    for connection in connections {
        let (measured, refusals) = connection.await.map_err(io::Error::other)??;
        latency.add(&measured).map_err(io::Error::other)?;
        refused += refusals;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let requests = latency.len();
    let millis = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
    println!(
        "{:>9.0} events/s {:>8.0} requests/s  p50 {:.2} ms  p95 {:.2} ms  p99 {:.2} ms  max {:.2} ms  refused {refused}",
        (requests - refused) as f64 * load.batch as f64 / seconds,
        requests as f64 / seconds,
        millis(0.5),
        millis(0.95),
        millis(0.99),
        latency.max() as f64 / 1_000.0,
    );
    Ok(())
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are constant and valid")
}

/// One connection: request after request until all are sent. Answers the latencies in microseconds and how many
/// requests were refused.
async fn publish(
    load: Load,
    number: usize,
    sent: Arc<AtomicU64>,
    begun: Instant,
) -> io::Result<(Histogram<u64>, u64)> {
    let mut stream = TcpStream::connect(load.address).await?;
    stream.set_nodelay(true)?;
    let mut ids = Ids::new(load.seed, number, load.duplicates);
    let mut latency = new_histogram();
    let mut refused = 0;
    let (mut request, mut answer) = (Vec::new(), Vec::with_capacity(256 * 1024));
    loop {
        let before = sent.fetch_add(load.batch as u64, Ordering::Relaxed);
        if before >= load.events {
            return Ok((latency, refused));
        }
        write_request(&mut request, &load, &mut ids);
        let mut since = Instant::now();
        if let Some(rate) = load.rate {
            let planned = begun + Duration::from_secs_f64((before / load.batch as u64) as f64 / rate);
            tokio::time::sleep_until(planned.into()).await;
            since = planned;
        }
        stream.write_all(&request).await?;
        let status = read_answer(&mut stream, &mut answer).await?;
        refused += u64::from(status != 200);
        latency.saturating_record(since.elapsed().as_micros() as u64);
    }
}

fn write_request(request: &mut Vec<u8>, load: &Load, ids: &mut Ids) {
    const HEAD_BYTES: usize = 256;
    request.clear();
    request.resize(HEAD_BYTES, b' ');
    if load.batch > 1 {
        request.push(b'[');
    }
    for place in 0..load.batch {
        if place > 0 {
            request.push(b',');
        }
        write_event(request, ids.next());
    }
    if load.batch > 1 {
        request.push(b']');
    }
    // The head is padded in front of its first line end, by a header's white space.
    let prefer = if load.minimal { "prefer: return=minimal\r\n" } else { "" };
    let head = format!(
        "POST /publish HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{prefer}content-length: {}\r\n",
        load.address,
        request.len() - HEAD_BYTES,
    );
    let padding = HEAD_BYTES - head.len() - "x: \r\n\r\n".len();
    let head = format!("{head}x: {}\r\n\r\n", "-".repeat(padding));
    request[..HEAD_BYTES].copy_from_slice(head.as_bytes());
}

/// About 230 bytes, as a small real event has.
fn write_event(request: &mut Vec<u8>, id: u128) {
    const TOPICS: [&str; 8] =
        ["orders", "payments", "shipments", "returns", "logins", "clicks", "metrics", "audit"];
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
        if whole.is_none()
            && let Some(head) = find(answer, b"\r\n\r\n")
        {
            let length =
                find(&answer[..head], b"content-length: ").map_or(0, |at| number(&answer[at + 16..head]));
            whole = Some(head + 4 + length);
        }
    }
    Ok(number(&answer[9..12]) as u16)
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
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (connection as u64) << 32;
        Self { state, duplicates, earlier: Vec::with_capacity(Self::EARLIER), next: 0 }
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
