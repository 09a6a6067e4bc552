//! The service on one, two and three nodes of a Citus cluster. Where they share a machine, the sum of them cannot grow: what
//! a node of a machine of its own would take follows from the processor time that an event costs on the busiest process.

use std::{error::Error, path::PathBuf};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, postgres::PgConnectOptions, types::Uuid};

use super::{
    load::Measured,
    process::{RunningService, cpu_seconds, postgres_cpu_seconds},
    report::{thousands, write_table},
    sending::Sending,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const NAMESPACES: [usize; 4] = [1, 4, 16, 64];
const BATCH: usize = 100;
const CONNECTIONS: usize = 32;
/// Before what is measured.
const WARM_UP_SECONDS: f64 = 1.0;

#[derive(clap::Args, Clone)]
pub struct Citus {
    /// A database of a Citus cluster's coordinator, whose other nodes are asked for; databases are made on all and dropped
    #[arg(long)]
    url: String,
    /// The binary to measure
    #[arg(long)]
    sekali: PathBuf,
    /// Where the table goes; printed as well
    #[arg(long)]
    output: Option<PathBuf>,
    /// Seconds a case
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
}

/// One case.
struct Row {
    nodes: usize,
    namespaces: usize,
    measured: Measured,
    /// Seconds a million events: of the service, then of each node, where they are on this machine.
    cpu: Vec<f64>,
}

/// The same database on some of the nodes.
struct Database<'a> {
    servers: &'a [PgConnectOptions],
    name: String,
}

#[tokio::main(flavor = "current_thread")]
pub async fn run(args: &Citus) -> Result<()> {
    let servers = nodes(&args.url.parse()?).await?;
    let mut rows = Vec::new();
    for nodes in 1..=servers.len() {
        for namespaces in NAMESPACES {
            let row = measure(args, &servers[..nodes], namespaces).await?;
            eprintln!("{}", row.line(&rows));
            rows.push(row);
        }
    }
    let table = table(&rows);
    println!("{table}");
    if let Some(document) = &args.output {
        write_table(document, &table)?;
    }
    Ok(())
}

/// The servers of a cluster, the coordinator first.
async fn nodes(given: &PgConnectOptions) -> Result<Vec<PgConnectOptions>> {
    let mut connection = given.connect().await?;
    let nodes: Vec<(String, i32)> = sqlx::query_as(
        "SELECT nodename, nodeport FROM pg_dist_node WHERE noderole = 'primary' ORDER BY groupid LIMIT 3",
    )
    .fetch_all(&mut connection)
    .await?;
    Ok(nodes.iter().map(|(host, port)| given.clone().host(host).port(*port as u16)).collect())
}

async fn measure(args: &Citus, servers: &[PgConnectOptions], namespaces: usize) -> Result<Row> {
    let database = Database::create(servers).await?;
    let row = measure_on(args, &database, namespaces).await;
    database.remove().await?;
    row
}

async fn measure_on(args: &Citus, database: &Database<'_>, namespaces: usize) -> Result<Row> {
    let postmasters = database.postmasters().await;
    let url = database.at(0).to_url_lossy();
    let service = RunningService::start(&args.sekali, url.as_str(), &[])?;
    let names = service.create_namespaces(namespaces).await?;
    let sending = Sending { batch: BATCH, connections: CONNECTIONS, namespaces: names, ..Sending::default() };
    Sending { seconds_max: WARM_UP_SECONDS, seed: 2, ..sending.clone() }.to(&service.address)?;
    let cpu = || {
        let nodes = postmasters.iter().map(|id| id.map_or(f64::NAN, postgres_cpu_seconds));
        std::iter::once(cpu_seconds(service.id())).chain(nodes).collect::<Vec<f64>>()
    };
    let before = cpu();
    let measured = Sending { seconds_max: args.seconds, ..sending }.to(&service.address)?;
    let millions = measured.events as f64 / 1e6;
    let cpu = cpu().iter().zip(&before).map(|(after, before)| (after - before) / millions).collect();
    Ok(Row { nodes: database.servers.len(), namespaces, measured, cpu })
}

