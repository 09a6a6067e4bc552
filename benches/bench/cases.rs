//! The cases, each on a fresh database and a fresh service.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, types::Uuid};

use super::{
    RunArgs, figures,
    isolation::{self, Isolation, Way},
    load::{Measured, UUID_BYTES},
    process::{RunningService, cpu_seconds, postgres_cpu_seconds},
    raw,
    report::{Report, Row, write_table},
    sending::{EVENTS_WITHOUT_END, Sending},
    streams, subscriptions,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What is sent.
#[derive(Clone)]
struct Case {
    name: String,
    batch: usize,
    connections: usize,
    duplicates: f64,
    rate: Option<f64>,
    sqlite: bool,
    /// Events that are stored before the measurement.
    stored: u64,
    /// Whether a snapshot is held open meanwhile, as a backup does.
    snapshot: bool,
    /// Whether the disk's flush takes 4 ms longer.
    slow_flush: bool,
    /// Whether twelve kinds of unfriendly clients are there meanwhile.
    unfriendly: bool,
    /// Namespaces that it goes to at once; 0: `default` alone.
    namespaces: usize,
    id_bytes: usize,
    /// Whether keys are in force.
    keys: bool,
    seconds: f64,
    /// Which limit of the raw database it is compared with.
    compare: Compare,
}

/// The limit that a case's ratio is taken to, measured just before it: the disk and the cores have moods.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Compare {
    /// Rows a second by UNNEST over one connection, on a table as large as the case's.
    Unnest,
    /// Single rows a second over 32 connections.
    Singles,
    /// The same over 64 connections on a disk with a slow flush.
    SlowSingles,
    /// The median of a single row over one connection, in milliseconds: lower is better.
    SingleLatency,
    /// Rows a second that SQLite takes from `json_each`.
    JsonEach,
    /// Events a second of the service with one namespace, and as many connections to it.
    OneNamespace,
    /// Events a second of the service with ids of 36 bytes.
    ShortIds,
    /// Events a second of the service without keys.
    NoKeys,
    Nothing,
}

/// Ratios that must be reached.
const AT_LEAST: [(&str, f64); 10] = [
    ("Postgres, batches of 1000, 0 % duplicates", 1.15),
    ("Postgres, batches of 1000, 30 % duplicates", 1.4),
    ("Postgres, batches of 1000, 100 % duplicates", 9.0),
    ("Postgres, singles, 64 connections", 1.6),
    ("SQLite, batches of 1000, 0 % duplicates", 1.2),
    ("Postgres, batches of 1000, 10 million stored before", 1.3),
    ("Postgres, batches of 1000, four namespaces at once", 1.3),
    ("Postgres with a slow flush, batches of 1000, four namespaces at once", 1.5),
    ("Postgres, batches of 1000, ids of 255 bytes", 0.75),
    ("Postgres, singles, 64 connections, with keys", 0.95),
];

