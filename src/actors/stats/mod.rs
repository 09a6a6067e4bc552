//! The counters that `/stats` shows.

mod actor;
mod metrics;
mod topic_table;

pub(super) use self::actor::{Ask, GroupCommitted, HeadSeen, Rebuild, StatsActor};
pub use self::{actor::CountersReport, metrics::MetricsReport};
