//! The service through its front door: the real server on port 0, a database of its own, on both stores.

mod harness;
mod publish_command;
mod simulate;
mod simulate_proxy;
mod smoke;