fn cases(args: &RunArgs) -> Vec<Case> {
    let base = Case {
        name: String::new(),
        batch: 1_000,
        connections: 8,
        duplicates: 0.0,
        rate: None,
        sqlite: false,
        stored: 0,
        snapshot: false,
        slow_flush: false,
        unfriendly: false,
        namespaces: 0,
        id_bytes: UUID_BYTES,
        keys: false,
        seconds: args.seconds,
        compare: Compare::Unnest,
    };
    let mut cases = Vec::new();
    for (engine, sqlite) in [("Postgres", false), ("SQLite", true)] {
        let compare = |compare| if sqlite { Compare::Nothing } else { compare };
        for (batch, connections) in [(1_000, 8), (100, 32)] {
            for duplicates in [0.0, 0.3, 1.0] {
                let name = format!("{engine}, batches of {batch}, {:.0} % duplicates", duplicates * 100.0);
                let compare = if sqlite { Compare::JsonEach } else { Compare::Unnest };
                cases.push(Case { name, batch, connections, duplicates, sqlite, compare, ..base.clone() });
            }
        }
        for connections in [1, 64, 256] {
            let name = format!("{engine}, singles, {connections} connections");
            let compare = compare(if connections == 1 { Compare::SingleLatency } else { Compare::Singles });
            cases.push(Case { name, batch: 1, connections, sqlite, compare, ..base.clone() });
        }
        let name = format!("{engine}, singles, open loop at 2,000/s");
        let (rate, compare) = (Some(2_000.0), Compare::Nothing);
        cases.push(Case { name, batch: 1, connections: 64, rate, sqlite, compare, ..base.clone() });
    }
    // Ten million take minutes: only where they are asked for.
    let is_full = args.full || args.only.contains("10 million");
    for stored in [1_000_000, 10_000_000].into_iter().take(if is_full { 2 } else { 1 }) {
        let name = format!("Postgres, batches of 1000, {} million stored before", stored / 1_000_000);
        cases.push(Case { name, stored, ..base.clone() });
    }
    for (what, batch, connections, compare) in
        [("batches of 1000", 1_000, 8, Compare::Unnest), ("singles, 64 connections", 1, 64, Compare::Singles)]
    {
        for (held, snapshot) in [("for 60 s", false), ("for 60 s with a snapshot held open", true)] {
            let name = format!("Postgres, {what}, {held}");
            cases.push(Case { name, batch, connections, compare, snapshot, seconds: 60.0, ..base.clone() });
        }
    }
    for (beside, unfriendly) in [("alone", false), ("beside 12 kinds of unfriendly clients", true)] {
        for (engine, sqlite) in [("Postgres", false), ("SQLite", true)] {
            let name = format!("{engine}, singles, open loop at 200/s, {beside}");
            let (rate, compare) = (Some(200.0), Compare::Nothing);
            let case =
                Case { name, batch: 1, connections: 16, rate, sqlite, compare, unfriendly, ..base.clone() };
            cases.push(Case { seconds: 3.0 * args.seconds, ..case });
        }
    }
    cases.extend(slow_flush_cases(&base));
    for (disk, slow_flush) in [("", false), (" with a slow flush", true)] {
        let name = format!("Postgres{disk}, batches of 1000, four namespaces at once");
        let (namespaces, compare) = (4, Compare::OneNamespace);
        cases.push(Case { name, namespaces, connections: 32, slow_flush, compare, ..base.clone() });
    }
    let name = "Postgres, batches of 1000, ids of 255 bytes".to_owned();
    cases.push(Case { name, id_bytes: 255, compare: Compare::ShortIds, ..base.clone() });
    let name = "Postgres, singles, 64 connections, with keys".to_owned();
    let (keys, compare) = (true, Compare::NoKeys);
    cases.push(Case { name, batch: 1, connections: 64, keys, compare, ..base.clone() });
    cases.retain(|case| case.name.contains(&args.only));
    cases
}

/// On a disk with a slow flush, as most of a cloud's are.
fn slow_flush_cases(base: &Case) -> Vec<Case> {
    let base = Case { slow_flush: true, ..base.clone() };
    let case = |engine: &str, batch: usize, connections: usize, compare: Compare| {
        let what = if batch == 1 {
            format!("singles, {connections} connections")
        } else {
            format!("batches of {batch}")
        };
        let name = format!("{engine} with a slow flush, {what}");
        Case { name, batch, connections, compare, sqlite: engine == "SQLite", ..base.clone() }
    };
    vec![
        case("Postgres", 1_000, 8, Compare::Unnest),
        case("Postgres", 1, 1, Compare::SingleLatency),
        case("Postgres", 1, 64, Compare::SlowSingles),
        case("Postgres", 1, 256, Compare::SlowSingles),
        case("SQLite", 1_000, 8, Compare::Nothing),
        case("SQLite", 1, 64, Compare::Nothing),
    ]
}

/// Rows that raw SQLite takes in one transaction, as the cases' requests have.
const RAW_BATCH: usize = 1_000;

#[tokio::main]
pub async fn run(args: &RunArgs) -> Result<()> {
    let mut report = Report {
        generator: generator_limit(args)?,
        unnest_two: unnest_over_two(args).await?,
        isolation: isolation(args).await?,
        rows: Vec::new(),
        figures: Vec::new(),
    };
    eprintln!("{:?}", report.isolation);
    for case in cases(args) {
        let limit = limit(args, &case).await?;
        let row = Row { limit, ..measure(args, &case).await? };
        eprintln!("{}", row.line());
        report.rows.push(row);
    }
    report.figures = figures::measure(args).await?;
    report.figures.extend(streams::measure(args).await?);
    report.figures.extend(subscriptions::measure(args).await?);
    println!("{}", report.to_markdown());
    if let Some(output) = &args.output {
        write_table(output, &report.to_markdown())?;
    }
    Ok(())
}

/// What the case is compared with.
async fn limit(args: &RunArgs, case: &Case) -> Result<Option<f64>> {
    let namespaces = case.namespaces.max(1);
    let other = match case.compare {
        Compare::Nothing => return Ok(None),
        Compare::OneNamespace => {
            Case { namespaces: 0, connections: case.connections / namespaces, ..case.clone() }
        }
        Compare::ShortIds => Case { id_bytes: UUID_BYTES, ..case.clone() },
        Compare::NoKeys => Case { keys: false, ..case.clone() },
        _ => return raw_limit(args, case).await.map(Some),
    };
    Ok(Some(measure(args, &other).await?.measured.events_per_second()))
}

