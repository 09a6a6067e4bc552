//! The soak that `scripts/chaos` runs: nodes on Postgres and a service on SQLite, under load of retrying producers,
//! while everything around them dies, freezes, is cut off or held, and namespaces come and go; readers of the stream and
//! workers of a subscription beside them; and the full proof of each namespace after each round.

mod consumers;
mod faults;
#[path = "../api/harness/mod.rs"]
#[allow(dead_code, unused_imports)] // the tests use the rest of it
mod harness;
mod options;
mod summary;
mod world;

use std::{
    panic::AssertUnwindSafe,
    process::ExitCode,
    time::{Duration, Instant},
};

use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};

use self::{harness::random::Random, options::Options, summary::Summary, world::World};

const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// Times that faults meet the services before all is proved.
const FAULTS_A_ROUND: std::ops::Range<usize> = 1..5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Whoever runs all tests does not want a soak; it counts as a target without any.
    if arguments.first().is_none_or(|first| first != "soak") {
        return ExitCode::SUCCESS;
    }
    match Options::parse(&arguments[1..]) {
        Ok(options) => harness::block_on(soak(options)),
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::from(2)
        }
    }
}

async fn soak(options: Options) -> ExitCode {
    println!("seed {} ({} minutes)", options.seed, options.minutes);
    hush_crashing_actors();
    let mut summary = Summary::new(options.seed);
    let mut interrupts = signal(SignalKind::interrupt()).unwrap();
    let mut terminations = signal(SignalKind::terminate()).unwrap();
    let rounds = AssertUnwindSafe(run(&options, &mut summary)).catch_unwind();
    let ended = tokio::select! {
        ended = rounds => Some(ended),
        _ = interrupts.recv() => None,
        _ = terminations.recv() => None,
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            summary.findings.wrong(format!("the soak could not go on: {}", text.unwrap_or("no message")));
        }
        None => println!("interrupted"),
    }
    summary.print();
    if summary.findings.count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Actors that crash because they are told to need not say so.
fn hush_crashing_actors() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some("crash injected") {
            hook(panic);
        }
    }));
}

async fn run(options: &Options, summary: &mut Summary) {
    let mut random = Random::new(options.seed);
    let mut world = World::start(&mut random).await;
    let end = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let mut reported = Instant::now();
    while Instant::now() < end && summary.findings.count() == 0 {
        for _ in 0..random.within(FAULTS_A_ROUND) {
            for fault in world.suffer(&mut random).await {
                *summary.faults.entry(fault).or_default() += 1;
            }
            tokio::time::sleep(random.millis(0..1_500)).await;
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                summary.update(&world);
                summary.print_line();
            }
        }
        summary.findings.extend(world.prove(false).await);
        summary.rounds += 1;
        summary.update(&world);
    }
    summary.findings.extend(world.prove(true).await);
    summary.update(&world);
    world.swept().await;
    world.stop().await;
}
