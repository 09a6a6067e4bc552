//! The service through its front door: the real server on port 0, a database of its own, on both stores.

mod bad_input;
mod command_line;
mod concurrency;
mod crashes;
mod damage;
mod database_away;
mod demo;
mod duplicates;
mod endings;
mod faults;
mod hang_up;
mod harness;
mod odd_events;
mod odd_requests;
mod opening;
mod pipeline;
mod publish_command;
mod random_input;
mod reading;
mod restart;
mod restored;
mod scenarios;
mod simulate;
mod simulate_proxy;
mod smoke;
mod store_contract;
