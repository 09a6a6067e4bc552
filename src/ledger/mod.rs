//! The state of a ledger on this node: plain values, shared by the service above and the actors.
//!
//! - `open_ledger`: a ledger that is open here.
//! - `admission`: limits on what is in flight.
//! - `peer`: a client, as the limits know it.
//! - `announcements`: what other nodes are to be told.
//! - `chunk`: a piece of the log for those who follow it.
//! - `news`: wakes the readers that wait.
//! - `position`: the last commit seen, and what follows from a restored database.
//! - `ledger_health`, `store_health`: whether one ledger, and whether the database takes writes.

mod admission;
mod announcements;
mod budget;
mod chunk;
mod damage_log;
mod ledger_health;
mod news;
mod open_ledger;
mod peer;
mod position;
mod store_health;
mod tail;

pub use self::{
    admission::{Admission, AdmissionLimits, Overloaded, Permits},
    announcements::Announcements,
    budget::{Budget, BudgetLimits, BytesPermit, SMALL_ANSWER_BYTES},
    chunk::{CHUNK_FORMATS, Chunk, Frames},
    damage_log::DamageLog,
    ledger_health::LedgerHealth,
    news::{LedgerNews, NewsReader},
    open_ledger::{Admitted, OpenLedger},
    peer::Peer,
    position::{Epoch, LedgerPosition},
    store_health::{StoreHealth, StoreLoss, StoreReport},
    tail::LedgerTail,
};
