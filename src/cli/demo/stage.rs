//! The service, within this process, and its database.

use std::{thread::JoinHandle, time::Duration};

use futures::{StreamExt, channel::mpsc};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::DemoFailure;
use crate::{
    app::{AppError, Hooks, serve_with},
    cli::CliError,
    config::{Config, DatabaseUrl},
    service::Service,
    store::CrashTrigger,
};

/// The same on every machine, so that the demonstration is the same, too.
pub const SHARDS: usize = 4;
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// A running service; dropping it drains it and removes what is temporary.
pub struct Stage {
    /// The way to crash an actor, which only this process has.
    pub service: Service,
    /// Makes the writer crash with a transaction open.
    pub writer_crash: CrashTrigger,
    pub url: String,
    /// `sqlite` or `postgres`.
    pub store: &'static str,
    /// Where the events are, in words.
    pub place: String,
    thread: ServiceThread,
    _folder: Option<TempDir>,
}

struct ServiceThread {
    stop: mpsc::UnboundedSender<()>,
    thread: Option<JoinHandle<Result<(), AppError>>>,
}

impl Stage {
    /// Starts a service on this database, else on a new one in a temporary folder, and waits until it is ready.
    pub async fn set_up(database_url: Option<DatabaseUrl>) -> Result<Self, CliError> {
        let (database_url, place, folder) = match database_url {
            Some(url) => (url.clone(), url.to_string(), None),
            None => {
                let folder = TempDir::with_prefix("sekali-demo-").map_err(DemoFailure::Folder)?;
                let url = format!("sqlite://{}", folder.path().join("demo.db").display());
                (url.into(), "a temporary SQLite file".to_owned(), Some(folder))
            }
        };
        let store = if database_url.starts_with("sqlite:") { "sqlite" } else { "postgres" };
        let config =
            Config { listen: "127.0.0.1:0".to_owned(), database_url, shards: SHARDS, ..Config::default() };
        let (listening, addresses) = oneshot::channel();
        let (ready, service) = oneshot::channel();
        let (stop, stops) = mpsc::unbounded();
        let writer_crash = CrashTrigger::default();
        let trigger = writer_crash.clone();
        let hooks = Hooks {
            listening: Some(listening),
            ready: Some(ready),
            decorate_store: Some(Box::new(move |store| trigger.watch(store))),
            ..Hooks::default()
        };
        let thread = std::thread::spawn(move || serve_with(config, hooks, || Ok(stops.boxed())));
        let thread = ServiceThread { stop, thread: Some(thread) };
        let started = async { Ok::<_, oneshot::error::RecvError>((addresses.await?, service.await?)) };
        match tokio::time::timeout(READY_TIMEOUT, started).await {
            Ok(Ok((addresses, service))) => {
                let url = format!("http://{}", addresses[0]);
                Ok(Self { service, writer_crash, url, store, place, thread, _folder: folder })
            }
            // Its own error says why it ended before it was ready.
            Ok(Err(_)) => Err(thread.stop().err().unwrap_or(DemoFailure::ServiceEnded.into())),
            Err(_) => Err(DemoFailure::NotReady(READY_TIMEOUT).into()),
        }
    }

    /// Whether the service has ended by itself.
    pub fn is_over(&self) -> bool {
        self.thread.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Drains the service; an error if it did not end well, now or before.
    pub fn take_down(self) -> Result<(), CliError> {
        self.thread.stop()
    }
}

impl ServiceThread {
    fn stop(mut self) -> Result<(), CliError> {
        self.join().unwrap_or(Ok(())).map_err(CliError::App)
    }

    fn join(&mut self) -> Option<Result<(), AppError>> {
        // It may have ended already.
        let _ = self.stop.unbounded_send(());
        self.thread.take()?.join().ok()
    }
}

impl Drop for ServiceThread {
    fn drop(&mut self) {
        self.join();
    }
}
