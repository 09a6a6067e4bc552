//! *sekali* (Indonesian: "once"): publish an event as often as you like; it is stored once, and the answer says so.
//!
//! The data walks down three floors, once:
//!
//! - [`http`]: every route, limit and status code; a handler is parse, call, reply.
//! - [`actors`]: the actors. Sharded DedupActors mark what they know to be stored, one WriterActor commits whole
//!   requests in groups, a StatsActor counts by message.
//! - [`store`]: the judge. A unique key and a ledger, in Postgres or SQLite.
//!
//! All of them speak of [`event`]s. [`app`] joins the floors and takes them apart again; [`cli`] is the menu of
//! subcommands, with [`config`] for the service's settings and [`client`] for those that ask a running one.

pub mod actors;
pub mod app;
pub mod cli;
pub mod client;
pub mod config;
pub mod event;
pub mod http;
pub mod ledger;
pub mod redact;
pub mod service;
pub mod store;
