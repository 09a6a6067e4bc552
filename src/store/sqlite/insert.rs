//! Inserts a group's identities, which judge what is new, and then its new events.

use sqlx::{Connection, Sqlite, Transaction, sqlite::SqliteQueryResult};
use uuid::Uuid;

use super::{
    error::is_repeat,
    json::to_json,
    ledger::{Ledger, place},
};
use crate::{
    event::{Digest, Event},
    store::{Damage, rows::from_sql},
};

/// Bytes of events in one statement, but for a larger event alone. Each statement's rows are copied as JSON twice.
const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// Inserts the identities that are new, with the next `seq` each; returns those that were there, by place and `seq`.
pub(super) async fn insert_identities(
    transaction: &mut Transaction<'_, Sqlite>,
    digests: &[Digest],
    ledger: &Ledger,
) -> sqlx::Result<Vec<(usize, u64)>> {
    match insert_digests(transaction, digests, ledger).await {
        // SQLite undoes the statement alone; the transaction goes on.
        Err(error) if is_repeat(&error) => {}
        inserted => return inserted.map(|()| Vec::new()),
    }
    let repeats = find_repeats(transaction, digests, ledger).await?;
    insert_digests(transaction, &without(digests, &repeats), ledger).await?;
    Ok(repeats)
}

async fn insert_digests(
    transaction: &mut Transaction<'_, Sqlite>,
    digests: &[Digest],
    ledger: &Ledger,
) -> sqlx::Result<()> {
    let insert = match digests {
        [] => return Ok(()),
        [digest] => sqlx::query("INSERT INTO identities (namespace_no, digest, seq) VALUES ($1, $3, $2)")
            .bind(ledger.namespace_no())
            .bind(ledger.next_seq())
            .bind(digest.to_uuid()),
        _ => sqlx::query(
            "INSERT INTO identities (namespace_no, digest, seq)
             SELECT $1, unhex(value), $2 + key FROM json_each($3)",
        )
        .bind(ledger.namespace_no())
        .bind(ledger.next_seq())
        .bind(hex_list(digests)),
    };
    let inserted = insert.execute(&mut **transaction).await?;
    expect_rows("INSERT INTO identities", &inserted, digests.len())
}

/// As a JSON array of hexadecimal strings.
fn hex_list(digests: &[Digest]) -> String {
    let mut list = String::with_capacity(digests.len() * 35 + 2);
    let mut buffer = Uuid::encode_buffer();
    list.push('[');
    for (place, digest) in digests.iter().enumerate() {
        list.push_str(if place == 0 { "\"" } else { ",\"" });
        list.push_str(digest.to_uuid().simple().encode_lower(&mut buffer));
        list.push('"');
    }
    list.push(']');
    list
}

async fn find_repeats(
    transaction: &mut Transaction<'_, Sqlite>,
    digests: &[Digest],
    ledger: &Ledger,
) -> sqlx::Result<Vec<(usize, u64)>> {
    let found: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT given.key, identities.seq FROM json_each($2) AS given
         CROSS JOIN identities ON namespace_no = $1 AND digest = unhex(given.value)
         ORDER BY given.key",
    )
    .bind(ledger.namespace_no())
    .bind(hex_list(digests))
    .fetch_all(&mut **transaction)
    .await?;
    found.into_iter().map(|(place, seq)| Ok((place as usize, from_sql(seq)?))).collect()
}

/// Those of `items` that are not at the places of `repeats`.
pub(super) fn without<T: Copy>(items: &[T], repeats: &[(usize, u64)]) -> Vec<T> {
    let mut repeated = repeats.iter().map(|(place, _)| *place).peekable();
    let is_new = |place: &usize| repeated.next_if_eq(place).is_none();
    (0..items.len()).filter(is_new).map(|place| items[place]).collect()
}

