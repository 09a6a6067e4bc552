//! One client connection: what its stream and its requests note, and the sweep and the limits read.

use std::{
    sync::atomic::{
        AtomicBool, AtomicI64, AtomicU8, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::time::Instant;

use crate::ledger::Peer;

/// An answer must be taken at this pace.
const ANSWER_BYTES_PER_SECOND: u64 = 64 * 1024;
/// The time without progress that an answer may have at most, however fast it was taken before.
const ANSWER_CREDIT: Duration = Duration::from_secs(10);
/// The time for the whole head of each request, from its first byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A reader of a stream may take nothing for so long.
const STREAM_PATIENCE: Duration = Duration::from_secs(30);
/// When the service stops: the time for the rest of a head, and the time that an answer may make no progress.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// There is no request, and no byte came since the last answer.
    Idle = 0,
    /// The head of a request has begun and is not complete.
    Head = 1,
    /// A handler has the request, and reads its body within limits of its own.
    Request = 2,
    /// An answer is being written.
    Answer = 3,
    /// It is over.
    Cut = 4,
    /// An answer without an end is being written, which may rest for as long as there is nothing to tell.
    Stream = 5,
}

/// Why the service closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Cut {
    /// It was idle for its time, or the service stops.
    Idle = 1,
    /// The head of a request did not come in time.
    SlowHead = 2,
    /// Its client does not take the answer, or too slowly.
    UnreadAnswer = 3,
    /// It was idle or began a request, and had to make way for another one.
    MadeWay = 4,
}

/// What the deadlines depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long an idle connection is kept.
    pub(super) idle_timeout: Duration,
    /// Whether the service stops.
    pub(super) draining: bool,
    /// Whether streams must be taken at the pace of an answer, since others wait for the memory that they hold.
    pub(super) streams_keep_pace: bool,
}

/// The time of the connections, in milliseconds since the start of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now_ms(self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
}

/// One client connection. Only the thread that serves it changes its phase, but for [`Self::cut_if`].
pub(crate) struct Connection {
    pub(super) id: u64,
    pub(super) peer: Peer,
    /// Whether it came beyond the limits and is answered probes only.
    pub(super) beyond_limits: bool,
    clock: Clock,
    /// The phase in the lowest three bits, above them when it began in milliseconds. One value, so that a connection
    /// that begins a request at this very moment is not cut.
    state: AtomicU64,
    cut: AtomicU8,
    /// Bytes read, without those of the heads and declared bodies of the requests so far.
    unparsed_bytes: AtomicI64,
    /// When the answer is overdue, in milliseconds. Each byte that is taken moves it on.
    answer_deadline_ms: AtomicU64,
    /// When the client last took a byte of an answer, in milliseconds.
    taken_ms: AtomicU64,
    /// Whether the client had not taken all when something was last written.
    blocked: AtomicBool,
    /// Whether the stream has nothing to send. Then it holds nothing of what was read for streams.
    rests: AtomicBool,
    /// Whether all of the answer is in the buffer to be written.
    produced: AtomicBool,
    /// Whether no further request is read on it.
    closing: AtomicBool,
    /// Whether its client sends no more.
    ended: AtomicBool,
    /// Wakes the task that serves it.
    pub(super) waker: AtomicWaker,
}

/// Bytes of a request that may not be known: an empty line behind it, and blanks in its head beyond the usual ones. So much
/// of a next head that came with the request before it counts as nothing, until more of it comes.
const UNCOUNTED_BYTES: i64 = 16;

impl Connection {
    pub(super) fn new(id: u64, peer: Peer, beyond_limits: bool, clock: Clock) -> Self {
        Self {
            id,
            peer,
            beyond_limits,
            clock,
            state: AtomicU64::new(pack(Phase::Idle, clock.now_ms())),
            cut: AtomicU8::new(0),
            unparsed_bytes: AtomicI64::new(0),
            answer_deadline_ms: AtomicU64::new(0),
            taken_ms: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            produced: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Whether it came beyond the limits and is answered probes only.
    pub(crate) fn is_beyond_limits(&self) -> bool {
        self.beyond_limits
    }

    /// Whether its client is on this machine.
    pub(crate) fn is_on_loopback(&self) -> bool {
        self.peer.is_loopback()
    }

    /// Notes what the client sent. Bytes begin a head if there is no request; none is the end.
    pub(super) fn note_read(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.ended.store(true, Relaxed);
            return;
        }
        let is_idle = self.phase() == Phase::Idle;
        // Some clients end a body with an empty line. It is no head (RFC 9112, section 2.2).
        if is_idle && bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return;
        }
        self.add_unparsed(bytes.len() as i64);
        if is_idle {
            self.enter(Phase::Head);
        }
    }

