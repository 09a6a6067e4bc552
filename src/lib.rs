//! *sekali* (Indonesian: "once"): publish an event as often as you like; it is stored once, and the answer says so.
//!
//! The modules, in the order in which a publish passes them:
//!
//! - [`cli`]: the subcommands; [`config`] holds the settings of the service, [`client`] asks a running one.
//! - [`app`]: starts the parts in order, and stops them in reverse.
//! - [`http`]: the server, routes, limits and statuses; a handler is parse, call, reply.
//! - [`access`]: keys, and what each allows.
//! - [`service`]: what HTTP sees: a handle with plain async methods.
//! - [`actors`]: sharded DedupActors mark what is known to be stored, a WriterActor commits whole requests in
//!   groups, a StatsActor counts by message.
//! - [`ledger`]: plain state shared by the service and the actors: limits, the last commit seen, store health.
//! - [`store`]: the unique key that judges what is new, and the ledger, in Postgres or SQLite.
//! - [`event`]: what an event is; parsing is validating.

#![warn(clippy::too_many_lines)]

pub mod cli;
pub mod config;
pub mod client;
pub mod app;
pub mod http;
pub mod access;
pub mod service;
pub mod actors;
pub mod ledger;
pub mod origin;
pub mod store;
pub mod event;
pub mod request_ids;
pub mod redact;
