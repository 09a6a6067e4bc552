//! The signals of the process: which of them stop it, and which do nothing. None of them kills it unseen but
//! `SIGKILL`, and those that only a fault of the program brings about.

use std::{io, sync::Arc};

use futures::{
    StreamExt,
    future::ready,
    stream::{self, BoxStream, select_all},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tracing::debug;

/// Usual ends of a service: by a platform, on a terminal, and by supervisors that ask for a graceful end with it.
const STOPPING: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];

/// Signals whose default is to end the process, and that do not end this one.
const IGNORED: [i32; 9] = [
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGXCPU,
    // The write fails as well, and that error is handled.
    libc::SIGXFSZ,
    libc::SIGIO,
    libc::SIGHUP,
];

#[cfg(target_os = "linux")]
fn ignored_on_this_system() -> impl Iterator<Item = i32> {
    [libc::SIGPWR, libc::SIGSTKFLT].into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
}

#[cfg(not(target_os = "linux"))]
fn ignored_on_this_system() -> impl Iterator<Item = i32> {
    std::iter::empty()
}

/// Takes over the signals of the process; an item for each that asks it to stop. `hang_ups` is told of each SIGHUP. To be
/// called on a tokio runtime.
pub fn stop_signals(hang_ups: Arc<Notify>) -> io::Result<BoxStream<'static, ()>> {
    let kinds = STOPPING.into_iter().chain(IGNORED).chain(ignored_on_this_system());
    let streams = kinds.map(received).collect::<io::Result<Vec<_>>>()?;
    let stops = select_all(streams).filter_map(move |kind| {
        match kind {
            libc::SIGHUP => hang_ups.notify_one(),
            ignored if !STOPPING.contains(&ignored) => debug!(signal = ignored, "a signal is ignored"),
            _stopping => return ready(Some(())),
        }
        ready(None)
    });
    Ok(stops.boxed())
}

/// The kind of this signal, each time that it comes.
fn received(kind: i32) -> io::Result<BoxStream<'static, i32>> {
    let mut signals = signal(SignalKind::from_raw(kind))?;
    Ok(stream::poll_fn(move |cx| signals.poll_recv(cx)).map(move |()| kind).boxed())
}