    /// The handshake of TLS must be done in the time of a head.
    pub(super) fn handshake_begins(&self) {
        self.enter(Phase::Head);
    }

    pub(super) fn handshake_ends(&self) {
        self.enter(Phase::Idle);
    }

    /// Whether the client sends no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// A handler takes a request, whose head and declared body have this size. In a body without a declared size
    /// everything up to the end of the answer is counted as its own.
    pub(crate) fn request_begins(&self, declared_bytes: Option<i64>) {
        match declared_bytes {
            Some(bytes) => self.add_unparsed(-bytes),
            None => self.unparsed_bytes.store(i64::MIN / 2, Relaxed),
        }
        self.produced.store(false, Relaxed);
        self.enter(Phase::Request);
    }

    /// The handler has answered.
    pub(crate) fn answer_begins(&self, closing: bool) {
        let now_ms = self.clock.now_ms();
        // What is left to be taken of the answer before keeps its deadline.
        if !self.blocked.load(Relaxed) {
            self.answer_deadline_ms.store(now_ms + ANSWER_CREDIT.as_millis() as u64, Relaxed);
            self.taken_ms.store(now_ms, Relaxed);
        }
        self.closing.store(closing, Relaxed);
        self.enter(Phase::Answer);
    }

    /// The answer has no end of its own.
    pub(crate) fn stream_begins(&self) {
        self.rests.store(true, Relaxed);
        self.enter(Phase::Stream);
    }

    /// The stream has nothing to send.
    pub(crate) fn stream_rests(&self) {
        self.rests.store(true, Relaxed);
    }

    /// The stream waits for its turn, which is not its client's affair.
    pub(crate) fn stream_pauses(&self, pause: Duration) {
        self.answer_deadline_ms.fetch_add(pause.as_millis() as u64, Relaxed);
    }

    /// The stream has something to send. From now on it is known whether its client keeps the pace of an answer.
    pub(crate) fn stream_sends(&self) {
        if self.rests.swap(false, Relaxed) {
            let deadline_ms = self.clock.now_ms() + ANSWER_CREDIT.as_millis() as u64;
            self.answer_deadline_ms.store(deadline_ms, Relaxed);
        }
    }

    /// All of the answer is in the buffer to be written.
    pub(crate) fn answer_produced(&self) {
        self.produced.store(true, Relaxed);
    }

    /// The client took `bytes` of what was to be written.
    pub(super) fn bytes_written(&self, bytes: usize) {
        self.blocked.store(false, Relaxed);
        if !self.is_answering() {
            return;
        }
        let now_ms = self.clock.now_ms();
        let earned_ms = bytes as u64 * 1_000 / ANSWER_BYTES_PER_SECOND;
        let deadline_ms = self.answer_deadline_ms.load(Relaxed) + earned_ms;
        let latest_ms = now_ms + ANSWER_CREDIT.as_millis() as u64;
        self.answer_deadline_ms.store(deadline_ms.min(latest_ms), Relaxed);
        self.taken_ms.store(now_ms, Relaxed);
    }

    /// The client takes nothing now.
    pub(super) fn write_blocked(&self) {
        // A stream may have rested before.
        if !self.blocked.swap(true, Relaxed) && self.phase() == Phase::Stream {
            self.taken_ms.store(self.clock.now_ms(), Relaxed);
        }
    }

    /// Everything in the buffer is written.
    pub(super) fn flushed(&self) {
        if !self.is_answering() || !self.produced.load(Relaxed) {
            return;
        }
        let is_ahead = self.unparsed_bytes.load(Relaxed) > UNCOUNTED_BYTES;
        if !is_ahead {
            self.unparsed_bytes.store(0, Relaxed);
        }
        // The beginning of the next head may have come together with the request before it.
        self.enter(if is_ahead { Phase::Head } else { Phase::Idle });
    }

