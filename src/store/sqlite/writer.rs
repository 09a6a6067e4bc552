//! The connection that appends: the steps of Postgres' `sekali.append`, one statement each.
//!
//! Rows cross over as JSON in one parameter a statement, because every row that comes back and every statement
//! that goes costs a change of threads.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sqlx::{
    AssertSqlSafe, Connection, FromRow, Sqlite, SqliteConnection, Transaction, sqlite::SqliteQueryResult,
};
use tracing::warn;
use uuid::Uuid;

use super::{
    connect::BUSY_TIMEOUT,
    error::{is_repeat, store_error},
    file::DatabaseFile,
};
use crate::{
    event::{DedupScope, Event},
    store::{
        AppendGroup, AppendOutcome, Committed, Damage, Head, LedgerMark, StoreError, StoreWriter,
        clock::{ClockCheck, unix_micros},
        rows::{from_sql, to_sql},
    },
};

/// Bytes of events in one statement, but for a larger event alone. Each statement's rows are copied as JSON twice.
const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// A log above this is copied into the file and cut while readers are kept out for a moment. SQLite's own
/// copying never ends a log that overlapping readers use.
const LOG_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// How long cutting the log waits for readers, and how long after a vain attempt it is tried again.
const CUT_PATIENCE: Duration = Duration::from_millis(250);
const CUT_INTERVAL: Duration = Duration::from_secs(2);

pub(super) struct SqliteWriter {
    connection: SqliteConnection,
    scope: DedupScope,
    file: Arc<DatabaseFile>,
    clock_check: Arc<ClockCheck>,
    /// When the log was last found too long.
    cut_at: Option<Instant>,
}

impl SqliteWriter {
    pub(super) fn new(
        connection: SqliteConnection,
        scope: DedupScope,
        file: Arc<DatabaseFile>,
        clock_check: Arc<ClockCheck>,
    ) -> Self {
        Self { connection, scope, file, clock_check, cut_at: None }
    }

    /// Copies a log that has grown too long into the file, and cuts it. An append does not fail where that does.
    async fn cut_log(&mut self, bytes: u64) -> sqlx::Result<()> {
        if bytes <= LOG_BYTES_MAX || self.cut_at.is_some_and(|last| last.elapsed() < CUT_INTERVAL) {
            return Ok(());
        }
        self.cut_at = Some(Instant::now());
        self.set_busy_timeout(CUT_PATIENCE).await?;
        let cut = sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection).await;
        if let Err(error) = cut {
            warn!(error = &error as &dyn std::error::Error, bytes, "the log cannot be cut");
        }
        self.set_busy_timeout(BUSY_TIMEOUT).await
    }

    async fn set_busy_timeout(&mut self, timeout: Duration) -> sqlx::Result<()> {
        let set = format!("PRAGMA busy_timeout = {}", timeout.as_millis());
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut self.connection).await?;
        Ok(())
    }
}

#[async_trait]
impl StoreWriter for SqliteWriter {
    /// What was committed to a file that its name no longer leads to is not acknowledged.
    async fn append(&mut self, group: &AppendGroup<'_>) -> Result<AppendOutcome, StoreError> {
        let log_bytes = self.file.check()?;
        self.cut_log(log_bytes).await.map_err(store_error)?;
        let outcome = append(&mut self.connection, self.scope, group, &self.clock_check).await;
        let outcome = outcome.map_err(store_error)?;
        self.file.check()?;
        Ok(outcome)
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.connection.close().await.map_err(store_error)
    }
}

/// The ledger's one row, and the highest `seq` of the events.
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
    newest_seq: i64,
}

async fn append(
    connection: &mut SqliteConnection,
    scope: DedupScope,
    group: &AppendGroup<'_>,
    clock_check: &ClockCheck,
) -> sqlx::Result<AppendOutcome> {
    // A transaction that began as a reader could not become the writer while another one is.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let ledger: Ledger =
        sqlx::query_as("SELECT *, (SELECT coalesce(max(seq), 0) FROM events) AS newest_seq FROM ledger")
            .fetch_one(&mut *transaction)
            .await?;
    if let Some(append) = ledger.answer_already_given(group)? {
        return Ok(append);
    }
    ledger.check_events_are_there()?;
    clock_check.note(ledger.received_at);
    if group.is_probe() {
        try_insert(&mut transaction, &ledger).await?;
    }
    let repeats = insert_events(&mut transaction, scope, group, &ledger).await?;
    let new_topics = count_topics(&mut transaction, group, &repeats, &ledger).await?;
    let committed = ledger.after(group, new_topics, repeats)?;
    keep_ledger(&mut transaction, &ledger, &committed).await?;
    transaction.commit().await?;
    Ok(AppendOutcome::Committed(committed))
}

