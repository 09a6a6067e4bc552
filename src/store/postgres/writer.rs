//! The connection that appends: one round trip a group.

use async_trait::async_trait;
use sqlx::{Connection, FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{error::store_error, session::Session};
use crate::store::{
    AppendGroup, AppendOutcome, Committed, Damage, GroupResult, Head, LedgerMark, StoreError, StoreWriter,
    rows::{from_sql, to_sql},
};

pub(super) struct PostgresWriter {
    connection: PgConnection,
}

impl PostgresWriter {
    pub(super) async fn open(session: &Session) -> sqlx::Result<Self> {
        Ok(Self { connection: session.connect().await? })
    }
}

#[async_trait]
impl StoreWriter for PostgresWriter {
    async fn append_all(&mut self, groups: &[AppendGroup<'_>]) -> Result<Vec<GroupResult>, StoreError> {
        let mut results = Vec::with_capacity(groups.len());
        for group in groups {
            let answer = call_append(&mut self.connection, group).await.map_err(store_error)?;
            results.push(answer.into_outcome(group).map_err(store_error));
        }
        Ok(results)
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.connection.close().await.map_err(store_error)
    }
}

/// The row that `sekali.append` returns; what is absent belongs to another status, or to an empty ledger.
#[derive(FromRow)]
pub(super) struct Answer {
    o_status: String,
    o_commit_no: Option<i64>,
    o_writer_id: Option<Uuid>,
    o_group_no: Option<i64>,
    o_first_seq: Option<i64>,
    o_last_seq: Option<i64>,
    o_received: Option<i64>,
    o_topics_total: Option<i64>,
    o_repeat_ordinals: Option<Vec<i64>>,
    o_repeat_seqs: Option<Vec<i64>>,
}

/// On a Citus cluster the first argument, `namespace_no`, tells which node the call is for.
const CALL_APPEND: &str =
    "SELECT * FROM sekali.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
    $16, $17, $18)";

pub(super) async fn call_append(
    connection: &mut PgConnection,
    group: &AppendGroup<'_>,
) -> sqlx::Result<Answer> {
    let events = group.events;
    let digests: Vec<Uuid> = group.digests.iter().map(|digest| digest.to_uuid()).collect();
    // Postgres counts places from 1.
    let topic_places: Vec<i32> = group.topic_places().into_iter().map(|place| place as i32 + 1).collect();
    let event_ids: Vec<&str> = events.iter().map(|event| &**event.event_id()).collect();
    let timestamps: Vec<OffsetDateTime> = events.iter().map(|event| event.timestamp().into()).collect();
    let sources: Vec<&str> = events.iter().map(|event| &**event.source()).collect();
    let payloads: Vec<&str> = events.iter().map(|event| &**event.payload()).collect();
    let count_topics: Vec<&str> = group.counts.iter().map(|count| count.topic).collect();
    let count_new: Vec<i64> = group.counts.iter().map(|count| to_sql(count.new_events)).collect();
    let count_duplicates: Vec<i64> = group.counts.iter().map(|count| to_sql(count.duplicates)).collect();

    sqlx::query_as(CALL_APPEND)
        .bind(group.ledger.namespace_no)
        .bind(group.ledger.ledger_id)
        .bind(group.writer_id)
        .bind(to_sql(group.group_no))
        .bind(to_sql(group.seen.commit_no))
        .bind(group.seen.writer_id)
        .bind(to_sql(group.seen.group_no))
        .bind(digests)
        .bind(topic_places)
        .bind(event_ids)
        .bind(timestamps)
        .bind(sources)
        .bind(payloads)
        .bind(count_topics)
        .bind(count_new)
        .bind(count_duplicates)
        .bind(to_sql(group.received()))
        .bind(i32::try_from(group.topics_max).unwrap_or(i32::MAX))
        .fetch_one(connection)
        .await
}

impl Answer {
    pub(super) fn into_outcome(self, group: &AppendGroup<'_>) -> sqlx::Result<AppendOutcome> {
        Ok(match self.o_status.as_str() {
            "overtaken" => AppendOutcome::Overtaken,
            "gone" => AppendOutcome::Gone,
            "topics" => AppendOutcome::TooManyTopics,
            "restored" => AppendOutcome::Restored(self.head()?),
            "committed" => AppendOutcome::Committed(self.into_committed(group)?),
            other => return Err(Damage::new(format!("sekali.append returned the status `{other}`")).into()),
        })
    }

    fn head(&self) -> sqlx::Result<Head> {
        let mark = LedgerMark {
            commit_no: from_sql(self.o_commit_no.unwrap_or_default())?,
            writer_id: self.o_writer_id.unwrap_or_default(),
            group_no: from_sql(self.o_group_no.unwrap_or_default())?,
        };
        Ok(Head {
            mark,
            last_seq: from_sql(self.o_last_seq.unwrap_or_default())?,
            received: from_sql(self.o_received.unwrap_or_default())?,
            topics_total: from_sql(self.o_topics_total.unwrap_or_default())?,
        })
    }

    fn into_committed(self, group: &AppendGroup<'_>) -> sqlx::Result<Committed> {
        let head = self.head()?;
        let ordinals = self.o_repeat_ordinals.unwrap_or_default();
        let seqs = self.o_repeat_seqs.unwrap_or_default();
        if ordinals.len() != seqs.len() {
            return Err(Damage::new("the commit has repeats without a seq").into());
        }
        // The function counts from 1.
        let repeat = |(ordinal, seq): (i64, i64)| Ok((from_sql(ordinal - 1)? as usize, from_sql(seq)?));
        let committed = Committed {
            head,
            first_seq: from_sql(self.o_first_seq.unwrap_or_default())?,
            repeats: ordinals.into_iter().zip(seqs).map(repeat).collect::<sqlx::Result<_>>()?,
        };
        check_is_of(group, &committed)?;
        Ok(committed)
    }
}

/// What was stored must be this group, with each event either repeated or given the next `seq`.
fn check_is_of(group: &AppendGroup<'_>, committed: &Committed) -> Result<(), Damage> {
    let Committed { head, first_seq, repeats } = committed;
    let is_rising = repeats.is_sorted_by(|(one, _), (next, _)| one < next);
    let is_inside = repeats.iter().all(|(place, seq)| *place < group.events.len() && seq < first_seq);
    let new_events = group.events.len().saturating_sub(repeats.len()) as u64;
    if head.mark == group.mark(head.mark.commit_no)
        && is_rising
        && is_inside
        && first_seq.saturating_add(new_events) == head.last_seq.saturating_add(1)
    {
        return Ok(());
    }
    Err(Damage::new(format!(
        "commit {} ends at seq {}, and does not fit the group that was sent",
        head.mark.commit_no, head.last_seq
    )))
}
