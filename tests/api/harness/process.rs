//! The real binary in a process of its own: to be killed, signalled, and read.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::Client;

/// `sekali` with these arguments and an environment without settings of its own.
pub fn sekali(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sekali"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name == "DATABASE_URL" || name.to_string_lossy().starts_with("SEKALI_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `sekali` to its end.
pub fn run(arguments: &[&str]) -> Output {
    finished(&mut sekali(arguments))
}

/// Runs a command that ends by itself, within 30 seconds.
pub fn finished(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match result.recv_timeout(Duration::from_secs(30)) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            send_signal("KILL", id);
            panic!("it does not end: {:?}", result.recv().unwrap().unwrap());
        }
    }
}

/// Runs a command that must fail with this exit code, and answers the one sentence that it says why.
pub fn failure(command: &mut Command, code: i32) -> String {
    let output = finished(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    let sentence = said.strip_prefix("sekali: ").unwrap_or_else(|| panic!("no sentence: {said}"));
    assert_eq!(sentence.matches('\n').count(), 1, "more than a sentence: {said}");
    sentence.trim_end().to_owned()
}

/// Everything that a command printed.
pub fn all_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Sends a signal, such as `TERM`, to a process that this one started.
pub fn send_signal(name: &str, id: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name}");
}

/// A service in a process; dropping it kills it.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    pub client: Client,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `sekali serve` on a port of the system's choice, in `folder`; it listens, and may not be ready yet.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = sekali(&["serve", "--listen", "127.0.0.1:0"]);
        Self::spawn(command.args(arguments).current_dir(folder))
    }

    /// Starts `sekali serve` again on the address of a service that has ended.
    pub fn start_at(address: &str, folder: &Path, arguments: &[&str]) -> Self {
        let mut command = sekali(&["serve", "--listen", address]);
        Self::spawn(command.args(arguments).current_dir(folder))
    }

    /// Starts a command that serves, and waits until it listens.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let written = Arc::clone(&log);
        let id = child.id();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| {
                if let Ok(folder) = std::env::var("LOGS") {
                    use std::io::Write;
                    let mut f = std::fs::OpenOptions::new()
                        .create(true)
                        .append(true)
                        .open(format!("{folder}/{id}.log"))
                        .unwrap();
                    writeln!(f, "{line}").unwrap();
                }
                written.lock().unwrap().push(line)
            })
        });
        let address = wait_for_address(&mut child, &log);
        Self { child, address, client: Client::new(address), log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The most memory that it has held so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.memory_figure("VmHWM:")
    }

    /// The bytes of memory that it holds now.
    pub fn memory(&self) -> u64 {
        self.memory_figure("VmRSS:")
    }

    fn memory_figure(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).expect("a figure of Linux");
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// How many sockets it has open.
    pub fn sockets(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap();
        let target = |file: std::io::Result<std::fs::DirEntry>| std::fs::read_link(file.ok()?.path()).ok();
        files.filter_map(target).filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        send_signal(name, self.id());
    }

    /// Waits until it is ready.
    pub async fn ready(self) -> Self {
        super::eventually("it is ready", async || {
            let answer = self.client.send(self.client.request("GET", "/readyz")).await;
            answer.unwrap_or_else(|error| panic!("{error}: {}", self.log())).status == 200
        })
        .await;
        self
    }

    /// Kills it at once (`SIGKILL`) and waits for its end.
    pub fn kill(mut self) {
        self.kill_and_keep();
    }

    /// The same; what it has logged can still be read.
    pub fn kill_and_keep(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself, at most 30 seconds.
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for_address(child: &mut Child, log: &Mutex<Vec<String>>) -> SocketAddr {
    let begun = Instant::now();
    loop {
        let lines = log.lock().unwrap().join("\n");
        if let Some((_, rest)) = lines.split_once("listening on http") {
            let rest = rest.trim_start_matches('s').trim_start_matches("://");
            let end = rest.find(|letter: char| !letter.is_ascii_hexdigit() && !"[]:.".contains(letter));
            return rest[..end.unwrap_or(rest.len())].parse().unwrap();
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before it listened:\n{lines}");
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not listen:\n{lines}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
