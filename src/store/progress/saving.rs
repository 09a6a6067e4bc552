//! Writes the state of a subscription back.

use std::collections::HashMap;

use super::{Piece, Progress, ProgressSession, Record, StateChange};
use crate::store::StoreError;

/// Writes back what is not as it was.
pub(super) async fn save(
    session: &mut dyn ProgressSession,
    before: &Progress,
    record: &Record,
    now: i64,
) -> Result<(), StoreError> {
    let after = &record.progress;
    let handed_out =
        |progress: &Progress| progress.tracks().iter().map(|track| track.handed_out).collect::<Vec<_>>();
    let mut old = pieces(before);
    let new = pieces(after);
    let is_changed = |(key, piece): &(&(usize, u64), &&Piece)| old.get(*key) != Some(*piece);
    let kept = new.iter().filter(is_changed).map(|((partition, _), piece)| (*partition, *piece)).collect();
    let parked = (before.parked() != after.parked()).then(|| after.parked());
    let handed_out = (handed_out(before) != handed_out(after)).then(|| handed_out(after));
    old.retain(|key, _| !new.contains_key(key));
    let removed = old.into_keys().collect();
    let change = StateChange { handed_out, parked, removed, kept, newly_parked: after.newly_parked() };
    session.save(record.number, &change, now).await
}

/// The pieces by their keys.
fn pieces(progress: &Progress) -> HashMap<(usize, u64), &Piece> {
    let mut pieces = HashMap::new();
    for (partition, track) in progress.tracks().iter().enumerate() {
        pieces.extend(track.pieces().iter().map(|piece| ((partition, piece.from), piece)));
    }
    pieces
}
