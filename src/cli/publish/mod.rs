//! `sekali publish`: sends events from a file or standard input, one per line, until they are acknowledged.
//!
//! [`lines`] are read, gathered to a [`batch`] and sent by [`sending`], one request after the other. So events that
//! are published into an empty database get their `seq` in the order of the lines.

mod batch;
mod lines;
mod sending;

use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, value_parser};
use tokio::{sync::mpsc, time::timeout};

use self::{
    batch::{Batch, check},
    lines::{Chunk, Line},
    sending::{Counts, Sender},
};
use super::{CliError, LedgerArgs, block_on, progress::Progress};
use crate::{
    client::{Client, ClientError, Retries, WrongAnswer},
    config::duration,
};

/// How long a batch that is not full waits for more lines.
const LINGER: Duration = Duration::from_millis(100);

#[derive(Args)]
pub struct PublishArgs {
    /// A file of events, one JSON object per line, as `sekali events --all` prints them [default: standard input]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Events in one request: 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = value_parser!(u32).range(1..=10_000))]
    batch: u32,

    /// Longest time to retry one request: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = |text: &str| duration("give-up-after", text))]
    give_up_after: Duration,

    #[command(flatten)]
    ledger: LedgerArgs,
}

/// Why not everything was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishFailure {
    /// The input cannot be opened or read.
    #[error("cannot read {0}")]
    Input(String, #[source] io::Error),
    /// A request was not acknowledged. The same input may be published again: nothing is stored twice.
    #[error("{lines} and what follows are not published")]
    NotPublished { lines: String, source: ClientError },
    /// The answer contradicts the request or itself.
    #[error("{lines} may not be stored")]
    Answer { lines: String, source: WrongAnswer },
    /// Some lines are no valid events; all others are published.
    #[error("{count} bad line{} not published", if *.count == 1 { " was" } else { "s were" })]
    BadLines { count: u64 },
}

/// Publishes and prints the counts; an error if any line was not published.
pub fn run(args: &PublishArgs) -> Result<(), CliError> {
    let client = args.ledger.client()?;
    let name = args.file.as_deref().map_or("standard input".to_owned(), |path| path.display().to_string());
    let input = open(args).map_err(|error| PublishFailure::Input(name.clone(), error))?;
    let (counts, done) = block_on(async { Ok(publish(args, &client, input, name).await) })?;
    let Counts { sent, new, duplicates, bad_lines } = counts;
    writeln!(io::stdout(), "sent {sent}  new {new}  duplicates {duplicates}  bad lines {bad_lines}")
        .map_err(CliError::Output)?;
    done?;
    if bad_lines > 0 { Err(PublishFailure::BadLines { count: bad_lines }.into()) } else { Ok(()) }
}

fn open(args: &PublishArgs) -> io::Result<Box<dyn Read + Send>> {
    match &args.file {
        Some(path) if path.as_os_str() != "-" => Ok(Box::new(File::open(path)?)),
        _ => Ok(Box::new(io::stdin())),
    }
}

/// The counts, and the error if one ended the run before the end of the input.
async fn publish(
    args: &PublishArgs,
    client: &Client,
    input: impl Read + Send + 'static,
    name: String,
) -> (Counts, Result<(), PublishFailure>) {
    let mut sender = Sender {
        client,
        give_up_after: args.give_up_after,
        progress: Progress::start("publishing", None, false),
        retries: Retries::default(),
        batch_max: args.batch as usize,
        events_max: args.batch as usize,
        counts: Counts::default(),
    };
    let done = send_all(&mut sender, lines::read(input), name).await;
    (sender.counts, done)
}

async fn send_all(
    sender: &mut Sender<'_>,
    mut chunks: mpsc::Receiver<Chunk>,
    name: String,
) -> Result<(), PublishFailure> {
    let mut batch = Batch::new(sender.events_max);
    loop {
        let chunk = match batch.is_empty() {
            true => Ok(chunks.recv().await),
            false => timeout(LINGER, chunks.recv()).await,
        };
        match chunk {
            Ok(Some(Ok(lines))) => {
                for line in lines {
                    take_line(sender, &mut batch, line).await?;
                }
            }
            Ok(Some(Err(error))) => {
                sender.send(batch.take()).await?;
                return Err(PublishFailure::Input(name, error));
            }
            Ok(None) => return sender.send(batch.take()).await,
            // No line came for a while: the batch is sent although it is not full.
            Err(_) => sender.send(batch.take()).await?,
        }
    }
}

/// Adds the line to the batch; a full batch is sent first.
async fn take_line(sender: &mut Sender<'_>, batch: &mut Batch, line: Line) -> Result<(), PublishFailure> {
    let number = line.number;
    match check(line) {
        Ok(line) => {
            if batch.is_full_for(&line) {
                sender.send(batch.take()).await?;
                batch.events_max = sender.events_max;
            }
            batch.push(line);
        }
        Err(fault) => sender.refuse_line(number, &fault),
    }
    Ok(())
}
