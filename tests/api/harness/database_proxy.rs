//! A network between a service and Postgres that loses connections, falls silent, and slows every statement.
//!
//! It follows the messages that services send (<https://www.postgresql.org/docs/current/protocol-message-formats.html>),
//! so that a fault can meet one statement, and one moment of it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// The statement that writes.
pub const APPEND: &str = "sekali.append(";

/// What becomes of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is swallowed, and the connection says nothing any more.
    Silence,
    /// The connection is cut when half of it has passed: it is not carried out.
    CutWithin,
    /// The connection is cut as soon as all of it has passed: it may be carried out.
    CutBehind,
    /// The connection is cut when the server has carried it out and says so: the answer is lost.
    CutAnswer,
    /// It is carried out, and the connection says nothing any more.
    LoseAnswer,
}

/// Listens until it is dropped.
pub struct DatabaseProxy {
    /// The database, through this proxy.
    pub url: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    planned: Mutex<Vec<Planned>>,
    delay_millis: AtomicU64,
    /// Rises when all connections of before are to be cut.
    cuts: watch::Sender<u64>,
    silent: watch::Sender<bool>,
}

struct Planned {
    text: String,
    /// Statements with this text to let pass first.
    spared: usize,
    fate: Fate,
}

impl DatabaseProxy {
    /// A proxy before the database that `url` names.
    pub async fn start(url: &str) -> Self {
        let options: PgConnectOptions = url.parse().unwrap();
        let server = format!("{}:{}", options.get_host(), options.get_port());
        let server = tokio::net::lookup_host(server).await.unwrap().next().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let through = options.host("127.0.0.1").port(port).ssl_mode(PgSslMode::Disable);
        let shared = Arc::new(Shared {
            server,
            planned: Mutex::default(),
            delay_millis: AtomicU64::new(0),
            cuts: watch::Sender::new(0),
            silent: watch::Sender::new(false),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { url: through.to_url_lossy().to_string(), shared, accepting }
    }

    /// Has one statement with this text meet its fate, after `spared` others.
    pub fn plan(&self, text: &str, spared: usize, fate: Fate) {
        self.shared.planned.lock().unwrap().push(Planned { text: text.to_owned(), spared, fate });
    }

    /// How many statements have still to meet theirs.
    pub fn planned(&self) -> usize {
        self.shared.planned.lock().unwrap().len()
    }

    /// Slows every statement from now on.
    pub fn slow_down(&self, delay: Duration) {
        self.shared.delay_millis.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Passes nothing on, until it is told to speak again.
    pub fn fall_silent(&self) {
        self.shared.silent.send_replace(true);
    }

    pub fn speak(&self) {
        self.shared.silent.send_replace(false);
    }
}

impl Drop for DatabaseProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    /// Returns at once, unless the proxy is silent.
    async fn speaking(&self) {
        let _ = self.silent.subscribe().wait_for(|silent| !silent).await;
    }

    /// What becomes of this statement, if that is planned.
    fn fate_of(&self, statement: &str) -> Option<Fate> {
        let mut planned = self.planned.lock().unwrap();
        let place = planned.iter().position(|planned| statement.contains(&planned.text))?;
        if planned[place].spared > 0 {
            planned[place].spared -= 1;
            return None;
        }
        Some(planned.remove(place).fate)
    }
}

/// Whether a connection's answers are kept back: until the server is done, which cuts it, or altogether.
#[derive(Default)]
struct Withheld {
    until_done: AtomicBool,
    for_ever: AtomicBool,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cuts = shared.cuts.subscribe();
            // A server that is away refuses, and so does this end then.
            let Ok(server) = TcpStream::connect(shared.server).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let withheld = Withheld::default();
            // Whichever ends first, its end cuts both sides.
            tokio::select! {
                _ = pass_statements(from_client, to_server, &shared, &withheld) => {}
                _ = pass_answers(from_server, to_client, &shared, &withheld) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

/// Passes messages on to the server, each with its fate.
async fn pass_statements(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    withheld: &Withheld,
) -> io::Result<()> {
    // The first message has no type.
    let mut message = Vec::new();
    read_message(&mut client, &mut message, 0).await?;
    server.write_all(&message).await?;
    let mut prepared: HashMap<String, String> = HashMap::new();
    let mut fate = None;
    loop {
        read_message(&mut client, &mut message, 1).await?;
        shared.speaking().await;
        match message[0] {
            b'P' => {
                let mut texts = texts(&message[5..]);
                let name = texts.next().unwrap_or_default();
                prepared.insert(name, texts.next().unwrap_or_default());
            }
            b'B' => {
                let name = texts(&message[5..]).nth(1).unwrap_or_default();
                fate = prepared.get(&name).and_then(|statement| shared.fate_of(statement));
            }
            b'Q' => fate = shared.fate_of(&texts(&message[5..]).next().unwrap_or_default()),
            _ => {}
        }
        match fate {
            Some(Fate::Silence) => std::future::pending().await,
            Some(Fate::CutWithin) => return server.write_all(&message[..message.len() / 2]).await,
            Some(Fate::CutAnswer) => withheld.until_done.store(true, Ordering::Relaxed),
            Some(Fate::LoseAnswer) => withheld.for_ever.store(true, Ordering::Relaxed),
            Some(Fate::CutBehind) | None => {}
        }
        // With one of these the server carries out what it was given.
        let is_whole = matches!(message[0], b'Q' | b'S');
        if is_whole {
            tokio::time::sleep(Duration::from_millis(shared.delay_millis.load(Ordering::Relaxed))).await;
        }
        server.write_all(&message).await?;
        match fate.filter(|_| is_whole) {
            Some(Fate::CutBehind) => return Ok(()),
            Some(Fate::LoseAnswer) => std::future::pending().await,
            _ => {}
        }
    }
}

async fn pass_answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    shared: &Shared,
    withheld: &Withheld,
) -> io::Result<()> {
    const READY_FOR_THE_NEXT: &[u8] = b"Z\0\0\0\x05I";
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let length = server.read(&mut bytes).await?;
        shared.speaking().await;
        let is_done = bytes[..length].ends_with(READY_FOR_THE_NEXT);
        if length == 0 || is_done && withheld.until_done.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !withheld.until_done.load(Ordering::Relaxed) && !withheld.for_ever.load(Ordering::Relaxed) {
            client.write_all(&bytes[..length]).await?;
        }
    }
}

/// Reads one message: its length stands behind its type, which has `type_bytes`.
async fn read_message(
    client: &mut OwnedReadHalf,
    message: &mut Vec<u8>,
    type_bytes: usize,
) -> io::Result<()> {
    message.resize(type_bytes + 4, 0);
    client.read_exact(message).await?;
    let length = u32::from_be_bytes(message[type_bytes..].try_into().unwrap()) as usize;
    message.resize(type_bytes + length, 0);
    client.read_exact(&mut message[type_bytes + 4..]).await?;
    Ok(())
}

/// The texts that a message begins with, each of which ends with a zero.
fn texts(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned())
}
