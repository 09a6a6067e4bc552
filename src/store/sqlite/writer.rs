//! The connection that appends: the steps of Postgres' `sekali.append`, one statement each.
//!
//! Rows cross over as JSON in one parameter a statement, because every row that comes back and every statement
//! that goes costs a change of threads.

use std::time::SystemTime;

use async_trait::async_trait;
use sqlx::{Connection, FromRow, Sqlite, SqliteConnection, Transaction};
use uuid::Uuid;

use super::{primary_code, store_error};
use crate::{
    event::{DedupScope, Event},
    store::{
        AppendGroup, AppendOutcome, Committed, Head, LedgerMark, StoreError, StoreWriter, from_sql, to_sql,
    },
};

const SQLITE_CONSTRAINT: i32 = 19;

pub(super) struct SqliteWriter {
    connection: SqliteConnection,
    scope: DedupScope,
}

impl SqliteWriter {
    pub(super) fn new(connection: SqliteConnection, scope: DedupScope) -> Self {
        Self { connection, scope }
    }
}

#[async_trait]
impl StoreWriter for SqliteWriter {
    async fn append(&mut self, group: &AppendGroup<'_>) -> Result<AppendOutcome, StoreError> {
        append(&mut self.connection, self.scope, group).await.map_err(store_error)
    }
}

/// The ledger's one row.
#[derive(FromRow)]
struct Ledger {
    commit_no: i64,
    last_seq: i64,
    received: i64,
    topics_total: i64,
    received_at: i64,
    writer_id: Uuid,
    group_no: i64,
    first_seq: i64,
    new_topics: String,
    repeats: String,
}

async fn append(
    connection: &mut SqliteConnection,
    scope: DedupScope,
    group: &AppendGroup<'_>,
) -> sqlx::Result<AppendOutcome> {
    // A transaction that began as a reader could not become the writer while another one is.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let ledger: Ledger = sqlx::query_as("SELECT * FROM ledger").fetch_one(&mut *transaction).await?;
    if let Some(append) = ledger.answer_already_given(group)? {
        return Ok(append);
    }
    let repeats = insert_events(&mut transaction, scope, group, &ledger).await?;
    let new_topics = count_topics(&mut transaction, group, &repeats, &ledger).await?;
    let committed = ledger.after(group, new_topics, repeats);
    keep_ledger(&mut transaction, &committed, ledger.now()).await?;
    transaction.commit().await?;
    Ok(AppendOutcome::Committed(committed))
}

impl Ledger {
    /// What this group became, where that is settled before anything is written.
    fn answer_already_given(&self, group: &AppendGroup<'_>) -> sqlx::Result<Option<AppendOutcome>> {
        let this_writers = self.writer_id == group.writer_id;
        if this_writers && from_sql(self.group_no) > group.group_no {
            return Ok(Some(AppendOutcome::Overtaken));
        }
        if this_writers && from_sql(self.group_no) == group.group_no {
            return Ok(Some(AppendOutcome::Committed(Committed {
                head: self.head(),
                first_seq: from_sql(self.first_seq),
                new_topics: from_json(&self.new_topics)?,
                repeats: from_json(&self.repeats)?,
            })));
        }
        let head = self.head();
        Ok(head.mark.rules_out(&group.seen).then_some(AppendOutcome::Restored(head)))
    }

    fn head(&self) -> Head {
        Head {
            mark: LedgerMark {
                commit_no: from_sql(self.commit_no),
                writer_id: self.writer_id,
                group_no: from_sql(self.group_no),
            },
            last_seq: from_sql(self.last_seq),
            received: from_sql(self.received),
            topics_total: from_sql(self.topics_total),
        }
    }

    /// `received_at` of the next group, in microseconds: the clock, unless that was turned back.
    fn now(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.received_at.max(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    fn after(
        &self,
        group: &AppendGroup<'_>,
        new_topics: Vec<String>,
        repeats: Vec<(usize, u64)>,
    ) -> Committed {
        let head = self.head();
        Committed {
            head: Head {
                mark: group.mark(head.mark.commit_no + 1),
                last_seq: head.last_seq + (group.events.len() - repeats.len()) as u64,
                received: head.received + group.received(),
                topics_total: head.topics_total + new_topics.len() as u64,
            },
            first_seq: head.last_seq + 1,
            new_topics,
            repeats,
        }
    }
}

/// Inserts the events that are new; answers those that were there, by place and `seq`.
async fn insert_events(
    transaction: &mut Transaction<'_, Sqlite>,
    scope: DedupScope,
    group: &AppendGroup<'_>,
    ledger: &Ledger,
) -> sqlx::Result<Vec<(usize, u64)>> {
    if group.events.is_empty() {
        return Ok(Vec::new());
    }
    match insert(transaction, scope, group.events, ledger).await {
        // The statement alone is undone; the transaction goes on.
        Err(error) if is_repeat(&error) => {}
        inserted => return inserted.map(|()| Vec::new()),
    }
    let repeats = find_repeats(transaction, scope, group.events).await?;
    let new = without(group.events, &repeats);
    insert(transaction, scope, &new, ledger).await?;
    Ok(repeats)
}

fn without<'a>(events: &[&'a Event], repeats: &[(usize, u64)]) -> Vec<&'a Event> {
    let mut repeated = repeats.iter().map(|(place, _)| *place).peekable();
    let is_new = |place: &usize| repeated.next_if_eq(place).is_none();
    (0..events.len()).filter(is_new).map(|place| events[place]).collect()
}

