//! Random workers on a random ledger.

mod one_worker;

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::store::{PartitionBy, Partitions, Start, TopicPatterns};

/// `seq` that one step looks through.
const SCAN: u64 = 40;
/// Events that one step finds.
const FOUND: usize = 25;

fn settings(max_leases: u32, max_deliveries: u32, partitions: Option<u32>) -> SubscriptionSettings {
    SubscriptionSettings {
        topics: TopicPatterns::default(),
        start: Start::Earliest,
        lease_seconds: 1,
        max_leases,
        max_deliveries,
        partitions: partitions.map(|count| Partitions { count, by: PartitionBy::Source }),
    }
}

fn progress(settings: &SubscriptionSettings) -> Progress {
    let tracks = (0..settings.places()).map(|_| Track::new(0, Vec::new())).collect();
    Progress::new(settings, tracks, 0)
}

/// A ledger, its workers, and what became of each event.
struct World {
    progress: Progress,
    partitions: usize,
    max_leases: usize,
    head: u64,
    now: i64,
    leases: Vec<Handed>,
    /// Events that were accepted.
    done: BTreeSet<u64>,
    /// Events that are parked, with their partition.
    parked: HashMap<u64, ParkedEvent>,
    acked: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u64),
    Lease(usize),
    Accept(usize, Option<u64>),
    Say(usize, u8),
    /// Time goes by, in tenths of a lease's.
    Wait(i64),
    Retry(usize),
    MoveOnTo(u64),
    Seek(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (1_u64..60).prop_map(Step::Publish),
        8 => (1_usize..30).prop_map(Step::Lease),
        4 => (any::<usize>(), proptest::option::of(0_u64..30)).prop_map(|(at, part)| Step::Accept(at, part)),
        8 => (any::<usize>(), 0_u8..4).prop_map(|(at, verdict)| Step::Say(at, verdict)),
        3 => (1_i64..12).prop_map(Step::Wait),
        1 => (1_usize..5).prop_map(Step::Retry),
    ];
    prop::collection::vec(step, 1..150)
}

fn steps_with_jumps() -> impl Strategy<Value = Vec<Step>> {
    let jump = prop_oneof![(0_u64..200).prop_map(Step::Seek), (0_u64..200).prop_map(Step::MoveOnTo)];
    (steps(), prop::collection::vec((any::<prop::sample::Index>(), jump), 1..4)).prop_map(
        |(mut steps, jumps)| {
            for (at, jump) in jumps {
                let at = at.index(steps.len());
                steps.insert(at, jump);
            }
            steps
        },
    )
}

impl World {
    fn new(settings: &SubscriptionSettings) -> Self {
        Self {
            progress: progress(settings),
            partitions: settings.places(),
            max_leases: settings.max_leases as usize,
            head: 0,
            now: 0,
            leases: Vec::new(),
            done: BTreeSet::new(),
            parked: HashMap::new(),
            acked: 0,
        }
    }

    /// Two of three events are of the topics of the subscription.
    fn matches(seq: u64) -> bool {
        seq % 3 != 1
    }

    fn partition(&self, seq: u64) -> usize {
        (seq.wrapping_mul(0x9E37_79B9) >> 3) as usize % self.partitions
    }

    fn find(&self, after: u64, through: u64) -> Candidates {
        let through = through.min(after + SCAN);
        let matching = (after + 1..=through).filter(|seq| Self::matches(*seq)).take(FOUND);
        let candidate = |seq| Candidate { seq, bytes: 100, partition: self.partition(seq) };
        let events: Vec<Candidate> = matching.map(candidate).collect();
        let edge = events.last().filter(|_| events.len() == FOUND).map_or(through, |last| last.seq);
        Candidates { events, edge }
    }

    /// As the service leases: step by step until there is something or nothing.
    fn lease(&mut self, limit: usize) -> Option<Handed> {
        self.progress.expire(self.now);
        loop {
            let next = self.progress.next(self.head);
            let found = match next {
                Next::FullyLeased | Next::Nothing => return None,
                Next::Piece { after, through, .. } => self.find(after, through),
                Next::New { after } => self.find(after, self.head),
            };
            let wanted = LeaseWanted { lease: Uuid::new_v4(), worker: None, limit, now: self.now };
            if let Some(handed) = self.progress.take(next, &found, wanted) {
                assert!(!handed.seqs.is_empty() && handed.seqs.len() <= limit);
                return Some(handed);
            }
        }
    }

    fn settle(&mut self, at: usize, verdict: Verdict) {
        let Some(handed) = self.leases.get(at).cloned() else { return };
        self.progress.expire(self.now);
        let lease = handed.piece.holder.as_ref().unwrap().lease;
        let held = self.progress.leases().find(|(_, _, holder)| holder.lease == lease);
        let still_left = held.map(|(_, piece, _)| piece.from);
        match self.progress.settle(lease, verdict, self.now) {
            Ok(_) => {
                let from = still_left.expect("only a lease that is held is settled");
                if let Verdict::Accept { through } = verdict {
                    let through = through.unwrap_or(handed.piece.through);
                    let own = handed.seqs.iter().filter(|seq| (from..=through).contains(*seq));
                    self.done.extend(own);
                }
            }
            Err(NoVerdict::Fenced) => assert_eq!(still_left, None, "a lease that is held is not fenced"),
            Err(NoVerdict::Beyond(_)) => {}
        }
    }

