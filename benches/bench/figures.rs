//! Figures that are held against a limit of their own and not against a raw database: what many namespaces cost, how
//! far one that is held up holds up another, and bytes on disk.

use std::{ffi::OsStr, fs, path::PathBuf, thread, time::Duration};

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::{
    RunArgs,
    cases::{create_database, drop_database},
    process::RunningService,
    sending::Sending,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One figure and its limit, in words.
pub struct Figure {
    name: String,
    measured: String,
    at_most: &'static str,
}

const NAMESPACES: usize = 1_000;
/// Ledgers that are held: as many as the service has connections to write with.
const HELD: usize = 4;
/// Events a second to the namespace beside those.
const BESIDE_RATE: f64 = 100.0;
/// By then publishes wait for each ledger that is held.
const HELD_UP: Duration = Duration::from_secs(1);
/// Events that the bytes on disk are measured with, for each second of a case.
const STORED_PER_SECOND: f64 = 62_500.0;

/// Measures those whose name contains `args.only`.
pub async fn measure(args: &RunArgs) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (engine, is_sqlite) in [("Postgres", false), ("SQLite", true)] {
        let each_second = format!("{engine}, {NAMESPACES} namespaces, one event each second in each");
        let idle = format!("{engine}, memory of {NAMESPACES} open idle namespaces");
        if each_second.contains(&args.only) {
            figures.push(many_namespaces(args, each_second, is_sqlite).await?);
        }
        if idle.contains(&args.only) {
            figures.push(idle_namespaces(args, idle, is_sqlite).await?);
        }
    }
    let beside = format!("Postgres, a namespace beside {HELD} whose ledgers a frozen session holds");
    if beside.contains(&args.only) {
        figures.push(beside_held_ones(args, beside).await?);
    }
    let bytes = "Postgres, bytes on disk for an event of 230 bytes with a random UUID".to_owned();
    if bytes.contains(&args.only) {
        figures.push(bytes_on_disk(args, bytes).await?);
    }
    Ok(figures)
}

impl Figure {
    pub fn new(name: String, measured: String, at_most: &'static str) -> Self {
        let figure = Self { name, measured, at_most };
        eprintln!("{}", figure.line());
        figure
    }

    /// Its line of the table.
    pub fn line(&self) -> String {
        format!("| {} | {} | {} |", self.name, self.measured, self.at_most)
    }
}

/// A service on a database of its own.
pub struct Fresh {
    pub service: RunningService,
    url: String,
    /// Flushes of the service so far, as the preloaded library counts them; of no use where Postgres flushes.
    flushes: PathBuf,
    _folder: TempDir,
}

impl Fresh {
    pub async fn start(args: &RunArgs, is_sqlite: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = match is_sqlite {
            true => format!("sqlite://{}/bench.db", folder.path().display()),
            false => create_database(&args.database_url).await?,
        };
        let flushes = folder.path().join("flushes");
        fs::write(&flushes, 0_u64.to_ne_bytes())?;
        let environment = [
            ("LD_PRELOAD", args.slow_flush_library.as_os_str()),
            ("SLOW_FLUSH_MICROS", OsStr::new("0")),
            ("FLUSH_COUNT_FILE", flushes.as_os_str()),
        ];
        let service = RunningService::start(&args.sekali, &url, if is_sqlite { &environment } else { &[] })?;
        Ok(Self { service, url, flushes, _folder: folder })
    }

    fn flushes(&self) -> Result<u64> {
        let bytes = fs::read(&self.flushes)?;
        Ok(u64::from_ne_bytes(bytes.try_into().map_err(|_| "the count of flushes has 8 bytes")?))
    }

    /// The URL of its database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Another node on the same database.
    pub fn another_node(&self, args: &RunArgs) -> Result<RunningService> {
        RunningService::start(&args.sekali, &self.url, &[])
    }

    pub async fn end(self, args: &RunArgs) -> Result<()> {
        drop(self.service);
        match self.url.starts_with("sqlite:") {
            true => Ok(()),
            false => drop_database(&args.database_url, &self.url).await,
        }
    }
}

/// Single events, to each namespace in turn.
fn singles(namespaces: &[String], connections: usize) -> Sending {
    Sending { batch: 1, connections, namespaces: namespaces.to_vec(), ..Sending::default() }
}

/// One event to each namespace, which opens its ledger.
fn one_each(namespaces: &[String]) -> Sending {
    // A rate has them take turns.
    let rate = Some(1_000_000.0);
    Sending { rate, events: namespaces.len() as u64, seconds_max: 60.0, seed: 2, ..singles(namespaces, 1) }
}

