//! The next events of a subscription.

use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use super::{
    error::store_error,
    json::{from_json, to_json},
    ledger::place,
};
use crate::store::{
    Damage, LedgerRecord, PartitionBy, StoreError, StoredEvent,
    progress::{Found, Search, missing_event},
    rows::to_sql,
};

/// The first events that match, oldest first. They come as one row: each row costs a switch of threads.
pub(super) async fn search(
    connection: &mut SqliteConnection,
    namespace_no: i32,
    search: &Search<'_>,
) -> sqlx::Result<Vec<Found>> {
    let statement = sqlx::query_scalar(AssertSqlSafe(search_sql(search)))
        .bind(namespace_no)
        .bind(place(namespace_no, to_sql(search.after)))
        .bind(place(namespace_no, to_sql(search.through)))
        .bind(search.limit as i64);
    let statement = match search.topics {
        all if all.is_all() => statement,
        topics if topics.are_looked_up() => statement.bind(to_json(&topics.names())?),
        topics => statement.bind(to_json(&topics.names())?).bind(to_json(&topics.prefixes())?),
    };
    let json: String = statement.fetch_one(connection).await?;
    let rows: Vec<(u64, u64, Option<String>)> = from_json(&json)?;
    Ok(rows.into_iter().map(|(seq, bytes, key)| Found { seq, bytes, key }).collect())
}

/// What a search needs to know of an event. A payload among it would be read and copied.
const COLUMNS: &str = "place, seq, stored_events.topic_no AS topic_no, source, \
                       octet_length(payload) + octet_length(event_id || source) AS bytes";

fn search_sql(search: &Search<'_>) -> String {
    let key = match search.key {
        None => "NULL",
        Some(PartitionBy::Source) => "source",
        Some(PartitionBy::Topic) => {
            "(SELECT topic FROM topics WHERE namespace_no = $1 AND topic_no = found.topic_no)"
        }
    };
    let found = if search.topics.is_all() {
        "SELECT {COLUMNS} FROM stored_events WHERE place > $2 AND place <= $3 ORDER BY place LIMIT $4"
    } else if search.topics.are_looked_up() {
        // A sub-select for each topic, whose places json_each takes apart, stands for a lateral join.
        "SELECT {COLUMNS} FROM (
             SELECT chosen.value AS chosen_place
             FROM json_each($5) AS given CROSS JOIN topics CROSS JOIN json_each((
                 SELECT json_group_array(place) FROM (
                     SELECT place FROM stored_events
                     WHERE namespace_no = $1 AND topic_no = topics.topic_no AND place > $2 AND place <= $3
                     ORDER BY place LIMIT $4
                 )
             )) AS chosen
             WHERE topics.namespace_no = $1 AND topics.topic = given.value
             ORDER BY chosen.value LIMIT $4
         ) CROSS JOIN stored_events ON place = chosen_place"
    } else {
        "SELECT {COLUMNS} FROM stored_events
         CROSS JOIN topics ON topics.namespace_no = $1 AND topics.topic_no = stored_events.topic_no
         WHERE place > $2 AND place <= $3 AND (
             topic IN (SELECT value FROM json_each($5))
             OR EXISTS (SELECT 1 FROM json_each($6) WHERE substr(topic, 1, length(value)) = value))
         ORDER BY place LIMIT $4"
    };
    let found = found.replace("{COLUMNS}", COLUMNS);
    format!(
        "SELECT json_group_array(json_array(seq, bytes, {key}))
         FROM (SELECT * FROM ({found}) ORDER BY place) AS found"
    )
}

/// The events with these `seq`, oldest first.
pub(super) async fn events(
    pool: &SqlitePool,
    ledger: &LedgerRecord,
    seqs: &[u64],
) -> Result<Vec<StoredEvent>, StoreError> {
    if seqs.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<i64> = seqs.iter().map(|seq| place(ledger.key.namespace_no, to_sql(*seq))).collect();
    let mut events: Vec<StoredEvent> = sqlx::query_as(
        "SELECT stored_events.*, topic FROM json_each($3) AS given
         CROSS JOIN stored_events ON place = given.value
         CROSS JOIN topics ON topics.namespace_no = $1 AND topics.topic_no = stored_events.topic_no
         WHERE EXISTS (SELECT 1 FROM ledgers WHERE namespace_no = $1 AND ledger_id = $2)",
    )
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(to_json(&places).map_err(store_error)?)
    .fetch_all(pool)
    .await
    .map_err(store_error)?;
    // For an ORDER BY, SQLite would copy each payload.
    events.sort_unstable_by_key(|event| event.seq);
    match missing_event(&events, seqs) {
        _ if events.is_empty() => Err(StoreError::Gone),
        Some(seq) => Err(StoreError::Damaged(Damage::new(format!("the event with seq {seq} is missing")))),
        None => Ok(events),
    }
}
