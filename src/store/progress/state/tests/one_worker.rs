//! One worker, step by step.

use super::*;

/// One worker, and events of one topic.
struct Lone {
    progress: Progress,
    head: u64,
}

impl Lone {
    fn new(head: u64, max_leases: u32, max_deliveries: u32) -> Self {
        Self { progress: progress(&settings(max_leases, max_deliveries, None)), head }
    }

    fn lease(&mut self, limit: usize) -> Option<(Uuid, u64, u64, u32)> {
        let next = self.progress.next(self.head);
        let (after, through) = match next {
            Next::Piece { after, through, .. } => (after, through),
            Next::New { after } => (after, self.head),
            _ => return None,
        };
        let candidate = |seq| Candidate { seq, bytes: 1, partition: 0 };
        let events = (after + 1..=through).map(candidate).collect();
        let wanted = LeaseWanted { lease: Uuid::new_v4(), worker: None, limit, now: 0 };
        let handed = self.progress.take(next, &Candidates { events, edge: through }, wanted)?;
        let Piece { from, through, deliveries, holder, .. } = handed.piece;
        Some((holder?.lease, from, through, deliveries))
    }

    fn say(&mut self, lease: Uuid, verdict: Verdict) {
        self.progress.settle(lease, verdict, 0).unwrap();
    }
}

#[test]
fn what_fails_too_often_is_halved_until_one_event_is_parked_and_the_others_are_done() {
    let mut lone = Lone::new(8, 1, 2);
    let (mut tries, mut done) = (Vec::new(), Vec::new());
    // Event 6 fails whatever it comes with.
    while let Some((lease, from, through, deliveries)) = lone.lease(8) {
        tries.push((from, through, deliveries));
        if (from..=through).contains(&6) {
            lone.say(lease, Verdict::Release);
        } else {
            lone.say(lease, Verdict::Accept { through: None });
            done.push((from, through));
        }
    }
    assert_eq!(
        tries,
        [(1, 8, 1), (1, 8, 2), (1, 4, 3), (5, 8, 3), (5, 6, 4), (5, 5, 5), (6, 6, 5), (7, 8, 4)]
    );
    assert_eq!(done, [(1, 4), (5, 5), (7, 8)]);
    assert_eq!(lone.progress.newly_parked(), [ParkedEvent { seq: 6, partition: 0, deliveries: 5 }]);
    assert_eq!(lone.progress.acked(), 8);
}

#[test]
fn a_part_that_is_accepted_is_not_handed_out_again() {
    let mut lone = Lone::new(10, 1, 5);
    let (lease, ..) = lone.lease(10).unwrap();
    lone.say(lease, Verdict::Accept { through: Some(4) });
    assert_eq!(lone.progress.acked(), 4);
    assert_eq!(
        lone.progress.settle(lease, Verdict::Accept { through: Some(11) }, 0),
        Err(NoVerdict::Beyond(10))
    );
    lone.say(lease, Verdict::Release);
    let (_, from, through, deliveries) = lone.lease(100).unwrap();
    assert_eq!((from, through, deliveries), (5, 10, 2));
}

#[test]
fn events_that_cannot_be_parked_are_tried_again_and_hold_acked_back() {
    let mut lone = Lone::new(1, 1, 1);
    lone.progress.parking.kept = PARKED_MAX;
    for deliveries in 1..4 {
        let (lease, from, _, found) = lone.lease(1).unwrap();
        assert_eq!((from, found), (1, deliveries));
        lone.say(lease, Verdict::Reject);
        assert!(lone.progress.is_parking_full() && lone.progress.acked() == 0);
    }
}

#[test]
fn a_lease_is_as_large_as_its_bytes_allow_and_holds_one_event_at_least() {
    let large = PAGE_BYTES_MAX as u64 + 1;
    let own = |bytes: &[u64]| -> Vec<Candidate> {
        let candidate =
            |(at, bytes): (usize, &u64)| Candidate { seq: at as u64 + 1, bytes: *bytes, partition: 0 };
        bytes.iter().enumerate().map(candidate).collect()
    };
    assert_eq!(cut(&own(&[large, 1]), 9, 5), (vec![1], 1));
    assert_eq!(cut(&own(&[1, large, 1]), 9, 5), (vec![1], 1));
    assert_eq!(cut(&own(&[1, 1]), 9, 5), (vec![1, 2], 9));
    assert_eq!(cut(&own(&[1, 1]), 9, 1), (vec![1], 1));
    assert_eq!(cut(&[], 9, 1), (vec![], 9));
}

#[test]
fn a_lease_ends_in_time_or_where_a_clock_that_was_ahead_gave_it_out() {
    let longest = i64::from(*LEASE_SECONDS.1.end()) * 1_000_000;
    for (expires_at, is_over) in
        [(1_000, true), (1_001, false), (1_000 + longest, false), (1_001 + longest, true), (i64::MAX, true)]
    {
        let mut lone = Lone::new(1, 1, 5);
        let (lease, ..) = lone.lease(1).unwrap();
        lone.progress.tracks[0].piece_mut(0).holder.as_mut().unwrap().expires_at = expires_at;
        lone.progress.expire(1_000);
        assert_eq!(lone.progress.leases().count(), usize::from(!is_over), "{expires_at}");
        let settled = lone.progress.settle(lease, Verdict::Renew, 1_000);
        assert_eq!(settled.is_err(), is_over, "{expires_at}");
    }
}
