//! What the parts of the service tell when they are asked.

use std::{fmt, time::Duration};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::lines::{Labels, Lines};
use crate::{
    actors::{ActorReport, EventCounts, MetricsReport, TopicReport},
    http::connections::ConnectionsReport,
    service::{InFlight, NodeReport, SeenSubscription, ServiceMetrics},
};

/// The service at one moment; before its database is there, the connections alone.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) service: Option<ServiceMetrics>,
    pub(super) connections: ConnectionsReport,
    pub(super) uptime: Duration,
}

/// Bytes of an answer beside what has names, of a namespace with its counts, and of a topic or a subscription beside
/// their names, about.
const ANSWER_BYTES: usize = 32 * 1024;
const NAMESPACE_BYTES: usize = 512;
const NAMED_BYTES: usize = 160;

impl Snapshot {
    /// About as many bytes as the answer has.
    pub(super) fn bytes(&self) -> usize {
        let Some(ServiceMetrics { metrics, heads, subscriptions, .. }) = &self.service else {
            return ANSWER_BYTES;
        };
        let topics = metrics.iter().flat_map(|metrics| &metrics.topics);
        let named = topics
            .map(|it| it.namespace.len() + it.topic.len())
            .chain(subscriptions.iter().map(|it| it.namespace.len() + it.name.len()));
        let namespaces = heads.len() + metrics.as_ref().map_or(0, |metrics| metrics.namespaces.len());
        // Each of them has two lines.
        ANSWER_BYTES
            + namespaces * NAMESPACE_BYTES
            + named.map(|names| 2 * names + NAMED_BYTES).sum::<usize>()
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut lines = Lines(encoder);
        let version = [("version", env!("SEKALI_VERSION"))];
        lines.gauges("build_info", "The version of this service", [(version, 1_u64)])?;
        lines.gauge("uptime_seconds", "Time since the start of this process", self.uptime.as_secs_f64())?;
        write_connections(&mut lines, &self.connections)?;
        let Some(service) = &self.service else { return Ok(()) };
        let ServiceMetrics { node, metrics, heads, subscriptions } = service;
        if let Some(metrics) = metrics {
            write_metrics(&mut lines, metrics)?;
            write_topics(&mut lines, &metrics.topics)?;
        }
        let heads = heads.iter().map(|(namespace, head)| (namespaced(namespace), *head));
        lines.gauges(
            "ledger_head",
            "Newest seq of each namespace that is open here, as far as this node knows",
            heads,
        )?;
        write_subscriptions(&mut lines, subscriptions)?;
        lines.gauge("ledgers_open", "Namespaces that are open here", node.ledgers)?;
        write_in_flight(&mut lines, &node.in_flight)?;
        write_actors(&mut lines, node)?;
        write_store(&mut lines, node)
    }
}

fn namespaced(namespace: &str) -> Labels<'_, 1> {
    [("namespace", namespace)]
}

fn write_connections(lines: &mut Lines, connections: &ConnectionsReport) -> fmt::Result {
    lines.gauge("connections", "Client connections", connections.open)?;
    lines.gauge("connections_max", "Client connections that there may be", connections.max)?;
    let closed = connections.closed.map(|(reason, count)| ([("reason", reason)], count));
    lines.counters(
        "connections_closed",
        "Client connections that were closed or refused for a fault or a limit",
        closed,
    )
}

fn write_metrics(lines: &mut Lines, metrics: &MetricsReport) -> fmt::Result {
    let by_namespace = |count: fn(&EventCounts) -> u64| {
        metrics.namespaces.iter().map(move |(namespace, counts)| (namespaced(namespace), count(counts)))
    };
    let help = "Events that this process committed, duplicates among them";
    lines.counters("events_received", help, by_namespace(|counts| counts.received))?;
    let help = "Events that this process stored";
    lines.counters("events_unique", help, by_namespace(|counts| counts.unique))?;
    let help = "Events of this process that were stored already";
    lines.counters("events_duplicate", help, by_namespace(|counts| counts.received - counts.unique))?;
    lines.counter("commits", "Groups of requests that this process committed", metrics.commits)?;
    let help = "Duplicates that no window knew and the database found";
    lines.counter("exceptions", help, metrics.exceptions)?;
    lines.histogram(
        "commit_seconds",
        "Time of a commit, its repetitions included",
        &metrics.commit_seconds,
    )?;
    lines.histogram("commit_events", "Events of a commit", &metrics.commit_events)
}