fn is_repeat(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(SQLITE_CONSTRAINT)
        && error.as_database_error().is_some_and(|error| {
            error.is_unique_violation() && error.message().contains("events.event_id, events.scope_topic")
        })
}

async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    scope: DedupScope,
    events: &[&Event],
    ledger: &Ledger,
) -> sqlx::Result<()> {
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            let key_topic = scope.key_topic(event.topic());
            let micros = event.timestamp().unix_micros();
            (&**event.topic(), &**event.event_id(), key_topic, micros, &**event.source(), &**event.payload())
        })
        .collect();
    sqlx::query(
        "INSERT INTO events (seq, topic, event_id, scope_topic, timestamp, source, payload, received_at)
         SELECT $1 + key, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, $2
         FROM json_each($3)",
    )
    .bind(ledger.last_seq + 1)
    .bind(ledger.now())
    .bind(to_json(&rows)?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn find_repeats(
    transaction: &mut Transaction<'_, Sqlite>,
    scope: DedupScope,
    events: &[&Event],
) -> sqlx::Result<Vec<(usize, u64)>> {
    let keys: Vec<(&str, &str)> =
        events.iter().map(|event| (&**event.event_id(), scope.key_topic(event.topic()))).collect();
    let found: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT given.key, events.seq FROM json_each($1) AS given
         CROSS JOIN events ON event_id = given.value ->> 0 AND scope_topic = given.value ->> 1
         ORDER BY given.key",
    )
    .bind(to_json(&keys)?)
    .fetch_all(&mut **transaction)
    .await?;
    Ok(found.into_iter().map(|(place, seq)| (place as usize, from_sql(seq))).collect())
}

/// Adds the group's counts to its topics; answers those that are new, in order.
async fn count_topics(
    transaction: &mut Transaction<'_, Sqlite>,
    group: &AppendGroup<'_>,
    repeats: &[(usize, u64)],
    ledger: &Ledger,
) -> sqlx::Result<Vec<String>> {
    let names: Vec<&str> = group.counts.iter().map(|count| count.topic).collect();
    let new_topics: Vec<String> = sqlx::query_scalar(
        "SELECT value FROM json_each($1) AS given
         WHERE NOT EXISTS (SELECT 1 FROM topics WHERE topic = given.value) ORDER BY key",
    )
    .bind(to_json(&names)?)
    .fetch_all(&mut **transaction)
    .await?;
    sqlx::query(
        "INSERT INTO topics (topic, topic_no, unique_events, duplicate_events)
         SELECT value, $1 + key, 0, 0 FROM json_each($2)",
    )
    .bind(ledger.topics_total + 1)
    .bind(to_json(&new_topics)?)
    .execute(&mut **transaction)
    .await?;
    let counts: Vec<(&str, u64, u64)> = group
        .counts_after(repeats)
        .iter()
        .map(|count| (count.topic, count.new_events, count.duplicates))
        .collect();
    sqlx::query(
        "UPDATE topics SET unique_events = unique_events + added.unique_count,
             duplicate_events = duplicate_events + added.duplicate_count
         FROM (SELECT value ->> 0 AS topic, value ->> 1 AS unique_count, value ->> 2 AS duplicate_count
               FROM json_each($1)) AS added
         WHERE topics.topic = added.topic",
    )
    .bind(to_json(&counts)?)
    .execute(&mut **transaction)
    .await?;
    Ok(new_topics)
}

async fn keep_ledger(
    transaction: &mut Transaction<'_, Sqlite>,
    committed: &Committed,
    now: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE ledger SET commit_no = $1, last_seq = $2, received = $3, topics_total = $4, received_at = $5,
             writer_id = $6, group_no = $7, first_seq = $8, new_topics = $9, repeats = $10",
    )
    .bind(to_sql(committed.head.mark.commit_no))
    .bind(to_sql(committed.head.last_seq))
    .bind(to_sql(committed.head.received))
    .bind(to_sql(committed.head.topics_total))
    .bind(now)
    .bind(committed.head.mark.writer_id)
    .bind(to_sql(committed.head.mark.group_no))
    .bind(to_sql(committed.first_seq))
    .bind(to_json(&committed.new_topics)?)
    .bind(to_json(&committed.repeats)?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn to_json(value: &impl serde::Serialize) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> sqlx::Result<T> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
