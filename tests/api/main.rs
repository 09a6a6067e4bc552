//! The service through its front door: the real server on port 0, a database of its own, on both stores.

mod concurrency;
mod duplicates;
mod harness;
mod reading;
mod scenarios;
mod smoke;
