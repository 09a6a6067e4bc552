//! Reads of readers that follow a ledger. Those at one place share one read, and what was read for as long as one of them
//! has it; the newest pieces are kept for those that come a moment later.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    event::Filter,
    ledger::{Chunk, Epoch},
    store::{LedgerKey, StoredEvent, TopicPatterns},
};

/// Bytes of pieces that are kept although no reader has them.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Entries that nobody uses any more are cleared when there are so many.
const SWEEP_ENTRIES_MIN: usize = 256;

/// Which events a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interest {
    /// None for all.
    pub topics: Vec<String>,
    pub patterns: TopicPatterns,
    pub filter: Filter,
}

/// What one read is for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ReadKey {
    pub(super) ledger: LedgerKey,
    /// What was read before the database was found to be restored is not for readers that come after it.
    pub(super) epoch: Epoch,
    /// Everything behind this `seq`.
    pub(super) after: u64,
    /// Only what is wanted; `None` for all.
    pub(super) interest: Option<Arc<Interest>>,
}

/// What comes of a read that is under way, for all that wait for it; `None` where it fails.
type Outcome = BoxFuture<'static, Option<Read>>;
type Reading = Shared<Outcome>;

/// A piece, and the number of the read that it is from.
#[derive(Clone)]
struct Read {
    chunk: Arc<Chunk>,
    number: u64,
}

/// What is being read for one key, or was read and is still held by somebody.
#[derive(Default)]
struct Entry {
    reading: Option<WeakShared<Outcome>>,
    read: Weak<Chunk>,
}

/// Reads that are shared; a clone shares them, too.
#[derive(Clone, Default)]
pub(super) struct SharedReads(Arc<Mutex<State>>);

/// A read that the caller is to do.
struct Begun {
    number: u64,
    found: oneshot::Sender<Read>,
    reading: Reading,
}

#[derive(Default)]
struct State {
    /// Reads that were begun.
    begun: u64,
    entries: HashMap<ReadKey, Entry>,
    sweep_at: usize,
    kept: VecDeque<(Arc<Chunk>, usize)>,
    kept_bytes: usize,
}

impl Interest {
    /// Whether every event is wanted.
    pub fn is_all(&self) -> bool {
        self.topics.is_empty() && self.patterns.is_all() && self.filter.is_empty()
    }

    /// Whether the store can read what is wanted, and nothing else.
    pub(super) fn can_be_read_alone(&self) -> bool {
        !self.is_all() && self.patterns.is_all()
    }

    /// Whether this event is wanted.
    pub fn wants(&self, event: &StoredEvent) -> bool {
        (self.topics.is_empty() || self.topics.contains(&event.topic))
            && self.patterns.include(&event.topic)
            && self.filter.passes(&event.shown())
    }
}

impl Entry {
    fn is_in_use(&self) -> bool {
        self.reading().is_some() || self.read.strong_count() > 0
    }

    fn reading(&self) -> Option<Reading> {
        self.reading.as_ref()?.upgrade()
    }
}

impl SharedReads {
    /// Whether a piece for `key` is there, or being read.
    pub(super) fn has(&self, key: &ReadKey) -> bool {
        self.0.lock().entries.get(key).is_some_and(Entry::is_in_use)
    }

    /// The piece for `key`, where somebody has it.
    pub(super) fn at_hand(&self, key: &ReadKey) -> Option<Arc<Chunk>> {
        self.0.lock().entries.get(key)?.read.upgrade()
    }

    /// The number of the last read that was begun. Those with a higher one find all that is committed by now.
    pub(super) fn begun(&self) -> u64 {
        self.0.lock().begun
    }

    /// The piece for `key`, read by `read` where no other reader has begun to, and the number of that read.
    ///
    /// A task does the read: a reader whose client takes nothing is not polled, and must not hold up those that wait with it.
    pub(super) async fn get<E: Send + 'static>(
        &self,
        key: ReadKey,
        read: impl FnOnce() -> BoxFuture<'static, Result<Chunk, E>>,
    ) -> Result<(Arc<Chunk>, u64), E> {
        let begun = loop {
            let joined = match self.0.lock().join(&key) {
                Ok(reading) => reading,
                Err(begun) => break begun,
            };
            // Where the read of another one fails, this one tries.
            if let Some(Read { chunk, number }) = joined.await {
                return Ok((chunk, number));
            }
        };
        let Begun { number, found, reading } = begun;
        let (failed, failure) = oneshot::channel();
        let (reads, read) = (self.clone(), read());
        tokio::spawn(async move {
            match read.await {
                Ok(chunk) => {
                    let chunk = Arc::new(chunk);
                    reads.0.lock().note_read(&key, &chunk);
                    // Nobody waits any more, if it cannot be sent.
                    let _ = found.send(Read { chunk, number });
                }
                Err(error) => {
                    reads.0.lock().entries.remove(&key);
                    let _ = failed.send(error);
                }
            }
        });
        match reading.await {
            Some(Read { chunk, number }) => Ok((chunk, number)),
            None => Err(failure.await.expect("a read does not panic")),
        }
    }

    /// Forgets what was read of a ledger: the database was restored.
    pub(super) fn forget(&self, ledger: LedgerKey) {
        self.0.lock().entries.retain(|key, _| key.ledger != ledger);
    }
}

