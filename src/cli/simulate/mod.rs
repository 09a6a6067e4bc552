//! `sekali simulate`: publishes a planned share of repeats over unreliable ways, and proves that each event is
//! stored once.
//!
//! In reading order: the [`plan`] and its [`ids`], the [`body`] of a request, [`sending`], the [`answers`], the
//! [`proof`] by reading back and by [`counts`], the [`report`].

mod answers;
mod body;
mod counts;
mod faults;
mod ids;
mod plan;
mod proof;
mod report;
mod sending;

use std::{
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, value_parser};
use uuid::Uuid;

use self::{
    answers::Answers,
    body::{EVENT_FRAME_BYTES_MAX, PAYLOAD_BYTES_MIN},
    counts::{Expected, Verdict},
    ids::IdKind,
    plan::Plan,
    proof::Reading,
    report::Latency,
    sending::{Measured, Sending},
};
pub use self::{
    report::Report,
    sending::{Onlooker, RetriedRequest},
};
use super::{CliError, ServerArgs, block_on};
use crate::{
    client::{Client, ClientError},
    config::{WrongValue, duration},
    event::Timestamp,
};

/// What the service takes in one request, unless it is told otherwise.
const BODY_BYTES_MAX: usize = 16 << 20;
const RUN_NAME_BYTES_MAX: usize = 64;

#[derive(Args)]
pub struct SimulateArgs {
    /// How many events to send, repeats included: 1 to 10000000
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    events: u32,

    /// Share of the events that repeat an earlier one: 0 to 1, at least one event must remain
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, value_parser = share)]
    duplicates: f64,

    /// Events in one request: 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    batch: u32,

    /// Connections, each with one request under way: 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=1_000))]
    concurrency: u32,

    /// Topics that the events are spread over: 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..=10_000))]
    topics: u32,

    /// How event ids look
    #[arg(long, value_name = "KIND", default_value = "uuid4")]
    ids: IdKind,

    /// Size of each payload: 26 to 1000000 bytes
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = value_parser!(u32).range(PAYLOAD_BYTES_MIN as i64..=1_000_000))]
    payload_bytes: u32,

    /// Requests to send a second, whether or not answers come: up to 1000000; latency counts from the planned
    /// time; 0 sends as fast as answers come
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    rate: f64,

    /// Fixes the plan: the order of events and repeats [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Name of the run, of which topics and ids are made: the same name and seed send the same events again;
    /// 1 to 64 letters, digits, - and _ [default: a fresh one]
    #[arg(long, value_name = "NAME", value_parser = run_name)]
    run: Option<String>,

    /// Longest time to try one request again and again: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = |text: &str| duration("give-up-after", text))]
    give_up_after: Duration,

    /// Longest wait for the service to be ready: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = |text: &str| duration("ready-timeout", text))]
    ready_timeout: Duration,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    /// Whether somebody else tells of the progress.
    #[arg(skip)]
    silent: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// A load for a demonstration: `requests` of `batch` events each, so many a second, over connections enough that
/// a service that pauses for a moment meets no silence.
pub struct SteadyLoad {
    pub requests: u32,
    pub requests_per_second: u32,
    pub batch: u32,
    pub duplicates: f64,
    pub connections: u32,
}

impl SteadyLoad {
    /// The flags that ask for it.
    pub fn args(&self, url: String) -> SimulateArgs {
        SimulateArgs {
            events: self.requests * self.batch,
            duplicates: self.duplicates,
            batch: self.batch,
            concurrency: self.connections,
            topics: 8,
            ids: IdKind::Uuid4,
            payload_bytes: 100,
            rate: f64::from(self.requests_per_second),
            seed: None,
            run: None,
            give_up_after: Duration::from_secs(60),
            ready_timeout: Duration::from_secs(30),
            json: false,
            silent: true,
            server: ServerArgs { url },
        }
    }
}

/// Sends, proves and reports; an error if anything is not as it must be.
pub fn run(args: &SimulateArgs) -> Result<(), CliError> {
    let report = block_on(Run::new(args)?.simulate(&Onlooker::default()))?;
    let shown = if args.json { report.json() } else { report.table() };
    writeln!(io::stdout(), "{}", shown.trim_end()).map_err(CliError::Output)?;
    match report.faults.is_empty() {
        true => Ok(()),
        false => Err(CliError::NotProven(report.faults.join("; "))),
    }
}

/// One run, planned.
pub struct Run<'a> {
    args: &'a SimulateArgs,
    client: Client,
    name: String,
    seed: u64,
    plan: Plan,
}

impl<'a> Run<'a> {
    /// The run that the flags ask for, or what is wrong with them.
    pub fn new(args: &'a SimulateArgs) -> Result<Self, CliError> {
        let name = args.run.clone().unwrap_or_else(|| Uuid::new_v4().simple().to_string()[..12].to_owned());
        let seed = args.seed.unwrap_or_else(|| u64::from(Uuid::new_v4().as_fields().0));
        check_request_size(args)?;
        let plan = Plan::new(args, &name, seed, timestamp_now())?;
        Ok(Self { args, client: args.server.client()?, name, seed, plan })
    }

    /// What it asks the service by.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The topics of its events, which are no other run's.
    pub fn topics(&self) -> &[String] {
        &self.plan.topics
    }

