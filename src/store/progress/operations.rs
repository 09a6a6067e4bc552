//! What is done with subscriptions, once for all engines: load under the row's lock, change, write back.

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    AckOutcome, ChangeOutcome, LeaseOutcome, Leased, NewSubscription, ParkedEvent, ParkedPage,
    ProgressEngine, ProgressSession, ProgressStore, RETRIES_MAX, Record, Retried, SUBSCRIPTIONS_MAX,
    SettingsChange, Start, SubscribeOutcome, SubscriptionInfo, SubscriptionPage, SubscriptionQuery,
    SubscriptionSettings, Verdict,
    handing_out::hand_out,
    parking::{parked_page, read_events},
    saving::save,
    shown::{leased, leases, moment, nothing, shown},
    state::{LeaseWanted, NoVerdict},
};
use crate::store::{LedgerRecord, StoreError, StoredEvent};

/// Numbers of subscriptions are below this, so that every client reads them exactly.
const NUMBER_END: u64 = 1 << 53;
/// A page of subscriptions ends where so many events were looked through to see what they have to do.
const LOOKED_THROUGH_MAX: u64 = 100_000;

#[async_trait]
impl<E: ProgressEngine> ProgressStore for E {
    async fn subscribe(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        settings: SubscriptionSettings,
    ) -> Result<SubscribeOutcome, StoreError> {
        // Looking first spares the transaction for what is there already.
        if let Some(there) = self.subscription(ledger, name).await? {
            return Ok(SubscribeOutcome::There(there));
        }
        let mut session = self.write(ledger).await?;
        let (head, now) = session.head_and_now().await?;
        if session.count(SUBSCRIPTIONS_MAX).await? >= SUBSCRIPTIONS_MAX {
            session.commit().await?;
            return Ok(SubscribeOutcome::Full);
        }
        let start = settings.start.seq(head);
        let new = NewSubscription {
            number: new_number(),
            name,
            settings: &settings,
            handed_out: vec![start; settings.places()],
        };
        let is_new = session.insert(&new).await?;
        let there = match session.load(name).await? {
            Some(record) => Some(shown(&mut *session, record, head, now).await?.0),
            None => None,
        };
        session.commit().await?;
        // The ledger may have been deleted meanwhile, and its rows removed before this one was there.
        let is_gone = matches!(self.subscription(ledger, name).await, Err(StoreError::Gone));
        match there {
            Some(_) if is_gone && is_new => {
                let mut session = self.write(ledger).await?;
                session.delete(new.number).await?;
                session.commit().await?;
                Err(StoreError::Gone)
            }
            Some(created) if is_new => Ok(SubscribeOutcome::Created(created)),
            Some(there) => Ok(SubscribeOutcome::There(there)),
            // It was created and deleted by another call.
            None => Err(StoreError::Unavailable(sqlx::Error::RowNotFound)),
        }
    }

    async fn subscription(
        &self,
        ledger: &LedgerRecord,
        name: &str,
    ) -> Result<Option<SubscriptionInfo>, StoreError> {
        let mut session = self.read(ledger).await?;
        let (head, now) = session.head_and_now().await?;
        let subscription = match session.load(name).await? {
            Some(record) => Some(shown(&mut *session, record, head, now).await?.0),
            None => None,
        };
        session.commit().await?;
        Ok(subscription)
    }

    async fn subscriptions(
        &self,
        ledger: &LedgerRecord,
        query: &SubscriptionQuery,
    ) -> Result<SubscriptionPage, StoreError> {
        let mut session = self.read(ledger).await?;
        let (head, now) = session.head_and_now().await?;
        // One more shows whether others follow.
        let records = session.list(&SubscriptionQuery { limit: query.limit + 1, ..query.clone() }).await?;
        let (mut page, mut looked_through_so_far) = (SubscriptionPage::default(), 0);
        for record in records {
            if page.subscriptions.len() == query.limit || looked_through_so_far >= LOOKED_THROUGH_MAX {
                page.more = true;
                break;
            }
            let (subscription, looked_through) = shown(&mut *session, record, head, now).await?;
            page.subscriptions.push(subscription);
            looked_through_so_far += looked_through;
        }
        session.commit().await?;
        Ok(page)
    }

    async fn change_subscription(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        change: SettingsChange,
    ) -> Result<Option<ChangeOutcome>, StoreError> {
        let Some(opened) = open(self, ledger, name).await? else { return Ok(None) };
        let Opened { mut session, mut record, head, now } = opened;
        change.apply(&mut record.settings);
        if let Some(partitions) = record.settings.partitions.map(|partitions| partitions.count)
            && record.settings.max_leases > partitions
        {
            session.commit().await?;
            return Ok(Some(ChangeOutcome::TooManyLeases { partitions }));
        }
        session.set(record.number, &record.settings).await?;
        let (changed, _) = shown(&mut *session, record, head, now).await?;
        session.commit().await?;
        Ok(Some(ChangeOutcome::Changed(changed)))
    }

    async fn unsubscribe(&self, ledger: &LedgerRecord, name: &str) -> Result<bool, StoreError> {
        let Some(Opened { mut session, record, .. }) = open(self, ledger, name).await? else {
            return Ok(false);
        };
        session.delete(record.number).await?;
        session.commit().await?;
        Ok(true)
    }

