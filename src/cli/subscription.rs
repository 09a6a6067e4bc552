//! `sekali subscription`: creates, lists, shows, sends back and deletes the subscriptions of a namespace.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use clap::{Args, Subcommand, builder::PossibleValuesParser, value_parser};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{CliError, LedgerArgs, block_on};
use crate::{client::Subscription, store::check_subscription};

#[derive(Args)]
pub struct SubscriptionArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create a subscription; one that is there with these settings stays as it is
    Create(CreateArgs),
    /// List the subscriptions by name
    List(ListArgs),
    /// Show one subscription
    Show(NamedArgs),
    /// Delete a subscription; the events stay
    Delete(DeleteArgs),
    /// Send a subscription to another place, back or on
    Seek(SeekArgs),
    /// Print the parked events, one JSON object a line, or have them tried again
    Parked(ParkedArgs),
}

#[derive(Args)]
struct CreateArgs {
    /// Its name: 1 to 63 of a-z, 0-9 and -, first a letter or a digit
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    /// Only events of this topic, or of topics that begin like this, with a final *; may be given up to 100 times
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,

    /// Where it begins: now, earliest or behind a seq [default: now]
    #[arg(long, value_name = "PLACE", value_parser = place)]
    after: Option<Value>,

    /// How long a worker has for what it leased: 1 to 43200 seconds [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..=43_200))]
    lease_seconds: Option<u32>,

    /// Leases at the same time; with more than 1 there is no order: 1 to 256 [default: 1, or --partitions]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=256))]
    max_leases: Option<u32>,

    /// Failures after which a range is halved and a single event is parked: 1 to 1000 [default: 10]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000))]
    max_deliveries: Option<u32>,

    /// Partitions, each of which keeps its order: 2 to 256
    #[arg(long, value_name = "N", requires = "partition_by", value_parser = value_parser!(u32).range(2..=256))]
    partitions: Option<u32>,

    /// What events of one partition have in common: source or topic
    #[arg(long, value_name = "FIELD", requires = "partitions")]
    #[arg(value_parser = PossibleValuesParser::new(["source", "topic"]))]
    partition_by: Option<String>,

    /// Print the service's answer, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    ledger: LedgerArgs,
}

#[derive(Args)]
struct ListArgs {
    /// Only those whose names begin like this
    #[arg(long, value_name = "PREFIX", value_parser = name)]
    prefix: Option<String>,

    /// Print one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    ledger: LedgerArgs,
}

#[derive(Args)]
struct NamedArgs {
    /// Its name
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    /// Print the service's answer, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    ledger: LedgerArgs,
}

#[derive(Args)]
struct DeleteArgs {
    /// Its name
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    #[command(flatten)]
    ledger: LedgerArgs,
}

#[derive(Args)]
struct SeekArgs {
    /// Its name
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    /// Where to go: now, earliest or behind a seq
    #[arg(long, value_name = "PLACE", value_parser = place)]
    after: Value,

    #[command(flatten)]
    ledger: LedgerArgs,
}

#[derive(Args)]
struct ParkedArgs {
    /// Its name
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    /// Have the oldest ones tried again, up to 100
    #[arg(long)]
    retry: bool,

    #[command(flatten)]
    ledger: LedgerArgs,
}

/// Does what is asked for, and prints what there is then.
pub fn run(args: &SubscriptionArgs) -> Result<(), CliError> {
    let printed = match &args.action {
        Action::Create(args) => create(args)?,
        Action::List(args) => list(args)?,
        Action::Show(args) => show(args)?,
        Action::Delete(args) => delete(args)?,
        Action::Seek(args) => seek(args)?,
        Action::Parked(args) => parked(args)?,
    };
    io::stdout().write_all(printed.as_bytes()).map_err(CliError::Output)
}