async fn many_namespaces(args: &RunArgs, name: String, is_sqlite: bool) -> Result<Figure> {
    let fresh = Fresh::start(args, is_sqlite).await?;
    let service = &fresh.service;
    let namespaces = service.create_namespaces(NAMESPACES).await?;
    let opened = one_each(&namespaces).to(&service.address)?;
    let flushes_before = fresh.flushes()?;
    let rate = Some(NAMESPACES as f64);
    let sending = Sending { rate, seconds_max: args.seconds, ..singles(&namespaces, 64) };
    let measured = sending.to(&service.address)?;
    let flushes = (fresh.flushes()? - flushes_before) as f64 / measured.seconds;
    let stored: u64 =
        service.client()?.namespaces("bench-").await?.iter().map(|namespace| namespace.unique).sum();
    let mut words = format!(
        "p50 / p99 {:.1} / {:.1} ms at {:.0} events/s; {} refused, {} lost",
        measured.p50_ms,
        measured.p99_ms,
        measured.events_per_second(),
        measured.refused,
        (opened.events + measured.events).saturating_sub(stored),
    );
    if is_sqlite {
        words = format!("{words}; {flushes:.0} flushes/s");
    }
    fresh.end(args).await?;
    Ok(Figure::new(
        name,
        words,
        if is_sqlite { "p99 50 ms; 200 flushes/s; 0 lost" } else { "p99 50 ms; 0 lost" },
    ))
}

async fn idle_namespaces(args: &RunArgs, name: String, is_sqlite: bool) -> Result<Figure> {
    let fresh = Fresh::start(args, is_sqlite).await?;
    let service = &fresh.service;
    let namespaces = service.create_namespaces(NAMESPACES).await?;
    // What as many publishes to one ledger take is not the others' memory.
    one_each(&vec!["default".to_owned(); NAMESPACES]).to(&service.address)?;
    let before = service.memory_mib();
    one_each(&namespaces).to(&service.address)?;
    let more = service.memory_mib() - before;
    let open = service.client()?.stats().await?.node["ledgers_open"].clone();
    fresh.end(args).await?;
    let words = format!("{more:.1} MiB on top of {before:.1} MiB; {open} ledgers are open");
    Ok(Figure::new(name, words, "32 MiB on top"))
}

async fn beside_held_ones(args: &RunArgs, name: String) -> Result<Figure> {
    let fresh = Fresh::start(args, false).await?;
    let address = &fresh.service.address;
    let namespaces = fresh.service.create_namespaces(HELD + 1).await?;
    one_each(&namespaces).to(address)?;
    let (held, beside) = namespaces.split_at(HELD);
    let mut session = PgConnection::connect(&fresh.url).await?;
    session.execute("BEGIN").await?;
    let hold = "SELECT namespace_no FROM sekali.ledgers WHERE namespace_no IN
                    (SELECT namespace_no FROM sekali.namespaces WHERE name = ANY($1)) FOR UPDATE";
    sqlx::query(hold).bind(held).execute(&mut session).await?;

    let of_held = Sending { seconds_max: args.seconds + HELD_UP.as_secs_f64(), ..singles(held, 2 * HELD) };
    let of_beside = Sending {
        rate: Some(BESIDE_RATE),
        seconds_max: args.seconds,
        seed: 3,
        ..singles(beside, 2 * BESIDE_RATE as usize)
    };
    let waiting = {
        let address = address.clone();
        thread::spawn(move || of_held.to(&address).map_err(|error| error.to_string()))
    };
    thread::sleep(HELD_UP);
    let measured = of_beside.to(address);
    session.execute("ROLLBACK").await?;
    waiting.join().map_err(|_| "the load on the ledgers that were held ended early")??;
    let measured = measured?;
    fresh.end(args).await?;
    let words = format!(
        "p50 / p99 {:.1} / {:.1} ms at {:.0} events/s; {} refused",
        measured.p50_ms,
        measured.p99_ms,
        measured.events_per_second(),
        measured.refused
    );
    Ok(Figure::new(name, words, "p99 600 ms"))
}

async fn bytes_on_disk(args: &RunArgs, name: String) -> Result<Figure> {
    let fresh = Fresh::start(args, false).await?;
    let events = (args.seconds * STORED_PER_SECOND) as u64;
    let sending = Sending { connections: 8, events, seconds_max: 600.0, ..Sending::default() };
    let stored = sending.to(&fresh.service.address)?.events;
    let sizes =
        "SELECT sum(pg_total_relation_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint FROM pg_class
                 WHERE relnamespace = 'sekali'::regnamespace AND relkind = 'r'";
    let mut connection = PgConnection::connect(&fresh.url).await?;
    let (all, indexes): (i64, i64) = sqlx::query_as(sizes).fetch_one(&mut connection).await?;
    drop(connection);
    fresh.end(args).await?;
    let each = |bytes: i64| bytes as f64 / stored as f64;
    let words = format!("{:.0}, {:.0} of them indexes; {stored} events", each(all), each(indexes));
    Ok(Figure::new(name, words, "418"))
}
