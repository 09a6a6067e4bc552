//! What it costs to follow the log: from a commit to its readers, many readers, replays, and idle readers.

use std::{thread, time::Duration};

use sekali::client::Client;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    RunArgs,
    figures::{Figure, Fresh},
    readers::{ReadersMeasured, RunningReaders, now_micros},
    sending::Sending,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Time for readers to be there before something is measured.
const SETTLE: Duration = Duration::from_secs(2);
const REPLAYED_PER_SECOND: f64 = 125_000.0;
const IDLE_READERS: usize = 2_000;

/// Measures those whose name contains `args.only`.
pub async fn measure(args: &RunArgs) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let wanted = |name: String| name.contains(&args.only).then_some(name);
    for (engine, is_sqlite) in [("Postgres", false), ("SQLite", true)] {
        if let Some(name) = wanted(format!("{engine}, streams: commit to delivery, 1,000 events/s")) {
            let measured = delivery(args, is_sqlite, false, 1, 1_000.0).await?;
            figures.push(Figure::new(name, latency(&measured), "p99 10 ms"));
        }
        if let Some(name) = wanted(format!("{engine}, streams: 1,000 readers, 100 events/s")) {
            let measured = delivery(args, is_sqlite, false, 1_000, 100.0).await?;
            figures.push(Figure::new(name, latency(&measured), "p99 25 ms; 0 missed"));
        }
        if let Some(name) = wanted(format!("{engine}, streams: 1,000 readers, as fast as it goes")) {
            figures.push(as_fast_as_it_goes(args, name, is_sqlite, 1_000).await?);
        }
        if let Some(name) = wanted(format!("{engine}, streams: publishing beside 100 readers of everything"))
        {
            figures.push(beside_readers(args, name, is_sqlite).await?);
        }
        if let Some(name) = wanted(format!("{engine}, streams: replay over one stream")) {
            figures.push(replay(args, name, is_sqlite).await?);
        }
        if let Some(name) = wanted(format!("{engine}, streams: memory of {IDLE_READERS} idle readers")) {
            figures.push(idle_readers(args, name, is_sqlite).await?);
        }
    }
    if let Some(name) =
        wanted("Postgres, streams: commit to delivery on another node, 1,000 events/s".to_owned())
    {
        let measured = delivery(args, false, true, 1, 1_000.0).await?;
        figures.push(Figure::new(name, latency(&measured), "p99 60 ms"));
    }
    Ok(figures)
}

fn latency(measured: &ReadersMeasured) -> String {
    format!(
        "p50 / p99 {:.1} / {:.1} ms; {} deliveries, {} missed",
        measured.p50_ms, measured.p99_ms, measured.deliveries, measured.missed
    )
}

/// Single events at a rate, and readers of all of them on the same node or on another one.
async fn delivery(
    args: &RunArgs,
    is_sqlite: bool,
    on_another_node: bool,
    readers: usize,
    rate: f64,
) -> Result<ReadersMeasured> {
    let fresh = Fresh::start(args, is_sqlite).await?;
    let other = if on_another_node { Some(fresh.another_node(args)?) } else { None };
    let address = other.as_ref().map_or(&fresh.service.address, |other| &other.address);
    let seconds = args.seconds + SETTLE.as_secs_f64() + 1.0;
    let readers = RunningReaders::start(address, readers, "/stream?after=0", seconds, u64::MAX)?;
    sleep(SETTLE).await;
    publish_at_rate(&fresh.service.client()?, rate, args.seconds).await?;
    let measured = tokio::task::spawn_blocking(|| readers.end().map_err(|error| error.to_string())).await??;
    drop(other);
    fresh.end(args).await?;
    Ok(measured)
}

/// Singles, sent when they are due, whether or not earlier ones are answered.
async fn publish_at_rate(client: &Client, rate: f64, seconds: f64) -> Result<()> {
    let begun = Instant::now();
    let mut under_way = Vec::new();
    for number in 0..(rate * seconds) as u64 {
        sleep_until(begun + Duration::from_secs_f64(number as f64 / rate)).await;
        let client = client.clone();
        under_way.push(tokio::spawn(async move {
            let body = format!(
                "{{\"topic\":\"t\",\"event_id\":\"{number}\",\"timestamp\":\"2026-06-18T12:00:00Z\",\"source\":\"load\",\
                 \"payload\":{{\"at\":{},\"note\":\"a payload of about a hundred bytes, as a small real event has it\"}}}}",
                now_micros()
            );
            client.publish(body.into()).await.map(drop).map_err(|error| error.to_string())
        }));
    }
    for publish in under_way {
        publish.await??;
    }
    Ok(())
}

