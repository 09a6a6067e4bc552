//! Faults that meet real processes under load: whatever dies, freezes, is cut off or fills up, every acknowledged
//! event is stored once, and the proof after each test says so from SQL and over HTTP.

mod connections;
mod cut_at_commit;
mod full_disk;
mod held_ledger;
mod killed;
mod large_bodies;
mod log;
mod overload;
mod poison;
mod postgres_dies;
mod restored_under_load;
mod second_service;
mod slow_clients;
mod start;
mod stop;
mod two_nodes;

use std::{path::Path, time::Duration};

use crate::harness::{Client, process::Process};

/// What an answer may take at most, with a little for a busy machine.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(11_000);

/// A service of its own process, ready.
async fn serve(url: &str) -> Process {
    serve_with(url, &[]).await
}

async fn serve_with(url: &str, arguments: &[&str]) -> Process {
    let arguments = [&["--database-url", url], arguments].concat();
    Process::start(Path::new("/"), &arguments).ready().await
}

async fn is_ready(client: &Client) -> bool {
    client.get("/readyz").await.status == 200
}
