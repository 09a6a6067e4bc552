//! What it costs to share the work of a subscription, and to find a rare topic.

use std::time::Duration;

use sekali::client::{AckResult, Client, LeaseAnswer, PageQuery};
use serde_json::json;
use tokio::time::Instant;

use super::{
    RunArgs,
    figures::{Figure, Fresh},
    sending::Sending,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const WORKERS: usize = 8;
/// Events in a lease.
const LEASED: u32 = 100;
/// Events that are stored for the workers, for each second of a case.
const STORED_PER_SECOND: f64 = 50_000.0;
/// Events in each of the rare topics.
const RARE_EVENTS: usize = 10;
/// Pages that are read of rare topics.
const RARE_PAGES: usize = 200;

/// Measures those whose name contains `args.only`.
pub async fn measure(args: &RunArgs) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (engine, is_sqlite) in [("Postgres", false), ("SQLite", true)] {
        let leases = format!("{engine}, leases: {WORKERS} workers, {LEASED} events each, acked");
        if leases.contains(&args.only) {
            figures.push(shared_work(args, leases, is_sqlite).await?);
        }
        // Ten million take minutes: only where they are asked for.
        let is_full = args.full || args.only.contains("10 million");
        let few = (STORED_PER_SECOND * args.seconds) as u64;
        let sizes = [(1_000, few, format!("{few}")), (10_000, 10_000_000, "10 million".to_owned())];
        for (topics, events, among) in sizes.into_iter().take(if is_full { 2 } else { 1 }) {
            let name =
                format!("{engine}, a page of one of {topics} topics of {RARE_EVENTS} events, among {among}");
            if name.contains(&args.only) {
                figures.push(rare_topics(args, name, is_sqlite, topics, events).await?);
            }
        }
    }
    Ok(figures)
}

async fn shared_work(args: &RunArgs, name: String, is_sqlite: bool) -> Result<Figure> {
    let fresh = Fresh::start(args, is_sqlite).await?;
    let client = fresh.service.client()?;
    let events = (STORED_PER_SECOND * args.seconds) as u64;
    let stored = Sending { events, connections: 8, seconds_max: 120.0, ..Sending::default() };
    stored.to(&fresh.service.address)?;
    client.create_subscription("work", &json!({"after": "earliest", "max_leases": 2 * WORKERS})).await?;
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs_f64(args.seconds);
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let client = client.clone();
            tokio::spawn(
                async move { work(&client, worker, deadline).await.map_err(|error| error.to_string()) },
            )
        })
        .collect();
    let (mut acked, mut fenced) = (0, 0);
    for worker in workers {
        let (events, lost) = worker.await??;
        (acked, fenced) = (acked + events, fenced + lost);
    }
    let seconds = begun.elapsed().as_secs_f64();
    fresh.end(args).await?;
    let words = format!("{:.0} events/s; {fenced} fenced", acked as f64 / seconds);
    Ok(Figure::new(name, words, "at least 20,000 events/s"))
}

/// Leases and acks until the time is over; the events acked, and the acks that changed nothing.
async fn work(client: &Client, worker: usize, deadline: Instant) -> Result<(u64, u64)> {
    let (mut events, mut fenced) = (0, 0);
    let worker = format!("worker-{worker}");
    while Instant::now() < deadline {
        let LeaseAnswer::Leased(lease) =
            client.lease("work", LEASED, Duration::from_secs(1), &worker).await?
        else {
            continue;
        };
        let acked = client.ack("work", &lease.lease, AckResult::Accept).await?;
        events += lease.through - lease.from + 1;
        fenced += u64::from(acked.is_fenced);
    }
    Ok((events, fenced))
}

/// Topics with few events each, spread evenly among many other events.
async fn rare_topics(
    args: &RunArgs,
    name: String,
    is_sqlite: bool,
    topics: usize,
    events: u64,
) -> Result<Figure> {
    let fresh = Fresh::start(args, is_sqlite).await?;
    let client = fresh.service.client()?;
    for round in 0..RARE_EVENTS {
        let events = events / RARE_EVENTS as u64;
        let others = Sending { events, connections: 8, seconds_max: 600.0, ..Sending::default() };
        Sending { seed: 10 + round as u64, ..others }.to(&fresh.service.address)?;
        let rare: Vec<_> = (0..topics)
            .map(|topic| {
                json!({"topic": format!("rare-{topic}"), "event_id": format!("{topic}-{round}"),
                    "timestamp": "2026-06-18T12:00:00Z", "source": "bench", "payload": {}})
            })
            .collect();
        for batch in rare.chunks(1_000) {
            client.publish(serde_json::to_vec(batch)?.into()).await?;
        }
    }
    let mut times = Vec::new();
    for page in 0..RARE_PAGES {
        let topic = format!("rare-{}", page * 7 % topics);
        let query = PageQuery { topics: vec![topic], limit: Some(100), ..PageQuery::default() };
        let begun = Instant::now();
        let found = client.page(&query).await?.len();
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        if found != RARE_EVENTS {
            return Err(format!("a page of a rare topic has {found} events").into());
        }
    }
    fresh.end(args).await?;
    times.sort_by(f64::total_cmp);
    let words = format!("p50 / p99 {:.1} / {:.1} ms", times[times.len() / 2], times[times.len() * 99 / 100]);
    Ok(Figure::new(name, words, "5 ms"))
}