async fn as_fast_as_it_goes(args: &RunArgs, name: String, is_sqlite: bool, readers: usize) -> Result<Figure> {
    let fresh = Fresh::start(args, is_sqlite).await?;
    let seconds = args.seconds + SETTLE.as_secs_f64();
    let readers =
        RunningReaders::start(&fresh.service.address, readers, "/stream?after=0", seconds, u64::MAX)?;
    sleep(SETTLE).await;
    let sent = Sending { seconds_max: args.seconds, ..Sending::default() }.to(&fresh.service.address)?;
    let measured = tokio::task::spawn_blocking(|| readers.end().map_err(|error| error.to_string())).await??;
    fresh.end(args).await?;
    let words = format!(
        "{:.0} deliveries/s of {:.0} events/s published; {} missed",
        measured.deliveries as f64 / measured.seconds,
        sent.events_per_second(),
        measured.missed
    );
    Ok(Figure::new(name, words, "at least 500,000 deliveries/s"))
}

async fn beside_readers(args: &RunArgs, name: String, is_sqlite: bool) -> Result<Figure> {
    let publish = |address: String| {
        Sending { seconds_max: args.seconds, connections: 8, ..Sending::default() }.to(&address)
    };
    let fresh = Fresh::start(args, is_sqlite).await?;
    let alone = publish(fresh.service.address.clone())?;
    fresh.end(args).await?;
    let fresh = Fresh::start(args, is_sqlite).await?;
    let seconds = args.seconds + SETTLE.as_secs_f64();
    let readers = RunningReaders::start(&fresh.service.address, 100, "/stream", seconds, u64::MAX)?;
    thread::sleep(SETTLE);
    let beside = publish(fresh.service.address.clone())?;
    let measured = tokio::task::spawn_blocking(|| readers.end().map_err(|error| error.to_string())).await??;
    fresh.end(args).await?;
    let words = format!(
        "{:.2} of {:.0} events/s without readers; {:.0} deliveries/s, {} missed",
        beside.events_per_second() / alone.events_per_second(),
        alone.events_per_second(),
        measured.deliveries as f64 / measured.seconds,
        measured.missed,
    );
    Ok(Figure::new(name, words, "at least 0.7"))
}

async fn replay(args: &RunArgs, name: String, is_sqlite: bool) -> Result<Figure> {
    let fresh = Fresh::start(args, is_sqlite).await?;
    let events = ((REPLAYED_PER_SECOND * args.seconds) as u64).min(1_000_000);
    let sending = Sending { events, connections: 8, seconds_max: 120.0, ..Sending::default() };
    let stored = sending.to(&fresh.service.address)?.events;
    let readers = RunningReaders::start(&fresh.service.address, 1, "/stream?after=0", 120.0, stored)?;
    let measured = tokio::task::spawn_blocking(|| readers.end().map_err(|error| error.to_string())).await??;
    fresh.end(args).await?;
    let words = format!(
        "{:.0} events/s of {stored}; {} missed",
        measured.deliveries as f64 / measured.seconds,
        measured.missed
    );
    Ok(Figure::new(name, words, if is_sqlite { "at least 100,000/s" } else { "at least 200,000/s" }))
}

async fn idle_readers(args: &RunArgs, name: String, is_sqlite: bool) -> Result<Figure> {
    let fresh = Fresh::start(args, is_sqlite).await?;
    let before = fresh.service.memory_mib();
    let seconds = 2.0 * SETTLE.as_secs_f64();
    let readers = RunningReaders::start(&fresh.service.address, IDLE_READERS, "/stream", seconds, u64::MAX)?;
    sleep(SETTLE + SETTLE / 2).await;
    let more = fresh.service.memory_mib() - before;
    tokio::task::spawn_blocking(|| readers.end().map_err(|error| error.to_string())).await??;
    fresh.end(args).await?;
    let each = more * 1_024.0 / IDLE_READERS as f64;
    Ok(Figure::new(name, format!("{each:.1} KiB each on top of {before:.1} MiB"), "32 KiB each"))
}
