//! GET /stats.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Limits, gate::Gate, metered_body::MeteredBody, namespace, peer::peer, problem::Problem};
use crate::{
    actors::{ActorReport, ExitCounts},
    ledger::StoreReport,
    service::LedgerReport,
    store::TopicTotal,
};

/// Bytes of an answer beside its topics and shards, of a topic beside its two names, and of a shard, at most.
const ANSWER_BYTES: usize = 2 * 1024;
const TOPIC_BYTES: usize = 72;
const SHARD_BYTES: usize = 384;

/// The counters of the database, and the metrics of this node.
pub(super) async fn stats(
    request: HttpRequest,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let report = namespace::ledger(&request, service).await?.report().await?;
    let bytes = answer_bytes(&report);
    let permit = service.admit_answer(peer(&request), bytes)?;
    let uptime = limits.started.elapsed();
    let write = move || {
        let mut json = Vec::with_capacity(bytes);
        serde_json::to_writer(&mut json, &Stats::new(&report, uptime))
            .expect("strings and numbers serialise");
        json
    };
    let answer = MeteredBody::build(service, permit, write).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(answer))
}

/// About as many bytes as the answer has.
fn answer_bytes(report: &LedgerReport) -> usize {
    let topics = report.totals.topics.iter();
    ANSWER_BYTES
        + (report.node.shards.len() + report.node.writers.len()) * SHARD_BYTES
        + topics.map(|total| 2 * total.topic.len() + TOPIC_BYTES).sum::<usize>()
}

#[derive(Serialize)]
struct Stats<'a> {
    received: u64,
    unique_processed: u64,
    duplicate_dropped: u64,
    duplicate_rate: f64,
    topics: Vec<&'a str>,
    topics_total: u64,
    #[serde(serialize_with = "by_topic")]
    by_topic: &'a [TopicTotal],
    uptime: f64,
    uptime_seconds: f64,
    node: Node<'a>,
}

#[derive(Serialize)]
struct Node<'a> {
    version: &'static str,
    shards: Vec<Shard<'a>>,
    writers: Vec<Actor<'a>>,
    stats: Actor<'a>,
    restarts: u64,
    store: Store,
    rates: Rates,
    commits: u64,
    commit_latency_ms: CommitLatency,
    exceptions: u64,
    in_flight: InFlight,
    database_restored: u64,
    log_lines_lost: u64,
    ledgers_open: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_trouble: Option<&'a str>,
}

#[derive(Serialize)]
struct Shard<'a> {
    #[serde(flatten)]
    actor: Actor<'a>,
    window_ids: usize,
}

#[derive(Serialize)]
struct Actor<'a> {
    name: &'a str,
    running: bool,
    queue: usize,
    restarts: u64,
    endings: Endings,
    last_ending: Option<String>,
    last_recovery_ms: Option<f64>,
}

/// How often an actor has ended, by the way it did.
#[derive(Serialize)]
struct Endings {
    panicked: u64,
    given_up: u64,
    died: u64,
    stopped: u64,
}

/// The writer's link to the store, which can be lost without the end of an actor.
#[derive(Serialize)]
struct Store {
    lost: bool,
    losses: u64,
    last_loss: Option<String>,
    last_recovery_ms: Option<f64>,
}

#[derive(Serialize)]
struct Rates {
    events_per_second: f64,
    commits_per_second: f64,
}

#[derive(Serialize)]
struct CommitLatency {
    p50: f64,
    p99: f64,
    max: f64,
}

#[derive(Serialize)]
struct InFlight {
    events: usize,
    bytes: usize,
    answer_bytes: usize,
}

impl<'a> Stats<'a> {
    fn new(report: &'a LedgerReport, uptime: Duration) -> Self {
        let totals = &report.totals;
        let (received, unique) = (totals.head.received, totals.head.last_seq);
        let duplicates = received - unique;
        let uptime = (uptime.as_secs_f64() * 1_000.0).round() / 1_000.0;
        Self {
            received,
            unique_processed: unique,
            duplicate_dropped: duplicates,
            duplicate_rate: if received == 0 { 0.0 } else { duplicates as f64 / received as f64 },
            topics: totals.topics.iter().map(|total| total.topic.as_str()).collect(),
            topics_total: totals.head.topics_total,
            by_topic: &totals.topics,
            uptime,
            uptime_seconds: uptime,
            node: Node::new(report),
        }
    }
}

impl<'a> Node<'a> {
    fn new(ledger: &'a LedgerReport) -> Self {
        let LedgerReport { metrics, trouble, node: report, .. } = ledger;
        let shard = |(actor, window_ids): &'a (ActorReport, usize)| Shard {
            actor: Actor::new(actor),
            window_ids: *window_ids,
        };
        let service =
            report.shards.iter().map(|(actor, _)| actor).chain(&report.writers).chain([&report.stats]);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            shards: report.shards.iter().map(shard).collect(),
            writers: report.writers.iter().map(Actor::new).collect(),
            stats: Actor::new(&report.stats),
            restarts: service.map(|actor| actor.restarts).sum(),
            store: Store::new(&report.store),
            rates: Rates {
                events_per_second: tenths(metrics.events_per_second),
                commits_per_second: tenths(metrics.commits_per_second),
            },
            commits: metrics.commits,
            commit_latency_ms: CommitLatency {
                p50: millis(metrics.commit_latency_p50),
                p99: millis(metrics.commit_latency_p99),
                max: millis(metrics.commit_latency_max),
            },
            exceptions: metrics.exceptions,
            in_flight: InFlight {
                events: report.events_in_flight,
                bytes: report.bytes_in_flight,
                answer_bytes: report.answer_bytes_in_flight,
            },
            database_restored: report.store.restored,
            log_lines_lost: report.log_lines_lost,
            ledgers_open: report.ledgers,
            namespace_trouble: trouble.as_deref(),
        }
    }
}

impl<'a> Actor<'a> {
    fn new(report: &'a ActorReport) -> Self {
        Self {
            name: &report.name,
            running: report.running,
            queue: report.queue,
            restarts: report.restarts,
            endings: Endings::new(report.endings),
            last_ending: report.last_ending.as_ref().map(ToString::to_string),
            last_recovery_ms: report.last_recovery.map(millis),
        }
    }
}

impl Endings {
    fn new(counts: ExitCounts) -> Self {
        let ExitCounts { panicked, given_up, died, stopped } = counts;
        Self { panicked, given_up, died, stopped }
    }
}

impl Store {
    fn new(report: &StoreReport) -> Self {
        Self {
            lost: report.lost,
            losses: report.losses,
            last_loss: report.last_loss.map(|loss| loss.to_string()),
            last_recovery_ms: report.last_recovery.map(millis),
        }
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// An object with a member a topic, in the order of the topics' first use.
fn by_topic<S: Serializer>(topics: &&[TopicTotal], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Counts {
        unique: u64,
        duplicates: u64,
    }
    let mut map = serializer.serialize_map(Some(topics.len()))?;
    for total in *topics {
        let counts = Counts { unique: total.unique, duplicates: total.duplicates };
        map.serialize_entry(&total.topic, &counts)?;
    }
    map.end()
}
