//! Readers that follow the log while the run publishes. Each must get every stored event once and in the order of `seq`,
//! whatever becomes of its connections.

use std::{
    cell::RefCell,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Observer, findings::Findings};
use crate::client::{Client, LogMessage, LogReader, StreamQuery, in_words};

/// What the readers of a run got. The field names are keys of the report's JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Followed {
    /// Readers that got every event once and in order.
    #[serde(rename = "subscribers_complete")]
    pub complete: u64,
    /// Events that came when they should, to all readers together.
    #[serde(rename = "events_followed")]
    pub events: u64,
    /// Streams that were lost, each of which was taken up again.
    #[serde(rename = "streams_lost")]
    pub losses: u64,
}

/// The readers of one namespace.
pub struct Subscribers<'a> {
    /// The addresses that they follow the log at. A reader that loses one goes on at the next.
    pub clients: Vec<Client>,
    pub count: u32,
    /// Where the log ended before the run.
    pub after: u64,
    /// Longest wait for an event that is stored already.
    pub give_up_after: Duration,
    pub observer: &'a Observer,
    /// The hash of each event behind `after`, as the first reader got it.
    seen: RefCell<Vec<u64>>,
    findings: RefCell<Findings>,
}

/// How far one reader is.
struct Progress {
    place: u64,
    is_faultless: bool,
    /// When the last event came that was expected.
    last_at: Instant,
}

#[derive(Deserialize)]
struct Followable {
    seq: u64,
}

impl<'a> Subscribers<'a> {
    pub fn new(
        clients: Vec<Client>,
        count: u32,
        after: u64,
        give_up_after: Duration,
        observer: &'a Observer,
    ) -> Self {
        let (seen, findings) = (RefCell::default(), RefCell::default());
        Self { clients, count, after, give_up_after, observer, seen, findings }
    }

    /// Follows the log until each reader has what is stored up to `end`, which is known when all is sent. Without an end
    /// nothing can be proved: the readers stop.
    pub async fn follow(&self, end: watch::Receiver<Option<u64>>) {
        join_all((0..self.count).map(|number| self.read(number, end.clone()))).await;
    }

    /// What was found, and the hash of each event behind the first place.
    pub fn into_parts(self) -> (Findings, Vec<u64>) {
        (self.findings.into_inner(), self.seen.into_inner())
    }

    async fn read(&self, number: u32, mut end: watch::Receiver<Option<u64>>) {
        let mut address = number as usize;
        let query = StreamQuery { after: Some(self.after.to_string()), ..StreamQuery::default() };
        let mut reader = self.client(address).follow(query);
        let mut progress = Progress { place: self.after, is_faultless: true, last_at: Instant::now() };
        let mut end_known_at = None;
        loop {
            let last = *end.borrow();
            if last.is_some_and(|last| progress.place >= last) {
                return self.note(|followed| followed.complete += u64::from(progress.is_faultless));
            }
            let deadline = end_known_at.map(|at| progress.last_at.max(at) + self.give_up_after);
            let message = tokio::select! {
                message = reader.next() => message,
                changed = end.changed(), if last.is_none() => match changed {
                    Ok(()) => {
                        end_known_at = Some(Instant::now());
                        continue;
                    }
                    Err(_) => return,
                },
                () = reached(deadline) => {
                    let example = format!("reader {number} has no more than seq {} of {last:?}", progress.place);
                    return self.wrong("a reader of the stream did not get every event", example);
                }
            };
            match message {
                Ok(message) => self.take(number, message, &mut progress, &mut reader, &mut address),
                Err(error) => {
                    let example = format!("reader {number}: {}", in_words(&error));
                    return self.wrong("a reader of the stream was refused", example);
                }
            }
        }
    }

    fn take(
        &self,
        number: u32,
        message: LogMessage,
        progress: &mut Progress,
        reader: &mut LogReader,
        address: &mut usize,
    ) {
        match message {
            LogMessage::Event(event) => self.take_event(number, &event, progress),
            LogMessage::CaughtUp { .. } => {}
            LogMessage::Restored { head } => {
                progress.is_faultless = false;
                let example = format!("reader {number}, to seq {head}");
                self.wrong("a reader of the stream was told that the database was restored", example);
            }
            LogMessage::Lost(_) => {
                self.note(|followed| followed.losses += 1);
                *address += 1;
                reader.go_on_at(self.client(*address));
            }
        }
    }

    fn take_event(&self, number: u32, event: &RawValue, progress: &mut Progress) {
        let place = progress.place;
        let seq = serde_json::from_str(event.get()).map_or(0, |Followable { seq }| seq);
        if seq == place + 1 && self.is_as_others_got_it(seq, event) {
            (progress.place, progress.last_at) = (seq, Instant::now());
            return self.note(|followed| followed.events += 1);
        }
        progress.is_faultless = false;
        progress.place = place.max(seq);
        let what = match seq {
            seq if seq <= place => "a reader of the stream got an event twice, or after a later one",
            seq if seq > place + 1 => "a reader of the stream missed an event",
            _ => "two readers of the stream got different events under one seq",
        };
        self.wrong(what, format!("reader {number} got seq {seq} behind {place}"));
    }

    fn is_as_others_got_it(&self, seq: u64, event: &RawValue) -> bool {
        let mut seen = self.seen.borrow_mut();
        let (place, hash) = ((seq - self.after - 1) as usize, hash(event));
        if place == seen.len() {
            seen.push(hash);
        }
        // Behind a gap nothing can be compared; the gap is a fault already.
        seen.get(place).is_none_or(|seen| *seen == hash)
    }

    fn client(&self, address: usize) -> &Client {
        &self.clients[address % self.clients.len()]
    }

    fn note(&self, change: impl FnOnce(&mut Followed)) {
        let mut followed = self.observer.followed.get();
        change(&mut followed);
        self.observer.followed.set(followed);
    }

    fn wrong(&self, what: &'static str, example: String) {
        self.findings.borrow_mut().wrong(what, example);
    }
}

/// The hash of an event as the service shows it.
pub fn hash(event: &RawValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.get().hash(&mut hasher);
    hasher.finish()
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults of readers that get these events, each a `seq` and what else is in it.
    fn faults(readers: &[&[(u64, &str)]]) -> (Vec<String>, u64) {
        let observer = Observer::default();
        let subscribers = Subscribers::new(Vec::new(), 0, 10, Duration::ZERO, &observer);
        for (number, events) in (0..).zip(readers) {
            let mut progress = Progress { place: 10, is_faultless: true, last_at: Instant::now() };
            for (seq, payload) in *events {
                let event = RawValue::from_string(format!(r#"{{"seq":{seq},"payload":"{payload}"}}"#));
                subscribers.take_event(number, &event.unwrap(), &mut progress);
            }
        }
        (subscribers.into_parts().0.faults(), observer.followed.get().events)
    }

    #[test]
    fn each_event_must_come_once_in_order_and_alike_to_all() {
        let right = [(11, "a"), (12, "b"), (13, "c")];
        assert_eq!(faults(&[&right, &right]), (vec![], 6));
        for (events, fault) in [
            (&[(11, "a"), (13, "c")][..], "missed an event"),
            (&[(12, "b")], "missed an event"),
            (&[(11, "a"), (11, "a")], "twice"),
            (&[(11, "a"), (13, "c"), (12, "b")], "after a later one"),
            (&[(9, "z")], "twice"),
            (&[(11, "a"), (12, "x")], "different events under one seq"),
        ] {
            let found = faults(&[&right, events]).0;
            assert!(found.iter().any(|sentence| sentence.contains(fault)), "{fault}: {found:?}");
        }
    }
}