impl State {
    /// The read for `key` that is under way; or what is needed to do it, where none is.
    fn join(&mut self, key: &ReadKey) -> Result<Reading, Begun> {
        if self.entries.len() >= self.sweep_at.max(SWEEP_ENTRIES_MIN) {
            self.entries.retain(|_, entry| entry.is_in_use());
            self.sweep_at = 2 * self.entries.len();
        }
        let entry = self.entries.entry(key.clone()).or_default();
        if let Some(reading) = entry.reading() {
            return Ok(reading);
        }
        let (found, outcome) = oneshot::channel();
        let reading = outcome.map(Result::ok).boxed().shared();
        entry.reading = reading.downgrade();
        self.begun += 1;
        Err(Begun { number: self.begun, found, reading })
    }

    fn note_read(&mut self, key: &ReadKey, chunk: &Arc<Chunk>) {
        if chunk.through <= key.after {
            // There was nothing, which soon is not true any more.
            self.entries.remove(key);
            return;
        }
        // Absent where the ledger was forgotten meanwhile.
        if let Some(entry) = self.entries.get_mut(key) {
            entry.read = Arc::downgrade(chunk);
            self.keep(chunk);
        }
    }

    fn keep(&mut self, chunk: &Arc<Chunk>) {
        let bytes = Chunk::memory(&chunk.events);
        if bytes > KEPT_BYTES_MAX {
            return;
        }
        self.kept_bytes += bytes;
        self.kept.push_back((Arc::clone(chunk), bytes));
        while self.kept_bytes > KEPT_BYTES_MAX {
            let Some((_, bytes)) = self.kept.pop_front() else { return };
            self.kept_bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use uuid::Uuid;

    use super::*;
    use crate::{
        ledger::{Admission, AdmissionLimits, LedgerPosition},
        store::Head,
    };

    fn chunk(through: u64) -> Chunk {
        let limits = AdmissionLimits {
            events_max: 1,
            batch_events_max: 1,
            bytes_max: 1,
            body_bytes_max: 1,
            share_exempt: Vec::new(),
        };
        let permit = Admission::new(limits).body_permit(IpAddr::from(Ipv4Addr::LOCALHOST).into());
        Chunk::new(through, through, Vec::new(), false, permit)
    }

    fn key(after: u64) -> ReadKey {
        let ledger = LedgerKey { namespace_no: 1, ledger_id: Uuid::nil() };
        ReadKey { ledger, epoch: LedgerPosition::new(Head::default()).epoch(), after, interest: None }
    }

    async fn read(reads: &SharedReads, key: &ReadKey, through: u64) -> (Arc<Chunk>, u64) {
        let found = async move { Ok::<_, ()>(chunk(through)) }.boxed();
        reads.get(key.clone(), || found).await.unwrap()
    }

    #[tokio::test]
    async fn a_piece_is_shared_for_as_long_as_somebody_has_it() {
        let reads = SharedReads::default();
        let key = key(0);
        let (piece, number) = read(&reads, &key, 5).await;
        assert!(number > 0 && number == reads.begun());
        reads.0.lock().kept.clear();
        assert!(Arc::ptr_eq(&piece, &reads.at_hand(&key).unwrap()) && reads.has(&key));
        drop(piece);
        assert!(reads.at_hand(&key).is_none() && !reads.has(&key));
    }

    #[tokio::test]
    async fn what_was_not_there_is_looked_for_again() {
        let reads = SharedReads::default();
        let key = key(5);
        let (_nothing, first) = read(&reads, &key, 5).await;
        assert!(reads.at_hand(&key).is_none());
        let (_piece, second) = read(&reads, &key, 6).await;
        assert!(second > first);
    }

    /// As one whose client takes nothing.
    #[tokio::test]
    async fn a_reader_that_is_not_polled_holds_up_nobody() {
        let reads = SharedReads::default();
        let key = key(0);
        let (go_on, waiting) = oneshot::channel();
        let slow = async move { waiting.await.map(|()| chunk(7)) }.boxed();
        let mut first = Box::pin(reads.get(key.clone(), || slow));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(read(&reads, &key, 8));
        assert!((&mut second).now_or_never().is_none());
        go_on.send(()).unwrap();
        let (piece, number) = second.await;
        assert_eq!((piece.through, number), (7, 1));
        drop(first);
    }

    #[tokio::test]
    async fn where_a_read_fails_the_next_one_that_waits_for_it_reads() {
        let reads = SharedReads::default();
        let key = key(0);
        let (go_on, waiting) = oneshot::channel::<()>();
        let fails = async move { Err(waiting.await.is_ok()) }.boxed();
        let first = reads.get(key.clone(), || fails);
        let second = read(&reads, &key, 8);
        let send = async { go_on.send(()).unwrap() };
        let (failed, (piece, number), ()) = tokio::join!(first, second, send);
        assert_eq!((failed.err(), piece.through, number), (Some(true), 8, 2));
    }
}
