//! When the next group starts: at once, or after a short wait for the clients that were just answered.
//!
//! A client that publishes one request at a time sends the next one as soon as it is answered. A writer that
//! starts a group the moment the last one ends takes only those who queued meanwhile, about half of the clients,
//! and every client waits for two flushes of the disk. A writer that waits until all of them are back takes all of
//! them into one flush. The wait costs less than a flush, so it pays only where the flush is slow.

use std::time::{Duration, Instant};

/// The wait is at most this part of the time that the last commit took for its flush: who does not come back (a
/// client that stopped, or one that publishes at times of its own) costs the others no more than that.
const WAIT_DIVISOR: u32 = 4;
/// The same where at least half of those who were answered came back in the last wait: the rest of them is on the
/// way, and a group without them would have them wait for a flush more.
const WAIT_DIVISOR_RETURNING: u32 = 2;
/// A shorter wait is not begun: timers count whole milliseconds, and clients need about as long to come back.
const WAIT_MIN: Duration = Duration::from_micros(900);
/// No wait is longer. Commits that take longer than four times this are held up by something else than a flush.
const WAIT_MAX: Duration = Duration::from_millis(10);
/// What a store takes for one event of a group beside the flush. A commit that is long because its group is large
/// gives no reason to wait: the store would idle while the next requests are parsed.
const EVENT_COST: Duration = Duration::from_micros(10);
/// After a larger group no wait begins: its events cost more than the flush, and a still larger one would have those
/// who miss it wait longer.
const EVENTS_MAX: usize = 1_000;

/// The group that ended last, as far as it tells when to start the next one.
pub(in crate::actors) struct EndedGroup {
    /// Its requests, which are being answered.
    pub(in crate::actors) requests: usize,
    /// Its events.
    pub(in crate::actors) events: usize,
    /// The time of its commit.
    pub(in crate::actors) commit_time: Duration,
    /// Requests that queued meanwhile.
    pub(in crate::actors) queued: usize,
}

/// Decides when the next group starts.
#[derive(Default)]
pub(in crate::actors) struct Pace {
    wait: Option<Wait>,
    /// Whether at least half of those who were answered came back in the last wait.
    clients_return: bool,
}

struct Wait {
    /// Requests in the queue when it began.
    queued: usize,
    /// It is over with so many requests in the queue: all that were in flight are there again.
    requests: usize,
    until: Instant,
}

impl Pace {
    /// Begins a wait of the time that is returned, if one pays after this group.
    pub(in crate::actors) fn group_ended(&mut self, ended: &EndedGroup, now: Instant) -> Option<Duration> {
        let divisor = if self.clients_return { WAIT_DIVISOR_RETURNING } else { WAIT_DIVISOR };
        let longest = longest_wait(ended, divisor)?;
        let requests = ended.requests + ended.queued;
        self.wait = Some(Wait { queued: ended.queued, requests, until: now + longest });
        Some(longest)
    }

    /// Begins a wait that only its time or a full group ends; returns its time.
    pub(in crate::actors) fn gather(&mut self, time: Duration, now: Instant) -> Duration {
        self.wait = Some(Wait { queued: 0, requests: usize::MAX, until: now + time });
        time
    }

    /// Whether a group may start now, with so many requests in the queue, which may fill a group.
    pub(in crate::actors) fn lets_start(&mut self, queued: usize, fills_a_group: bool, now: Instant) -> bool {
        let Some(wait) = &self.wait else { return true };
        if !fills_a_group && queued < wait.requests && now < wait.until {
            return false;
        }
        let answered = wait.requests - wait.queued;
        self.clients_return = queued.saturating_sub(wait.queued) >= answered.div_ceil(2);
        self.wait = None;
        true
    }

    /// Ends a wait.
    pub(in crate::actors) fn stop_waiting(&mut self) {
        self.wait = None;
    }
}

/// How long waiting pays after this group at most; `None` where it does not.
fn longest_wait(ended: &EndedGroup, divisor: u32) -> Option<Duration> {
    let events = u32::try_from(ended.events).unwrap_or(u32::MAX);
    let flush = ended.commit_time.saturating_sub(EVENT_COST.saturating_mul(events));
    let is_small = ended.requests > 0 && ended.events <= EVENTS_MAX;
    let pays = is_small && flush / WAIT_DIVISOR >= WAIT_MIN;
    pays.then(|| (flush / divisor).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(requests: usize, queued: usize, commit_ms: u64) -> EndedGroup {
        EndedGroup { requests, events: requests, commit_time: Duration::from_millis(commit_ms), queued }
    }

    #[test]
    fn a_group_starts_when_all_that_were_in_flight_are_back() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(pace.group_ended(&ended(30, 34, 8), now).is_some());
        assert!(!pace.lets_start(34, false, now));
        assert!(!pace.lets_start(63, false, now));
        assert!(pace.lets_start(64, false, now));
        assert!(pace.lets_start(1, false, now), "a wait ends once");
    }

    #[test]
    fn a_wait_ends_after_a_quarter_of_the_commits_time() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let wait = pace.group_ended(&ended(1, 1, 8), now).unwrap();
        assert!(wait <= Duration::from_millis(2) && wait > Duration::from_micros(1_900), "{wait:?}");
        assert!(!pace.lets_start(1, false, now + wait - Duration::from_nanos(1)));
        assert!(pace.lets_start(1, false, now + wait));
    }

    #[test]
    fn clients_that_return_are_waited_for_longer() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let quarter = pace.group_ended(&ended(32, 32, 8), now).unwrap();
        assert!(pace.lets_start(48, false, now + quarter), "its time is over");
        let half = pace.group_ended(&ended(48, 16, 8), now).unwrap();
        assert!(half > quarter + quarter / 2, "half of the clients came back in the last wait: {half:?}");
        assert!(pace.lets_start(39, false, now + half));
        assert!(pace.group_ended(&ended(39, 25, 8), now).unwrap() < half, "less than half came back");
    }

    #[test]
    fn a_single_client_is_never_waited_for_beside_itself() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.group_ended(&ended(1, 0, 8), now);
        assert!(pace.lets_start(1, false, now));
    }

    #[test]
    fn nothing_is_waited_for_with_a_full_group() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.group_ended(&ended(8, 8, 100), now);
        assert!(pace.lets_start(8, true, now));
    }

    #[test]
    fn no_wait_begins_where_it_does_not_pay() {
        let mut pace = Pace::default();
        let now = Instant::now();
        assert_eq!(pace.group_ended(&ended(64, 64, 2), now), None, "a fast flush");
        assert_eq!(pace.group_ended(&ended(0, 64, 100), now), None, "nobody was answered");
        let large = EndedGroup { events: 4_000, ..ended(40, 40, 40) };
        assert_eq!(pace.group_ended(&large, now), None, "the time went into the events");
        let larger = EndedGroup { events: 4_000, ..ended(40, 40, 80) };
        assert_eq!(pace.group_ended(&larger, now), None, "a larger group would not be faster");
        assert!(pace.lets_start(1, false, now));
    }

    #[test]
    fn a_commit_that_was_held_up_makes_no_long_wait() {
        let mut pace = Pace::default();
        assert_eq!(pace.group_ended(&ended(2, 2, 3_000), Instant::now()), Some(WAIT_MAX));
    }
}