    /// Sends, until all is sent or the onlooker has seen enough, and proves what was sent.
    pub async fn simulate(&self, onlooker: &Onlooker) -> Result<Report, CliError> {
        let Self { args, client, plan, .. } = self;
        let give_up_after = args.give_up_after;
        super::wait_until_ready(client, args.ready_timeout).await?;
        let reading = Reading { plan, client, give_up_after, silent: args.silent };
        let mut answers = Answers::new(plan, reading.last_seq().await?);
        let before = counts::stats(client, give_up_after).await?;
        let topics_may_be_old = args.run.is_some();
        if topics_may_be_old {
            reading.note_before(&mut answers).await?;
        }
        let rate = (args.rate > 0.0).then_some(args.rate);
        let concurrency = args.concurrency as usize;
        let sending =
            Sending { plan, client, concurrency, rate, give_up_after, silent: args.silent, onlooker };
        let measured = sending.run(&mut answers).await;

        let sent = onlooker.enough.get().then(|| plan.first_requests(onlooker.begun.get()));
        let plan = sent.as_ref().unwrap_or(plan);
        let reading = Reading { plan, ..reading };
        let mut answers = answers.cut_to(plan);
        let new_by_topic = answers.new_by_topic();
        let copies_unknown = answers.copies_unknown;
        let expected = Expected { plan, before, topics_may_be_old, new_by_topic, copies_unknown };
        let mut read_back = 0;
        let mut unproven = Vec::new();
        // What was not sent cannot be there.
        if measured.events == plan.events() {
            answers.check_sum();
            match prove(&reading, &expected, &mut answers).await {
                Ok((events, verdict)) => {
                    (read_back, unproven) = (events, verdict.unproven);
                    answers.faults.extend(verdict.faults);
                }
                Err(error) => answers.faults.add("the result could not be read back", || error.to_string()),
            }
        }
        Ok(report(self.name.clone(), self.seed, &answers, &measured, read_back, unproven))
    }
}

/// How many events were read back, and what is to be said of the counts.
async fn prove(
    reading: &Reading<'_>,
    expected: &Expected<'_>,
    answers: &mut Answers<'_>,
) -> Result<(u64, Verdict), ClientError> {
    reading.check_events(answers).await?;
    let read_back = answers.check_each_event();
    Ok((read_back, counts::check(expected, reading.client, reading.give_up_after).await?))
}

fn report(
    run: String,
    seed: u64,
    answers: &Answers<'_>,
    measured: &Measured,
    read_back: u64,
    unproven: Vec<String>,
) -> Report {
    let latency = |quantile| measured.latency_us.value_at_quantile(quantile) as f64 / 1_000.0;
    let seconds = measured.time.as_secs_f64().max(0.000_001);
    let tenths = |number: f64| (number * 10.0).round() / 10.0;
    Report {
        verdict: if answers.faults.is_empty() { Report::PASSED } else { Report::FAILED },
        faults: answers.faults.sentences(),
        unproven,
        run,
        seed,
        events: answers.plan().events(),
        unique: u64::from(answers.plan().unique),
        there_before: answers.there_before,
        accepted: answers.accepted,
        stored: answers.stored,
        duplicates: answers.duplicates,
        read_back,
        requests: measured.requests,
        retries: measured.retries,
        unknown_outcomes: measured.unknown_outcomes,
        seconds: (seconds * 1_000.0).round() / 1_000.0,
        events_per_second: tenths(measured.events as f64 / seconds),
        requests_per_second: tenths(measured.requests as f64 / seconds),
        latency_ms: Latency { p50: latency(0.5), p95: latency(0.95), p99: latency(0.99), max: latency(1.0) },
    }
}

/// Now, in the form in which the service answers it.
fn timestamp_now() -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_unix_micros(since_1970.as_micros() as i64);
    now.expect("the time of now is one that an event can have").to_string()
}

/// The requests must be ones that the service takes.
fn check_request_size(args: &SimulateArgs) -> Result<(), WrongValue> {
    let largest = BODY_BYTES_MAX / args.batch as usize - EVENT_FRAME_BYTES_MAX;
    if args.payload_bytes as usize > largest {
        let allowed = format!("at most {largest}, so that --batch {} events fit into 16MiB", args.batch);
        return Err(WrongValue::new("payload-bytes", allowed, args.payload_bytes.to_string()));
    }
    Ok(())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it must be a number from 0 to 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| *rate == 0.0 || (0.001..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| "it must be a number from 0.001 to 1000000, or 0".to_owned())
}

fn run_name(text: &str) -> Result<String, String> {
    let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || b"-_".contains(&letter);
    match (1..=RUN_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("it must be 1 to 64 letters, digits, - and _".to_owned()),
    }
}

#[cfg(test)]
pub(in crate::cli::simulate) mod tests {
    use clap::FromArgMatches;

    use super::*;

    pub fn args(flags: &[&str]) -> SimulateArgs {
        let command = SimulateArgs::augment_args(clap::Command::new("simulate").no_binary_name(true));
        SimulateArgs::from_arg_matches(&command.try_get_matches_from(flags).unwrap()).unwrap()
    }

    /// The plan of a run with these flags.
    pub fn plan(flags: &[&str]) -> Plan {
        Plan::new(&args(flags), "test", 7, timestamp_now()).unwrap()
    }

    #[test]
    fn what_an_event_looks_like_decides_on_its_id() {
        let id = |flags: &[&str]| plan(flags).ids.id(0);
        assert_eq!(id(&[]), id(&["--events=5", "--batch=7", "--concurrency=3", "--duplicates=0.1"]));
        for flag in ["--payload-bytes=101", "--topics=9", "--ids=uuid7"] {
            assert_ne!(id(&[]), id(&[flag]), "{flag}");
        }
    }

    #[test]
    fn requests_beyond_the_services_limit_are_wrong_usage() {
        assert!(check_request_size(&args(&["--batch=16", "--payload-bytes=1000000"])).is_ok());
        let wrong = check_request_size(&args(&["--batch=17", "--payload-bytes=1000000"])).unwrap_err();
        assert!(wrong.to_string().starts_with("--payload-bytes must be at most "), "{wrong}");
    }
}
