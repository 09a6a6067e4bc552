//! Rules of the project itself, checked over its own sources: no server, no database, no network.

use std::env;
use std::path::PathBuf;

mod alerts;
mod documents;
mod layering;
mod licences;
mod migrations;
mod routes;
mod settings;
mod sizes;
mod source;
mod sql;
mod timeouts;
mod unit;
mod version;

/// Cargo's word at run time comes first: a binary built in another clone with the same target folder counts as
/// fresh, and the path compiled into it is that clone's.
fn package_root() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).into()
}
