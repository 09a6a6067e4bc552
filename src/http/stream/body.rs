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
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::format::{Format, Notice};
use crate::{
    http::gate::Gate,
    ledger::Chunk,
    service::{Follower, Step},
};

/// How often a stream shows that it is still there.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(10);
/// What a connection gets at once.
const PIECE_BYTES: usize = 16 * 1024;

type Next = Pin<Box<dyn Future<Output = (Follower, Step)>>>;

/// A stream for one client.
pub(super) struct StreamBody {
    format: Format,
    /// `None` when the stream is over.
    next: Option<Next>,
    draining: Pin<Box<dyn Future<Output = ()>>>,
    signs_of_life: Option<Interval>,
    /// What is to be sent.
    rest: Bytes,
    /// Holds the memory of `rest`.
    _chunk: Option<Arc<Chunk>>,
    /// The last `seq` that the client was told as an id.
    told: u64,
    /// The client has everything that it wants up to here.
    place: u64,
    head: u64,
}

impl StreamBody {
    pub(super) fn new(follower: Follower, format: Format, gate: web::Data<Gate>) -> Self {
        let mut signs_of_life = interval(SIGN_OF_LIFE_INTERVAL);
        signs_of_life.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one is over at once.
        signs_of_life.reset();
        let place = follower.place();
        Self {
            format,
            next: Some(next(follower)),
            draining: Box::pin(async move { gate.draining().await }),
            signs_of_life: Some(signs_of_life),
            rest: Bytes::new(),
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
            next: None,
            draining: Box::pin(ready(())),
            signs_of_life: None,
            rest: Bytes::new(),
            _chunk: None,
            told: 0,
            place: 0,
            head: 0,
        }
    }

    /// Takes what the reader found, and has it look for more.
    fn take(&mut self, follower: Follower, step: Step) {
        let is_over = matches!(step, Step::Gone | Step::Unreadable(_));
        match step {
            Step::Events(chunk) => self.take_events(&follower, chunk),
            Step::CaughtUp { head } => {
                (self.place, self.told, self.head) = (follower.place(), follower.place(), head);
                self.rest = self.format.notice(Notice::CaughtUp, self.place, head);
            }
            Step::Restored { head } => {
                (self.place, self.told, self.head) = (head, head, head);
                self.rest = self.format.notice(Notice::Restored, head, head);
            }
            // The namespace is not found when the client comes back.
            Step::Gone => {}
            Step::Unreadable(detail) => self.rest = self.format.unavailable(&detail),
        }
        self.next = (!is_over).then(|| next(follower));
    }

    fn take_events(&mut self, follower: &Follower, chunk: Arc<Chunk>) {
        (self.place, self.head) = (chunk.through, chunk.head);
        let format = self.format;
        let frames = chunk.frames(format.number(), |bytes, event| format.write(bytes, event));
        let interest = follower.interest();
        if chunk.is_selected || interest.is_all() {
            if let Some(last) = chunk.events.last() {
                self.told = last.seq;
            }
            self.rest = frames.bytes.clone();
            self._chunk = Some(chunk);
            return;
        }
        let mut bytes = Vec::new();
        for (place, event) in chunk.events.iter().enumerate() {
            if interest.wants(event) {
                bytes.extend_from_slice(frames.of(place));
                self.told = event.seq;
            }
        }
        self.rest = bytes.into();
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
                let length = body.rest.len().min(PIECE_BYTES);
                return Poll::Ready(Some(Ok(body.rest.split_to(length))));
            }
            body._chunk = None;
            let Some(next) = &mut body.next else { return Poll::Ready(None) };
            if body.draining.as_mut().poll(cx).is_ready() {
                body.next = None;
                body.rest = body.format.unavailable("the service is stopping");
                continue;
            }
            if let Poll::Ready((follower, step)) = next.as_mut().poll(cx) {
                body.take(follower, step);
                continue;
            }
            if let Some(signs) = &mut body.signs_of_life
                && signs.poll_tick(cx).is_ready()
            {
                body.rest = body.sign_of_life();
                body.told = body.place;
                continue;
            }
            return Poll::Pending;
        }
    }
}
