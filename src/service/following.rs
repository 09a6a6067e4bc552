//! Readers that follow a ledger: each is at a `seq`, and gets what comes behind it for as long as it likes.
//!
//! A reader that waits holds neither a connection of the store nor a place among the reads. Readers at the same place
//! share one read of the store; one that lags behind reads on from its own place, and holds up nobody.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::{sync::OwnedSemaphorePermit, time::sleep};

use super::{Interest, Ledger, NamespaceError, PageError, STATS_TIMEOUT, shared_reads::ReadKey};
use crate::{
    ledger::{BytesPermit, Chunk, Epoch, NewsReader, Peer},
    store::{LedgerRecord, PageQuery, Store, StoreError},
};

/// Events of one read.
pub(super) const READ_EVENTS: usize = 1_000;
/// A read that finds damage is repeated with so many times less events, until the damaged one stands alone.
const DAMAGE_DIVISOR: usize = 10;
/// Bytes of one read, or a single event.
const READ_BYTES: usize = 256 * 1024;
/// Memory that a read takes at most while it is under way.
pub(super) const READ_MEMORY: usize = 2 * READ_BYTES;
/// A reader that lags by no more reads all events, with all others at its place; one that lags more reads only those
/// that it wants.
const NEAR_EVENTS: u64 = READ_EVENTS as u64;
/// How long a reader waits before it asks again a store that gave no answer, or for memory that is taken.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Behind the newest event.
    Now,
    /// Behind this `seq`, which may be one that is yet to come.
    After(u64),
    /// Behind this `seq`, which the reader was served already.
    Served(u64),
}

/// What a reader gets next.
pub enum Step {
    /// Everything that it wants up to `through`.
    Events(Arc<Chunk>),
    /// It has all up to this newest `seq`, and waits for more. Comes once.
    CaughtUp { head: u64 },
    /// The database was restored to an older copy, which ends here; the reader goes on behind that.
    Restored { head: u64 },
    /// The namespace was deleted.
    Gone,
    /// The event behind its place is damaged: neither that one nor one behind it can be sent.
    Damaged(String),
    /// The store cannot be read as it is.
    Unreadable(String),
}

/// A reader of one ledger.
pub struct Follower {
    ledger: Ledger,
    peer: Peer,
    interest: Arc<Interest>,
    news: NewsReader,
    epoch: Epoch,
    /// The reader has everything up to here.
    place: u64,
    /// Events of its next read at most. Less than usual on the way to a damaged one.
    read_events: usize,
    /// The newest `seq` that it was told of.
    told: u64,
    /// Whether the store has to be asked although nothing behind the place was told.
    looks: bool,
    /// What was told last stands in reads that were begun after this one.
    told_at_read: u64,
    /// Where the ledger ended when the reader came, if that is before what it was served.
    ended_at: Option<u64>,
    /// Whether it was served what stands before its place, so that a ledger which ends earlier is another one.
    is_served: bool,
    is_caught_up: bool,
    _place: OwnedSemaphorePermit,
}

impl Ledger {
    /// Begins to follow the ledger.
    pub async fn follow(&self, begin: Begin, interest: Interest, peer: Peer) -> Result<Follower, PageError> {
        let place = self.service.0.streams.take()?;
        // Before the look at the head: what is committed after it is told.
        let news = self.followers_news();
        let (epoch, _) = self.open.position.epoch_begun_at();
        let read = async move |store: Store, ledger: LedgerRecord| store.reads.head(&ledger).await;
        let head = self.read(STATS_TIMEOUT, read).await?.last_seq;
        self.open.position.news.note_seen(head);
        self.open.tail.note_place(head);
        let (after, is_served) = match begin {
            Begin::Now => (head, true),
            Begin::After(seq) => (seq, seq <= head),
            Begin::Served(seq) => (seq, true),
        };
        Ok(Follower {
            ledger: self.clone(),
            peer,
            interest: Arc::new(interest),
            news,
            epoch,
            place: after,
            read_events: READ_EVENTS,
            told: head,
            looks: false,
            told_at_read: self.service.0.shared_reads.begun(),
            ended_at: Some(head).filter(|head| is_served && after > *head),
            is_served,
            is_caught_up: false,
            _place: place,
        })
    }
}

impl Follower {
    /// Which events it wants.
    pub fn interest(&self) -> Arc<Interest> {
        Arc::clone(&self.interest)
    }

    /// The reader has everything up to here.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// What comes next. Waits for as long as there is nothing.
    pub async fn next(&mut self) -> Step {
        loop {
            if self.ledger.open.is_gone() {
                return Step::Gone;
            }
            if let Some(step) = self.note_epoch() {
                return step;
            }
            // It may have grown since.
            if let Some(head) = self.ended_at.take() {
                return self.go_back_to(head);
            }
            if !self.looks && self.place >= self.told {
                if !std::mem::replace(&mut self.is_caught_up, true) {
                    return Step::CaughtUp { head: self.told };
                }
                self.wait().await;
                continue;
            }
            let found = match self.read_on().await {
                Ok(step) => step,
                Err(error) => self.note_failure(error).await,
            };
            if let Some(step) = found {
                return step;
            }
        }
    }