impl Ledger {
    /// What this group became, where that is settled before anything is written.
    fn answer_already_given(&self, group: &AppendGroup<'_>) -> sqlx::Result<Option<AppendOutcome>> {
        let head = self.head()?;
        let this_writers = self.writer_id == group.writer_id;
        if this_writers && head.mark.group_no > group.group_no {
            return Ok(Some(AppendOutcome::Overtaken));
        }
        if this_writers && head.mark.group_no == group.group_no {
            self.check_events_are_there()?;
            return Ok(Some(AppendOutcome::Committed(Committed {
                head,
                first_seq: from_sql(self.first_seq)?,
                new_topics: from_json(&self.new_topics)?,
                repeats: from_json(&self.repeats)?,
            })));
        }
        Ok(head.mark.rules_out(&group.seen).then_some(AppendOutcome::Restored(head)))
    }

    /// Repeats are answered from memory, so the events that the ledger counts must still be in their table.
    fn check_events_are_there(&self) -> Result<(), Damage> {
        if self.newest_seq == self.last_seq {
            return Ok(());
        }
        let Self { newest_seq, last_seq, .. } = self;
        Err(Damage::new(format!(
            "the ledger ends at seq {last_seq}, and the table events at {newest_seq}: another program has changed it"
        )))
    }

    fn head(&self) -> sqlx::Result<Head> {
        Ok(Head {
            mark: LedgerMark {
                commit_no: from_sql(self.commit_no)?,
                writer_id: self.writer_id,
                group_no: from_sql(self.group_no)?,
            },
            last_seq: from_sql(self.last_seq)?,
            received: from_sql(self.received)?,
            topics_total: from_sql(self.topics_total)?,
        })
    }

    /// `received_at` of the next group, in microseconds: the clock, unless that was turned back.
    fn now(&self) -> i64 {
        self.received_at.max(unix_micros())
    }

    fn after(
        &self,
        group: &AppendGroup<'_>,
        new_topics: Vec<String>,
        repeats: Vec<(usize, u64)>,
    ) -> sqlx::Result<Committed> {
        let head = self.head()?;
        Ok(Committed {
            head: Head {
                mark: group.mark(head.mark.commit_no + 1),
                last_seq: head.last_seq + (group.events.len() - repeats.len()) as u64,
                received: head.received + group.received(),
                topics_total: head.topics_total + new_topics.len() as u64,
            },
            first_seq: head.last_seq + 1,
            new_topics,
            repeats,
        })
    }
}

/// Proves that an event can be inserted, and undoes it: a commit of the ledger alone would not show a trigger that
/// drops rows.
async fn try_insert(transaction: &mut Transaction<'_, Sqlite>, ledger: &Ledger) -> sqlx::Result<()> {
    let mut trial = transaction.begin().await?;
    let insert = "INSERT INTO events VALUES ($1, 'sekali', $2, '', 0, 'sekali', '{}', 0)";
    let event_id = format!("trial {}", Uuid::new_v4());
    let inserted = sqlx::query(insert).bind(ledger.last_seq + 1).bind(event_id).execute(&mut *trial).await?;
    expect_rows("INSERT INTO events", &inserted, 1)?;
    trial.rollback().await
}

/// Inserts the events that are new; returns those that were there, by place and `seq`.
async fn insert_events(
    transaction: &mut Transaction<'_, Sqlite>,
    scope: DedupScope,
    group: &AppendGroup<'_>,
    ledger: &Ledger,
) -> sqlx::Result<Vec<(usize, u64)>> {
    let received_at = ledger.now();
    let mut next_seq = ledger.last_seq + 1;
    let mut repeats = Vec::new();
    let mut first_place = 0;
    for events in chunks(group.events) {
        let rows = Rows { scope, events, next_seq, received_at };
        let repeated = rows.insert_new(transaction).await?;
        next_seq += (events.len() - repeated.len()) as i64;
        repeats.extend(repeated.into_iter().map(|(place, seq)| (first_place + place, seq)));
        first_place += events.len();
    }
    Ok(repeats)
}

/// Cuts a group where the text of a statement would outgrow [`STATEMENT_BYTES_MAX`].
fn chunks<'a, 'e>(events: &'a [&'e Event]) -> impl Iterator<Item = &'a [&'e Event]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |event: &&&Event| {
            bytes +=
                event.topic().len() + event.event_id().len() + event.source().len() + event.payload().len();
            bytes <= STATEMENT_BYTES_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (chunk, others) = rest.split_at(count);
        rest = others;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Events for one statement. No two of a group are the same one, so those of earlier statements are no repeats.
#[derive(Clone, Copy)]
struct Rows<'a> {
    scope: DedupScope,
    events: &'a [&'a Event],
    /// The `seq` of the first.
    next_seq: i64,
    received_at: i64,
}

