//! What a subscription has handed out, and what may be done next. Plain logic, the same for every engine: it is loaded
//! under the lock of the subscription's row, changed here, and written back.

use uuid::Uuid;

use super::{
    LEASE_SECONDS, SubscriptionSettings,
    track::{Holder, ParkedEvent, Parking, Piece, Track},
};
use crate::store::PAGE_BYTES_MAX;

/// Events of one subscription that may be parked. An event that finds no room is tried again and again.
pub const PARKED_MAX: u64 = 10_000;
/// Pieces that parked events which are tried again may bring a state to.
const PIECES_WITH_RETRIES_MAX: usize = 1_000;

/// The state of a subscription.
#[derive(Clone, Debug)]
pub struct Progress {
    /// One for each partition.
    tracks: Vec<Track>,
    parking: Parking,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    max_leases: usize,
    max_deliveries: u32,
    lease_micros: i64,
}

/// What to look for to hand it out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// As many leases are held as may be, or one in each partition that has work.
    FullyLeased,
    /// Nothing is left up to the head.
    Nothing,
    /// The first piece of this partition that nobody has.
    Piece { partition: usize, after: u64, through: u64 },
    /// Events that were not handed out yet.
    New { after: u64 },
}

/// An event that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub seq: u64,
    pub bytes: u64,
    pub partition: usize,
}

/// The events that were found, up to `edge`, behind which there may be others.
pub(super) struct Candidates {
    pub events: Vec<Candidate>,
    pub edge: u64,
}

/// What a new lease is made of.
pub(super) struct LeaseWanted {
    pub lease: Uuid,
    pub worker: Option<String>,
    pub limit: usize,
    /// Microseconds since 1970.
    pub now: i64,
}

/// What was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handed {
    pub partition: usize,
    pub piece: Piece,
    pub seqs: Vec<u64>,
}

/// What becomes of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its events are done, or those up to this `seq`.
    Accept { through: Option<u64> },
    /// They are to be handed out again; this delivery counts as a failure.
    Release,
    /// They fail whenever they are handed out: halve them, and park one that stands alone.
    Reject,
    /// The worker needs more time.
    Renew,
    /// They never reached the worker: this delivery does not count.
    Withdraw,
}

/// Why a verdict changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoVerdict {
    /// The lease has expired or was taken over.
    Fenced,
    /// It is about more than was leased, up to here.
    Beyond(u64),
}

impl Progress {
    pub(super) fn new(settings: &SubscriptionSettings, tracks: Vec<Track>, parked: u64) -> Self {
        let limits = Limits {
            max_leases: settings.max_leases as usize,
            max_deliveries: settings.max_deliveries,
            lease_micros: i64::from(settings.lease_seconds) * 1_000_000,
        };
        let parking = Parking { kept: parked, max: PARKED_MAX, new: Vec::new() };
        Self { tracks, parking, limits }
    }

    /// Everything up to here is settled, but for parked events.
    pub fn acked(&self) -> u64 {
        self.tracks.iter().map(Track::acked).min().unwrap_or(0)
    }

    /// Events that are parked.
    pub fn parked(&self) -> u64 {
        self.parking.kept + self.parking.new.len() as u64
    }

    /// Whether failing events cannot be parked any more.
    pub fn is_parking_full(&self) -> bool {
        self.parking.is_full()
    }

    /// The leases that are held, each with its partition.
    pub fn leases(&self) -> impl Iterator<Item = (usize, &Piece, &Holder)> {
        self.tracks.iter().enumerate().flat_map(|(partition, track)| {
            track.leased().map(move |(piece, holder)| (partition, piece, holder))
        })
    }

    /// Whether work was handed out before and waits to be handed out again.
    pub fn has_free_pieces(&self) -> bool {
        self.tracks.iter().any(|track| track.first_free().is_some())
    }

    /// Behind which `seq` new events are looked for by the partitions that have none in hand, where it is they that hold
    /// back what counts as acked.
    pub(super) fn idle_place(&self) -> Option<u64> {
        let idle = self.tracks.iter().filter(|track| track.is_idle());
        idle.map(|track| track.handed_out).min().filter(|place| *place == self.acked())
    }

