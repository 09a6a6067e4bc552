//! `sekali simulate`: publishes events, a share of them repeats, and proves that each event is stored exactly once.
//!
//! In reading order: the [`args`], the [`plan`] and its [`ids`], the [`body`] of a request, [`sending`], the [`answers`],
//! the [`subscribers`] meanwhile, the [`proof`] by reading back and by [`counts`], the [`report`].

mod answers;
mod args;
mod body;
mod counts;
mod findings;
mod ids;
mod plan;
mod proof;
mod report;
mod sending;
mod subscribers;

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use futures::{
    StreamExt, TryStreamExt,
    future::{join, join_all},
    stream,
};
use tokio::sync::watch;
use uuid::Uuid;

use self::{
    answers::{Answers, Sums},
    plan::Plan,
    proof::Reading,
    report::Latency,
    sending::{Measured, Sending},
    subscribers::Subscribers,
};
pub use self::{
    args::SimulateArgs,
    report::Report,
    sending::{Observer, RetriedRequest},
    subscribers::Followed,
};
use super::{CliError, block_on, progress::Progress};
use crate::{
    client::{Client, ClientError, in_words},
    event::Timestamp,
};

/// Sends, proves and reports; an error if anything is wrong.
pub fn run(args: &SimulateArgs) -> Result<(), CliError> {
    let report = block_on(Run::new(args)?.simulate(&Observer::default()))?;
    let shown = if args.json { report.json() } else { report.table() };
    super::print_report(&shown, &report.faults)
}

/// One run and its plan.
pub struct Run<'a> {
    args: &'a SimulateArgs,
    name: String,
    seed: u64,
    /// One for each namespace.
    parts: Vec<Part>,
}

/// What one namespace is sent.
struct Part {
    namespace: String,
    client: Client,
    /// Where its log is followed.
    readers: Vec<Client>,
    plan: Plan,
}

impl<'a> Run<'a> {
    /// The run for these flags, or what is wrong with them.
    pub fn new(args: &'a SimulateArgs) -> Result<Self, CliError> {
        let name = args.run.clone().unwrap_or_else(|| Uuid::new_v4().simple().to_string()[..12].to_owned());
        let seed = args.seed.unwrap_or_else(|| u64::from(Uuid::new_v4().as_fields().0));
        let client = args.ledger.client()?;
        let plans = Plan::all(args, &name, seed, &timestamp_now())?;
        let server = &args.ledger.server;
        let mut readers: Vec<Client> =
            args.subscriber_urls.iter().map(|url| server.client_at(url)).collect::<Result<_, _>>()?;
        if readers.is_empty() {
            readers.push(client.clone());
        }
        let part = |(namespace, plan): (String, Plan)| Part {
            client: client.clone().in_namespace(&namespace),
            readers: readers.iter().map(|reader| reader.clone().in_namespace(&namespace)).collect(),
            namespace,
            plan,
        };
        let parts = args.namespace_names(seed).into_iter().zip(plans).map(part).collect();
        Ok(Self { args, name, seed, parts })
    }

    /// The client of the service, in the first namespace.
    pub fn client(&self) -> &Client {
        &self.parts[0].client
    }

    /// The topics of its events. Other runs have other topics.
    pub fn topics(&self) -> &[String] {
        &self.parts[0].plan.topics
    }

    /// Sends until all is sent or the observer ends the run, and checks the result.
    pub async fn simulate(&self, observer: &Observer) -> Result<Report, CliError> {
        let Self { args, parts, .. } = self;
        super::wait_until_ready(self.client(), args.ready_timeout).await?;
        let mut answers = self.begin().await?;
        let measured = self.send_and_follow(&mut answers, observer).await;

        let begun = if observer.enough.get() { observer.begun.get() } else { usize::MAX };
        // Parts take turns.
        let begun_of = |place: usize| begun.saturating_sub(place).div_ceil(parts.len());
        let plans: Vec<Plan> =
            (0..).zip(parts).map(|(place, part)| part.plan.first_requests(begun_of(place))).collect();
        // Without an answer to each request the result cannot be proven.
        if measured.events == plans.iter().map(Plan::events).sum::<u64>() {
            self.prove(&plans, &mut answers).await;
        }
        Ok(self.report(&plans, &answers, &measured, observer))
    }