    async fn lease(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        limit: usize,
        worker: Option<String>,
    ) -> Result<Option<LeaseOutcome>, StoreError> {
        let Some(opened) = open(self, ledger, name).await? else { return Ok(None) };
        let Opened { mut session, mut record, head, now } = opened;
        let before = record.progress.clone();
        record.progress.expire(now);
        let lease = Uuid::new_v4();
        let wanted = || LeaseWanted { lease, worker: worker.clone(), limit, now };
        let (next, handed) = hand_out(&mut *session, &mut record, head, &wanted).await?;
        save(&mut *session, &before, &record, now).await?;
        session.commit().await?;
        let outcome = match handed {
            Some(handed) => leased(&record, lease, handed),
            None => nothing(&record, next, head, now),
        };
        outcome.map(Some)
    }

    async fn leased_events(
        &self,
        ledger: &LedgerRecord,
        leased: &Leased,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        read_events(self, ledger, &leased.seqs).await
    }

    async fn settle(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        lease: Uuid,
        verdict: Verdict,
    ) -> Result<Option<AckOutcome>, StoreError> {
        change_state(self, ledger, name, |record, head, now| {
            let progress = &mut record.progress;
            let settled = progress.settle(lease, verdict, now);
            let acked = progress.acked();
            Ok(match settled {
                Ok(expires_at) => {
                    AckOutcome::Done { acked, head, expires_at: expires_at.map(moment).transpose()? }
                }
                Err(NoVerdict::Fenced) => AckOutcome::Fenced { acked, head },
                Err(NoVerdict::Beyond(through)) => AckOutcome::Beyond { through },
            })
        })
        .await
    }

    async fn move_on_to(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        through: u64,
    ) -> Result<Option<AckOutcome>, StoreError> {
        change_state(self, ledger, name, |record, head, _| {
            let progress = &mut record.progress;
            if through > head.max(progress.acked()) {
                return Ok(AckOutcome::Beyond { through: head });
            }
            if progress.leases().next().is_some() {
                return Ok(AckOutcome::Leased(leases(record)?));
            }
            progress.move_on_to(through);
            Ok(AckOutcome::Done { acked: progress.acked(), head, expires_at: None })
        })
        .await
    }

    async fn seek(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        after: Start,
    ) -> Result<Option<AckOutcome>, StoreError> {
        let Some(opened) = open(self, ledger, name).await? else { return Ok(None) };
        let Opened { mut session, mut record, head, now } = opened;
        let before = record.progress.clone();
        let seq = after.seq(head);
        record.progress.seek(seq);
        let forgotten = session.forget_parked_after(record.number, seq).await?;
        record.progress.forget_parked(forgotten);
        save(&mut *session, &before, &record, now).await?;
        session.commit().await?;
        Ok(Some(AckOutcome::Done { acked: record.progress.acked(), head, expires_at: None }))
    }

    async fn parked(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        after: u64,
        limit: usize,
    ) -> Result<Option<ParkedPage>, StoreError> {
        parked_page(self, ledger, name, after, limit).await
    }

    async fn retry_parked(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        seqs: Option<&[u64]>,
    ) -> Result<Option<Retried>, StoreError> {
        let Some(opened) = open(self, ledger, name).await? else { return Ok(None) };
        let Opened { mut session, mut record, now, .. } = opened;
        let before = record.progress.clone();
        let room = record.progress.room_for_retries().min(RETRIES_MAX);
        let parked = session.parked(record.number, 0, seqs, room).await?;
        let events: Vec<ParkedEvent> = parked.into_iter().map(|row| row.event).collect();
        record.progress.retry(&events);
        let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
        session.forget_parked(record.number, &seqs).await?;
        save(&mut *session, &before, &record, now).await?;
        session.commit().await?;
        Ok(Some(Retried { retried: events.len() as u64, parked: record.progress.parked() }))
    }
}

fn new_number() -> i64 {
    let (_, random) = Uuid::new_v4().as_u64_pair();
    // The variant of the UUID stands in the upper bits of this half.
    (random % NUMBER_END) as i64
}

/// A transaction that has a subscription's row locked.
struct Opened<'a> {
    session: Box<dyn ProgressSession + 'a>,
    record: Record,
    head: u64,
    now: i64,
}

/// Locks the subscription of this name.
async fn open<'a>(
    engine: &'a dyn ProgressEngine,
    ledger: &LedgerRecord,
    name: &str,
) -> Result<Option<Opened<'a>>, StoreError> {
    let mut session = engine.write(ledger).await?;
    let record = session.load(name).await?;
    let (head, now) = session.head_and_now().await?;
    match record {
        Some(record) => Ok(Some(Opened { session, record, head, now })),
        None => {
            session.commit().await?;
            Ok(None)
        }
    }
}

/// Changes the state of a subscription and nothing else.
async fn change_state(
    engine: &dyn ProgressEngine,
    ledger: &LedgerRecord,
    name: &str,
    change: impl FnOnce(&mut Record, u64, i64) -> Result<AckOutcome, StoreError> + Send,
) -> Result<Option<AckOutcome>, StoreError> {
    let Some(opened) = open(engine, ledger, name).await? else { return Ok(None) };
    let Opened { mut session, mut record, head, now } = opened;
    let before = record.progress.clone();
    record.progress.expire(now);
    let outcome = change(&mut record, head, now)?;
    save(&mut *session, &before, &record, now).await?;
    session.commit().await?;
    Ok(Some(outcome))
}
