//! What this process did, and the counters that `/stats` shows.

mod actor;
mod by_namespace;
mod by_topic;
mod distribution;
mod metrics;

pub(super) use self::actor::{Ask, AskMetrics, GroupCommitted, Read, StatsActor};
pub use self::{
    actor::CountersReport,
    by_namespace::{EventCounts, OTHER_NAMESPACES},
    by_topic::TopicReport,
    distribution::Distribution,
    metrics::MetricsReport,
};