    fn step(&mut self, step: &Step) {
        let chosen = |at: &usize, leases: usize| if leases == 0 { 0 } else { at % leases };
        match step {
            Step::Publish(events) => self.head += events,
            Step::Lease(limit) => {
                if let Some(handed) = self.lease(*limit) {
                    self.leases.push(handed);
                }
            }
            Step::Accept(at, part) => {
                let at = chosen(at, self.leases.len());
                let through = part.and_then(|part| Some(self.leases.get(at)?.piece.from + part));
                self.settle(at, Verdict::Accept { through });
            }
            Step::Say(at, verdict) => {
                let verdicts = [Verdict::Release, Verdict::Reject, Verdict::Renew, Verdict::Withdraw];
                self.settle(chosen(at, self.leases.len()), verdicts[usize::from(*verdict)]);
            }
            Step::Wait(tenths) => self.now += tenths * 100_000,
            Step::Retry(events) => {
                let mut events: Vec<ParkedEvent> = self.parked.values().copied().take(*events).collect();
                events.sort_by_key(|event| event.seq);
                self.progress.retry(&events);
                self.parked.retain(|seq, _| events.iter().all(|event| event.seq != *seq));
            }
            Step::MoveOnTo(seq) => {
                if self.progress.leases().next().is_none() {
                    let seq = (*seq).min(self.head);
                    self.progress.move_on_to(seq);
                    self.done.extend((1..=seq).filter(|seq| !self.parked.contains_key(seq)));
                }
            }
            Step::Seek(seq) => self.seek((*seq).min(self.head)),
        }
        let newly_parked = std::mem::take(&mut self.progress.parking.new);
        self.progress.parking.kept += newly_parked.len() as u64;
        self.parked.extend(newly_parked.into_iter().map(|event| (event.seq, event)));
    }

    fn seek(&mut self, seq: u64) {
        self.progress.seek(seq);
        let before = self.parked.len();
        self.parked.retain(|parked, _| *parked <= seq);
        self.progress.forget_parked((before - self.parked.len()) as u64);
        self.done.retain(|done| *done <= seq);
        self.done.extend((1..=seq).filter(|seq| !self.parked.contains_key(seq)));
        self.acked = 0;
    }

    fn check(&mut self) {
        let acked = self.progress.acked();
        assert!(acked >= self.acked, "acked went back from {} to {acked}", self.acked);
        self.acked = acked;
        assert!(self.progress.leases().count() <= self.max_leases);
        let pieces: usize = self.progress.tracks.iter().map(|track| track.pieces().len()).sum();
        // A range of up to 29 events is halved five times at most.
        let tried_again = self.progress.tracks.iter().flat_map(|track| track.pieces());
        let tried_again = tried_again.filter(|piece| piece.is_retry).count();
        assert!(pieces - tried_again <= 8 * self.max_leases.max(self.partitions), "{pieces} pieces");
        for (partition, track) in self.progress.tracks.iter().enumerate() {
            if self.partitions > 1 {
                assert!(track.leased().count() <= 1, "a partition has one lease at most");
            }
            let mut last = 0;
            for piece in track.pieces() {
                assert!(last < piece.from && piece.from <= piece.through, "{:?}", track.pieces());
                assert!(piece.through <= track.handed_out);
                last = piece.through;
            }
            self.check_that_none_is_lost(partition, track);
        }
        assert_eq!(self.progress.parked(), self.parked.len() as u64);
    }

    fn check_that_none_is_lost(&self, partition: usize, track: &Track) {
        let own = (1..=track.handed_out.min(self.head)).filter(|seq| self.partition(*seq) == partition);
        for seq in own.filter(|seq| Self::matches(*seq)) {
            let is_in_hand = track.pieces().iter().any(|piece| (piece.from..=piece.through).contains(&seq));
            let is_known = is_in_hand || self.done.contains(&seq) || self.parked.contains_key(&seq);
            assert!(is_known, "event {seq} is lost");
        }
    }

    /// All that is left is leased and accepted: then nothing is left.
    fn finish(&mut self) {
        self.now += 2_000_000;
        while let Some(handed) = self.lease(7) {
            let lease = handed.piece.holder.as_ref().unwrap().lease;
            self.progress.settle(lease, Verdict::Accept { through: None }, self.now).unwrap();
            self.done.extend(handed.seqs);
        }
        self.step(&Step::Wait(0));
        assert_eq!(self.progress.next(self.head), Next::Nothing);
        for seq in (1..=self.head).filter(|seq| Self::matches(*seq)) {
            assert!(
                self.done.contains(&seq) || self.parked.contains_key(&seq),
                "event {seq} was never handed out"
            );
        }
        assert_eq!(self.progress.acked(), self.head, "nothing is left to do");
    }
}

fn run(settings: &SubscriptionSettings, steps: &[Step]) {
    let mut world = World::new(settings);
    for step in steps {
        world.step(step);
        world.check();
    }
    world.finish();
    world.check();
}

proptest! {
    #[test]
    fn no_event_is_lost_and_none_is_held_twice(
        max_leases in 1_u32..6,
        max_deliveries in 1_u32..4,
        steps in steps(),
    ) {
        run(&settings(max_leases, max_deliveries, None), &steps);
    }

    #[test]
    fn the_same_holds_with_partitions(
        partitions in 2_u32..6,
        max_deliveries in 1_u32..4,
        steps in steps(),
    ) {
        run(&settings(partitions, max_deliveries, Some(partitions)), &steps);
    }

    #[test]
    fn the_same_holds_where_a_subscription_is_moved(
        max_leases in 1_u32..4,
        steps in steps_with_jumps(),
    ) {
        run(&settings(max_leases, 2, None), &steps);
    }
}
