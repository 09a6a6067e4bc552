//! A Postgres server of a test's own, to be stopped, frozen and started again.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sqlx::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::{block_on, pages::wipe_page_of, process::send_signal};

/// A server whose port and data outlive its stops; dropping it stops and removes it.
pub struct PostgresServer {
    /// With the password of the user `postgres`.
    pub url: String,
    /// What must never be shown.
    pub password: String,
    pub port: u16,
    /// Settings of its own, such as `wal_level=logical`.
    settings: Vec<&'static str>,
    folder: TempDir,
    server: Option<Child>,
}

impl PostgresServer {
    /// An empty server, not started yet.
    pub fn create() -> Self {
        // The server's user must be able to enter it, and /tmp is open to all.
        Self::create_in(Path::new("/tmp"))
    }

    /// The same in a folder that the server's user may enter.
    pub fn create_in(folder: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("sekali-postgres-").tempdir_in(folder).unwrap();
        let password = format!("secret{}", Uuid::new_v4().simple());
        let password_file = folder.path().join("password");
        fs::write(&password_file, &password).unwrap();
        if let Some(user) = os_user() {
            succeed(Command::new("chown").arg("-R").arg(user).arg(folder.path()));
        }
        let port = free_port();
        let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
        let server = Self { url, password, port, settings: Vec::new(), folder, server: None };
        let mut initdb = server.program("initdb");
        initdb.args(["--no-sync", "--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "-D"]).arg(server.data());
        succeed(initdb.arg(format!("--pwfile={}", password_file.display())));
        server
    }

    /// One that starts with these settings, and asks nobody for a password.
    pub fn with_settings(mut self, settings: &[&'static str]) -> Self {
        self.settings = settings.to_vec();
        fs::write(self.data().join("pg_hba.conf"), "host all all 127.0.0.1/32 trust\n").unwrap();
        self
    }

    /// Starts it, and waits until it takes connections.
    pub fn start(&mut self) {
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        command.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
        let log = fs::File::options().create(true).append(true).open(self.log_file()).unwrap();
        self.server = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let begun = Instant::now();
        while !self.answers() {
            let log = || fs::read_to_string(self.log_file()).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(30), "Postgres does not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once, without goodbye to its clients (`pg_ctl stop -m immediate`).
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            send_signal("QUIT", server.id());
            server.wait().unwrap();
        }
    }

    /// Kills all of it (`SIGKILL`), as a crash of its machine would.
    pub fn kill(&mut self) {
        let processes = self.processes();
        if let Some(mut server) = self.server.take() {
            processes.iter().for_each(|process| signal_if_there("KILL", *process));
            server.wait().unwrap();
            // What they share goes with the last of them, and the next server waits for that.
            let begun = Instant::now();
            while processes.iter().any(|process| is_alive(*process)) {
                assert!(begun.elapsed() < Duration::from_secs(30), "Postgres survives its end");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Sets a copy of all its data aside; it must be stopped.
    pub fn back_up(&self) {
        assert!(self.server.is_none(), "it runs");
        succeed(Command::new("cp").arg("-a").arg(self.data()).arg(self.folder.path().join("copy")));
    }

    /// Makes its data what the copy holds; it must be stopped.
    pub fn restore(&self) {
        assert!(self.server.is_none(), "it runs");
        fs::remove_dir_all(self.data()).unwrap();
        fs::rename(self.folder.path().join("copy"), self.data()).unwrap();
    }

    /// Overwrites the page of a table in which this text stands; it must be stopped, and have written its pages before.
    pub fn wipe_page_of(&self, text: &str) {
        assert!(self.server.is_none(), "it runs");
        let databases = fs::read_dir(self.data().join("base")).unwrap();
        let mut files = databases.flat_map(|database| fs::read_dir(database.unwrap().path()).unwrap());
        assert!(files.any(|file| wipe_page_of(&file.unwrap().path(), text, 8_192)), "no table holds {text}");
    }

    /// Its first process and all others.
    pub fn processes(&self) -> Vec<u32> {
        let id = self.server.as_ref().expect("it runs").id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = children.split_whitespace().map(|child| child.parse().unwrap());
        std::iter::once(id).chain(children).collect()
    }

    /// Lets nothing of it run on: connections stay open, and nothing answers on them.
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Lets it run on.
    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        // The first, so that it starts no others meanwhile.
        send_signal(name, self.processes()[0]);
        self.processes()[1..].iter().for_each(|process| signal_if_there(name, *process));
    }

    fn answers(&self) -> bool {
        let url = self.url.clone();
        let ask = move || block_on(async { sqlx::PgConnection::connect(&url).await.is_ok() });
        // A runtime must not block in itself, and this may run within one.
        std::thread::spawn(ask).join().unwrap()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// A server program, run as the user that the server accepts.
    fn program(&self, name: &str) -> Command {
        let bin = std::env::var("PG_BIN").expect("PG_BIN is the folder of the Postgres server programs");
        let program = PathBuf::from(bin).join(name);
        let mut command = match os_user() {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups", "--"]);
                command.arg(program);
                command
            }
        };
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG"))
        {
            command.env_remove(variable);
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.thaw();
            self.stop();
        }
    }
}

/// The user to run the server as, where this process runs as root.
fn os_user() -> Option<String> {
    std::env::var("PG_OS_USER").ok().filter(|user| !user.is_empty())
}

/// A port below the range of outgoing connections, so that it stays free while the server is away.
fn free_port() -> u16 {
    let candidates = std::iter::repeat_with(|| 20_000 + (Uuid::new_v4().as_u128() % 12_000) as u16);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    candidates.take(100).find(is_free).expect("a free port")
}

/// One that has just ended needs no signal.
fn signal_if_there(name: &str, process: u32) {
    let arguments = [format!("-{name}"), process.to_string()];
    let _ = Command::new("kill").args(arguments).stderr(Stdio::null()).status();
}

/// Whether it runs: one that has ended and that nobody has asked after yet does not.
fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with(['Z', 'X']))
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