    /// Creates the namespaces where they are the run's own, and notes what is stored before the run.
    async fn begin(&self) -> Result<Vec<Answers>, ClientError> {
        let Self { args, parts, .. } = self;
        let progress = RefCell::new(Progress::start("looking for earlier events", None, args.silent));
        let begin = async |part: &Part| {
            let Part { namespace, client, plan, .. } = part;
            if args.namespaces > 1 {
                let create = async |client: &Client| client.create_namespace(namespace, None).await;
                client.read_until_answered(args.give_up_after, create).await?;
            }
            let (mut answers, reading) = (Answers::new(plan), self.reading(part, plan, &progress));
            answers.last_seq_before = reading.last_seq(&mut answers).await?;
            if args.run.is_some() {
                let ask = async |client: &Client| client.stats().await;
                answers.stats_before = client.read_until_answered(args.give_up_after, ask).await?;
                reading.note_before(&mut answers).await?;
            }
            Ok(answers)
        };
        stream::iter(parts).map(begin).buffered(args.concurrency as usize).try_collect().await
    }

    /// Sends all, while the readers follow the log up to its end.
    async fn send_and_follow(&self, answers: &mut [Answers], observer: &Observer) -> Measured {
        let Self { args, parts, .. } = self;
        let sending = Sending {
            parts,
            concurrency: args.concurrency as usize,
            rate: (args.rate > 0.0).then_some(args.rate),
            give_up_after: args.give_up_after,
            silent: args.silent,
            observer,
        };
        let about_each = parts.iter().zip(&*answers);
        let subscribers: Vec<Subscribers<'_>> =
            about_each.map(|(part, answers)| self.subscribers(part, answers, observer)).collect();
        let (ends, known): (Vec<_>, Vec<_>) = subscribers.iter().map(|_| watch::channel(None)).unzip();
        let follow = subscribers.iter().zip(known).map(|(subscribers, end)| subscribers.follow(end));
        let send = async {
            let measured = sending.run(answers).await;
            self.tell_ends(ends, answers).await;
            measured
        };
        let (measured, _) = join(send, join_all(follow)).await;
        for (answers, subscribers) in answers.iter_mut().zip(subscribers) {
            let (findings, followed) = subscribers.into_parts();
            answers.findings.extend(findings);
            answers.followed = followed;
        }
        measured
    }