impl Rows<'_> {
    /// Inserts those that are new; returns the others, by place and `seq`.
    async fn insert_new(self, transaction: &mut Transaction<'_, Sqlite>) -> sqlx::Result<Vec<(usize, u64)>> {
        match self.insert(transaction).await {
            // The statement alone is undone; the transaction goes on.
            Err(error) if is_repeat(&error) => {}
            inserted => return inserted.map(|()| Vec::new()),
        }
        let repeats = find_repeats(transaction, self.scope, self.events).await?;
        let new = without(self.events, &repeats);
        Rows { events: &new, ..self }.insert(transaction).await?;
        Ok(repeats)
    }

    async fn insert(self, transaction: &mut Transaction<'_, Sqlite>) -> sqlx::Result<()> {
        let inserted = sqlx::query(
            "INSERT INTO events (seq, topic, event_id, scope_topic, timestamp, source, payload, received_at)
             SELECT $1 + key, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, $2
             FROM json_each($3)",
        )
        .bind(self.next_seq)
        .bind(self.received_at)
        .bind(self.to_json()?)
        .execute(&mut **transaction)
        .await?;
        expect_rows("INSERT INTO events", &inserted, self.events.len())
    }

    fn to_json(self) -> sqlx::Result<String> {
        let rows: Vec<_> = self
            .events
            .iter()
            .map(|event| {
                let key_topic = self.scope.key_topic(event.topic());
                let micros = event.timestamp().unix_micros();
                (
                    &**event.topic(),
                    &**event.event_id(),
                    key_topic,
                    micros,
                    &**event.source(),
                    &**event.payload(),
                )
            })
            .collect();
        to_json(&rows)
    }
}

fn without<'a>(events: &[&'a Event], repeats: &[(usize, u64)]) -> Vec<&'a Event> {
    let mut repeated = repeats.iter().map(|(place, _)| *place).peekable();
    let is_new = |place: &usize| repeated.next_if_eq(place).is_none();
    (0..events.len()).filter(is_new).map(|place| events[place]).collect()
}

/// Nothing may be acknowledged that a trigger or another program kept from the tables.
fn expect_rows(statement: &str, result: &SqliteQueryResult, expected: usize) -> sqlx::Result<()> {
    let changed = result.rows_affected();
    if changed == expected as u64 {
        return Ok(());
    }
    Err(Damage::new(format!("{statement} changed {changed} rows, and not {expected}: is there a trigger?"))
        .into())
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
    found.into_iter().map(|(place, seq)| Ok((place as usize, from_sql(seq)?))).collect()
}

/// Adds the group's counts to its topics; returns those that are new, in order.
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
    let inserted = sqlx::query(
        "INSERT INTO topics (topic, topic_no, unique_events, duplicate_events)
         SELECT value, $1 + key, 0, 0 FROM json_each($2)",
    )
    .bind(ledger.topics_total + 1)
    .bind(to_json(&new_topics)?)
    .execute(&mut **transaction)
    .await?;
    expect_rows("INSERT INTO topics", &inserted, new_topics.len())?;
    let counts: Vec<(&str, u64, u64)> = group
        .counts_after(repeats)
        .iter()
        .map(|count| (count.topic, count.new_events, count.duplicates))
        .collect();
    let updated = sqlx::query(
        "UPDATE topics SET unique_events = unique_events + added.unique_count,
             duplicate_events = duplicate_events + added.duplicate_count
         FROM (SELECT value ->> 0 AS topic, value ->> 1 AS unique_count, value ->> 2 AS duplicate_count
               FROM json_each($1)) AS added
         WHERE topics.topic = added.topic",
    )
    .bind(to_json(&counts)?)
    .execute(&mut **transaction)
    .await?;
    expect_rows("UPDATE topics", &updated, counts.len())?;
    Ok(new_topics)
}

/// Moves the ledger on, if the table of events has just what was inserted.
async fn keep_ledger(
    transaction: &mut Transaction<'_, Sqlite>,
    ledger: &Ledger,
    committed: &Committed,
) -> sqlx::Result<()> {
    let updated = sqlx::query(
        "UPDATE ledger SET commit_no = $1, last_seq = $2, received = $3, topics_total = $4, received_at = $5,
             writer_id = $6, group_no = $7, first_seq = $8, new_topics = $9, repeats = $10
         WHERE (SELECT count(*) FROM events WHERE seq > $11) = $2 - $11",
    )
    .bind(to_sql(committed.head.mark.commit_no))
    .bind(to_sql(committed.head.last_seq))
    .bind(to_sql(committed.head.received))
    .bind(to_sql(committed.head.topics_total))
    .bind(ledger.now())
    .bind(committed.head.mark.writer_id)
    .bind(to_sql(committed.head.mark.group_no))
    .bind(to_sql(committed.first_seq))
    .bind(to_json(&committed.new_topics)?)
    .bind(to_json(&committed.repeats)?)
    .bind(ledger.last_seq)
    .execute(&mut **transaction)
    .await?;
    if updated.rows_affected() == 1 {
        return Ok(());
    }
    Err(Damage::new("events that were just inserted are not in their table: is there a trigger?").into())
}

fn to_json(value: &impl serde::Serialize) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> sqlx::Result<T> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
