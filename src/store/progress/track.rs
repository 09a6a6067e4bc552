//! The place of one partition: up to where its events were handed out, and which of these are not settled.
//!
//! Settled is everything up to `handed_out` that is in no piece. So neighbours that are settled need no merging, and the
//! state is as large as the pieces.

use uuid::Uuid;

/// A range of `seq` that was handed out and is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub from: u64,
    pub through: u64,
    /// The last event of its first half, when it was handed out last; below `from` where that is not known.
    pub middle: u64,
    /// How many times it was handed out.
    pub deliveries: u32,
    /// An event that was parked before. It does not hold back what counts as acked.
    pub is_retry: bool,
    /// Who has it; nobody where it waits to be handed out again.
    pub holder: Option<Holder>,
}

/// Who has a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub lease: Uuid,
    /// Microseconds since 1970.
    pub expires_at: i64,
    /// What the worker calls itself.
    pub worker: Option<String>,
}

/// An event that failed as often as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedEvent {
    pub seq: u64,
    pub partition: usize,
    pub deliveries: u32,
}

/// Room for events that are parked.
#[derive(Clone, Debug, Default)]
pub(super) struct Parking {
    /// Those that are parked already.
    pub kept: u64,
    pub max: u64,
    pub new: Vec<ParkedEvent>,
}

impl Parking {
    pub(super) fn is_full(&self) -> bool {
        self.kept + self.new.len() as u64 >= self.max
    }
}

/// The place of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Events up to here were handed out, or belong to nobody.
    pub handed_out: u64,
    /// By `from`, disjoint, none behind `handed_out`.
    pieces: Vec<Piece>,
}

impl Track {
    pub(super) fn new(handed_out: u64, mut pieces: Vec<Piece>) -> Self {
        pieces.sort_by_key(|piece| piece.from);
        Self { handed_out, pieces }
    }

    /// Everything up to here is settled, but for parked events.
    pub(super) fn acked(&self) -> u64 {
        let first = self.pieces.iter().find(|piece| !piece.is_retry);
        first.map_or(self.handed_out, |piece| piece.from.saturating_sub(1))
    }

    /// Whether everything that was handed out is settled, but for parked events.
    pub(super) fn is_idle(&self) -> bool {
        self.pieces.iter().all(|piece| piece.is_retry)
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub(super) fn leased(&self) -> impl Iterator<Item = (&Piece, &Holder)> {
        self.pieces.iter().filter_map(|piece| Some((piece, piece.holder.as_ref()?)))
    }

    /// The place of the first piece that nobody has.
    pub(super) fn first_free(&self) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.holder.is_none())
    }

    /// The place of the piece of this lease.
    pub(super) fn find(&self, lease: Uuid) -> Option<usize> {
        let is_it = |piece: &Piece| piece.holder.as_ref().is_some_and(|holder| holder.lease == lease);
        self.pieces.iter().position(is_it)
    }

    pub(super) fn piece_mut(&mut self, place: usize) -> &mut Piece {
        &mut self.pieces[place]
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.pieces.remove(place);
    }

    /// Adds an event that was parked, to be tried again.
    pub(super) fn retry(&mut self, seq: u64) {
        let piece = Piece { from: seq, through: seq, middle: 0, deliveries: 0, is_retry: true, holder: None };
        let place = self.pieces.partition_point(|other| other.from < seq);
        self.pieces.insert(place, piece);
    }

    /// Hands out the events `taken` of a free piece, of which the part up to `covered_to` holds no others. What is behind
    /// stays free; what belongs to nobody is settled.
    pub(super) fn hand_out_piece(&mut self, place: usize, taken: &[u64], covered_to: u64, holder: Holder) {
        let piece = self.pieces.remove(place);
        let rest = Piece { from: covered_to + 1, middle: 0, ..piece.clone() };
        if rest.from <= rest.through {
            self.pieces.insert(place, rest);
        }
        if let Some(handed) = handed(taken, piece.deliveries, piece.is_retry, holder) {
            self.pieces.insert(place, handed);
        }
    }

    /// Hands out the events `taken` behind all that were handed out before, where there are no others up to `covered_to`.
    pub(super) fn hand_out_new(&mut self, taken: &[u64], covered_to: u64, holder: Holder) {
        self.handed_out = covered_to;
        self.pieces.extend(handed(taken, 0, false, holder));
    }

    /// Takes the piece back from its holder. One that was handed out often enough, or whose holder says that there is no
    /// use in it, is halved; an event that stands alone is parked, where there is room.
    pub(super) fn fail(&mut self, place: usize, partition: usize, is_final: bool, parking: &mut Parking) {
        let piece = &mut self.pieces[place];
        piece.holder = None;
        if !is_final {
            return;
        }
        if piece.from == piece.through {
            if !parking.is_full() {
                parking.new.push(ParkedEvent { seq: piece.from, partition, deliveries: piece.deliveries });
                self.pieces.remove(place);
            }
        } else if (piece.from..piece.through).contains(&piece.middle) {
            let second = Piece { from: piece.middle + 1, middle: 0, ..piece.clone() };
            piece.through = piece.middle;
            piece.middle = 0;
            self.pieces.insert(place + 1, second);
        }
    }

    /// Moves on to `seq`, whatever is not settled before it. Parked events that are tried again stay.
    pub(super) fn move_on_to(&mut self, seq: u64) {
        self.handed_out = self.handed_out.max(seq);
        self.pieces.retain(|piece| piece.is_retry || piece.through > seq);
        for piece in self.pieces.iter_mut().filter(|piece| !piece.is_retry) {
            piece.from = piece.from.max(seq + 1);
        }
    }

    /// Goes to `seq`, back or on. All leases end. Parked events that are tried again stay where they are not replayed.
    pub(super) fn seek(&mut self, seq: u64) {
        self.handed_out = seq;
        self.pieces.retain(|piece| piece.is_retry && piece.through <= seq);
        for piece in &mut self.pieces {
            piece.holder = None;
        }
    }
}

/// The piece of these events, which a holder gets now; `None` if there are none.
fn handed(taken: &[u64], deliveries: u32, is_retry: bool, holder: Holder) -> Option<Piece> {
    let (from, through) = (*taken.first()?, *taken.last()?);
    let middle = taken[(taken.len() / 2).saturating_sub(1)];
    let deliveries = deliveries.saturating_add(1);
    Some(Piece { from, through, middle, deliveries, is_retry, holder: Some(holder) })
}