    fn subscribers<'b>(&self, part: &Part, answers: &Answers, observer: &'b Observer) -> Subscribers<'b> {
        let SimulateArgs { subscribers, give_up_after, .. } = *self.args;
        Subscribers::new(part.readers.clone(), subscribers, answers.last_seq_before, give_up_after, observer)
    }

    /// Tells the readers of each namespace where its log ends. Without that they stop.
    async fn tell_ends(&self, ends: Vec<watch::Sender<Option<u64>>>, answers: &mut [Answers]) {
        let nothing_shown = RefCell::new(Progress::start("following", None, true));
        for ((part, end), answers) in self.parts.iter().zip(ends).zip(answers) {
            if self.args.subscribers == 0 {
                continue;
            }
            match self.reading(part, &part.plan, &nothing_shown).last_seq(answers).await {
                Ok(last) => drop(end.send(Some(last))),
                Err(error) => answers.findings.wrong("the end of the log cannot be read", in_words(&error)),
            }
        }
    }

    /// Reads everything back and checks the counts. What is wrong is added to the findings of `answers`.
    async fn prove(&self, plans: &[Plan], answers: &mut [Answers]) {
        let unique = plans.iter().map(|plan| u64::from(plan.unique)).sum();
        let progress = RefCell::new(Progress::start("reading back", Some(unique), self.args.silent));
        let proofs = self.parts.iter().zip(plans).zip(answers).map(async |((part, plan), answers)| {
            if let Err(error) = self.prove_part(part, plan, answers, &progress).await {
                answers.findings.wrong("the result could not be read back", in_words(&error));
            }
        });
        stream::iter(proofs).buffer_unordered(self.args.concurrency as usize).collect::<()>().await;
    }

    async fn prove_part(
        &self,
        part: &Part,
        plan: &Plan,
        answers: &mut Answers,
        progress: &RefCell<Progress>,
    ) -> Result<(), ClientError> {
        answers.shorten_to(plan);
        self.reading(part, plan, progress).check_events(answers).await?;
        answers.check_each_event(plan);
        let ask = async |client: &Client| client.stats().await;
        let stats = part.client.read_until_answered(self.args.give_up_after, ask).await?;
        counts::check(plan, answers, &stats);
        Ok(())
    }

    fn reading<'b>(&self, part: &'b Part, plan: &'b Plan, progress: &'b RefCell<Progress>) -> Reading<'b> {
        let Part { namespace, client, .. } = part;
        Reading { namespace, plan, client, give_up_after: self.args.give_up_after, progress }
    }

    fn report(
        &self,
        plans: &[Plan],
        answers: &[Answers],
        measured: &Measured,
        observer: &Observer,
    ) -> Report {
        let (retries, followed) = (&observer.retries, observer.followed.get());
        let latency = |quantile| measured.latency_us.value_at_quantile(quantile) as f64 / 1_000.0;
        let seconds = measured.time.as_secs_f64().max(0.000_001);
        let tenths = |number: f64| (number * 10.0).round() / 10.0;
        let faults = self.sentences(answers, |answers| answers.findings.faults());
        Report {
            verdict: if faults.is_empty() { Report::PASSED } else { Report::FAILED },
            faults,
            unproven: self.sentences(answers, |answers| answers.findings.unproven.clone()),
            run: self.name.clone(),
            seed: self.seed,
            namespaces: self.parts.iter().map(|part| part.namespace.clone()).collect(),
            events: plans.iter().map(Plan::events).sum(),
            unique: plans.iter().map(|plan| u64::from(plan.unique)).sum(),
            sums: answers.iter().fold(Sums::default(), |sums, answers| sums + answers.sums),
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
            subscribers: u64::from(self.args.subscribers) * self.parts.len() as u64,
            followed,
        }
    }

    /// The sentences about all parts, each with the namespace where there are several.
    fn sentences(&self, answers: &[Answers], of: impl Fn(&Answers) -> Vec<String>) -> Vec<String> {
        let about = |(part, answers): (&Part, &Answers)| {
            let named = |sentence| match self.parts.len() {
                1 => sentence,
                _ => format!("namespace {}: {sentence}", part.namespace),
            };
            of(answers).into_iter().map(named).collect::<Vec<_>>()
        };
        self.parts.iter().zip(answers).flat_map(about).collect()
    }
}

/// Now, in the format of the service's answers.
fn timestamp_now() -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_unix_micros(since_1970.as_micros() as i64);
    now.expect("an event can have the time of now").to_string()
}

#[cfg(test)]
pub(in crate::cli::simulate) mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    pub fn args(flags: &[&str]) -> SimulateArgs {
        let command = SimulateArgs::augment_args(clap::Command::new("simulate").no_binary_name(true));
        SimulateArgs::from_arg_matches(&command.try_get_matches_from(flags).unwrap()).unwrap()
    }

    /// The plan of a run with these flags.
    pub fn plan(flags: &[&str]) -> Plan {
        plans(flags).remove(0)
    }

    /// The plans of its namespaces.
    pub fn plans(flags: &[&str]) -> Vec<Plan> {
        Plan::all(&args(flags), "test", 7, &timestamp_now()).unwrap()
    }

    #[test]
    fn what_an_event_looks_like_decides_on_its_id() {
        let id = |flags: &[&str]| plan(flags).ids.id(0);
        assert_eq!(id(&[]), id(&["--events=5", "--batch=7", "--concurrency=3", "--duplicates=0.1"]));
        for flag in ["--payload-bytes=101", "--topics=9", "--ids=uuid7", "--namespaces=2"] {
            assert_ne!(id(&[]), id(&[flag]), "{flag}");
        }
    }
}
