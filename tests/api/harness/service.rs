//! The service within this process, so that a test can reach the actors too.

use std::{net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use futures::{StreamExt, channel::mpsc};
use sekali::{
    actors::RestartPolicy,
    app::{AppError, Hooks, serve_with},
    config::Config,
    service::Service,
    store::CrashTrigger,
};
use tokio::sync::oneshot;

use super::{
    Client, Database,
    decorated_store::{BeforeAppend, DecoratedAppends},
};

/// How to start a service.
pub struct Settings {
    pub database: Arc<Database>,
    pub config: Config,
    pub restarts: RestartPolicy,
    /// Done before each append.
    pub before_append: Option<BeforeAppend>,
}

impl Settings {
    /// The defaults, on this database and a port of the system's choice.
    pub fn new(database: impl Into<Arc<Database>>) -> Self {
        let database = database.into();
        let config = Config {
            listen: "127.0.0.1:0".to_owned(),
            database_url: database.url.clone().into(),
            shards: 2,
            http_workers: 2,
            ..Config::default()
        };
        Self { database, config, restarts: RestartPolicy::default(), before_append: None }
    }
}

/// A running service; dropping it drains it.
pub struct RunningService {
    pub client: Client,
    pub address: SocketAddr,
    pub handle: Service,
    /// Makes the writer crash with a transaction open.
    pub writer_crash: CrashTrigger,
    database: Option<Arc<Database>>,
    stop: mpsc::UnboundedSender<()>,
    thread: Option<JoinHandle<Result<(), AppError>>>,
}

impl RunningService {
    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts a service and waits until it is ready.
    pub async fn start(settings: Settings) -> Self {
        let (listening, addresses) = oneshot::channel();
        let (ready, handle) = oneshot::channel();
        let (stop, stops) = mpsc::unbounded();
        let writer_crash = CrashTrigger::default();
        let trigger = writer_crash.clone();
        let decorate = move |store| {
            let mut store = trigger.watch(store);
            if let Some(before_append) = settings.before_append {
                store.appends = Arc::new(DecoratedAppends { appends: store.appends, before_append });
            }
            store
        };
        let hooks = Hooks {
            restarts: settings.restarts,
            decorate_store: Some(Box::new(decorate)),
            listening: Some(listening),
            ready: Some(ready),
            ..Hooks::default()
        };
        let config = settings.config;
        let thread = std::thread::spawn(move || serve_with(config, hooks, || Ok(stops.boxed())));
        let address = addresses.await.expect("the service listens")[0];
        let handle = handle.await.expect("the service becomes ready");
        Self {
            client: Client::new(address),
            address,
            handle,
            writer_crash,
            database: Some(settings.database),
            stop,
            thread: Some(thread),
        }
    }

    /// Its database; a clone of it keeps it for another service.
    pub fn database(&self) -> &Arc<Database> {
        self.database.as_ref().expect("the database goes with the service")
    }

    /// Drains the service; answers how it ended, and the database for what comes next.
    pub async fn stop(self) -> (Result<(), AppError>, Arc<Database>) {
        let _ = self.stop.unbounded_send(());
        self.ended().await
    }

    /// Waits for the service to end by itself; answers how it did, and the database for what comes next.
    pub async fn ended(mut self) -> (Result<(), AppError>, Arc<Database>) {
        let thread = self.thread.take().expect("a service stops once");
        let ended = tokio::task::spawn_blocking(|| thread.join().expect("the service does not panic"));
        let ended =
            tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the service stops").unwrap();
        (ended, self.database.take().expect("a service stops once"))
    }
}

impl Drop for RunningService {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.stop.unbounded_send(());
            let _ = thread.join();
        }
    }
}
