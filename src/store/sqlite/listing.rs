//! The list of topics.

use sqlx::SqlitePool;

use super::ledger::place;
use crate::store::{LedgerRecord, TopicInfo, TopicQuery, rows};

pub(super) async fn topics(
    pool: &SqlitePool,
    ledger: &LedgerRecord,
    query: &TopicQuery,
) -> sqlx::Result<Option<Vec<TopicInfo>>> {
    // An index holds the place behind its columns, so that the least and the greatest one of a topic are look-ups.
    let rows = sqlx::query(
        "SELECT topic, unique_events, duplicate_events, first_place - $7 AS first_seq, last_place - $7 AS last_seq,
             (SELECT received_at FROM stored_events WHERE place = last_place) AS last_received_at
         FROM ledgers LEFT JOIN (
             SELECT *,
                 (SELECT min(place) FROM stored_events
                  WHERE namespace_no = $1 AND topic_no = listed.topic_no) AS first_place,
                 (SELECT max(place) FROM stored_events
                  WHERE namespace_no = $1 AND topic_no = listed.topic_no) AS last_place
             FROM (
                 SELECT * FROM topics WHERE namespace_no = $1 AND topic > $3 AND topic >= $4 AND topic < $5
                 ORDER BY topic LIMIT $6
             ) AS listed
         ) ON true
         WHERE ledgers.namespace_no = $1 AND ledgers.ledger_id = $2
         ORDER BY topic",
    )
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(&query.after)
    .bind(&query.prefix)
    .bind(query.end())
    .bind(query.limit as i64)
    .bind(place(ledger.key.namespace_no, 0))
    .fetch_all(pool)
    .await?;
    rows::topics(&rows)
}
