use proptest::prelude::*;

use super::*;
use crate::actors::writer::commit::GroupId;

const LIMITS: GroupLimits = GroupLimits { events: 8, bytes: 80, groups: 3, topics: 100 };
const LEDGERS: usize = 3;

/// Does with a lane what the writer does, and keeps account of the requests.
struct Driver {
    lane: Lane,
    ledgers: Vec<Arc<OpenLedger>>,
    /// Every request that was pushed, and where it is.
    pushed: Vec<(Arc<PublishRequest>, Place)>,
    in_hand: Vec<(LedgerKey, Requests)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Queued,
    InHand,
    Tried,
    Out,
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        ledger: usize,
        ids: std::ops::Range<u32>,
        bytes: usize,
    },
    /// The next transaction begins, if none is under way and there is something to commit.
    Take,
    /// It is committed.
    Commit,
    /// It is not, and each group is tried again in halves.
    Retry,
    /// The store did not take it in time; it is tried again as it is.
    TooLate,
    Crash,
    /// The store is unavailable, and nobody has patience.
    Impatient,
    Gone {
        ledger: usize,
    },
    OpenAgain {
        ledger: usize,
    },
    CloseIdle,
}

impl Driver {
    fn new(limits: GroupLimits) -> Self {
        Self {
            lane: Lane::new(limits),
            ledgers: (1..=LEDGERS as i32).map(OpenLedger::example).collect(),
            pushed: Vec::new(),
            in_hand: Vec::new(),
        }
    }

    fn do_step(&mut self, step: &Step) {
        match step {
            Step::Push { ledger, ids, bytes } => self.push(*ledger, ids.clone(), *bytes),
            Step::Take => drop(self.take()),
            Step::Commit => self.end(Place::Out, |_, _| ()),
            Step::Retry => self.end(Place::Tried, |queue, mut requests| {
                let second = requests.split_off(requests.len() / 2);
                queue.retry_first(second);
                queue.retry_first(requests);
            }),
            Step::TooLate => {
                let events = self.in_hand.iter().map(|(_, requests)| Size::of(requests).events).sum();
                self.lane.note_not_taken(events);
                self.end(Place::Tried, LedgerQueue::retry_first);
            }
            Step::Crash => {
                self.lane.is_committing = false;
                self.lane.start_again(Instant::now());
                let lost: Requests = self.in_hand.drain(..).flat_map(|(_, requests)| requests).collect();
                self.put(&lost, Place::Out);
            }
            Step::Impatient => {
                let count = self.at(Place::Queued).count();
                assert_eq!(self.lane.answer_the_impatient(Duration::ZERO), count);
                self.pushed
                    .iter_mut()
                    .filter(|(_, at)| *at == Place::Queued)
                    .for_each(|(_, at)| *at = Place::Out);
            }
            Step::Gone { ledger } if self.in_hand.is_empty() => {
                let (queued, tried) = self.lane.take_ledger(self.ledgers[*ledger].key());
                self.take_out(&queued, Place::Queued);
                self.take_out(&tried, Place::Tried);
            }
            Step::OpenAgain { ledger } => self.ledgers[*ledger] = self.ledgers[*ledger].opened_again(),
            Step::Gone { .. } => {}
            Step::CloseIdle => drop(self.lane.close_idle(Duration::ZERO)),
        }
    }

    fn push(&mut self, ledger: usize, ids: std::ops::Range<u32>, bytes: usize) {
        let mut request = PublishRequest::example(&self.ledgers[ledger], ids);
        request.event_bytes = bytes;
        let request = Arc::new(request);
        self.pushed.push((Arc::clone(&request), Place::Queued));
        self.lane.push(request);
    }

    /// Begins the next transaction.
    fn take(&mut self) -> Vec<(LedgerKey, usize)> {
        let now = Instant::now();
        if !self.lane.may_start(now) {
            return Vec::new();
        }
        let limit = self.lane.limit();
        let groups = match self.lane.group_that_proves() {
            Some(proof) => vec![proof],
            None => self.lane.next_groups(now),
        };
        self.check_groups(&groups, limit, now);
        let taken = groups.iter().map(|(key, group)| (*key, group.requests.len())).collect();
        for (key, group) in groups {
            let from = if group.is_retry { Place::Tried } else { Place::Queued };
            self.take_out(&group.requests, from);
            self.put(&group.requests, Place::InHand);
            let id = GroupId { writer_id: uuid::Uuid::nil(), group_no: 1 };
            let job = self.lane.ledger(key).expect("a queue").job(group.requests, id, 100);
            self.in_hand.push((key, job.group.into_requests()));
            self.lane.is_committing = true;
        }
        taken
    }

