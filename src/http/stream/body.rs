//! The body of a stream: it asks its reader for more whenever the connection has room.

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    body::{BodySize, MessageBody},
    web,
};
use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::format::{Format, Notice};
use crate::{
    http::{gate::Gate, rights::HeldKey},
    ledger::Chunk,
    service::{Follower, Interest, Step},
};

/// How often a stream shows that it is still there, where nothing else comes, and how often its key is looked at.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(10);
/// What a connection gets at once.
const PIECE_BYTES: usize = 16 * 1024;
/// What a stream sends before the other requests of its thread have their turn. A reader that lags could otherwise go on
/// until its client's buffers are full, which is megabytes.
const TURN_BYTES: usize = 2 * PIECE_BYTES;

type Found = (Follower, Step);
type Next = Pin<Box<dyn Future<Output = Found>>>;

/// A stream for one client.
pub(super) struct StreamBody {
    format: Format,
    interest: Arc<Interest>,
    /// `None` when the stream is over.
    next: Option<Next>,
    /// What was found while the piece before it is being sent.
    ahead: Option<Found>,
    draining: Pin<Box<dyn Future<Output = ()>>>,
    signs_of_life: Option<Interval>,
    /// `None` for a stream that ends at once.
    key: Option<HeldKey>,
    /// When it was found to be in force.
    key_held_at: Instant,
    /// What is to be sent.
    rest: Bytes,
    /// Bytes that were sent in this turn.
    sent_in_turn: usize,
    /// Holds the memory of `rest`.
    _chunk: Option<Arc<Chunk>>,
    /// The last `seq` that the client was told as an id.
    told: u64,
    /// The client has everything that it wants up to here.
    place: u64,
    head: u64,
}

impl StreamBody {
    pub(super) fn new(follower: Follower, format: Format, gate: web::Data<Gate>, key: HeldKey) -> Self {
        let key_held_at = Instant::now();
        let mut signs_of_life = interval(SIGN_OF_LIFE_INTERVAL);
        signs_of_life.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one is over at once.
        signs_of_life.reset();
        let place = follower.place();
        Self {
            format,
            interest: follower.interest(),
            next: Some(next(follower)),
            ahead: None,
            draining: Box::pin(async move { gate.draining().await }),
            signs_of_life: Some(signs_of_life),
            key: Some(key),
            key_held_at,
            rest: Bytes::new(),
            sent_in_turn: 0,
            _chunk: None,
            told: place,
            place,
            head: 0,
        }
    }

    /// A stream that ends at once.
    pub(super) fn empty(format: Format) -> Self {
        Self {
            format,
            interest: Arc::default(),
            next: None,
            ahead: None,
            draining: Box::pin(ready(())),
            signs_of_life: None,
            key: None,
            key_held_at: Instant::now(),
            rest: Bytes::new(),
            sent_in_turn: 0,
            _chunk: None,
            told: 0,
            place: 0,
            head: 0,
        }
    }

    /// Has a reader that lags behind look for more while the client is sent what was found.
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        if self.place < self.head
            && self.ahead.is_none()
            && let Some(next) = &mut self.next
            && let Poll::Ready(found) = next.as_mut().poll(cx)
        {
            self.ahead = Some(found);
        }
    }

    /// The next piece of what is to be sent, in its turn.
    fn piece(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if self.sent_in_turn >= TURN_BYTES {
            self.sent_in_turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = self.rest.len().min(PIECE_BYTES);
        self.sent_in_turn += length;
        Poll::Ready(self.rest.split_to(length))
    }

    /// Takes what the reader found, and has it look for more.
    fn take(&mut self, (follower, step): Found, cx: &mut Context<'_>) {
        let is_over = matches!(step, Step::Gone | Step::Unreadable(_));
        let place = follower.place();
        self.next = (!is_over).then(|| next(follower));
        match step {
            Step::Events(chunk) => {
                (self.place, self.head) = (chunk.through, chunk.head);
                self.read_ahead(cx);
                self.take_events(chunk);
            }
            Step::CaughtUp { head } => {
                (self.place, self.told, self.head) = (place, place, head);
                self.rest = self.format.notice(Notice::CaughtUp, place, head);
            }
            Step::Restored { head } => {
                (self.place, self.told, self.head) = (head, head, head);
                self.rest = self.format.notice(Notice::Restored, head, head);
            }
            // The namespace is not found when the client comes back.
            Step::Gone => {}
            Step::Unreadable(detail) => self.rest = self.format.unavailable(&detail),
        }
    }

    fn take_events(&mut self, chunk: Arc<Chunk>) {
        let format = self.format;
        let frames = chunk.frames(format.number(), |bytes, event| format.write(bytes, event));
        if chunk.is_selected || self.interest.is_all() {
            if let Some(last) = chunk.events.last() {
                self.told = last.seq;
            }
            self.rest = frames.bytes.clone();
            self._chunk = Some(chunk);
            return;
        }
        let mut bytes = Vec::new();
        for (place, event) in chunk.events.iter().enumerate() {
            if self.interest.wants(event) {
                bytes.extend_from_slice(frames.of(place));
                self.told = event.seq;
            }
        }
        self.rest = bytes.into();
    }

    /// Ends the stream if its key is no longer in force. Streams that always have something to send are asked as often as
    /// those that rest.
    fn has_lost_its_key(&mut self) -> bool {
        let Some(key) = &self.key else { return false };
        if self.key_held_at.elapsed() < SIGN_OF_LIFE_INTERVAL {
            return false;
        }
        self.key_held_at = Instant::now();
        if key.is_in_force() {
            return false;
        }
        self.next = None;
        self.rest = self.format.unavailable("the key of this stream is no longer in force");
        true
    }

    fn sign_of_life(&self) -> Bytes {
        let is_behind = self.place > self.told && self.format == Format::Events;
        match is_behind {
            true => self.format.notice(Notice::Place, self.place, self.head.max(self.place)),
            false => self.format.sign_of_life(),
        }
    }
}

fn next(mut follower: Follower) -> Next {
    Box::pin(async move {
        let step = follower.next().await;
        (follower, step)
    })
}

impl MessageBody for StreamBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let body = self.get_mut();
        loop {
            if !body.rest.is_empty() {
                body.read_ahead(cx);
                return body.piece(cx).map(|piece| Some(Ok(piece)));
            }
            body._chunk = None;
            if body.next.is_none() {
                return Poll::Ready(None);
            }
            if body.draining.as_mut().poll(cx).is_ready() {
                body.next = None;
                body.rest = body.format.unavailable("the service is stopping");
                continue;
            }
            if body.has_lost_its_key() {
                continue;
            }
            let Some(next) = &mut body.next else { return Poll::Ready(None) };
            let ready = body.ahead.take().map_or_else(|| next.as_mut().poll(cx), Poll::Ready);
            if let Poll::Ready(found) = ready {
                body.take(found, cx);
                continue;
            }
            if let Some(signs) = &mut body.signs_of_life
                && signs.poll_tick(cx).is_ready()
            {
                body.rest = body.sign_of_life();
                body.told = body.place;
                continue;
            }
            body.sent_in_turn = 0;
            return Poll::Pending;
        }
    }
}
