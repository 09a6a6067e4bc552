//! The next events of a subscription.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::{error::store_error, lease::Lease, reads::EVENT_COLUMNS};
use crate::store::{
    Damage, LedgerRecord, PartitionBy, StoreError, StoredEvent,
    progress::{Found, Search, missing_event},
    rows::{from_sql, to_sql},
};

/// The first events that match, oldest first.
pub(super) async fn search(
    connection: &mut PgConnection,
    namespace_no: i32,
    search: &Search<'_>,
) -> sqlx::Result<Vec<Found>> {
    let statement = sqlx::query_as(AssertSqlSafe(search_sql(search)))
        .bind(namespace_no)
        .bind(to_sql(search.after))
        .bind(to_sql(search.through))
        .bind(search.limit as i64);
    let statement = match search.topics {
        all if all.is_all() => statement,
        topics if topics.are_looked_up() => statement.bind(topics.names()),
        topics => statement.bind(topics.names()).bind(topics.prefixes()),
    };
    let rows: Vec<(i64, i64, Option<String>)> = statement.fetch_all(connection).await?;
    let found = |(seq, bytes, key)| Ok(Found { seq: from_sql(seq)?, bytes: from_sql(bytes)?, key });
    rows.into_iter().map(found).collect()
}

fn search_sql(search: &Search<'_>) -> String {
    let key = match search.key {
        None => "NULL::text",
        Some(PartitionBy::Source) => "e.source",
        Some(PartitionBy::Topic) => {
            "(SELECT topic FROM sekali.topics WHERE namespace_no = $1 AND topic_no = e.topic_no)"
        }
    };
    let candidates = if search.topics.is_all() {
        "SELECT * FROM sekali.stored_events WHERE namespace_no = $1 AND seq > $2 AND seq <= $3
         ORDER BY seq LIMIT $4"
    } else if search.topics.are_looked_up() {
        // The planner would read all events for these.
        "SELECT e.* FROM (
             SELECT seq FROM sekali.topics t CROSS JOIN LATERAL (
                 SELECT seq FROM sekali.stored_events
                 WHERE namespace_no = $1 AND topic_no = t.topic_no AND seq > $2 AND seq <= $3
                 ORDER BY seq LIMIT $4
             ) of_topic
             WHERE t.namespace_no = $1 AND t.topic = ANY ($5::text[])
             ORDER BY seq LIMIT $4
         ) chosen
         JOIN sekali.stored_events e ON e.namespace_no = $1 AND e.seq = chosen.seq"
    } else {
        // The limit keeps the planner from joining all topics: each event's own is looked up.
        "SELECT e.* FROM sekali.stored_events e CROSS JOIN LATERAL (
             SELECT topic FROM sekali.topics WHERE namespace_no = $1 AND topic_no = e.topic_no LIMIT 1
         ) named
         WHERE e.namespace_no = $1 AND e.seq > $2 AND e.seq <= $3 AND (
             topic = ANY ($5::text[])
             OR EXISTS (SELECT FROM unnest($6::text[]) AS beginnings (beginning) WHERE starts_with(topic, beginning)))
         ORDER BY e.seq LIMIT $4"
    };
    format!(
        "SELECT e.seq, (octet_length(e.payload) + octet_length(e.event_id) + octet_length(e.source))::bigint, {key}
         FROM ({candidates}) e ORDER BY e.seq"
    )
}

/// The events with these `seq`, oldest first. Each event and its topic are looked up: the planner would else read all events
/// until the server has counted the rows of a table that grew.
pub(super) async fn events(
    pool: &PgPool,
    ledger: &LedgerRecord,
    seqs: &[u64],
) -> Result<Vec<StoredEvent>, StoreError> {
    if seqs.is_empty() {
        return Ok(Vec::new());
    }
    let mut lease = Lease::take(pool).await.map_err(store_error)?;
    let numbers: Vec<i64> = seqs.iter().map(|seq| to_sql(*seq)).collect();
    let events: Vec<StoredEvent> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {EVENT_COLUMNS} FROM (
             SELECT e.*, named.topic FROM unnest($3::bigint[]) AS asked (seq) CROSS JOIN LATERAL (
                 SELECT * FROM sekali.stored_events WHERE namespace_no = $1 AND seq = asked.seq LIMIT 1
             ) e CROSS JOIN LATERAL (
                 SELECT topic FROM sekali.topics WHERE namespace_no = $1 AND topic_no = e.topic_no LIMIT 1
             ) named
         ) found
         WHERE EXISTS (SELECT FROM sekali.ledgers WHERE namespace_no = $1 AND ledger_id = $2)
         ORDER BY seq"
    )))
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(numbers)
    .fetch_all(lease.connection())
    .await
    .map_err(store_error)?;
    lease.give_back();
    match missing_event(&events, seqs) {
        _ if events.is_empty() => Err(StoreError::Gone),
        Some(seq) => Err(StoreError::Damaged(Damage::new(format!("the event with seq {seq} is missing")))),
        None => Ok(events),
    }
}
