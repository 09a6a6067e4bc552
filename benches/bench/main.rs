//! Measures the service against its own database, in one run on one machine: only the ratios carry over.
//!
//! `scripts/bench` starts a private Postgres and runs this. It is not a Criterion benchmark: what is measured is
//! the whole way from socket to disk, with load generator, service and database as processes of their own.

mod cases;
mod citus;
mod figures;
mod isolation;
mod load;
mod null;
mod process;
mod raw;
mod readers;
mod report;
mod sending;
mod streams;
mod subscriptions;
mod unfriendly;

use std::{error::Error, path::PathBuf};

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Bench {
    #[command(subcommand)]
    command: Command,
    /// Given by `cargo bench`
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run all cases, and write the table
    Run(RunArgs),
    /// Run the cases on a Citus cluster, and write their table
    Citus(citus::Citus),
    /// The load generator alone
    Load(load::Load),
    /// Readers of streams alone
    Readers(readers::Readers),
    /// Unfriendly clients alone
    Unfriendly(unfriendly::Unfriendly),
    /// A server that answers every publish at once, to show what the load generator can do
    Null,
}

#[derive(clap::Args, Clone)]
pub struct RunArgs {
    /// A Postgres server of the bench's own; databases are made and dropped on it
    #[arg(long, env = "BENCH_DATABASE_URL")]
    database_url: String,
    /// Process id of that server, whose processor time is counted
    #[arg(long, env = "BENCH_POSTGRES_PID")]
    postgres_pid: u32,
    /// The same with a disk whose flush is slow
    #[arg(long, env = "BENCH_SLOW_DATABASE_URL")]
    slow_database_url: String,
    /// Process id of that server
    #[arg(long, env = "BENCH_SLOW_POSTGRES_PID")]
    slow_postgres_pid: u32,
    /// The library that makes the flush slow, and counts, preloaded into the service where its database is SQLite
    #[arg(long, env = "BENCH_SLOW_FLUSH_LIBRARY")]
    slow_flush_library: PathBuf,
    /// The binary to measure
    #[arg(long)]
    sekali: PathBuf,
    /// Where the table goes; printed as well
    #[arg(long)]
    output: Option<PathBuf>,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Seconds a case
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Also ten million stored events, as with `--only "10 million"`
    #[arg(long)]
    full: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    match Bench::parse().command {
        Command::Run(args) => cases::run(&args),
        Command::Citus(args) => citus::run(&args),
        Command::Load(load) => {
            println!("{}", serde_json::to_string(&load::run(load)?)?);
            Ok(())
        }
        Command::Readers(readers) => {
            println!("{}", serde_json::to_string(&readers::run(readers)?)?);
            Ok(())
        }
        Command::Unfriendly(unfriendly) => {
            unfriendly::run(unfriendly);
            Ok(())
        }
        Command::Null => Ok(null::serve()?),
    }
}
