//! Readers of streams, as light as the load generator: plain sockets, and a look at each event's `seq` and time alone.

use std::{
    io,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, interval, sleep, timeout_at},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Follow the log with many readers, for a time or up to a `seq`
#[derive(Args, Clone)]
pub struct Readers {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, default_value_t = 1)]
    readers: usize,
    /// Path and query
    #[arg(long, default_value = "/stream")]
    path: String,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// End with this `seq`
    #[arg(long, default_value_t = u64::MAX)]
    through: u64,
    /// Do without the service: each reader asks this database every 100 ms
    #[arg(long)]
    poll: Option<String>,
}

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Of so many readers one keeps the time of each delivery.
const TIMED_ONE_OF: usize = 50;

/// What the readers got.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ReadersMeasured {
    pub deliveries: u64,
    /// From the first event to the last.
    pub seconds: f64,
    /// From the time in an event's payload, which its producer wrote just before it sent it.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Events between a reader's first and last that it did not get.
    pub missed: u64,
    /// When a single reader got each `seq`, in microseconds since 1970.
    pub times: Vec<(u64, u64)>,
}

/// Readers in a process of their own.
pub struct RunningReaders(Child);

impl RunningReaders {
    pub fn start(address: &str, readers: usize, path: &str, seconds: f64, through: u64) -> Result<Self> {
        Self::start_with(address, readers, path, seconds, through, &[])
    }

    /// Readers that ask the database at `url`.
    pub fn start_polling(address: &str, readers: usize, seconds: f64, url: &str) -> Result<Self> {
        Self::start_with(address, readers, "/stream", seconds, u64::MAX, &["--poll", url])
    }

    fn start_with(
        address: &str,
        readers: usize,
        path: &str,
        seconds: f64,
        through: u64,
        more: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["readers", "--address", address, "--path", path]);
        command.args(["--readers", &readers.to_string(), "--seconds", &seconds.to_string()]);
        command.args(["--through", &through.to_string()]).args(more);
        Ok(Self(command.stdout(Stdio::piped()).spawn()?))
    }

    pub fn end(self) -> Result<ReadersMeasured> {
        Ok(serde_json::from_slice(&self.0.wait_with_output()?.stdout)?)
    }
}

/// Microseconds since 1970.
pub fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// Follows until the time is over, or each has the last event.
pub fn run(args: Readers) -> Result<ReadersMeasured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let deadline = Instant::now() + Duration::from_secs_f64(args.seconds);
        let tasks: Vec<_> =
            (0..args.readers).map(|number| tokio::spawn(read(args.clone(), number, deadline))).collect();
        let mut latencies = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
        let mut measured = ReadersMeasured::default();
        let (mut begun, mut ended) = (None, None);
        for task in tasks {
            let got = task.await??;
            latencies.add(&got.latencies)?;
            measured.deliveries += got.events;
            measured.missed += got.missed();
            measured.times.extend(got.times);
            begun = begun.into_iter().chain(got.begun).min();
            ended = ended.into_iter().chain(got.ended).max();
        }
        let quantile = |quantile| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        (measured.p50_ms, measured.p99_ms) = (quantile(0.5), quantile(0.99));
        measured.seconds = begun
            .zip(ended)
            .map_or(0.0, |(begun, ended): (Instant, Instant)| ended.duration_since(begun).as_secs_f64());
        Ok(measured)
    })
}

struct Got {
    events: u64,
    first: u64,
    last: u64,
    begun: Option<Instant>,
    ended: Option<Instant>,
    latencies: Histogram<u64>,
    /// Kept for one of [`TIMED_ONE_OF`] readers.
    times: Vec<(u64, u64)>,
    keeps_times: bool,
}

impl Got {
    fn new() -> std::result::Result<Self, hdrhistogram::CreationError> {
        let latencies = Histogram::new_with_bounds(1, 600_000_000, 3)?;
        let times = Vec::new();
        Ok(Self {
            events: 0,
            first: 0,
            last: 0,
            begun: None,
            ended: None,
            latencies,
            times,
            keeps_times: false,
        })
    }

    fn missed(&self) -> u64 {
        if self.events == 0 { 0 } else { (self.last - self.first + 1).saturating_sub(self.events) }
    }

    /// A line of the stream.
    fn take(&mut self, line: &[u8]) {
        if let Some(event) = line.strip_prefix(b"data: {\"seq\":") {
            self.events += 1;
            self.last = digits(event);
            if self.first == 0 {
                self.first = self.last;
            }
            if let Some(place) = memchr::memmem::find(event, b"\"at\":") {
                let (at, now) = (digits(&event[place + 5..]), now_micros());
                let _ = self.latencies.record(now.saturating_sub(at).max(1));
                if self.keeps_times {
                    self.times.push((self.last, now));
                }
            }
        }
    }
}

fn digits(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number, byte| number * 10 + u64::from(byte - b'0'))
}

async fn read(args: Readers, number: usize, deadline: Instant) -> io::Result<Got> {
    if let Some(url) = &args.poll {
        return poll(url, deadline).await.map_err(io::Error::other);
    }
    let mut stream = TcpStream::connect(args.address).await?;
    // Without the chunks of HTTP/1.1.
    stream.write_all(format!("GET {} HTTP/1.0\r\n\r\n", args.path).as_bytes()).await?;
    let mut got =
        Got { keeps_times: number.is_multiple_of(TIMED_ONE_OF), ..Got::new().map_err(io::Error::other)? };
    let (mut buffer, mut filled) = (vec![0; 64 * 1024], 0);
    while got.last < args.through {
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
        let Ok(read) = timeout_at(deadline, stream.read(&mut buffer[filled..])).await else { break };
        let read = read?;
        if read == 0 {
            return Err(io::Error::other("the stream ended"));
        }
        filled += read;
        let before = got.events;
        let mut begin = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[begin..filled]) {
            got.take(&buffer[begin..begin + length]);
            begin += length + 1;
        }
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
        if got.events > before {
            got.begun.get_or_insert_with(Instant::now);
            got.ended = Some(Instant::now());
        }
    }
    Ok(got)
}

/// What people do without a stream.
async fn poll(
    url: &str,
    deadline: Instant,
) -> std::result::Result<Got, Box<dyn std::error::Error + Send + Sync>> {
    let mut connection = PgConnection::connect(url).await?;
    let mut got = Got::new()?;
    // Not all at the same moment.
    sleep(POLL_INTERVAL.mul_f64(fastrand::f64())).await;
    let mut ticks = interval(POLL_INTERVAL);
    while Instant::now() < deadline {
        ticks.tick().await;
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT seq, payload FROM sekali.stored_events WHERE namespace_no = 1 AND seq > $1 ORDER BY seq LIMIT 1000",
        )
        .bind(got.last as i64)
        .fetch_all(&mut connection)
        .await?;
        for (seq, payload) in rows {
            let line = format!("data: {{\"seq\":{seq},\"payload\":{payload}}}");
            got.take(line.as_bytes());
            got.begun.get_or_insert_with(Instant::now);
            got.ended = Some(Instant::now());
        }
    }
    Ok(got)
}