    /// Moves the partitions that have no event in hand on to their next one, or to where it was looked for.
    pub(super) fn skip_others(&mut self, found: &Candidates) {
        for (partition, track) in self.tracks.iter_mut().enumerate().filter(|(_, track)| track.is_idle()) {
            let is_next = |event: &&Candidate| event.partition == partition && event.seq > track.handed_out;
            let edge = found.events.iter().find(is_next).map_or(found.edge, |event| event.seq - 1);
            track.handed_out = track.handed_out.max(edge);
        }
    }

    /// When the first lease expires, in microseconds since 1970.
    pub(super) fn next_expiry(&self) -> Option<i64> {
        self.leases().map(|(_, _, holder)| holder.expires_at).min()
    }

    pub(super) fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    pub(super) fn newly_parked(&self) -> &[ParkedEvent] {
        &self.parking.new
    }

    /// Takes back what nobody acked in time. A lease that ends later than the longest one that begins now was handed out
    /// while the clock was ahead: it would block its events for as long as the clock was.
    pub(super) fn expire(&mut self, now: i64) {
        let max_deliveries = self.limits.max_deliveries;
        let latest = now.saturating_add(i64::from(*LEASE_SECONDS.1.end()) * 1_000_000);
        for (partition, track) in self.tracks.iter_mut().enumerate() {
            let is_over = |piece: &Piece| {
                piece.holder.as_ref().is_some_and(|holder| !(now + 1..=latest).contains(&holder.expires_at))
            };
            while let Some(place) = track.pieces().iter().position(is_over) {
                let is_final = track.pieces()[place].deliveries >= max_deliveries;
                track.fail(place, partition, is_final, &mut self.parking);
            }
        }
    }

    /// What to look for next: expired and released work first.
    pub(super) fn next(&self, head: u64) -> Next {
        if self.leases().count() >= self.limits.max_leases {
            return Next::FullyLeased;
        }
        let free = |partition: usize| {
            let place = self.tracks[partition].first_free()?;
            let piece = &self.tracks[partition].pieces()[place];
            Some((piece.from, piece.through, partition))
        };
        if let Some((from, through, partition)) = self.may_lease().filter_map(free).min() {
            return Next::Piece { partition, after: from - 1, through };
        }
        match self.may_lease().map(|partition| self.tracks[partition].handed_out).min() {
            Some(after) if after < head => Next::New { after },
            Some(_) => Next::Nothing,
            None => Next::FullyLeased,
        }
    }