/// What the raw database reaches.
async fn raw_limit(args: &RunArgs, case: &Case) -> Result<f64> {
    let seconds = args.seconds / 2.0;
    if case.sqlite {
        let folder = tempfile::tempdir()?;
        let url = format!("sqlite://{}/raw.db", folder.path().display());
        return raw::json_each(&url, RAW_BATCH, seconds).await;
    }
    let server = &args.server(case).0;
    let url = create_database(server).await?;
    raw::create_table(&url).await?;
    raw::fill(&url, case.stored).await?;
    let limit = match case.compare {
        Compare::Singles => raw::singles(&url, 32, seconds).await?.0,
        Compare::SlowSingles => raw::singles(&url, 64, seconds).await?.0,
        Compare::SingleLatency => raw::singles(&url, 1, seconds).await?.1,
        _ => raw::unnest(&url, 1, seconds).await?,
    };
    drop_database(server, &url).await?;
    Ok(limit)
}

async fn unnest_over_two(args: &RunArgs) -> Result<f64> {
    let url = create_database(&args.database_url).await?;
    raw::create_table(&url).await?;
    let rate = raw::unnest(&url, 2, args.seconds / 2.0).await?;
    drop_database(&args.database_url, &url).await?;
    Ok(rate)
}

async fn isolation(args: &RunArgs) -> Result<[Isolation; 2]> {
    let mut results = Vec::new();
    for way in [Way::LockUnderReadCommitted, Way::NoLockUnderSerializable] {
        let url = create_database(&args.database_url).await?;
        results.push(isolation::measure(&url, way, args.seconds / 2.0).await?);
        drop_database(&args.database_url, &url).await?;
    }
    results.try_into().map_err(|_| "two ways".into())
}

/// Events a second that the generator sends to a server that does nothing: in batches of 1,000, and singly.
fn generator_limit(args: &RunArgs) -> Result<(f64, f64)> {
    let mut server = Command::new(std::env::current_exe()?).arg("null").stdout(Stdio::piped()).spawn()?;
    let mut address = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(server.stdout.take().ok_or("no output")?),
        &mut address,
    )?;
    let case = |batch, connections| {
        let (events, seconds_max) = (EVENTS_WITHOUT_END, args.seconds / 2.0);
        Sending { batch, connections, events, seconds_max, ..Sending::default() }
    };
    let address = address.trim();
    let limits =
        (case(1_000, 8).to(address)?.events_per_second(), case(1, 64).to(address)?.events_per_second());
    server.kill()?;
    server.wait()?;
    Ok(limits)
}

impl RunArgs {
    /// The Postgres server of a case: its URL and its process id.
    fn server(&self, case: &Case) -> (String, u32) {
        match case.slow_flush {
            true => (self.slow_database_url.clone(), self.slow_postgres_pid),
            false => (self.database_url.clone(), self.postgres_pid),
        }
    }
}

async fn measure(args: &RunArgs, case: &Case) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let (server, postgres_pid) = args.server(case);
    let url = if case.sqlite {
        format!("sqlite://{}/bench.db", folder.path().display())
    } else {
        create_database(&server).await?
    };
    let mut environment = Vec::new();
    if case.slow_flush && case.sqlite {
        environment.push(("LD_PRELOAD", args.slow_flush_library.as_os_str()));
    }
    let key_file = folder.path().join("keys");
    let key = if case.keys { Some(make_key(&args.sekali, &key_file)?) } else { None };
    if case.keys {
        environment.push(("SEKALI_API_KEYS", key_file.as_os_str()));
    }
    let service = RunningService::start(&args.sekali, &url, &environment)?;
    let sending = Sending {
        batch: case.batch,
        connections: case.connections,
        duplicates: case.duplicates,
        rate: case.rate,
        seconds_max: case.seconds,
        id_bytes: case.id_bytes,
        key,
        namespaces: service.create_namespaces(case.namespaces).await?,
        ..Sending::default()
    };
    if case.stored > 0 {
        Sending { events: case.stored, seconds_max: 1_800.0, seed: 2, ..sending.clone() }
            .to(&service.address)?;
    }
    let known = Sending { duplicates: 0.0, events: KNOWN_IDS, ..sending.clone() };
    if case.duplicates == 1.0 {
        known.to(&service.address)?;
    }
    let unfriendly = if case.unfriendly { Some(Unfriendly::start(&service, case.seconds)?) } else { None };
    let snapshot = if case.snapshot { Some(hold_snapshot(&url).await?) } else { None };
    let before = (Instant::now(), cpu_seconds(service.id()), postgres_cpu_seconds(postgres_pid));
    let measured = match case.duplicates == 1.0 {
        // The same seed sends the same ids again.
        true => repeat(&known, &service, case.seconds)?,
        false => sending.to(&service.address)?,
    };
    let millions = measured.events as f64 / 1e6;
    let mut row = Row {
        name: case.name.clone(),
        compare: case.compare,
        limit: None,
        at_least: AT_LEAST.iter().find(|(name, _)| *name == case.name).map(|(_, ratio)| *ratio),
        stored: case.stored,
        slow_flush: case.slow_flush,
        reads: Vec::new(),
        service_cpu: (cpu_seconds(service.id()) - before.1) / millions,
        database_cpu: (!case.sqlite).then(|| (postgres_cpu_seconds(postgres_pid) - before.2) / millions),
        memory_max_mib: service.memory_max_mib(),
        measured,
    };
    drop((snapshot, unfriendly));
    if case.stored > 0 {
        let writing = Sending { seed: 3, ..sending };
        row.reads = reads(&service, &writing)?;
    }
    drop(service);
    if !case.sqlite {
        drop_database(&server, &url).await?;
    }
    // The disk is given a moment to get over it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(row)
}

