//! What it costs to follow the log: from a commit to its readers, many readers, replays, and idle readers.

use std::{collections::HashMap, thread, time::Duration};

use hdrhistogram::Histogram;
use sekali::client::Client;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    RunArgs,
    figures::{Figure, Fresh},
    process::{cpu_seconds, postgres_cpu_seconds},
    readers::{ReadersMeasured, RunningReaders, now_micros},
    sending::Sending,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Time for readers to be there before something is measured.
const SETTLE: Duration = Duration::from_secs(2);
const REPLAYED_PER_SECOND: f64 = 125_000.0;
const IDLE_READERS: usize = 2_000;
/// As many as a Postgres with its default limit of connections has room for.
const POLLERS: usize = 50;

/// Measures those whose name contains `args.only`.
pub async fn measure(args: &RunArgs) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let wanted = |name: String| name.contains(&args.only).then_some(name);
    for (engine, is_sqlite) in [("Postgres", false), ("SQLite", true)] {
        if let Some(name) = wanted(format!("{engine}, streams: commit to delivery, 1,000 events/s")) {
            let measured = delivery(args, is_sqlite, false, 1, 1_000.0).await?;
            figures.push(Figure::new(name, latency(&measured), "p99 10 ms from the answer"));
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
    let polling = format!("Postgres, streams: {POLLERS} readers, 100 events/s, beside as many that poll");
    if let Some(name) = wanted(polling) {
        figures.push(beside_pollers(args, name).await?);
    }
    if let Some(name) =
        wanted("Postgres, streams: commit to delivery on another node, 1,000 events/s".to_owned())
    {
        let measured = delivery(args, false, true, 1, 1_000.0).await?;
        figures.push(Figure::new(name, latency(&measured), "p99 60 ms from the answer"));
    }
    Ok(figures)
}

fn latency((measured, behind_answers): &(ReadersMeasured, Histogram<u64>)) -> String {
    let behind = |quantile| behind_answers.value_at_quantile(quantile) as f64 / 1_000.0;
    format!(
        "p50 / p99 {:.1} / {:.1} ms behind its producer's answer, {:.1} / {:.1} ms from its sending; {} deliveries, {} missed",
        behind(0.5),
        behind(0.99),
        measured.p50_ms,
        measured.p99_ms,
        measured.deliveries,
        measured.missed
    )
}

/// The same events at the same rate: once to readers of streams, and once to readers that ask the database every 100 ms.
async fn beside_pollers(args: &RunArgs, name: String) -> Result<Figure> {
    let mut words = Vec::new();
    for polls in [false, true] {
        let fresh = Fresh::start(args, false).await?;
        let seconds = args.seconds + SETTLE.as_secs_f64() + 1.0;
        let address = &fresh.service.address;
        let running = match polls {
            true => RunningReaders::start_polling(address, POLLERS, seconds, fresh.url())?,
            false => RunningReaders::start(address, POLLERS, "/stream?after=0", seconds, u64::MAX)?,
        };
        sleep(SETTLE).await;
        let cpu = || cpu_seconds(fresh.service.id()) + postgres_cpu_seconds(args.postgres_pid);
        let before = cpu();
        publish_at_rate(&fresh.service.client()?, 100.0, args.seconds).await?;
        let cpu = cpu() - before;
        let measured =
            tokio::task::spawn_blocking(|| running.end().map_err(|error| error.to_string())).await??;
        fresh.end(args).await?;
        words.push(format!(
            "{:.1} / {:.1} ms with {:.2} s of processor time a second",
            measured.p50_ms,
            measured.p99_ms,
            cpu / args.seconds
        ));
    }
    let words = format!("p50 / p99 {}; {} for those that poll", words[0], words[1]);
    Ok(Figure::new(name, words, "less than a poller"))
}

/// Single events at a rate, and readers of all of them on the same node or on another one. A commit shows in the answer
/// of its producer, so readers are compared with that as well.
async fn delivery(
    args: &RunArgs,
    is_sqlite: bool,
    on_another_node: bool,
    readers: usize,
    rate: f64,
) -> Result<(ReadersMeasured, Histogram<u64>)> {
    let fresh = Fresh::start(args, is_sqlite).await?;
    let other = if on_another_node { Some(fresh.another_node(args)?) } else { None };
    let address = other.as_ref().map_or(&fresh.service.address, |other| &other.address);
    let seconds = args.seconds + SETTLE.as_secs_f64() + 1.0;
    let running = RunningReaders::start(address, readers, "/stream?after=0", seconds, u64::MAX)?;
    sleep(SETTLE).await;
    let answered = publish_at_rate(&fresh.service.client()?, rate, args.seconds).await?;
    let measured = tokio::task::spawn_blocking(|| running.end().map_err(|error| error.to_string())).await??;
    drop(other);
    fresh.end(args).await?;
    let behind_answers = behind_answers(&measured, &answered)?;
    Ok((measured, behind_answers))
}

/// Microseconds from the answer to a producer until a reader had the event; 1 where the reader had it first.
fn behind_answers(measured: &ReadersMeasured, answered: &HashMap<u64, u64>) -> Result<Histogram<u64>> {
    let mut behind = Histogram::new_with_bounds(1, 600_000_000, 3)?;
    for (seq, delivered_at) in &measured.times {
        let answered_at = answered.get(seq).ok_or("an event was delivered that nobody sent")?;
        behind.record(delivered_at.saturating_sub(*answered_at).max(1))?;
    }
    Ok(behind)
}

/// Singles, sent when they are due, whether or not earlier ones are answered. When each `seq` was answered, in
/// microseconds since 1970.
async fn publish_at_rate(client: &Client, rate: f64, seconds: f64) -> Result<HashMap<u64, u64>> {
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
            let answer = client.publish(body.into()).await.map_err(|error| error.to_string())?;
            let seq = answer.results.first().ok_or("an answer without a result")?.seq;
            Ok::<_, String>((seq, now_micros()))
        }));
    }
    let mut answered = HashMap::new();
    for publish in under_way {
        answered.extend([publish.await??]);
    }
    Ok(answered)
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
