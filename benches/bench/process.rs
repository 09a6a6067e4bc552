//! The processes of a case: started, measured, ended.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Clock ticks a second, in which /proc counts processor time.
const TICKS_PER_SECOND: f64 = 100.0;

use sekali::client::Client;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A running service, ended when dropped.
pub struct RunningService {
    child: Child,
    pub address: String,
}

impl RunningService {
    /// Starts the service on a free port, with these variables in its environment, and waits until it is ready.
    pub fn start(sekali: &Path, database_url: &str, environment: &[(&str, &OsStr)]) -> Result<Self> {
        let mut command = Command::new(sekali);
        command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", database_url]);
        command.envs(environment.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let mut address = None;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no log")?).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, found)) = line.split_once("listening on http://") {
                address = Some(found.trim().to_owned());
            }
            // The last thing that is said at the start.
            if line.contains("try: curl") {
                break;
            }
        }
        std::thread::spawn(move || {
            lines.map_while(std::result::Result::ok).for_each(|line| eprintln!("{line}"))
        });
        Ok(Self { child, address: address.ok_or("the service does not listen")? })
    }

    /// Creates so many namespaces; answers their names.
    pub async fn create_namespaces(&self, count: usize) -> Result<Vec<String>> {
        let client = self.client()?;
        let mut names = Vec::new();
        for number in 0..count {
            let name = format!("bench-{number}");
            client.create_namespace(&name, None).await?;
            names.push(name);
        }
        Ok(names)
    }

    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(&format!("http://{}", self.address))?)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Most memory that it ever had resident, in MiB.
    pub fn memory_max_mib(&self) -> f64 {
        self.memory("VmHWM:")
    }

    /// The memory that it has resident now, in MiB.
    pub fn memory_mib(&self) -> f64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, name: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    }
}

impl Drop for RunningService {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Processor time of one process so far, in seconds.
pub fn cpu_seconds(id: u32) -> f64 {
    ticks(id).map_or(0.0, |times| (times[0] + times[1]) / TICKS_PER_SECOND)
}

/// Processor time of a Postgres server so far, in seconds: of its main process, its children, and those that
/// have ended.
pub fn postgres_cpu_seconds(postmaster: u32) -> f64 {
    let own = ticks(postmaster).map_or(0.0, |times| times.iter().sum::<f64>() / TICKS_PER_SECOND);
    let children =
        fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
    let ids = children.split_whitespace().filter_map(|id| id.parse().ok());
    own + ids.map(cpu_seconds).sum::<f64>()
}

/// User and system time, and the same of children that were waited for.
fn ticks(id: u32) -> Option<[f64; 4]> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in brackets may hold anything; the fields behind it are numbers.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |place: usize| fields.get(place)?.parse().ok();
    Some([field(11)?, field(12)?, field(13)?, field(14)?])
}
