//! `sekali work`: leases events of a subscription, gives them to a command as lines on its standard input, and acks them
//! when it succeeds.

use std::{
    ffi::OsString,
    io::{self, Write},
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use clap::{Args, value_parser};
use serde_json::value::RawValue;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, timeout},
};

use super::{CliError, LedgerArgs, block_on, events::one_line};
use crate::{
    client::{AckResult, Acked, Client, ClientError, LeaseAnswer, WorkLease, in_words},
    config::duration,
    store::check_subscription,
};

/// How long one request waits for events.
const LEASE_WAIT: Duration = Duration::from_secs(20);
/// The pause while others hold all leases, where nobody waits for events.
const HELD_PAUSE: Duration = Duration::from_secs(1);
/// The first and the longest pause after a command that failed.
const FAILURE_PAUSE_MIN: Duration = Duration::from_millis(500);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a command may take to end when it is asked to.
const COMMAND_STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a lease that is given up may take to be released.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub struct WorkArgs {
    /// The subscription
    #[arg(long, value_name = "NAME", value_parser = |text: &str| check_subscription(text).map(|()| text.to_owned()))]
    subscription: String,

    /// Events in one lease: 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=1_000))]
    limit: u32,

    /// What this worker is called where leases are shown [default: the process id]
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,

    /// End when nothing is left to do
    #[arg(long)]
    until_caught_up: bool,

    /// Longest time to retry one request: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = |text: &str| duration("give-up-after", text))]
    give_up_after: Duration,

    #[command(flatten)]
    ledger: LedgerArgs,

    /// The command and its arguments: it gets the events on standard input, one JSON object a line, and exits with 0
    /// when they are done
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Why a worker ends.
#[derive(Debug, thiserror::Error)]
pub enum WorkFailure {
    /// The command is not there, or the system refused a process.
    #[error("cannot run {command}")]
    Command { command: String, source: io::Error },
    /// The signals of the process cannot be taken over.
    #[error("cannot take over the signals of the process")]
    Signals(#[source] io::Error),
}

/// Works until a signal, or with `--until-caught-up` until nothing is left to do.
pub fn run(args: &WorkArgs) -> Result<(), CliError> {
    let client = args.ledger.client()?;
    let name = args.worker.clone().unwrap_or_else(|| format!("process {}", std::process::id()));
    block_on(async {
        let stops = Stops::new().map_err(WorkFailure::Signals)?;
        Worker { args, client, name, stops, failures: 0 }.work().await
    })
}

struct Worker<'a> {
    args: &'a WorkArgs,
    client: Client,
    name: String,
    stops: Stops,
    /// Commands that failed since the last one that did not.
    failures: u32,
}

/// How a command ended.
enum Ended {
    With(ExitStatus),
    /// The worker was asked to stop meanwhile.
    Stopped,
}

impl Worker<'_> {
    async fn work(mut self) -> Result<(), CliError> {
        let ask = async |client: &Client| client.subscription(&self.args.subscription).await;
        let subscription = self.client.read_until_answered(self.args.give_up_after, ask).await?;
        let renew_every = Duration::from_secs(subscription.lease_seconds) / 3;
        loop {
            let Some(answer) = self.lease().await? else { return Ok(()) };
            match answer {
                LeaseAnswer::Leased(lease) => {
                    if !self.process(lease, renew_every).await? {
                        return Ok(());
                    }
                }
                LeaseAnswer::Nothing if self.args.until_caught_up => return Ok(()),
                LeaseAnswer::FullyLeased if self.args.until_caught_up => {
                    if self.pause(HELD_PAUSE).await {
                        return Ok(());
                    }
                }
                LeaseAnswer::Nothing | LeaseAnswer::FullyLeased => {}
            }
        }
    }

    /// The next lease; `None` where the worker was asked to stop.
    async fn lease(&mut self) -> Result<Option<LeaseAnswer>, ClientError> {
        let Self { args, client, name, stops, .. } = self;
        let wait = if args.until_caught_up { Duration::ZERO } else { LEASE_WAIT };
        let ask = async |client: &Client| client.lease(&args.subscription, args.limit, wait, name).await;
        tokio::select! {
            answer = client.read_until_answered(args.give_up_after, ask) => answer.map(Some),
            () = stops.next() => Ok(None),
        }
    }

    /// Runs the command on the events of a lease. False where the worker was asked to stop.
    async fn process(&mut self, lease: WorkLease, renew_every: Duration) -> Result<bool, CliError> {
        match self.run_command(&lease, renew_every).await {
            Ok(Ended::With(status)) if status.success() => {
                self.failures = 0;
                let ask = async |client: &Client| {
                    client.ack(&self.args.subscription, &lease.lease, AckResult::Accept).await
                };
                let acked = self.client.read_until_answered(self.args.give_up_after, ask).await?;
                tell_if_fenced(&lease, &acked);
                Ok(true)
            }
            Ok(Ended::With(status)) => {
                self.release(&lease).await;
                let (from, through, deliveries) = (lease.from, lease.through, lease.deliveries);
                tell(format_args!(
                    "the command failed with {status} on events {from} to {through} (delivery {deliveries}); they are released"
                ));
                let pause = FAILURE_PAUSE_MIN * 2_u32.saturating_pow(self.failures.min(6));
                self.failures += 1;
                Ok(!self.pause(pause.min(FAILURE_PAUSE_MAX)).await)
            }
            Ok(Ended::Stopped) => {
                self.release(&lease).await;
                Ok(false)
            }
            Err(failure) => {
                self.release(&lease).await;
                Err(failure.into())
            }
        }
    }

    async fn run_command(&mut self, lease: &WorkLease, renew_every: Duration) -> Result<Ended, WorkFailure> {
        let [program, arguments @ ..] = &self.args.command[..] else {
            unreachable!("the command line requires a command");
        };
        let failed =
            |source| WorkFailure::Command { command: program.to_string_lossy().into_owned(), source };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let input = child.stdin.take();
        let mut fed = pin!(feed(input, &lease.events));
        let mut is_fed = false;
        let mut renew_at = Instant::now() + renew_every;
        loop {
            tokio::select! {
                status = child.wait() => return status.map(Ended::With).map_err(failed),
                () = &mut fed, if !is_fed => is_fed = true,
                () = tokio::time::sleep_until(renew_at) => {
                    self.renew(lease).await;
                    renew_at = Instant::now() + renew_every;
                }
                () = self.stops.next() => {
                    end(child).await;
                    return Ok(Ended::Stopped);
                }
            }
        }
    }

    /// Whatever comes of it shows when the lease is acked.
    async fn renew(&self, lease: &WorkLease) {
        let renewal = self.client.ack(&self.args.subscription, &lease.lease, AckResult::Renew);
        if let Ok(Err(error)) = timeout(RELEASE_TIMEOUT, renewal).await {
            tell(format_args!("the lease cannot be renewed: {}", in_words(&error)));
        }
    }

    /// Where this fails, the lease expires.
    async fn release(&self, lease: &WorkLease) {
        let release = self.client.ack(&self.args.subscription, &lease.lease, AckResult::Release);
        match timeout(RELEASE_TIMEOUT, release).await {
            Ok(Ok(acked)) => tell_if_fenced(lease, &acked),
            Ok(Err(error)) => tell(format_args!("a lease is left to expire: {}", in_words(&error))),
            Err(_) => tell(format_args!("a lease is left to expire: there was no answer")),
        }
    }

    /// True where the worker was asked to stop meanwhile.
    async fn pause(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = sleep(time) => false,
            () = self.stops.next() => true,
        }
    }
}

/// Writes the events. A command may end without having read them.
async fn feed(input: Option<ChildStdin>, events: &[Box<RawValue>]) {
    let Some(mut input) = input else { return };
    for event in events {
        let line = format!("{}\n", one_line(event));
        if input.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
    let _ = input.shutdown().await;
}

/// Asks the command to end, and ends it where it does not.
async fn end(mut child: Child) {
    if let Some(id) = child.id().and_then(|id| libc::pid_t::try_from(id).ok()) {
        // SAFETY: kill takes numbers, and the child was not waited for yet, so that the id is still its own.
        unsafe {
            libc::kill(id, libc::SIGTERM);
        }
    }
    if timeout(COMMAND_STOP_TIMEOUT, child.wait()).await.is_err() {
        // It fails where the child has just ended.
        let _ = child.kill().await;
    }
}

fn tell_if_fenced(lease: &WorkLease, acked: &Acked) {
    if acked.is_fenced && acked.acked < lease.through {
        let (from, through) = (lease.from, lease.through);
        tell(format_args!(
            "the lease of events {from} to {through} was lost before it was acked: others get them"
        ));
    }
}

/// Prints a line on standard error; the work goes on where that is closed.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The signals that ask the worker to stop.
struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
