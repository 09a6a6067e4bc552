//! Requests that crash the writer: how they are told from their neighbours, and when they are refused.
//!
//! After a crash, the events that were in hand are suspects. A request with a suspect is committed alone: its next
//! crash hits nobody else and shows whose fault it is. A request that crashes the writer twice by itself is
//! quarantined: it is refused until [`SUSPECT_TIME`] has passed.
//!
//! A writer that cannot commit anything crashes with every request. So a crash counts against a request only
//! once the writer has committed something after it.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use crate::event::{Digest, DigestMap};

/// How long after a crash an event is a suspect, and a request is refused.
const SUSPECT_TIME: Duration = Duration::from_secs(600);
/// Suspects at most, in at most 60 bytes each. A crash that adds more forgets the older ones.
const SUSPECTS_MAX: usize = 65_536;
/// Requests at most whose crashes are counted. A further one takes the place of the oldest.
const REQUESTS_MAX: usize = 1_024;
/// After so many crashes by itself a request is refused.
const CRASHES_MAX: u32 = 2;

/// What is known of requests that crash the writer. A request is known by the digests of its events, in order.
#[derive(Default)]
pub(in crate::actors) struct Quarantine {
    /// Events that were in hand at a crash, and until when they are suspects.
    suspects: DigestMap<Instant>,
    /// Requests that crashed the writer by themselves.
    crashes: HashMap<RequestKey, Crashes>,
    last_crash: Option<Crash>,
}

/// A crash with requests in hand, after which the writer has not committed anything yet.
struct Crash {
    /// The request, where it was committed alone.
    alone: Option<RequestKey>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RequestKey(u64);

struct Crashes {
    count: u32,
    last: Instant,
    is_refused: bool,
}

/// A request that is not to be tried again.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::actors) struct Refusal {
    /// Whether it was refused before.
    pub(in crate::actors) is_repeated: bool,
}

impl Quarantine {
    /// The writer crashed while it committed these requests. Without any, the crash was the writer's own.
    pub(in crate::actors) fn note_crash(&mut self, requests: &[&[Digest]], now: Instant) {
        self.suspects.retain(|_, until| now < *until);
        self.crashes.retain(|_, crashes| now < crashes.last + SUSPECT_TIME);
        self.last_crash = None;
        if requests.is_empty() {
            return;
        }
        let digests = requests.iter().copied().flatten().take(SUSPECTS_MAX);
        let digests: Vec<Digest> = digests.copied().collect();
        if self.suspects.len() + digests.len() > SUSPECTS_MAX {
            self.suspects.clear();
        }
        self.suspects.extend(digests.into_iter().map(|digest| (digest, now + SUSPECT_TIME)));
        let alone = match requests {
            [request] => Some(RequestKey::of(request)),
            _ => None,
        };
        self.last_crash = Some(Crash { alone });
    }

    /// Whether anything is known of requests that crash the writer.
    pub(in crate::actors) fn is_in_use(&self) -> bool {
        self.last_crash.is_some() || !self.suspects.is_empty() || !self.crashes.is_empty()
    }

    /// Whether the writer has to show that it commits anything else, because it crashed with requests in hand.
    pub(in crate::actors) fn wants_proof(&self) -> bool {
        self.last_crash.is_some()
    }

    /// The writer could not show it, since the store did not take an empty group: nobody is blamed for the crash.
    pub(in crate::actors) fn drop_proof(&mut self) {
        self.last_crash = None;
    }

    /// The writer committed these requests, or none. True where this proves that the last crash was the fault of
    /// what it had in hand then.
    pub(in crate::actors) fn note_commit<'a>(
        &mut self,
        requests: impl IntoIterator<Item = &'a [Digest]>,
        now: Instant,
    ) -> bool {
        if !self.suspects.is_empty() {
            requests.into_iter().flatten().for_each(|digest| {
                self.suspects.remove(digest);
            });
        }
        let Some(crash) = self.last_crash.take() else { return false };
        if let Some(request) = crash.alone {
            self.count_crash(request, now);
        }
        true
    }

    /// Whether this request is to be committed alone.
    pub(in crate::actors) fn isolates(&self, request: &[Digest], now: Instant) -> bool {
        let is_suspect = |digest| self.suspects.get(digest).is_some_and(|until| now < *until);
        !self.suspects.is_empty() && request.iter().any(is_suspect)
    }

    /// Refuses this request, if it is not to be tried again.
    pub(in crate::actors) fn refuse(&mut self, request: &[Digest], now: Instant) -> Option<Refusal> {
        if self.crashes.is_empty() {
            return None;
        }
        let crashes = self.crashes.get_mut(&RequestKey::of(request))?;
        if crashes.count < CRASHES_MAX || now >= crashes.last + SUSPECT_TIME {
            return None;
        }
        Some(Refusal { is_repeated: std::mem::replace(&mut crashes.is_refused, true) })
    }

    fn count_crash(&mut self, request: RequestKey, now: Instant) {
        if self.crashes.len() >= REQUESTS_MAX && !self.crashes.contains_key(&request) {
            let oldest = self.crashes.iter().min_by_key(|(_, crashes)| crashes.last);
            if let Some(oldest) = oldest.map(|(request, _)| *request) {
                self.crashes.remove(&oldest);
            }
        }
        let none = Crashes { count: 0, last: now, is_refused: false };
        let crashes = self.crashes.entry(request).or_insert(none);
        crashes.count += 1;
        crashes.last = now;
    }
}

