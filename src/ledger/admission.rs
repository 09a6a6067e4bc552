//! Limits on what is in flight: a full one is an answer, not a growing queue.

use std::sync::{Arc, atomic::Ordering};

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    OpenLedger, Peer,
    budget::{Budget, BudgetLimits, BytesPermit},
};

/// A limit on what is in flight is reached; nothing was done, and the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service is overloaded: {0}")]
pub struct Overloaded(pub &'static str);

/// What one request holds of the limits, until it is answered and gone.
pub struct Permits {
    _bytes: BytesPermit,
    _events: OwnedSemaphorePermit,
    _share: Share,
}

/// What an admitted request holds of its ledger's share.
struct Share {
    ledger: Arc<OpenLedger>,
    events: usize,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.ledger.events_in_flight.fetch_sub(self.events, Ordering::Relaxed);
        self.ledger.bytes_in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body above this size is refused unread when less than this part of the capacity for events is left: it would
/// most likely be read and parsed for nothing, and that costs more than all else of a refusal.
const LARGE_BODY_BYTES: u64 = 64 * 1024;
const SPARED_FOR_SMALL_BODIES: usize = 32;

/// Bytes of answers that are being built, or that clients have asked for and not yet read.
const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of what was read for streams, and is not yet sent.
const PIECES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How much may be in flight.
pub struct AdmissionLimits {
    /// Events accepted and not yet answered.
    pub events_max: usize,
    /// Events of the largest request. One always fits into a ledger's share.
    pub batch_events_max: usize,
    /// Bytes of bodies being read or not yet answered.
    pub bytes_max: usize,
    /// Bytes of the largest body, at most `bytes_max`. One always fits into a peer's share.
    pub body_bytes_max: usize,
    /// Peers that may hold more than a share.
    pub share_exempt: Vec<IpNet>,
}

/// The limits of one service. One peer may hold half of each kind of memory. The requests of one ledger that are admitted
/// may hold half of the events, and of the memory for bodies.
pub struct Admission {
    events: Arc<Semaphore>,
    events_max: usize,
    ledger_events_max: usize,
    ledger_bytes_max: usize,
    bodies: Arc<Budget>,
    answers: Arc<Budget>,
    /// Apart from `answers`: a stream that waits for its client, or reads on as fast as that takes it, keeps nobody from
    /// being answered.
    pieces: Arc<Budget>,
}

impl Admission {
    pub fn new(limits: AdmissionLimits) -> Self {
        let exempt: Arc<[IpNet]> = limits.share_exempt.into();
        let body_share = (limits.bytes_max / 2).max(limits.body_bytes_max);
        Self {
            events: Arc::new(Semaphore::new(limits.events_max)),
            events_max: limits.events_max,
            ledger_events_max: (limits.events_max / 2).max(limits.batch_events_max),
            ledger_bytes_max: body_share,
            bodies: Budget::new(BudgetLimits {
                bytes_max: limits.bytes_max,
                peer_bytes_max: body_share,
                exempt: Arc::clone(&exempt),
                full: Overloaded("too many bytes are in flight"),
                peer_full: Overloaded("too many bytes from this client's address are in flight"),
            }),
            answers: Budget::new(BudgetLimits {
                bytes_max: ANSWERS_BYTES_MAX,
                peer_bytes_max: ANSWERS_BYTES_MAX / 2,
                exempt: Arc::clone(&exempt),
                full: Overloaded("too many bytes of answers wait for their clients"),
                peer_full: Overloaded("too many bytes of answers wait for this client's address"),
            }),
            pieces: Budget::new(BudgetLimits {
                bytes_max: PIECES_BYTES_MAX,
                peer_bytes_max: PIECES_BYTES_MAX / 2,
                exempt,
                full: Overloaded("too many bytes wait for the readers of streams"),
                peer_full: Overloaded("too many bytes wait for the streams of this client's address"),
            }),
        }
    }

    /// Says at once that there is hardly any capacity for the events of a body of so many bytes.
    pub fn expect_body(&self, ledger: &OpenLedger, bytes: u64) -> Result<(), Overloaded> {
        if bytes <= LARGE_BODY_BYTES {
            return Ok(());
        }
        let of_ledger =
            self.ledger_events_max.saturating_sub(ledger.events_in_flight.load(Ordering::Relaxed));
        if of_ledger < self.ledger_events_max / SPARED_FOR_SMALL_BODIES {
            Err(TOO_MANY_OF_LEDGER)
        } else if self.events.available_permits() < self.events_max / SPARED_FOR_SMALL_BODIES {
            Err(TOO_MANY)
        } else {
            Ok(())
        }
    }

    /// A permit for the bytes of a body, to grow as they come.
    pub fn body_permit(&self, peer: Peer) -> BytesPermit {
        self.bodies.none(peer)
    }

    /// Takes capacity for an answer of about `bytes`, or says at once that there is none.
    pub fn admit_answer(&self, peer: Peer, bytes: usize) -> Result<BytesPermit, Overloaded> {
        self.answers.admit_answer(peer, bytes)
    }

    /// Takes capacity for a piece that is to be read for streams, or says at once that there is none.
    pub fn admit_piece(&self, peer: Peer, bytes: usize) -> Result<BytesPermit, Overloaded> {
        self.pieces.take(peer, bytes)
    }

    /// Whether so much is held by streams that one peer's share may be full.
    pub fn are_pieces_scarce(&self) -> bool {
        self.pieces.held() >= PIECES_BYTES_MAX / 2
    }

    /// Takes capacity for `events` of a ledger, or returns at once that there is none.
    pub fn admit_events(
        &self,
        ledger: &Arc<OpenLedger>,
        events: usize,
        bytes: BytesPermit,
    ) -> Result<Permits, Overloaded> {
        let share = Share { ledger: Arc::clone(ledger), events, bytes: bytes.bytes() };
        let events_held = ledger.events_in_flight.fetch_add(share.events, Ordering::Relaxed);
        let bytes_held = ledger.bytes_in_flight.fetch_add(share.bytes, Ordering::Relaxed);
        if events_held + share.events > self.ledger_events_max {
            return Err(TOO_MANY_OF_LEDGER);
        }
        if bytes_held + share.bytes > self.ledger_bytes_max {
            return Err(Overloaded("too many bytes of this namespace are in flight"));
        }
        let permit = Arc::clone(&self.events)
            .try_acquire_many_owned(u32::try_from(events).unwrap_or(u32::MAX))
            .map_err(|_| TOO_MANY)?;
        Ok(Permits { _bytes: bytes, _events: permit, _share: share })
    }

    pub fn events_in_flight(&self) -> usize {
        self.events_max - self.events.available_permits()
    }

    /// The most of the events, of the bytes of bodies, and of those of answers and streams.
    pub fn most(&self) -> [usize; 3] {
        [self.events_max, self.bodies.most(), self.answers.most() + self.pieces.most()]
    }

    pub fn bytes_in_flight(&self) -> usize {
        self.bodies.held()
    }

    /// Bytes of answers, and of what streams have to send.
    pub fn answer_bytes_in_flight(&self) -> usize {
        self.answers.held() + self.pieces.held()
    }
}

const TOO_MANY: Overloaded = Overloaded("too many events are in flight");
const TOO_MANY_OF_LEDGER: Overloaded = Overloaded("too many events of this namespace are in flight");
