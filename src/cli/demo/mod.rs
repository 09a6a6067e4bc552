//! `sekali demo`: shows how the service recovers from crashes.
//!
//! In reading order: the [`stage`] runs the service in this process, the [`show`] crashes actors and notes what is
//! [`seen`], the [`timeline`] is printed meanwhile, and the [`report`] at the end. The load and its proof are those of
//! `sekali simulate`.

mod report;
mod seen;
mod show;
mod stage;
mod timeline;

use std::{cell::Cell, io, panic, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use futures::StreamExt;
use indicatif::HumanCount;

use self::{report::Report, show::Show, stage::Stage, timeline::Timeline};
use super::{
    CliError, block_on,
    simulate::{Observer, Run, SimulateArgs},
};
use crate::{
    actors::CRASH_INJECTED,
    app::stop_signals,
    config::{WrongValue, database_url, duration},
};

/// The load: small requests, so that some of them meet an actor that is restarting for a few milliseconds.
const REQUESTS_PER_SECOND: u32 = 250;
const BATCH: u32 = 20;
const DUPLICATES: f64 = 0.3;
/// They follow the log, and must not notice a crash.
const READERS: u32 = 3;
/// More than come during the longest restart that is shown.
const CONNECTIONS: u32 = 300;
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// All crashes together take a few seconds; the load must last longer on the slowest machine.
const CRASHES_TIME_MAX: Duration = Duration::from_secs(120);

#[derive(Args)]
pub struct DemoArgs {
    #[command(subcommand)]
    demo: Demo,
}

#[derive(Subcommand)]
enum Demo {
    /// Crash the actors of a service under load, and prove that nothing is lost and nothing is stored twice
    ///
    /// The service runs within the command, on a SQLite file in a temporary folder. Takes about twenty seconds.
    /// Exit code 1 if the proof fails.
    SupervisorRestart(SupervisorRestartArgs),
}

#[derive(Args)]
pub struct SupervisorRestartArgs {
    // DATABASE_URL of the environment is not used here, since it may be a production database.
    /// Where to store the events instead of a temporary SQLite file; they stay there afterwards
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,

    /// Time of load without crashes before each act: 1ms to 30s
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = pause)]
    pause: Duration,

    /// Print the result as JSON, and nothing before it
    #[arg(long)]
    json: bool,
}

/// Why the demonstration could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoFailure {
    #[error("cannot make a temporary folder")]
    Folder(#[source] io::Error),
    #[error("the service was not ready within {0:?}; is its database there?")]
    NotReady(Duration),
    #[error("the service acknowledged nothing within {waited:?}: {why}")]
    NotServed { waited: Duration, why: String },
    #[error("the service ended in the middle of the demonstration")]
    ServiceEnded,
    #[error("{actor} did not come back within {waited:?}")]
    NotBack { actor: String, waited: Duration },
    #[error("the demonstration was interrupted")]
    Interrupted,
}

/// Runs the demonstration that was asked for.
pub fn run(args: &DemoArgs) -> Result<(), CliError> {
    match &args.demo {
        Demo::SupervisorRestart(args) => supervisor_restart(args),
    }
}

fn supervisor_restart(args: &SupervisorRestartArgs) -> Result<(), CliError> {
    let url = args.database_url.as_deref().map(|url| database_url("database-url", url)).transpose()?;
    keep_injected_panics_quiet();
    let report = block_on(async {
        let mut stops = stop_signals(Arc::default()).map_err(CliError::Runtime)?;
        let stage = tokio::select! {
            stage = Stage::set_up(url) => stage?,
            _ = stops.next() => return Err(DemoFailure::Interrupted.into()),
        };
        let report = tokio::select! {
            report = play(args, &stage) => report,
            _ = stops.next() => Err(DemoFailure::Interrupted.into()),
        };
        // If the service failed, its error explains the failure of the show.
        stage.take_down()?;
        report
    })?;
    let shown = if args.json { report.json() } else { report.words() };
    super::print_report(&shown, &report.faults)
}

async fn play(args: &SupervisorRestartArgs, stage: &Stage) -> Result<Report, CliError> {
    let timeline = Timeline::begin(!args.json);
    let load = load(args.pause, stage.url.clone());
    let run = Run::new(&load)?;
    let observer = Observer::default();
    let show = Show {
        stage,
        run: &run,
        observer: &observer,
        timeline: &timeline,
        pause: args.pause,
        retries_told: Cell::new(0),
    };
    timeline.say(&introduction(stage))?;
    let playing = async {
        let acts = show.play().await?;
        observer.enough.set(true);
        timeline.line("load", "ends; what is under way is finished, and then all is read back")?;
        Ok(acts)
    };
    let (acts, proof) = futures::try_join!(playing, run.simulate(&observer))?;
    let counted = show.counted().await?;
    timeline
        .line("proof", &format!("{} events were read back and compared", HumanCount(proof.sums.read_back)))?;
    Ok(Report::new(stage.store, timeline.seconds(), acts, proof, counted))
}

/// The load, planned for longer than the show can last.
fn load(pause: Duration, url: String) -> SimulateArgs {
    let time_max = pause * (show::ACTS + 1) + CRASHES_TIME_MAX;
    let mut args = SimulateArgs {
        events: time_max.as_secs() as u32 * REQUESTS_PER_SECOND * BATCH,
        batch: BATCH,
        duplicates: DUPLICATES,
        concurrency: CONNECTIONS,
        rate: f64::from(REQUESTS_PER_SECOND),
        silent: true,
        subscribers: READERS,
        ..SimulateArgs::default()
    };
    args.ledger.server.url = url;
    args
}

fn introduction(stage: &Stage) -> String {
    format!(
        "\
Actors of a running service are crashed under load. Nothing may be lost, and nothing stored twice.

The service runs in this process: {} DedupActors (shards), the WriterActor and the StatsActor. Its events go to
{}.
A publisher sends it {REQUESTS_PER_SECOND} requests a second over HTTP, {BATCH} events each, {:.0} % of them repeats. What is refused
for now, it sends again. Meanwhile {READERS} readers follow the log (GET /stream), and must not notice. A crash is a panic in the actor's own thread; its supervisor starts it again.
",
        stage::SHARDS,
        stage.place,
        DUPLICATES * 100.0
    )
}

/// An injected panic is a line of the timeline; any other is printed as usual.
fn keep_injected_panics_quiet() {
    let shown = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(CRASH_INJECTED) {
            shown(info);
        }
    }));
}

fn pause(text: &str) -> Result<Duration, WrongValue> {
    let pause = duration("pause", text)?;
    match pause <= PAUSE_MAX {
        true => Ok(pause),
        false => Err(WrongValue::new("pause", "a time from 1ms to 30s", text)),
    }
}
