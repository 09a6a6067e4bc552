//! The state of a ledger on this node: plain values, shared by the service above and the actors.
//!
//! - `admission`: limits on what is in flight.
//! - `peer`: a client, as the limits know it.
//! - `position`: the last commit seen, and how a restored database is noticed.
//! - `store_health`: whether the store takes writes.

mod admission;
mod budget;
mod damage_log;
mod peer;
mod position;
mod store_health;

pub use self::{
    admission::{Admission, AdmissionLimits, Overloaded, Permits, SMALL_ANSWER_BYTES},
    budget::BytesPermit,
    damage_log::DamageLog,
    peer::Peer,
    position::{LedgerPosition, PolledHead},
    store_health::{StoreHealth, StoreLoss, StoreReport},
};
