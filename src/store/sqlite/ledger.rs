//! A ledger's row: it tells whether a group is stored already, and what the next commit is.

use sqlx::{FromRow, Sqlite, Transaction};
use uuid::Uuid;

use super::{
    clock::unix_micros,
    insert::rows_are_gone,
    json::{from_json, to_json},
};
use crate::store::{
    AppendGroup, AppendOutcome, Committed, Damage, Head, LedgerKey, LedgerMark,
    rows::{from_sql, to_sql},
};

/// Places of the events of one namespace in their table: `seq` 0 stands at its number times this.
const PLACES: i64 = 1 << 40;

/// The place of the event with this `seq` in the table of events.
pub(super) fn place(namespace_no: i32, seq: i64) -> i64 {
    i64::from(namespace_no) * PLACES + seq.min(PLACES - 1)
}

/// A ledger's row, and what its tables hold.
#[derive(FromRow)]
pub(super) struct Ledger {
    namespace_no: i32,
    commit_no: i64,
    last_seq: i64,
    received: i64,
    topics_total: i64,
    received_at: i64,
    writer_id: Uuid,
    group_no: i64,
    first_seq: i64,
    repeats: String,
    newest_seq: i64,
    has_identities: bool,
}

impl Ledger {
    /// `None` where the number belongs to another ledger by now, or to none.
    pub(super) async fn read(
        transaction: &mut Transaction<'_, Sqlite>,
        key: LedgerKey,
    ) -> sqlx::Result<Option<Self>> {
        sqlx::query_as(
            "SELECT *,
                 (SELECT coalesce(max(place) - $3, 0) FROM stored_events WHERE place > $3 AND place < $4) AS newest_seq,
                 EXISTS (SELECT 1 FROM identities WHERE namespace_no = $1) AS has_identities
             FROM ledgers WHERE namespace_no = $1 AND ledger_id = $2",
        )
        .bind(key.namespace_no)
        .bind(key.ledger_id)
        .bind(place(key.namespace_no, 0))
        .bind(place(key.namespace_no + 1, 0))
        .fetch_optional(&mut **transaction)
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
                repeats: from_json(&self.repeats)?,
            })));
        }
        Ok(head.mark.rules_out(&group.seen).then_some(AppendOutcome::Restored(head)))
    }

    /// Repeats are answered from memory, so the events that the ledger counts must still be in their table.
    pub(super) fn check_events_are_there(&self) -> Result<(), Damage> {
        let Self { newest_seq, last_seq, .. } = self;
        if newest_seq == last_seq && (self.has_identities || *last_seq == 0) {
            return Ok(());
        }
        Err(Damage::new(format!(
            "the ledger ends at seq {last_seq}, and its events at {newest_seq}, or it has no identities: another program has changed it"
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

    /// The number of its namespace.
    pub(super) fn namespace_no(&self) -> i32 {
        self.namespace_no
    }

    /// Topics used so far; also the number of the last one.
    pub(super) fn topics_total(&self) -> i64 {
        self.topics_total
    }

    /// `received_at` of the next group, in microseconds: the clock, unless that was turned back.
    pub(super) fn now(&self) -> i64 {
        self.received_at.max(unix_micros())
    }

    pub(super) fn after(
        &self,
        group: &AppendGroup<'_>,
        topics_total: i64,
        repeats: Vec<(usize, u64)>,
    ) -> sqlx::Result<Committed> {
        let head = self.head()?;
        Ok(Committed {
            head: Head {
                mark: group.mark(head.mark.commit_no + 1),
                last_seq: head.last_seq + (group.events.len() - repeats.len()) as u64,
                received: head.received + group.received(),
                topics_total: from_sql(topics_total)?,
            },
            first_seq: head.last_seq + 1,
            repeats,
        })
    }
}

/// Moves the ledger on, if the table of events has just what was inserted, and the group's last identity is there.
pub(super) async fn keep_ledger(
    transaction: &mut Transaction<'_, Sqlite>,
    group: &AppendGroup<'_>,
    ledger: &Ledger,
    committed: &Committed,
) -> sqlx::Result<()> {
    let updated = sqlx::query(
        "UPDATE ledgers SET commit_no = $1, last_seq = $2, received = $3, topics_total = $4, received_at = $5,
             writer_id = $6, group_no = $7, first_seq = $8, repeats = $9
         WHERE namespace_no = $10
             AND (SELECT count(*) FROM stored_events WHERE place > $11 AND place < $12) = $2 - $13
             AND ($14 IS NULL OR EXISTS (SELECT 1 FROM identities WHERE namespace_no = $10 AND digest = $14))",
    )
    .bind(to_sql(committed.head.mark.commit_no))
    .bind(to_sql(committed.head.last_seq))
    .bind(to_sql(committed.head.received))
    .bind(to_sql(committed.head.topics_total))
    .bind(ledger.now())
    .bind(committed.head.mark.writer_id)
    .bind(to_sql(committed.head.mark.group_no))
    .bind(to_sql(committed.first_seq))
    .bind(to_json(&committed.repeats)?)
    .bind(ledger.namespace_no)
    .bind(place(ledger.namespace_no, ledger.last_seq))
    .bind(place(ledger.namespace_no + 1, 0))
    .bind(ledger.last_seq)
    .bind(group.digests.last().map(|digest| digest.to_uuid()))
    .execute(&mut **transaction)
    .await?;
    if updated.rows_affected() == 1 {
        return Ok(());
    }
    Err(rows_are_gone().into())
}
