//! `sekali simulate`: publishes events, a share of them repeats, and proves that each event is stored exactly once.
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

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, value_parser};
use uuid::Uuid;

use self::{
    answers::Answers,
    body::{EVENT_FRAME_BYTES_MAX, PAYLOAD_BYTES_MIN},
    counts::Expected,
    ids::IdKind,
    plan::Plan,
    proof::Reading,
    report::Latency,
    sending::{Measured, Sending},
};
pub use self::{
    report::Report,
    sending::{Observer, RetriedRequest},
};
use super::{CliError, LedgerArgs, block_on};
use crate::{
    client::{Client, ClientError, Retries, Stats, in_words},
    config::{BODY_BYTES_MAX_DEFAULT, WrongValue, defaults, duration},
    event::Timestamp,
};

const RUN_NAME_BYTES_MAX: usize = 64;

#[derive(Args)]
pub struct SimulateArgs {
    /// How many events to send, repeats included: 1 to 10000000
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub events: u32,

    /// Share of the events that repeat an earlier one: 0 to 1, at least one event must remain
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, value_parser = share)]
    pub duplicates: f64,

    /// Events in one request: 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    pub batch: u32,

    /// Connections, each with one request at a time: 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=1_000))]
    pub concurrency: u32,

    /// Topics of the events: 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..=10_000))]
    topics: u32,

    /// Kind of the event ids
    #[arg(long, value_name = "KIND", default_value = "uuid4")]
    ids: IdKind,

    /// Size of each payload: 26 to 1000000 bytes
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = value_parser!(u32).range(PAYLOAD_BYTES_MIN as i64..=1_000_000))]
    payload_bytes: u32,

    /// Requests to send per second, whether or not answers come: up to 1000000; latency counts from the planned
    /// time; 0 sends as fast as answers come
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    pub rate: f64,

    /// Decides the order of events and repeats [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Name of the run, which decides topics and ids: the same name and seed send the same events again;
    /// 1 to 64 letters, digits, - and _ [default: random]
    #[arg(long, value_name = "NAME", value_parser = run_name)]
    run: Option<String>,

    /// Longest time to retry one request: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = |text: &str| duration("give-up-after", text))]
    give_up_after: Duration,

    /// Longest wait for the service to be ready: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = |text: &str| duration("ready-timeout", text))]
    ready_timeout: Duration,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    /// Whether to show no progress.
    #[arg(skip)]
    pub silent: bool,

    #[command(flatten)]
    pub ledger: LedgerArgs,
}

impl Default for SimulateArgs {
    fn default() -> Self {
        defaults()
    }
}

/// Sends, proves and reports; an error if anything is wrong.
pub fn run(args: &SimulateArgs) -> Result<(), CliError> {
    let report = block_on(Run::new(args)?.simulate(&Observer::default()))?;
    let shown = if args.json { report.json() } else { report.table() };
    super::print_report(&shown, &report.faults)
}

/// One run and its plan.
pub struct Run<'a> {
    args: &'a SimulateArgs,
    client: Client,
    name: String,
    seed: u64,
    plan: Plan,
}

impl<'a> Run<'a> {
    /// The run for these flags, or what is wrong with them.
    pub fn new(args: &'a SimulateArgs) -> Result<Self, CliError> {
        let name = args.run.clone().unwrap_or_else(|| Uuid::new_v4().simple().to_string()[..12].to_owned());
        let seed = args.seed.unwrap_or_else(|| u64::from(Uuid::new_v4().as_fields().0));
        check_request_size(args)?;
        let plan = Plan::new(args, &name, seed, timestamp_now())?;
        Ok(Self { args, client: args.ledger.client()?, name, seed, plan })
    }

    /// The client of the service.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The topics of its events. Other runs have other topics.
    pub fn topics(&self) -> &[String] {
        &self.plan.topics
    }

