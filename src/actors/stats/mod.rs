//! What this process did, and the counters that `/stats` shows.

mod actor;
mod metrics;

pub(super) use self::actor::{Ask, GroupCommitted, Read, StatsActor};
pub use self::{actor::CountersReport, metrics::MetricsReport};
