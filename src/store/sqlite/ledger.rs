//! The ledger's one row: it tells whether a group is stored already, and what the next commit is.

use sqlx::{FromRow, Sqlite, Transaction};
use uuid::Uuid;

use super::{
    clock::unix_micros,
    json::{from_json, to_json},
};
use crate::store::{
    AppendGroup, AppendOutcome, Committed, Damage, Head, LedgerMark,
    rows::{from_sql, to_sql},
};

/// The ledger's one row, and the highest `seq` of the events.
#[derive(FromRow)]
pub(super) struct Ledger {
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

impl Ledger {
    pub(super) async fn read(transaction: &mut Transaction<'_, Sqlite>) -> sqlx::Result<Self> {
        sqlx::query_as("SELECT *, (SELECT coalesce(max(seq), 0) FROM events) AS newest_seq FROM ledger")
            .fetch_one(&mut **transaction)
            .await
    }

    /// The outcome of this group, if the ledger tells it without a write.
    pub(super) fn answer_already_given(
        &self,
        group: &AppendGroup<'_>,
    ) -> sqlx::Result<Option<AppendOutcome>> {
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
    pub(super) fn check_events_are_there(&self) -> Result<(), Damage> {
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

    /// `received_at` of the newest group, in microseconds since 1970.
    pub(super) fn received_at(&self) -> i64 {
        self.received_at
    }

    /// The `seq` of the next event.
    pub(super) fn next_seq(&self) -> i64 {
        self.last_seq + 1
    }

    /// The number of the next topic.
    pub(super) fn next_topic_no(&self) -> i64 {
        self.topics_total + 1
    }

    /// `received_at` of the next group, in microseconds: the clock, unless that was turned back.
    pub(super) fn now(&self) -> i64 {
        self.received_at.max(unix_micros())
    }

    pub(super) fn after(
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

/// Moves the ledger on, if the table of events has just what was inserted.
pub(super) async fn keep_ledger(
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
