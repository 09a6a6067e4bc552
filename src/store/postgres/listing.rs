//! The list of topics.

use sqlx::{AssertSqlSafe, PgPool};

use super::{
    lease::Lease,
    reads::{NEWEST, UNFOLDED},
};
use crate::store::{LedgerRecord, TopicInfo, TopicQuery, rows};

/// The counts are those up to the last fold, and what the commits since then add.
pub(super) async fn topics(
    pool: &PgPool,
    ledger: &LedgerRecord,
    query: &TopicQuery,
) -> sqlx::Result<Option<Vec<TopicInfo>>> {
    let mut lease = Lease::take(pool).await?;
    let rows = sqlx::query(AssertSqlSafe(format!(
        "WITH newest AS ({NEWEST}),
         listed AS (
             SELECT * FROM sekali.topics
             WHERE namespace_no = $1 AND topic > $3 AND topic >= $4 AND topic < $5
             ORDER BY topic LIMIT $6
         ),
         unfolded AS ({UNFOLDED})
         SELECT t.topic, t.unique_events + coalesce(u.unique_events, 0) AS unique_events,
             t.duplicate_events + coalesce(u.duplicate_events, 0) AS duplicate_events,
             first_of.seq AS first_seq, last_of.seq AS last_seq,
             (extract(epoch FROM last_of.received_at) * 1000000)::bigint AS last_received_at
         FROM newest n LEFT JOIN listed t ON true LEFT JOIN unfolded u ON u.topic_no = t.topic_no
         LEFT JOIN LATERAL (
             SELECT seq FROM sekali.stored_events
             WHERE namespace_no = $1 AND topic_no = t.topic_no ORDER BY seq LIMIT 1
         ) first_of ON true
         LEFT JOIN LATERAL (
             SELECT seq, received_at FROM sekali.stored_events
             WHERE namespace_no = $1 AND topic_no = t.topic_no ORDER BY seq DESC LIMIT 1
         ) last_of ON true
         ORDER BY t.topic"
    )))
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(&query.after)
    .bind(&query.prefix)
    .bind(query.end())
    .bind(query.limit as i64)
    .fetch_all(lease.connection())
    .await?;
    lease.give_back();
    rows::topics(&rows)
}