impl RequestKey {
    fn of(request: &[Digest]) -> Self {
        let mut hasher = DefaultHasher::new();
        request.hash(&mut hasher);
        Self(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests<const N: usize>(ids: [u128; N]) -> [Digest; N] {
        ids.map(Digest::from_u128)
    }

    /// The writer crashes with these requests in hand, and commits nothing but an empty group after that.
    fn crash(quarantine: &mut Quarantine, requests: &[&[Digest]], now: Instant) {
        quarantine.note_crash(requests, now);
        assert!(quarantine.wants_proof());
        assert!(quarantine.note_commit([], now));
        assert!(!quarantine.wants_proof());
    }

    #[test]
    fn what_was_in_hand_is_isolated_until_it_is_committed() {
        let (mut quarantine, now) = (Quarantine::default(), Instant::now());
        let (poison, neighbour, other) = (digests([1, 2]), digests([3]), digests([4]));
        crash(&mut quarantine, &[&poison, &neighbour], now);
        assert!(quarantine.isolates(&poison, now) && quarantine.isolates(&neighbour, now));
        assert!(quarantine.isolates(&digests([9, 2]), now), "one suspect among other events");
        assert!(!quarantine.isolates(&other, now));
        quarantine.note_commit([&neighbour[..]], now);
        assert!(quarantine.isolates(&poison, now) && !quarantine.isolates(&neighbour, now));
        assert!(!quarantine.isolates(&poison, now + SUSPECT_TIME));
    }

    #[test]
    fn a_request_is_refused_after_two_crashes_by_itself() {
        let (mut quarantine, now) = (Quarantine::default(), Instant::now());
        let (poison, neighbour) = (digests([1, 2]), digests([3]));
        crash(&mut quarantine, &[&poison, &neighbour], now);
        crash(&mut quarantine, &[&poison], now);
        assert_eq!(quarantine.refuse(&poison, now), None);
        crash(&mut quarantine, &[&poison], now);
        assert_eq!(quarantine.refuse(&poison, now), Some(Refusal { is_repeated: false }));
        assert_eq!(quarantine.refuse(&poison, now), Some(Refusal { is_repeated: true }));
        assert_eq!(quarantine.refuse(&neighbour, now), None);
        assert_eq!(quarantine.refuse(&digests([2]), now), None, "its events may come in other requests");
        assert_eq!(quarantine.refuse(&poison, now + SUSPECT_TIME), None);
    }

    #[test]
    fn a_writer_that_commits_nothing_blames_nobody() {
        let (mut quarantine, now) = (Quarantine::default(), Instant::now());
        let request = digests([1]);
        for _ in 0..10 {
            quarantine.note_crash(&[&request], now);
        }
        assert_eq!(quarantine.refuse(&request, now), None);
        // It crashes with an empty group, too.
        quarantine.note_crash(&[], now);
        assert!(!quarantine.note_commit([], now));
        assert_eq!(quarantine.refuse(&request, now), None);
    }

    #[test]
    fn its_memory_is_bounded() {
        let (mut quarantine, now) = (Quarantine::default(), Instant::now());
        for id in 0..2 * REQUESTS_MAX as u128 {
            crash(&mut quarantine, &[&digests([id])], now + Duration::from_millis(id as u64));
        }
        assert_eq!(quarantine.crashes.len(), REQUESTS_MAX);
        let many: Vec<Digest> = (0..2 * SUSPECTS_MAX as u128).map(Digest::from_u128).collect();
        crash(&mut quarantine, &[&many], now);
        assert_eq!(quarantine.suspects.len(), SUSPECTS_MAX);
        crash(&mut quarantine, &[&digests([1 << 40])], now);
        assert_eq!(quarantine.suspects.len(), 1);
    }
}