impl<'a> Database<'a> {
    /// An empty one: on one server by itself, on several as a cluster, of which all hold ledgers.
    async fn create(servers: &'a [PgConnectOptions]) -> Result<Self> {
        let name = format!("bench_{}", Uuid::new_v4().simple());
        let database = Self { servers, name };
        for node in 0..servers.len() {
            execute(&servers[node], &format!("CREATE DATABASE {}", database.name)).await?;
            if servers.len() > 1 {
                execute(&database.at(node), "CREATE EXTENSION citus").await?;
            }
        }
        if servers.len() > 1 {
            database.join().await?;
        }
        Ok(database)
    }

    async fn join(&self) -> Result<()> {
        let place = |server: &PgConnectOptions| format!("'{}', {}", server.get_host(), server.get_port());
        let coordinator = place(&self.servers[0]);
        execute(&self.at(0), &format!("SELECT citus_set_coordinator_host({coordinator})")).await?;
        for worker in &self.servers[1..] {
            execute(&self.at(0), &format!("SELECT citus_add_node({})", place(worker))).await?;
        }
        let holds = format!("SELECT citus_set_node_property({coordinator}, 'shouldhaveshards', true)");
        execute(&self.at(0), &holds).await
    }

    fn at(&self, node: usize) -> PgConnectOptions {
        self.servers[node].clone().database(&self.name)
    }

    /// The first process of each server, where that is on this machine and tells it.
    async fn postmasters(&self) -> Vec<Option<u32>> {
        let mut found = Vec::new();
        for node in 0..self.servers.len() {
            found.push(postmaster(&self.at(node)).await.ok());
        }
        found
    }

    async fn remove(&self) -> Result<()> {
        for server in self.servers {
            execute(server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?;
        }
        Ok(())
    }
}

async fn postmaster(server: &PgConnectOptions) -> Result<u32> {
    let mut connection = server.connect().await?;
    let file: String =
        sqlx::query_scalar("SELECT pg_read_file('postmaster.pid')").fetch_one(&mut connection).await?;
    let id = file.lines().next().ok_or("an empty file")?.parse()?;
    let program = std::fs::read_to_string(format!("/proc/{id}/comm"))?;
    if program.trim() == "postgres" { Ok(id) } else { Err("another machine's process".into()) }
}

async fn execute(server: &PgConnectOptions, sql: &str) -> Result<()> {
    let mut connection = server.connect().await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    connection.close().await?;
    Ok(())
}

impl Row {
    /// Its line of the table; `before` are the lines before it.
    fn line(&self, before: &[Row]) -> String {
        let rate = self.measured.events_per_second();
        let on_one = before.iter().find(|other| other.nodes == 1 && other.namespaces == self.namespaces);
        let ratio =
            on_one.map_or("1".to_owned(), |one| format!("{:.2}", rate / one.measured.events_per_second()));
        let cpu: Vec<String> = self.cpu.iter().map(|seconds| shown(*seconds)).collect();
        let busiest = self.cpu[1..].iter().copied().fold(0.0, f64::max);
        format!(
            "| {} | {} | {} | {ratio} | {:.1} / {:.1} | {} | {} | {} | {} |",
            self.nodes,
            self.namespaces,
            thousands(rate),
            self.measured.p50_ms,
            self.measured.p99_ms,
            cpu[0],
            cpu[1..].join(" / "),
            shown(busiest),
            self.measured.refused,
        )
    }
}

fn shown(seconds: f64) -> String {
    if seconds.is_finite() { format!("{seconds:.1}") } else { "–".to_owned() }
}

fn table(rows: &[Row]) -> String {
    let mut text = "| nodes that hold ledgers | namespaces | events/s | against one node | p50 / p99 ms | CPU s per million events: service | each node | busiest node | refused |\n|---|---|---|---|---|---|---|---|---|\n".to_owned();
    for row in rows {
        text.push_str(&row.line(rows));
        text.push('\n');
    }
    text
}