fn create(args: &CreateArgs) -> Result<String, CliError> {
    let client = args.ledger.client()?;
    let numbers = [
        ("lease_seconds", args.lease_seconds),
        ("max_leases", args.max_leases),
        ("max_deliveries", args.max_deliveries),
        ("partitions", args.partitions),
    ];
    let mut settings: Map<String, Value> = numbers
        .iter()
        .filter_map(|(name, number)| Some(((*name).to_owned(), json!(number.as_ref()?))))
        .collect();
    settings.insert("topics".to_owned(), json!(args.topic));
    for (name, value) in
        [("after", args.after.clone()), ("partition_by", args.partition_by.clone().map(Value::from))]
    {
        settings.extend(value.map(|value| (name.to_owned(), value)));
    }
    let settings = Value::Object(settings);
    let (subscription, is_new) =
        block_on(async { Ok(client.create_subscription(&args.name, &settings).await?) })?;
    if args.json {
        return Ok(json_line(&subscription));
    }
    let Subscription { name, acked, .. } = &subscription;
    let what = if is_new { "created" } else { "is there already" };
    Ok(format!("{name} {what}, behind seq {acked}\n"))
}

fn list(args: &ListArgs) -> Result<String, CliError> {
    let client = args.ledger.client()?;
    let prefix = args.prefix.as_deref().unwrap_or_default();
    let subscriptions = block_on(async { Ok(client.subscriptions(prefix).await?) })?;
    Ok(match args.json {
        true => subscriptions.iter().map(json_line).collect(),
        false => table(&subscriptions),
    })
}

fn show(args: &NamedArgs) -> Result<String, CliError> {
    let client = args.ledger.client()?;
    let subscription = block_on(async { Ok(client.subscription(&args.name).await?) })?;
    if args.json {
        return Ok(json_line(&subscription));
    }
    let Subscription { name, acked, head, lag, parked, status, leases, .. } = &subscription;
    let topics =
        if subscription.topics.is_empty() { "all".to_owned() } else { subscription.topics.join(", ") };
    let mut text = format!(
        "name    {name}\ntopics  {topics}\nstatus  {status}\nacked   {acked}\nhead    {head}\nlag     {lag}\nparked  {parked}\n"
    );
    for lease in leases {
        let worker = lease.worker.as_deref().unwrap_or("a worker without a name");
        let (from, through, expires_at) = (lease.from, lease.through, &lease.expires_at);
        writeln!(text, "lease   {from} to {through} until {expires_at}: {worker}")
            .expect("writing to a String never fails");
    }
    Ok(text)
}

fn delete(args: &DeleteArgs) -> Result<String, CliError> {
    let client = args.ledger.client()?;
    block_on(async { Ok(client.delete_subscription(&args.name).await?) })?;
    Ok(format!("{} deleted\n", args.name))
}

fn seek(args: &SeekArgs) -> Result<String, CliError> {
    let client = args.ledger.client()?;
    let acked = block_on(async { Ok(client.seek_subscription(&args.name, args.after.clone()).await?) })?;
    Ok(format!("{} goes on behind seq {}, with a lag of {}\n", args.name, acked.acked, acked.lag))
}

fn parked(args: &ParkedArgs) -> Result<String, CliError> {
    let client = args.ledger.client()?;
    if args.retry {
        let retried = block_on(async { Ok(client.retry_parked(&args.name).await?) })?;
        return Ok(format!("{} are tried again, {} are parked\n", retried.retried, retried.parked));
    }
    let parked = block_on(async { Ok(client.parked(&args.name).await?) })?;
    Ok(parked.iter().map(|parked| format!("{}\n", parked.event)).collect())
}

/// The name of a subscription, or the beginning of one.
fn name(text: &str) -> Result<String, String> {
    check_subscription(text).map(|()| text.to_owned())
}

/// `now`, `earliest` or a `seq`.
fn place(text: &str) -> Result<Value, String> {
    match (text, text.parse::<u64>()) {
        ("now" | "earliest", _) => Ok(json!(text)),
        (_, Ok(seq)) => Ok(json!(seq)),
        _ => Err("must be now, earliest or a seq".to_owned()),
    }
}

fn json_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers serialise") + "\n"
}

/// The name is last, so that long names keep the columns aligned.
fn table(subscriptions: &[Subscription]) -> String {
    let mut table =
        format!("{:>12}  {:>12}  {:>6}  {:>6}  {:<9}  name\n", "acked", "lag", "parked", "leases", "status");
    for subscription in subscriptions {
        let Subscription { name, acked, lag, parked, status, leases, .. } = subscription;
        writeln!(table, "{acked:>12}  {lag:>12}  {parked:>6}  {:>6}  {status:<9}  {name}", leases.len())
            .expect("writing to a String never fails");
    }
    table
}
