//! Inserts a group's events, and finds those that were stored before.

use sqlx::{Connection, Sqlite, Transaction, sqlite::SqliteQueryResult};
use uuid::Uuid;

use super::{error::is_repeat, json::to_json, ledger::Ledger};
use crate::{
    event::{DedupScope, Event},
    store::{AppendGroup, Damage, rows::from_sql},
};

/// Bytes of events in one statement, but for a larger event alone. Each statement's rows are copied as JSON twice.
const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// Inserts the events that are new; returns those that were there, by place and `seq`.
pub(super) async fn insert_events(
    transaction: &mut Transaction<'_, Sqlite>,
    scope: DedupScope,
    group: &AppendGroup<'_>,
    ledger: &Ledger,
) -> sqlx::Result<Vec<(usize, u64)>> {
    let received_at = ledger.now();
    let mut next_seq = ledger.next_seq();
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
            // SQLite undoes the statement alone; the transaction goes on.
            Err(error) if is_repeat(&error) => {}
            inserted => return inserted.map(|()| Vec::new()),
        }
        let repeats = find_repeats(transaction, self.scope, self.events).await?;
        let new = without(self.events, &repeats);
        Rows { events: &new, ..self }.insert(transaction).await?;
        Ok(repeats)
    }

    async fn insert(self, transaction: &mut Transaction<'_, Sqlite>) -> sqlx::Result<()> {
        let inserted = match self.events {
            [] => return Ok(()),
            [event] => self.insert_one(event, transaction).await?,
            _ => self.insert_many(transaction).await?,
        };
        expect_rows("INSERT INTO events", &inserted, self.events.len())
    }

    /// A payload alone may be as large as a body: it is not copied into JSON.
    async fn insert_one(
        self,
        event: &Event,
        transaction: &mut Transaction<'_, Sqlite>,
    ) -> sqlx::Result<SqliteQueryResult> {
        sqlx::query(
            "INSERT INTO events (seq, topic, event_id, scope_topic, timestamp, source, payload, received_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(self.next_seq)
        .bind(&**event.topic())
        .bind(&**event.event_id())
        .bind(self.scope.key_topic(event.topic()))
        .bind(event.timestamp().unix_micros())
        .bind(&**event.source())
        .bind(&**event.payload())
        .bind(self.received_at)
        .execute(&mut **transaction)
        .await
    }

    async fn insert_many(self, transaction: &mut Transaction<'_, Sqlite>) -> sqlx::Result<SqliteQueryResult> {
        sqlx::query(
            "INSERT INTO events (seq, topic, event_id, scope_topic, timestamp, source, payload, received_at)
             SELECT $1 + key, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, $2
             FROM json_each($3)",
        )
        .bind(self.next_seq)
        .bind(self.received_at)
        .bind(self.to_json()?)
        .execute(&mut **transaction)
        .await
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

/// Proves that an event can be inserted, and undoes it: a commit of the ledger alone would not show a trigger that
/// drops rows.
pub(super) async fn try_insert(
    transaction: &mut Transaction<'_, Sqlite>,
    ledger: &Ledger,
) -> sqlx::Result<()> {
    let mut trial = transaction.begin().await?;
    let insert = "INSERT INTO events VALUES ($1, 'sekali', $2, '', 0, 'sekali', '{}', 0)";
    let event_id = format!("trial {}", Uuid::new_v4());
    let inserted = sqlx::query(insert).bind(ledger.next_seq()).bind(event_id).execute(&mut *trial).await?;
    expect_rows("INSERT INTO events", &inserted, 1)?;
    trial.rollback().await
}

/// Nothing may be acknowledged that a trigger or another program kept from the tables.
pub(super) fn expect_rows(statement: &str, result: &SqliteQueryResult, expected: usize) -> sqlx::Result<()> {
    let changed = result.rows_affected();
    if changed == expected as u64 {
        return Ok(());
    }
    Err(Damage::new(format!("{statement} changed {changed} rows, and not {expected}: is there a trigger?"))
        .into())
}