/// Under names of their own: what is summed over `sekali_events_…` stays right.
fn write_topics(lines: &mut Lines, topics: &[TopicReport]) -> fmt::Result {
    let each = |count: fn(&EventCounts) -> u64| {
        topics
            .iter()
            .map(move |it| ([("namespace", &*it.namespace), ("topic", &*it.topic)], count(&it.counts)))
    };
    let help = "Events of a topic that this process stored, of the 1,000 topics that it saw first";
    lines.counters("topic_unique", help, each(|counts| counts.unique))?;
    let help = "Events of a topic that were stored already, of the same topics";
    lines.counters("topic_duplicate", help, each(|counts| counts.received - counts.unique))
}

fn write_subscriptions(lines: &mut Lines, subscriptions: &[SeenSubscription]) -> fmt::Result {
    let each = |value: fn(&SeenSubscription) -> u64| {
        subscriptions.iter().map(move |it| {
            ([("namespace", it.namespace.as_str()), ("subscription", it.name.as_str())], value(it))
        })
    };
    let help = "Events that a subscription is behind, as seen at the scrape before";
    lines.gauges("subscription_lag", help, each(|it| it.lag))?;
    let help = "Events of a subscription that are parked, as seen at the scrape before";
    lines.gauges("subscription_parked", help, each(|it| it.parked))
}

fn write_in_flight(lines: &mut Lines, in_flight: &[InFlight]) -> fmt::Result {
    let held = in_flight.iter().map(|it| ([("what", it.what)], it.held));
    lines.gauges("in_flight", "What is accepted and not yet answered, and readers that wait", held)?;
    let most = in_flight.iter().map(|it| ([("what", it.what)], it.max));
    lines.gauges("in_flight_max", "As much of it as there may be", most)
}

fn write_actors(lines: &mut Lines, node: &NodeReport) -> fmt::Result {
    let shards = node.shards.iter().map(|(actor, _)| actor);
    let actors: Vec<&ActorReport> = shards.chain(&node.writers).chain([&node.stats]).collect();
    let each = || actors.iter().map(|report| ([("actor", report.name.as_str())], *report));
    let up = each().map(|(labels, report)| (labels, u64::from(report.running)));
    lines.gauges("actor_up", "Whether an actor runs", up)?;
    let queues = each().map(|(labels, report)| (labels, report.queue));
    lines.gauges("actor_queue", "Requests that wait for an actor", queues)?;
    let endings = actors.iter().flat_map(|report| {
        let endings = report.endings;
        let counted = [
            ("panicked", endings.panicked),
            ("given_up", endings.given_up),
            ("died", endings.died),
            ("stopped", endings.stopped),
        ];
        counted.map(|(ending, count)| ([("actor", report.name.as_str()), ("ending", ending)], count))
    });
    lines.counters("actor_endings", "How often an actor has ended, by the way it did", endings)?;
    let oldest = node.writers.iter().filter_map(|writer| writer.in_hand_for).max().unwrap_or_default();
    let help = "How long the commit that is under way longest has been";
    lines.gauge("commit_age_seconds", help, oldest.as_secs_f64())?;
    let window_ids: usize = node.shards.iter().map(|(_, window_ids)| window_ids).sum();
    lines.gauge("window_ids", "Ids that the windows remember", window_ids)?;
    let (lookups, hits) = node.window_lookups;
    lines.counter("window_lookups", "Events that were looked up in a window", lookups)?;
    lines.counter("window_hits", "Events that a window knew to be stored", hits)
}

fn write_store(lines: &mut Lines, node: &NodeReport) -> fmt::Result {
    let store = &node.store;
    lines.gauge(
        "store_up",
        "Whether the database takes writes, as far as was seen",
        u64::from(!store.lost),
    )?;
    lines.counter("store_losses", "How often the database was lost to the writers", store.losses)?;
    lines.counter("store_restored", "How often a namespace lacked what was seen of it", store.restored)?;
    lines.counter("log_lines_lost", "Lines that the log could not take", node.log_lines_lost)
}