    /// Whether the last answer ends the connection.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Why it is over, if it is.
    pub(super) fn cut(&self) -> Option<Cut> {
        if self.phase() != Phase::Cut {
            return None;
        }
        Some(match self.cut.load(Relaxed) {
            reason if reason == Cut::SlowHead as u8 => Cut::SlowHead,
            reason if reason == Cut::UnreadAnswer as u8 => Cut::UnreadAnswer,
            reason if reason == Cut::MadeWay as u8 => Cut::MadeWay,
            _ => Cut::Idle,
        })
    }

    /// Since when it waits for the client to send a request, in milliseconds.
    pub(super) fn waiting_since_ms(&self) -> Option<u64> {
        let (phase, since_ms) = unpack(self.state.load(Acquire));
        matches!(phase, Phase::Idle | Phase::Head).then_some(since_ms)
    }

    /// Closes it if it has waited for a request since then.
    pub(super) fn make_way(&self, since_ms: u64) -> bool {
        let state = self.state.load(Acquire);
        let (phase, began_ms) = unpack(state);
        let waits = matches!(phase, Phase::Idle | Phase::Head) && began_ms == since_ms;
        waits && self.cut_if(state, Cut::MadeWay)
    }

    /// Closes it if its time is over.
    pub(super) fn cut_overdue(&self, now_ms: u64, rules: Patience) -> Option<Cut> {
        let Patience { idle_timeout, draining, streams_keep_pace } = rules;
        let state = self.state.load(Acquire);
        let (phase, since_ms) = unpack(state);
        let is_over =
            |since_ms: u64, limit: Duration| now_ms.saturating_sub(since_ms) > limit.as_millis() as u64;
        let (is_due, cut) = match phase {
            Phase::Idle => (draining || is_over(since_ms, idle_timeout), Cut::Idle),
            Phase::Head => {
                let limit = if draining { DRAIN_PATIENCE } else { HEAD_TIMEOUT };
                (is_over(since_ms, limit), Cut::SlowHead)
            }
            Phase::Answer => {
                let stands = draining && is_over(self.taken_ms.load(Relaxed), DRAIN_PATIENCE);
                (stands || now_ms > self.answer_deadline_ms.load(Relaxed), Cut::UnreadAnswer)
            }
            Phase::Stream => {
                let patience = if draining { DRAIN_PATIENCE } else { STREAM_PATIENCE };
                let stands = is_over(self.taken_ms.load(Relaxed), patience);
                let lags = now_ms > self.answer_deadline_ms.load(Relaxed) && !self.rests.load(Relaxed);
                let is_due = stands || (streams_keep_pace && lags);
                (self.blocked.load(Relaxed) && is_due, Cut::UnreadAnswer)
            }
            Phase::Request | Phase::Cut => return None,
        };
        (is_due && self.cut_if(state, cut)).then_some(cut)
    }

    fn cut_if(&self, state: u64, cut: Cut) -> bool {
        self.cut.store(cut as u8, Relaxed);
        let over = pack(Phase::Cut, self.clock.now_ms());
        let done = self.state.compare_exchange(state, over, AcqRel, Acquire).is_ok();
        if done {
            self.waker.wake();
        }
        done
    }

    fn is_answering(&self) -> bool {
        matches!(self.phase(), Phase::Answer | Phase::Stream)
    }

    fn phase(&self) -> Phase {
        unpack(self.state.load(Acquire)).0
    }

    /// A connection that is cut stays so.
    fn enter(&self, phase: Phase) {
        let state = self.state.load(Acquire);
        if unpack(state).0 != Phase::Cut {
            // It fails only where it was cut just now.
            let _ = self.state.compare_exchange(state, pack(phase, self.clock.now_ms()), AcqRel, Acquire);
        }
    }

    fn add_unparsed(&self, bytes: i64) {
        // One thread alone changes it.
        let sum = self.unparsed_bytes.load(Relaxed).saturating_add(bytes);
        self.unparsed_bytes.store(sum, Relaxed);
    }
}

fn pack(phase: Phase, since_ms: u64) -> u64 {
    since_ms << 3 | phase as u64
}

fn unpack(state: u64) -> (Phase, u64) {
    let phase = match state & 7 {
        0 => Phase::Idle,
        1 => Phase::Head,
        2 => Phase::Request,
        3 => Phase::Answer,
        5 => Phase::Stream,
        _ => Phase::Cut,
    };
    (phase, state >> 3)
}

#[cfg(test)]
mod tests;