    /// Sends until all is sent or the observer ends the run, and checks the result.
    pub async fn simulate(&self, observer: &Observer) -> Result<Report, CliError> {
        let Self { args, client, plan, .. } = self;
        let (give_up_after, silent) = (args.give_up_after, args.silent);
        super::wait_until_ready(client, args.ready_timeout).await?;
        let reading = self.reading(plan);
        let mut answers = Answers::new(plan, reading.last_seq().await?);
        let before = client.read_until_answered(give_up_after, async |client| client.stats().await).await?;
        if args.run.is_some() {
            reading.note_before(&mut answers).await?;
        }
        let rate = (args.rate > 0.0).then_some(args.rate);
        let concurrency = args.concurrency as usize;
        let sending = Sending { plan, client, concurrency, rate, give_up_after, silent, observer };
        let measured = sending.run(&mut answers).await;

        let sent = observer.enough.get().then(|| plan.first_requests(observer.begun.get()));
        let plan = sent.as_ref().unwrap_or(plan);
        answers.shorten_to(plan);
        // Without an answer to each request the result cannot be proven.
        let proven = match measured.events == plan.events() {
            true => self.prove(plan, &mut answers, before).await,
            false => Ok(Proof::default()),
        };
        let proof = proven.unwrap_or_else(|error| {
            answers.faults.add("the result could not be read back", in_words(&error));
            Proof::default()
        });
        Ok(self.report(plan, &answers, &measured, &observer.retries, proof))
    }

    fn reading<'b>(&'b self, plan: &'b Plan) -> Reading<'b> {
        let SimulateArgs { give_up_after, silent, .. } = *self.args;
        Reading { plan, client: &self.client, give_up_after, silent }
    }

    /// Reads everything back and checks the counts. What is wrong is added to the faults of `answers`.
    async fn prove(&self, plan: &Plan, answers: &mut Answers, before: Stats) -> Result<Proof, ClientError> {
        self.reading(plan).check_events(answers).await?;
        let read_back = answers.check_each_event(plan);
        let topics_may_be_old = self.args.run.is_some();
        let expected = Expected { plan, before, topics_may_be_old, answers };
        let counts = counts::check(&expected, &self.client, self.args.give_up_after).await?;
        answers.faults.extend(counts.faults);
        Ok(Proof { read_back, unproven: counts.unproven })
    }

    fn report(
        &self,
        plan: &Plan,
        answers: &Answers,
        measured: &Measured,
        retries: &Retries,
        proof: Proof,
    ) -> Report {
        let latency = |quantile| measured.latency_us.value_at_quantile(quantile) as f64 / 1_000.0;
        let seconds = measured.time.as_secs_f64().max(0.000_001);
        let tenths = |number: f64| (number * 10.0).round() / 10.0;
        Report {
            verdict: if answers.faults.is_empty() { Report::PASSED } else { Report::FAILED },
            faults: answers.faults.sentences(),
            unproven: proof.unproven,
            run: self.name.clone(),
            seed: self.seed,
            events: plan.events(),
            unique: u64::from(plan.unique),
            sums: answers.sums,
            read_back: proof.read_back,
            requests: measured.requests,
            retries: retries.count(),
            unknown_outcomes: retries.unknown_outcomes(),
            seconds: (seconds * 1_000.0).round() / 1_000.0,
            events_per_second: tenths(measured.events as f64 / seconds),
            requests_per_second: tenths(measured.requests as f64 / seconds),
            latency_ms: Latency {
                p50: latency(0.5),
                p95: latency(0.95),
                p99: latency(0.99),
                max: latency(1.0),
            },
        }
    }
}

/// The result of reading back.
#[derive(Default)]
struct Proof {
    /// Different events that were read back.
    read_back: u64,
    /// What could not be checked, in sentences.
    unproven: Vec<String>,
}

/// Now, in the format of the service's answers.
fn timestamp_now() -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_unix_micros(since_1970.as_micros() as i64);
    now.expect("an event can have the time of now").to_string()
}

/// A request must fit into the service's default limit of a body.
fn check_request_size(args: &SimulateArgs) -> Result<(), WrongValue> {
    let largest = BODY_BYTES_MAX_DEFAULT / args.batch as usize - EVENT_FRAME_BYTES_MAX;
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