    /// The partitions that may have another lease: any while there are no partitions, else those without one.
    fn may_lease(&self) -> impl Iterator<Item = usize> + '_ {
        let is_whole = self.tracks.len() == 1;
        (0..self.tracks.len()).filter(move |&track| is_whole || self.tracks[track].leased().next().is_none())
    }

    /// Hands out what was looked for and found, as far as it fits; `None` where there was nothing of it, which moves on.
    pub(super) fn take(&mut self, next: Next, found: &Candidates, wanted: LeaseWanted) -> Option<Handed> {
        match next {
            Next::Piece { partition, .. } => self.take_piece(partition, found, wanted),
            Next::New { .. } => self.take_new(found, wanted),
            Next::FullyLeased | Next::Nothing => None,
        }
    }

    fn take_piece(&mut self, partition: usize, found: &Candidates, wanted: LeaseWanted) -> Option<Handed> {
        let place = self.tracks[partition].first_free()?;
        let own: Vec<Candidate> =
            found.events.iter().copied().filter(|event| event.partition == partition).collect();
        let (seqs, covered_to) = cut(&own, found.edge, wanted.limit);
        let holder = self.holder(&wanted);
        self.tracks[partition].hand_out_piece(place, &seqs, covered_to, holder);
        self.handed(partition, seqs, wanted.lease)
    }

    fn take_new(&mut self, found: &Candidates, wanted: LeaseWanted) -> Option<Handed> {
        let mut first: Option<(usize, Vec<Candidate>)> = None;
        let partitions: Vec<usize> = self.may_lease().collect();
        for partition in partitions {
            let track = &mut self.tracks[partition];
            let is_new = |event: &Candidate| event.partition == partition && event.seq > track.handed_out;
            let own: Vec<Candidate> = found.events.iter().copied().filter(is_new).collect();
            match own.first() {
                None => track.handed_out = track.handed_out.max(found.edge),
                Some(event) => {
                    if first.as_ref().is_none_or(|(_, events)| events[0].seq > event.seq) {
                        first = Some((partition, own));
                    }
                }
            }
        }
        let (partition, own) = first?;
        let (seqs, covered_to) = cut(&own, found.edge, wanted.limit);
        let holder = self.holder(&wanted);
        self.tracks[partition].hand_out_new(&seqs, covered_to, holder);
        self.handed(partition, seqs, wanted.lease)
    }

    fn holder(&self, wanted: &LeaseWanted) -> Holder {
        let expires_at = wanted.now.saturating_add(self.limits.lease_micros);
        Holder { lease: wanted.lease, expires_at, worker: wanted.worker.clone() }
    }

    fn handed(&self, partition: usize, seqs: Vec<u64>, lease: Uuid) -> Option<Handed> {
        let place = self.tracks[partition].find(lease)?;
        Some(Handed { partition, piece: self.tracks[partition].pieces()[place].clone(), seqs })
    }

    /// Does with a lease what its worker says. Returns when it expires, where it goes on.
    pub(super) fn settle(
        &mut self,
        lease: Uuid,
        verdict: Verdict,
        now: i64,
    ) -> Result<Option<i64>, NoVerdict> {
        let found = self.tracks.iter().enumerate().find_map(|(at, track)| Some((at, track.find(lease)?)));
        let Some((partition, place)) = found else { return Err(NoVerdict::Fenced) };
        let Limits { max_deliveries, lease_micros, .. } = self.limits;
        let track = &mut self.tracks[partition];
        let piece = track.piece_mut(place);
        match verdict {
            Verdict::Accept { through: Some(seq) } if seq > piece.through => {
                return Err(NoVerdict::Beyond(piece.through));
            }
            Verdict::Accept { through: Some(seq) } if seq < piece.through => {
                piece.from = piece.from.max(seq + 1);
            }
            Verdict::Accept { .. } => track.remove(place),
            Verdict::Release => {
                let is_final = piece.deliveries >= max_deliveries;
                track.fail(place, partition, is_final, &mut self.parking);
            }
            Verdict::Reject => track.fail(place, partition, true, &mut self.parking),
            Verdict::Renew => {
                if let Some(holder) = &mut piece.holder {
                    holder.expires_at = now.saturating_add(lease_micros);
                }
            }
            Verdict::Withdraw => {
                piece.holder = None;
                piece.deliveries -= 1;
            }
        }
        let place = self.tracks[partition].find(lease);
        let piece = place.map(|place| &self.tracks[partition].pieces()[place]);
        Ok(piece.and_then(|piece| Some(piece.holder.as_ref()?.expires_at)))
    }

    /// Moves a reader without leases on to `seq`; it never moves back.
    pub(super) fn move_on_to(&mut self, seq: u64) {
        for track in &mut self.tracks {
            track.move_on_to(seq);
        }
    }

    /// Goes to `seq`, back or on. All leases end.
    pub(super) fn seek(&mut self, seq: u64) {
        for track in &mut self.tracks {
            track.seek(seq);
        }
    }

    /// How many parked events may be tried again now.
    pub(super) fn room_for_retries(&self) -> usize {
        let pieces: usize = self.tracks.iter().map(|track| track.pieces().len()).sum();
        PIECES_WITH_RETRIES_MAX.saturating_sub(pieces)
    }

    /// Has these parked events tried again.
    pub(super) fn retry(&mut self, events: &[ParkedEvent]) {
        for event in events {
            self.tracks[event.partition].retry(event.seq);
        }
        self.parking.kept -= events.len() as u64;
    }

    /// Notes that so many parked events are not kept any more.
    pub(super) fn forget_parked(&mut self, events: u64) {
        self.parking.kept -= events;
    }
}

/// The first events that fit, and up to where there are no others.
fn cut(own: &[Candidate], edge: u64, limit: usize) -> (Vec<u64>, u64) {
    let fitting = fitting(own.iter().take(limit).map(|event| event.bytes));
    let seqs: Vec<u64> = own[..fitting].iter().map(|event| event.seq).collect();
    let covered_to = if seqs.len() < own.len() { seqs.last().copied().unwrap_or(edge) } else { edge };
    (seqs, covered_to)
}

/// How many of the first events, of these sizes, have together no more bytes than a page may have. One always fits.
pub(super) fn fitting(sizes: impl Iterator<Item = u64>) -> usize {
    let mut bytes = 0;
    let fits = |(place, size): &(usize, u64)| {
        bytes += size;
        *place == 0 || bytes <= PAGE_BYTES_MAX as u64
    };
    sizes.enumerate().take_while(fits).count()
}

#[cfg(test)]
mod tests;