/// Inserts events that are new, each with the number of its topic.
pub(super) async fn insert_events(
    transaction: &mut Transaction<'_, Sqlite>,
    events: &[(i64, &Event)],
    ledger: &Ledger,
) -> sqlx::Result<()> {
    let mut next_place = place(ledger.namespace_no(), ledger.next_seq());
    for chunk in chunks(events) {
        let inserted = match chunk {
            [event] => insert_one(transaction, event, next_place, ledger.now()).await?,
            _ => insert_many(transaction, chunk, next_place, ledger.now()).await?,
        };
        expect_rows("INSERT INTO stored_events", &inserted, chunk.len())?;
        next_place += chunk.len() as i64;
    }
    Ok(())
}

/// Cuts a group where the text of a statement would outgrow [`STATEMENT_BYTES_MAX`].
fn chunks<'a, 'e>(events: &'a [(i64, &'e Event)]) -> impl Iterator<Item = &'a [(i64, &'e Event)]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |(_, event): &&(i64, &Event)| {
            bytes += event.bytes();
            bytes <= STATEMENT_BYTES_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (chunk, others) = rest.split_at(count);
        rest = others;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// A payload alone may be as large as a body: it is not copied into JSON.
async fn insert_one(
    transaction: &mut Transaction<'_, Sqlite>,
    (topic_no, event): &(i64, &Event),
    place: i64,
    received_at: i64,
) -> sqlx::Result<SqliteQueryResult> {
    sqlx::query(
        "INSERT INTO stored_events (place, topic_no, received_at, timestamp, event_id, source, payload)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(place)
    .bind(topic_no)
    .bind(received_at)
    .bind(event.timestamp().unix_micros())
    .bind(&**event.event_id())
    .bind(&**event.source())
    .bind(&**event.payload())
    .execute(&mut **transaction)
    .await
}

async fn insert_many(
    transaction: &mut Transaction<'_, Sqlite>,
    events: &[(i64, &Event)],
    first_place: i64,
    received_at: i64,
) -> sqlx::Result<SqliteQueryResult> {
    let rows: Vec<_> = events
        .iter()
        .map(|(topic_no, event)| {
            let micros = event.timestamp().unix_micros();
            (*topic_no, micros, &**event.event_id(), &**event.source(), &**event.payload())
        })
        .collect();
    sqlx::query(
        "INSERT INTO stored_events (place, topic_no, received_at, timestamp, event_id, source, payload)
         SELECT $1 + key, value ->> 0, $2, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each($3)",
    )
    .bind(first_place)
    .bind(received_at)
    .bind(to_json(&rows)?)
    .execute(&mut **transaction)
    .await
}

/// Proves that an event can be inserted, and undoes it: a commit of the ledger alone would not show a trigger that
/// drops rows.
pub(super) async fn try_insert(
    transaction: &mut Transaction<'_, Sqlite>,
    ledger: &Ledger,
) -> sqlx::Result<()> {
    let mut trial = transaction.begin().await?;
    let digest = Digest::from_u128(Uuid::new_v4().as_u128());
    insert_digests(&mut trial, &[digest], ledger).await?;
    let insert =
        "INSERT INTO stored_events (place, topic_no, received_at, timestamp, event_id, source, payload)
         VALUES ($1, 0, 0, 0, 'sekali probe', 'sekali', '{}')";
    let place = place(ledger.namespace_no(), ledger.next_seq());
    let inserted = sqlx::query(insert).bind(place).execute(&mut *trial).await?;
    expect_rows("INSERT INTO stored_events", &inserted, 1)?;
    let are_there: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM stored_events WHERE place = $1)
             AND EXISTS (SELECT 1 FROM identities WHERE namespace_no = $2 AND digest = $3)",
    )
    .bind(place)
    .bind(ledger.namespace_no())
    .bind(digest.to_uuid())
    .fetch_one(&mut *trial)
    .await?;
    if !are_there {
        return Err(rows_are_gone().into());
    }
    trial.rollback().await
}

/// A trigger removed what was inserted.
pub(super) fn rows_are_gone() -> Damage {
    Damage::new("rows that were just inserted are not in their tables: is there a trigger?")
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
