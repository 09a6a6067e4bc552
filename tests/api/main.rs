//! The service through its front door: the real server on port 0, a database of its own, on both stores.

mod crashes;
mod harness;
mod pipeline;
mod smoke;
mod store_contract;
