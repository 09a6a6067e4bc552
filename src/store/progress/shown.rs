//! A subscription and its leases, as those who ask see them.

use uuid::Uuid;

use super::{
    Holder, LeaseInfo, LeaseOutcome, Leased, Piece, ProgressSession, Record, SubscriptionInfo,
    SubscriptionStatus,
    handing_out::skip_others,
    state::{Handed, Next},
};
use crate::{
    event::Timestamp,
    store::{Damage, StoreError},
};

/// A lease as its worker gets it.
pub(super) fn leased(record: &Record, lease: Uuid, handed: Handed) -> Result<LeaseOutcome, StoreError> {
    let Handed { partition, piece, seqs } = handed;
    let expires_at = piece.holder.as_ref().map_or(0, |holder| holder.expires_at);
    Ok(LeaseOutcome::Leased(Leased {
        lease,
        partition: record.settings.partitions.map(|_| partition),
        from: piece.from,
        through: piece.through,
        deliveries: piece.deliveries,
        expires_at: moment(expires_at)?,
        seqs,
    }))
}

/// Why there is no lease.
pub(super) fn nothing(record: &Record, next: Next, head: u64, now: i64) -> Result<LeaseOutcome, StoreError> {
    let left = |expires_at: i64| u64::try_from(expires_at.saturating_sub(now)).unwrap_or(0);
    let expires_in_micros = record.progress.next_expiry().map(left);
    Ok(match next {
        Next::FullyLeased => LeaseOutcome::FullyLeased {
            leases: leases(record)?,
            expires_in_micros: expires_in_micros.unwrap_or(0),
        },
        Next::Nothing => LeaseOutcome::Nothing { head, expires_in_micros },
        Next::Piece { .. } | Next::New { .. } => LeaseOutcome::MovedOn,
    })
}

/// A subscription as it is shown now, and about how many events were looked through to see whether it has something to
/// do.
pub(super) async fn shown(
    session: &mut dyn ProgressSession,
    mut record: Record,
    head: u64,
    now: i64,
) -> Result<(SubscriptionInfo, u64), StoreError> {
    record.progress.expire(now);
    let looked_through = skip_others(session, &mut record, head).await?;
    Ok((info(record, head)?, looked_through))
}

fn info(record: Record, head: u64) -> Result<SubscriptionInfo, StoreError> {
    let progress = &record.progress;
    let (acked, leases) = (progress.acked(), leases(&record)?);
    let status = if progress.is_parking_full() && progress.has_free_pieces() {
        SubscriptionStatus::Blocked
    } else if !leases.is_empty() {
        SubscriptionStatus::Leased
    } else if progress.has_free_pieces() || acked < head {
        SubscriptionStatus::Waiting
    } else {
        SubscriptionStatus::CaughtUp
    };
    let parked = progress.parked();
    let Record { name, settings, created_at, .. } = record;
    Ok(SubscriptionInfo { name, settings, created_at, acked, head, leases, parked, status })
}

/// The leases that are held.
pub(super) fn leases(record: &Record) -> Result<Vec<LeaseInfo>, StoreError> {
    let lease = |(partition, piece, holder): (usize, &Piece, &Holder)| {
        Ok(LeaseInfo {
            partition: record.settings.partitions.map(|_| partition),
            from: piece.from,
            through: piece.through,
            deliveries: piece.deliveries,
            expires_at: moment(holder.expires_at)?,
            worker: holder.worker.clone(),
        })
    };
    record.progress.leases().map(lease).collect()
}

pub(super) fn moment(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_unix_micros(micros).map_err(|fault| StoreError::Damaged(Damage::new(fault.to_string())))
}