/// A key to publish with.
fn make_key(sekali: &Path, file: &Path) -> Result<String> {
    let mut command = Command::new(sekali);
    command.args(["key", "new", "bench", "--scope", "publish", "--api-keys"]).arg(file);
    Ok(String::from_utf8(command.output()?.stdout)?.trim().to_owned())
}

/// Latencies of pages of one topic, `GET /events?topic=&limit=100`: with nothing else to do, and beside writers.
fn reads(service: &RunningService, writing: &Sending) -> Result<Vec<(&'static str, Measured)>> {
    let reading = || Sending { reads: true, connections: 1, seconds_max: 4.0, ..writing.clone() };
    let quiet = reading().to(&service.address)?;
    let writing = Sending { seconds_max: 6.0, rate: Some(20.0), ..writing.clone() };
    let beside = std::thread::scope(|scope| {
        let writer = scope.spawn(|| writing.to(&service.address).map_err(|error| error.to_string()));
        let beside = reading().to(&service.address);
        let _ = writer.join();
        beside
    })?;
    Ok(vec![("alone", quiet), ("beside 20,000 new events a second", beside)])
}

/// A process of unfriendly clients, ended when dropped.
struct Unfriendly(Child);

/// All unfriendly clients are connected by then.
const UNFRIENDLY_WARM_UP: Duration = Duration::from_secs(3);

impl Unfriendly {
    fn start(service: &RunningService, seconds: f64) -> Result<Self> {
        // What unfriendly readers ask for.
        let large_page = Sending { events: 20_000, seed: 4, ..Sending::default() };
        large_page.to(&service.address)?;
        let seconds = seconds + 2.0 * UNFRIENDLY_WARM_UP.as_secs_f64();
        // Outsiders bring processors of their own; here they get what the service and the honest load leave.
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(std::env::current_exe()?);
        command.args(["unfriendly", "--address", &service.address, "--seconds", &seconds.to_string()]);
        let child = command.spawn()?;
        std::thread::sleep(UNFRIENDLY_WARM_UP);
        Ok(Self(child))
    }
}

impl Drop for Unfriendly {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ids that the case of duplicates only knows; well within the window.
const KNOWN_IDS: u64 = 200_000;

fn repeat(sending: &Sending, service: &RunningService, seconds: f64) -> Result<Measured> {
    let begun = Instant::now();
    let mut all: Option<Measured> = None;
    while begun.elapsed().as_secs_f64() < seconds {
        let measured = sending.to(&service.address)?;
        all = Some(match all {
            None => measured,
            Some(sum) => Measured {
                events: sum.events + measured.events,
                requests: sum.requests + measured.requests,
                refused: sum.refused + measured.refused,
                seconds: sum.seconds + measured.seconds,
                p50_ms: sum.p50_ms.max(measured.p50_ms),
                p99_ms: sum.p99_ms.max(measured.p99_ms),
                max_ms: sum.max_ms.max(measured.max_ms),
            },
        });
    }
    all.ok_or_else(|| "nothing was sent".into())
}

/// A transaction that keeps its snapshot until it is dropped.
async fn hold_snapshot(url: &str) -> Result<PgConnection> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    connection.execute("SELECT count(*) FROM sekali.events").await?;
    Ok(connection)
}

pub async fn create_database(server: &str) -> Result<String> {
    let name = format!("sekali_bench_{}", Uuid::new_v4().simple());
    let mut connection = PgConnection::connect(server).await?;
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    let (base, _) = server.rsplit_once('/').ok_or("the URL names no database")?;
    Ok(format!("{base}/{name}"))
}

pub async fn drop_database(server: &str, url: &str) -> Result<()> {
    let (_, name) = url.rsplit_once('/').ok_or("the URL names no database")?;
    let mut connection = PgConnection::connect(server).await?;
    connection.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await?;
    connection.execute("CHECKPOINT").await?;
    Ok(())
}
