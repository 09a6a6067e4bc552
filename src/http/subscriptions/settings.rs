//! The settings of a subscription as they are given and shown.

use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    http::{
        fields::{Fields, whole},
        problem::Problem,
    },
    store::{
        DELIVERIES, LEASE_SECONDS, LEASES, LeaseInfo, PARTITIONS, PartitionBy, Partitions,
        SUBSCRIPTION_TOPICS_MAX, SettingsChange, Start, SubscriptionInfo, SubscriptionSettings,
        TopicPatterns,
    },
};

/// The highest number that a `seq` can have, in every store.
pub(super) const SEQ_MAX: u64 = i64::MAX as u64;
/// Bytes of a lease as it is shown, at most.
const LEASE_BYTES: usize = 192;
/// Bytes of a subscription as it is shown, beside its topics and leases, at most.
const SUBSCRIPTION_BYTES: usize = 640;

/// All settings; those that are not given have their defaults.
pub(super) fn settings(mut fields: Fields) -> Result<SubscriptionSettings, Problem> {
    let topics = topics(&mut fields).unwrap_or_default();
    let start = start(&mut fields).unwrap_or(Start::Now);
    let partitions = partitions(&mut fields);
    let leases = partitions.map_or(LEASES, |partitions| (partitions.count, 1..=partitions.count));
    let settings = SubscriptionSettings {
        topics,
        start,
        lease_seconds: small(&mut fields, "lease_seconds", LEASE_SECONDS.1).unwrap_or(LEASE_SECONDS.0),
        max_leases: small(&mut fields, "max_leases", leases.1).unwrap_or(leases.0),
        max_deliveries: small(&mut fields, "max_deliveries", DELIVERIES.1).unwrap_or(DELIVERIES.0),
        partitions,
    };
    fields.finish()?;
    Ok(settings)
}

/// The settings that are given; some cannot be changed.
pub(super) fn change(mut fields: Fields) -> Result<SettingsChange, Problem> {
    let change = SettingsChange {
        topics: topics(&mut fields),
        lease_seconds: small(&mut fields, "lease_seconds", LEASE_SECONDS.1),
        max_leases: small(&mut fields, "max_leases", LEASES.1),
        max_deliveries: small(&mut fields, "max_deliveries", DELIVERIES.1),
    };
    for (name, detail) in [
        ("after", "cannot be changed: go there with POST …/seek"),
        ("partitions", "cannot be changed: create another subscription"),
        ("partition_by", "cannot be changed: create another subscription"),
    ] {
        if fields.take(name).is_some() {
            fields.fault(format!("/{name}"), detail);
        }
    }
    fields.finish()?;
    Ok(change)
}

/// Where to go.
pub(super) fn place(mut fields: Fields) -> Result<Start, Problem> {
    if !fields.has("after") {
        fields.fault("/after", "must be given: now, earliest or a seq");
    }
    let start = start(&mut fields);
    fields.finish()?;
    Ok(start.unwrap_or(Start::Now))
}

fn small(fields: &mut Fields, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
    let number = fields.number(name, u64::from(*range.start())..=u64::from(*range.end()));
    number.map(|number| number as u32)
}

fn topics(fields: &mut Fields) -> Option<TopicPatterns> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let given = fields.list(
        "topics",
        SUBSCRIPTION_TOPICS_MAX,
        "topics, or beginnings of topics with a final *",
        text,
    )?;
    match TopicPatterns::parse(given) {
        Ok(topics) => Some(topics),
        Err((place, detail)) => {
            fields.fault(format!("/topics/{place}"), detail);
            None
        }
    }
}

fn start(fields: &mut Fields) -> Option<Start> {
    match fields.take("after")? {
        Value::String(word) if word == "now" => Some(Start::Now),
        Value::String(word) if word == "earliest" => Some(Start::Earliest),
        other => match whole(&other).filter(|seq| *seq <= SEQ_MAX) {
            Some(seq) => Some(Start::After(seq)),
            None => {
                fields.fault("/after", format!("must be now, earliest or a seq, not {other:.100}"));
                None
            }
        },
    }
}

fn partitions(fields: &mut Fields) -> Option<Partitions> {
    match (fields.has("partitions"), fields.has("partition_by")) {
        (true, false) => fields.fault("/partition_by", "must be source or topic where there are partitions"),
        (false, true) => fields.fault("/partitions", "must be given together with partition_by"),
        _ => {}
    }
    let count = small(fields, "partitions", PARTITIONS);
    let by = fields.word("partition_by", &[("source", PartitionBy::Source), ("topic", PartitionBy::Topic)]);
    count.zip(by).map(|(count, by)| Partitions { count, by })
}

/// A subscription as it is shown.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    name: &'a str,
    topics: &'a [String],
    after: Value,
    lease_seconds: u32,
    max_leases: u32,
    max_deliveries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_by: Option<&'static str>,
    created_at: String,
    acked: u64,
    head: u64,
    lag: u64,
    leases: Vec<ShownLease<'a>>,
    parked: u64,
    status: &'static str,
}

impl<'a> Shown<'a> {
    pub(super) fn new(subscription: &'a SubscriptionInfo) -> Self {
        let settings = &subscription.settings;
        Self {
            name: &subscription.name,
            topics: settings.topics.patterns(),
            after: match settings.start {
                Start::Now => json!("now"),
                Start::Earliest => json!("earliest"),
                Start::After(seq) => json!(seq),
            },
            lease_seconds: settings.lease_seconds,
            max_leases: settings.max_leases,
            max_deliveries: settings.max_deliveries,
            partitions: settings.partitions.map(|partitions| partitions.count),
            partition_by: settings.partitions.map(|partitions| partitions.by.name()),
            created_at: subscription.created_at.to_string(),
            acked: subscription.acked,
            head: subscription.head,
            lag: subscription.lag(),
            leases: subscription.leases.iter().map(ShownLease::new).collect(),
            parked: subscription.parked,
            status: subscription.status.name(),
        }
    }
}

/// About as many bytes as a subscription takes when it is shown.
pub(super) fn shown_bytes(subscription: &SubscriptionInfo) -> usize {
    let topics: usize = subscription.settings.topics.patterns().iter().map(|topic| topic.len() + 3).sum();
    let workers = subscription.leases.iter().map(|lease| lease.worker.as_ref().map_or(0, String::len));
    SUBSCRIPTION_BYTES + topics + workers.map(|bytes| LEASE_BYTES + bytes).sum::<usize>()
}

/// A lease as it is shown: without its secret.
#[derive(Serialize)]
pub(super) struct ShownLease<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<usize>,
    from: u64,
    through: u64,
    deliveries: u32,
    expires_at: String,
}

impl<'a> ShownLease<'a> {
    pub(super) fn new(lease: &'a LeaseInfo) -> Self {
        Self {
            worker: lease.worker.as_deref(),
            partition: lease.partition,
            from: lease.from,
            through: lease.through,
            deliveries: lease.deliveries,
            expires_at: lease.expires_at.to_string(),
        }
    }
}
