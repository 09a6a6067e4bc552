//! One publish on its way through the actors: its events, what the shards know of them, and who waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    event::{Digest, Event, Outcome},
    ledger::{Admitted, Epoch, OpenLedger, Overloaded, Permits},
    request_ids::RequestIds,
};

/// Why a publish was not acknowledged. All but [`NoNamespace`](Self::NoNamespace),
/// [`Refused`](Self::Refused), [`TooLargeForStore`](Self::TooLargeForStore) and [`Quarantined`](Self::Quarantined) may be
/// sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A limit on what is in flight is reached; nothing was done.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// No answer in time; the events may be stored, or not.
    #[error("the events were not stored in time; whether they still will be is not known")]
    TimedOut,
    /// An actor had it in hand when it was restarted.
    #[error("the request was interrupted by the restart of a part of the service")]
    Interrupted,
    /// The database is unavailable.
    #[error("the database is not available")]
    StoreUnavailable,
    /// The database is there, and cannot be written as it is.
    #[error("the database cannot be written; the log says why")]
    StoreBroken,
    /// What is stored of the namespace is damaged; other namespaces go on.
    #[error("the namespace is damaged; the log says how")]
    LedgerBroken,
    /// The ledger is gone: its namespace was deleted, or the database was restored to a copy without it. Nothing was
    /// stored.
    #[error("the namespace is another one now; nothing was stored")]
    Gone,
    /// The namespace was deleted after the request came; nothing was stored.
    #[error("there is no namespace {0}")]
    NoNamespace(String),
    /// The database cannot keep these events, and never will.
    #[error("the database cannot store these events: {0}")]
    Refused(String),
    /// The database has too little memory or temporary space for this request, and enough for others.
    #[error(
        "the database has too little memory or temporary space for this request ({0}): send fewer or smaller events in one request"
    )]
    TooLargeForStore(String),
    /// The request crashed the writer twice by itself.
    #[error("the request is quarantined: it crashed the writer twice by itself, and is not tried again")]
    Quarantined,
}

/// What a publish is answered: an outcome an event, in request order.
pub type Reply = Result<Vec<Outcome>, PublishError>;

/// The record that all parts of a request share.
///
/// Whatever drops it unanswered (an actor that died with the last part) thereby replies
/// [`PublishError::Interrupted`]: the sender of the reply goes with it, and so do its permits.
pub struct PublishRequest {
    pub(super) ledger: Admitted,
    pub(super) events: Vec<Event>,
    /// Bytes of all events.
    pub(super) event_bytes: usize,
    pub(super) digests: Vec<Digest>,
    /// The `seq` of each event that a shard knows to be stored, else 0.
    known_seqs: Vec<AtomicU64>,
    /// The ledger's epoch in which it was admitted: what shards know in this one does not count in another.
    pub(super) epoch: Epoch,
    pub(super) admitted_at: Instant,
    /// What lines of the log about it carry: the ids of the HTTP request.
    pub(super) ids: RequestIds,
    unfinished_parts: AtomicUsize,
    reply: Mutex<Option<oneshot::Sender<Reply>>>,
    _permits: Permits,
}

impl PublishRequest {
    pub fn new(
        ledger: &Arc<OpenLedger>,
        events: Vec<Event>,
        permits: Permits,
        ids: RequestIds,
    ) -> (Self, oneshot::Receiver<Reply>) {
        let (reply, answer) = oneshot::channel();
        let digester = &ledger.record.digester;
        let digests = events.iter().map(|event| digester.digest(event.topic(), event.event_id())).collect();
        let known_seqs = events.iter().map(|_| AtomicU64::new(0)).collect();
        let request = Self {
            epoch: ledger.position.epoch(),
            ledger: ledger.admit(),
            event_bytes: events.iter().map(Event::bytes).sum(),
            events,
            digests,
            known_seqs,
            admitted_at: Instant::now(),
            ids,
            unfinished_parts: AtomicUsize::new(0),
            reply: Mutex::new(Some(reply)),
            _permits: permits,
        };
        (request, answer)
    }

    /// The places of its events, by the shard that owns each; shards without any are left out.
    pub(super) fn parts(&self, shards: usize) -> Vec<(usize, Vec<u32>)> {
        let mut parts: Vec<(usize, Vec<u32>)> = Vec::new();
        if let [digest] = self.digests[..] {
            parts.push((digest.shard(shards), vec![0]));
        } else {
            let mut by_shard = vec![Vec::new(); shards];
            for (place, digest) in self.digests.iter().enumerate() {
                by_shard[digest.shard(shards)].push(place as u32);
            }
            parts.extend(by_shard.into_iter().enumerate().filter(|(_, places)| !places.is_empty()));
        }
        self.unfinished_parts.store(parts.len(), Ordering::Relaxed);
        parts
    }

    /// What windows remember the event at `place` by.
    pub(super) fn window_key(&self, place: u32) -> Digest {
        self.digests[place as usize].salted(self.epoch.salt())
    }

    /// Notes that the event at `place` is stored under `seq`.
    pub(super) fn mark_known(&self, place: u32, seq: u64) {
        self.known_seqs[place as usize].store(seq, Ordering::Relaxed);
    }

    /// Notes that one part is looked through; true for the last one.
    pub(super) fn finish_part(&self) -> bool {
        self.unfinished_parts.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The `seq` that a shard knew for the event at `place`.
    pub(super) fn known_seq(&self, place: usize) -> Option<u64> {
        Some(self.known_seqs[place].load(Ordering::Relaxed)).filter(|seq| *seq != 0)
    }

    /// Answers whoever waits; the first answer counts.
    pub(super) fn answer(&self, reply: Reply) {
        let sender = self.reply.lock().take();
        if let Some(sender) = sender {
            // A client that hung up is no longer there to be told; what was stored stays stored.
            let _ = sender.send(reply);
        }
    }

    /// Whether it was answered already.
    pub(super) fn is_answered(&self) -> bool {
        self.reply.lock().is_none()
    }
}

#[cfg(test)]
impl PublishRequest {
    /// A request with events of these ids, which nobody waits for.
    pub(super) fn example(ledger: &Arc<OpenLedger>, ids: impl IntoIterator<Item = u32>) -> Self {
        use crate::{
            event::parse_batch,
            ledger::{Admission, AdmissionLimits},
        };

        let event = |id: u32| {
            format!(
                r#"{{"topic":"t","event_id":"{id}","timestamp":"2026-06-18T12:00:00Z","source":"s","payload":{{}}}}"#
            )
        };
        let events: Vec<String> = ids.into_iter().map(event).collect();
        let events =
            parse_batch(format!("[{}]", events.join(",")).into(), events.len()).expect("valid events");
        let admission = Admission::new(AdmissionLimits {
            events_max: 1_000_000,
            batch_events_max: events.len(),
            bytes_max: 0,
            body_bytes_max: 0,
            share_exempt: Vec::new(),
        });
        let bytes = admission.body_permit(std::net::IpAddr::from([127, 0, 0, 1]).into());
        let permits = admission.admit_events(ledger, events.len(), bytes).expect("capacity");
        Self::new(ledger, events, permits, RequestIds::default()).0
    }
}