    /// Ends what is under way, as `settle` does.
    fn end(&mut self, place: Place, put_back: impl Fn(&mut LedgerQueue, Requests)) {
        self.lane.is_committing = false;
        for (key, requests) in std::mem::take(&mut self.in_hand) {
            self.put(&requests, place);
            if place == Place::Out {
                let digests = requests.iter().map(|request| &request.digests[..]);
                self.lane.quarantine.note_commit(digests, Instant::now());
            } else if requests.is_empty() {
                self.lane.quarantine.drop_proof();
            }
            let queue = self.lane.ledger(key).expect("a queue");
            queue.in_hand.clear();
            put_back(queue, requests);
            self.lane.note_ready(key);
        }
        self.lane.note_taken();
    }

    fn at(&self, place: Place) -> impl Iterator<Item = &Arc<PublishRequest>> {
        self.pushed.iter().filter(move |(_, at)| *at == place).map(|(request, _)| request)
    }

    /// Each request comes from where it was put.
    fn take_out(&mut self, requests: &[Arc<PublishRequest>], from: Place) {
        let is_there = |request: &Arc<PublishRequest>| self.at(from).any(|at| Arc::ptr_eq(at, request));
        assert!(requests.iter().all(is_there), "a request comes out again, or from elsewhere than {from:?}");
        self.put(requests, Place::Out);
    }

    fn put(&mut self, requests: &[Arc<PublishRequest>], place: Place) {
        for (request, at) in &mut self.pushed {
            if requests.iter().any(|put| Arc::ptr_eq(put, request)) {
                *at = place;
            }
        }
    }

    fn check_groups(&self, groups: &[(LedgerKey, NextGroup)], limit: Size, now: Instant) {
        let requests: Requests = groups.iter().flat_map(|(_, group)| group.requests.clone()).collect();
        let is_retry = groups.iter().any(|(_, group)| group.is_retry);
        let is_alone = groups.iter().any(|(_, group)| group.is_alone);
        assert!(Size::of(&requests).fits(limit) || requests.len() == 1 || is_retry, "it is too large");
        assert!(groups.len() <= if is_alone { 1 } else { LIMITS.groups });
        assert!(is_alone || !is_retry);
        let is_suspect = |request: &Arc<PublishRequest>| self.lane.quarantine.isolates(&request.digests, now);
        assert!(is_retry || requests.len() == 1 || !requests.iter().any(is_suspect), "a suspect has company");
        for (key, group) in groups.iter().filter(|(_, group)| !group.is_retry) {
            let are_large = LIMITS.is_large(&group.requests[0]);
            let oldest = self
                .at(Place::Queued)
                .filter(|request| request.ledger.key() == *key && LIMITS.is_large(request) == are_large);
            assert!(oldest.zip(&group.requests).all(|(oldest, taken)| Arc::ptr_eq(oldest, taken)));
        }
        assert_eq!(
            groups.iter().map(|(key, _)| key).collect::<std::collections::HashSet<_>>().len(),
            groups.len()
        );
    }

    /// The lane counts what waits in its queues.
    fn check_counts(&self) {
        let queued: Requests = self.at(Place::Queued).cloned().collect();
        assert_eq!((self.lane.queued, self.lane.size), (queued.len(), Size::of(&queued)));
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ledger = || 0..LEDGERS;
    let push = (ledger(), 0..30_u32, 1..12_u32, 1..100_usize)
        .prop_map(|(ledger, first, events, bytes)| Step::Push { ledger, ids: first..first + events, bytes });
    let step = prop_oneof![
        20 => push,
        10 => Just(Step::Take),
        8 => Just(Step::Commit),
        2 => Just(Step::Retry),
        2 => Just(Step::TooLate),
        1 => Just(Step::Crash),
        1 => Just(Step::Impatient),
        1 => ledger().prop_map(|ledger| Step::Gone { ledger }),
        1 => ledger().prop_map(|ledger| Step::OpenAgain { ledger }),
        2 => Just(Step::CloseIdle),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn each_request_comes_out_once_and_the_counts_are_right(steps in steps()) {
        let mut driver = Driver::new(LIMITS);
        for step in &steps {
            driver.do_step(step);
            driver.check_counts();
        }
        // What is left comes out of it, each group of one request at least.
        for _ in 0..2 * steps.len() + 2 {
            driver.do_step(&Step::Commit);
            driver.do_step(&Step::Take);
        }
        prop_assert_eq!(driver.at(Place::Out).count(), driver.pushed.len());
        prop_assert!(driver.lane.close_idle(Duration::ZERO) || driver.lane.quarantine.is_in_use());
    }
}

#[test]
fn large_and_small_requests_have_groups_in_turn() {
    let mut driver = Driver::new(LIMITS);
    for large in 0..3_u32 {
        driver.push(0, 10 * large..10 * large + 8, 8);
    }
    let mut groups = Vec::new();
    for small in 100..104 {
        driver.push(0, small..small + 1, 1);
        let taken = driver.take();
        let size = driver.in_hand.iter().map(|(_, requests)| Size::of(requests).events).sum::<usize>();
        groups.push((taken[0].1, size));
        driver.end(Place::Out, |_, _| ());
    }
    assert_eq!(groups, [(1, 1), (1, 8), (2, 2), (1, 8)], "requests and events of each group");
}
