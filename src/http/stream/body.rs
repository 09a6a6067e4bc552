//! The body of a stream: it asks its reader for more whenever the connection has room.

use std::{
    convert::Infallible,
    future,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    body::{BodySize, MessageBody},
    web,
};
use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep};

use super::{
    format::{Format, Notice},
    turns::{Turn, pause_before_turn},
};
use crate::{
    http::{connections::Connection, gate::Gate, rights::HeldKey},
    ledger::Chunk,
    service::{Follower, Interest, Service, Step},
};

/// How often a stream shows that it is still there, where nothing else comes, and how often its key is looked at.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(10);
/// What a connection gets at once.
const PIECE_BYTES: usize = 16 * 1024;

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
    /// `None` for a stream that ends at once.
    service: Option<Service>,
    /// Keeps the pace at which the client takes what is sent.
    connection: Option<Arc<Connection>>,
    /// What is to be sent.
    rest: Bytes,
    turn: Turn,
    /// The end of a pause between two turns.
    pause: Option<Pin<Box<Sleep>>>,
    /// Where `rest` is from: it holds the memory until all is sent.
    chunk: Option<Arc<Chunk>>,
    /// The events of the chunk up to here are in `rest` or sent.
    taken: usize,
    /// The last `seq` that the client was told as an id.
    told: u64,
    /// The client has everything that it wants up to here.
    place: u64,
    head: u64,
}

impl StreamBody {
    pub(super) fn new(
        follower: Follower,
        format: Format,
        gate: web::Data<Gate>,
        key: HeldKey,
        connection: Option<Arc<Connection>>,
    ) -> Self {
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
            service: gate.service().cloned(),
            draining: Box::pin(async move { gate.draining().await }),
            signs_of_life: Some(signs_of_life),
            key: Some(key),
            key_held_at,
            connection,
            rest: Bytes::new(),
            turn: Turn::default(),
            pause: None,
            chunk: None,
            taken: 0,
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
            draining: Box::pin(future::ready(())),
            signs_of_life: None,
            key: None,
            key_held_at: Instant::now(),
            service: None,
            connection: None,
            rest: Bytes::new(),
            turn: Turn::default(),
            pause: None,
            chunk: None,
            taken: 0,
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
        if self.turn.is_over() {
            self.turn.begin();
            let is_publishing = self.service.as_ref().is_some_and(Service::is_publishing);
            let Some(pause) = is_publishing.then(pause_before_turn).flatten() else {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            self.connection.as_ref().inspect(|connection| connection.stream_pauses(pause));
            self.pause = Some(Box::pin(sleep(pause)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let length = self.rest.len().min(PIECE_BYTES);
        self.turn.note_sent(length);
        Poll::Ready(self.rest.split_to(length))
    }

    /// Takes what the reader found, and has it look for more.
    fn take(&mut self, (follower, step): Found, cx: &mut Context<'_>) {
        let is_over = matches!(step, Step::Gone | Step::Damaged(_) | Step::Unreadable(_));
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
                // Who waits for a `seq` that is yet to come was not served up to there.
                let served = Some(place).filter(|place| *place <= head);
                self.rest = self.format.notice(Notice::CaughtUp, served, head);
            }
            Step::Restored { head } => {
                (self.place, self.told, self.head) = (head, head, head);
                self.rest = self.format.notice(Notice::Restored, Some(head), head);
            }
            // The namespace is not found when the client comes back.
            Step::Gone => {}
            Step::Damaged(detail) => self.rest = self.format.damaged(&detail, place),
            Step::Unreadable(detail) => self.rest = self.format.unavailable(&detail),
        }
    }

    fn take_events(&mut self, chunk: Arc<Chunk>) {
        self.chunk = Some(chunk);
        self.taken = 0;
        self.go_on();
    }

    /// Goes on to what is wanted next of the chunk. Nothing is left when the chunk is done.
    fn go_on(&mut self) {
        let Some(chunk) = self.chunk.take() else { return };
        let Some(run) = self.next_run(&chunk) else { return };
        let format = self.format;
        let frames = chunk.frames(format.number(), |bytes, event| format.write(bytes, event));
        self.rest = frames.of(run.clone());
        self.taken = run.end;
        // Small ones that are apart are sent as one piece, which is all that is ever copied.
        let mut copied = Vec::new();
        while let Some(run) = self.next_run(&chunk) {
            let more = frames.of(run.clone());
            if self.rest.len() + copied.len() + more.len() > PIECE_BYTES {
                break;
            }
            copied.extend_from_slice(&more);
            self.taken = run.end;
        }
        if !copied.is_empty() {
            self.rest = [&self.rest[..], &copied].concat().into();
        }
        self.told = chunk.events[self.taken - 1].seq;
        self.chunk = Some(chunk);
    }

    /// The events that are wanted next, as far as no other is between them.
    fn next_run(&self, chunk: &Chunk) -> Option<Range<usize>> {
        let places = self.taken..chunk.events.len();
        if chunk.is_selected || self.interest.is_all() {
            return Some(places).filter(|places| !places.is_empty());
        }
        let wants = |place: &usize| self.interest.wants(&chunk.events[*place]);
        let begin = places.clone().find(wants)?;
        let end = (begin..places.end).find(|place| !wants(place)).unwrap_or(places.end);
        Some(begin..end)
    }

    /// Ends the stream behind the event that is being sent if its key is no longer in force. Streams that always have
    /// something to send are asked as often as those that rest.
    fn end_without_key(&mut self) {
        let Some(key) = &self.key else { return };
        if self.key_held_at.elapsed() < SIGN_OF_LIFE_INTERVAL {
            return;
        }
        self.key_held_at = Instant::now();
        if key.is_in_force() {
            return;
        }
        (self.key, self.next, self.ahead, self.chunk) = (None, None, None, None);
        let begun = self.format.first_frame(&self.rest);
        let why = self.format.unavailable("the key of this stream is no longer in force");
        self.rest = [begun, &why].concat().into();
    }

    fn note_sending(&self) {
        if let Some(connection) = &self.connection {
            connection.stream_sends();
        }
    }

    fn sign_of_life(&self) -> Bytes {
        let is_behind = self.place > self.told && self.format == Format::Events;
        match is_behind {
            true => self.format.notice(Notice::Place, Some(self.place), self.head.max(self.place)),
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
            body.end_without_key();
            if body.rest.is_empty() {
                body.go_on();
            }
            if !body.rest.is_empty() {
                body.note_sending();
                body.read_ahead(cx);
                return body.piece(cx).map(|piece| Some(Ok(piece)));
            }
            if body.next.is_none() {
                return Poll::Ready(None);
            }
            if body.draining.as_mut().poll(cx).is_ready() {
                body.next = None;
                body.rest = body.format.unavailable("the service is stopping");
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
            body.turn.begin();
            if let Some(connection) = &body.connection {
                connection.stream_rests();
            }
            return Poll::Pending;
        }
    }
}