    /// What the reader gets where it could not read on; otherwise it is to try again.
    async fn note_failure(&mut self, error: PageError) -> Option<Step> {
        let error = match error {
            PageError::Namespace(NamespaceError::Absent(_)) => return Some(Step::Gone),
            PageError::Namespace(NamespaceError::Store(error)) => error,
            PageError::Namespace(_) | PageError::Overloaded(_) => return retry_later().await,
        };
        match error {
            // What stands before the damaged one can be read.
            StoreError::Damaged(_) if self.read_events > 1 => {
                self.read_events = (self.read_events / DAMAGE_DIVISOR).max(1);
                None
            }
            StoreError::Damaged(damage) => Some(Step::Damaged(damage.to_string())),
            StoreError::Broken(_) | StoreError::Rejected(_) => Some(Step::Unreadable(error.to_string())),
            // It comes back, and then nothing is missed.
            _ => retry_later().await,
        }
    }

    async fn wait(&mut self) {
        let tail = &self.ledger.open.tail;
        // A reader may wait for a `seq` that is far ahead, and has not everything then.
        if self.place <= self.told {
            tail.note_place(self.place);
        }
        let waiting = tail.wait();
        let told = self.news.told().await;
        drop(waiting);
        // A look from before the last read, or a database that was restored: the store knows.
        self.looks = told < self.place && self.is_served;
        self.told = told;
        self.told_at_read = self.ledger.service.0.shared_reads.begun();
    }

    /// Whether this node found that the database was restored.
    fn note_epoch(&mut self) -> Option<Step> {
        let (epoch, begun_at) = self.ledger.open.position.epoch_begun_at();
        if epoch == self.epoch {
            return None;
        }
        self.epoch = epoch;
        (begun_at < self.place && self.is_served).then(|| self.go_back_to(begun_at))
    }

    fn go_back_to(&mut self, head: u64) -> Step {
        let reads = &self.ledger.service.0.shared_reads;
        reads.forget(self.ledger.open.key());
        self.told_at_read = reads.begun();
        self.place = head;
        self.told = self.told.max(head);
        self.looks = true;
        self.ended_at = None;
        Step::Restored { head }
    }

    async fn read_on(&mut self) -> Result<Option<Step>, PageError> {
        let is_near = self.told.saturating_sub(self.place) <= NEAR_EVENTS;
        let is_selected = !is_near && self.interest.can_be_read_alone();
        let key = ReadKey {
            ledger: self.ledger.open.key(),
            epoch: self.epoch,
            after: self.place,
            interest: is_selected.then(|| Arc::clone(&self.interest)),
        };
        let reads = &self.ledger.service.0.shared_reads;
        let (chunk, number) = match reads.at_hand(&key) {
            Some(chunk) => (chunk, 0),
            None => self.shared_read(key).await?,
        };
        self.looks = false;
        if chunk.through > self.place {
            self.read_events = READ_EVENTS.min(self.read_events * DAMAGE_DIVISOR);
            self.place = chunk.through;
            self.is_served = true;
            self.told = self.told.max(chunk.head);
            return Ok(Some(Step::Events(chunk)));
        }
        if number <= self.told_at_read {
            // Another reader began that read before this one was told of something.
            self.looks = true;
            return Ok(None);
        }
        self.told = chunk.head;
        if chunk.head < self.place && self.is_served {
            return Ok(Some(self.go_back_to(chunk.head)));
        }
        Ok(None)
    }

    async fn shared_read(&self, key: ReadKey) -> Result<(Arc<Chunk>, u64), PageError> {
        let reads = &self.ledger.service.0.shared_reads;
        // Who needs memory of its own waits for that before others can come to wait for its read.
        let permit = if reads.has(&key) { None } else { Some(self.permit().await) };
        let is_selected = key.interest.is_some();
        reads.get(key, || self.read(permit, is_selected).boxed()).await
    }

    /// The read that others may come to wait for.
    fn read(
        &self,
        permit: Option<BytesPermit>,
        is_selected: bool,
    ) -> impl Future<Output = Result<Chunk, PageError>> + use<> {
        let (ledger, peer, place, events) = (self.ledger.clone(), self.peer, self.place, self.read_events);
        let interest = is_selected.then(|| Arc::clone(&self.interest));
        async move {
            let permit = match permit {
                Some(permit) => permit,
                // The read that this one waited for came to nothing, and others wait for this one.
                None => ledger.service.admit_piece(peer, READ_MEMORY)?,
            };
            Ok(read_chunk(ledger, place, events, interest, permit).await?)
        }
    }

    /// Memory for one read, as soon as there is some.
    async fn permit(&self) -> BytesPermit {
        loop {
            match self.ledger.service.admit_piece(self.peer, READ_MEMORY) {
                Ok(permit) => return permit,
                Err(_) => sleep(RETRY_PAUSE).await,
            }
        }
    }
}

async fn retry_later() -> Option<Step> {
    sleep(RETRY_PAUSE).await;
    None
}

/// Reads what comes behind `after`, `limit` events at most: all of it, or only what is wanted.
pub(super) async fn read_chunk(
    ledger: Ledger,
    after: u64,
    limit: usize,
    interest: Option<Arc<Interest>>,
    mut permit: BytesPermit,
) -> Result<Chunk, NamespaceError> {
    let (topics, filter) =
        interest.as_ref().map(|wanted| (wanted.topics.clone(), wanted.filter.clone())).unwrap_or_default();
    let query =
        PageQuery { topics, after: Some(after), limit, bytes_max: READ_BYTES, ..PageQuery::default() };
    let page = ledger.page(query, filter).await?.into_value();
    permit.settle(Chunk::memory(&page.events));
    let through = page.next.unwrap_or(page.head).max(after);
    Ok(Chunk::new(through, page.head, page.events, interest.is_some(), permit))
}
