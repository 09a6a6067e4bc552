//! The limit on open files, and what of it is left for client connections.

use std::io;

use rlimit::Resource;
use tracing::warn;

use super::AppError;
use crate::{config::Config, http::client_sockets_max};

/// Standard streams, listeners, event queues, and files that are open for a moment.
const OWN_FILES: u64 = 32;
/// The event queue of a thread that serves HTTP.
const FILES_PER_WORKER: u64 = 6;
/// A connection to SQLite has the file, its log, the index of the log and at most one more file open.
const FILES_PER_STORE_CONNECTION: u64 = 4;
/// The connections to the store besides those for reading: the writer, probes, and one that is being replaced.
const OTHER_STORE_CONNECTIONS: u64 = 4;
/// As far as the soft limit is raised at least, where the hard one allows it. So there is room for what is known later, as
/// the connections with each node of a Citus cluster.
const SOFT_LIMIT: u64 = 1 << 20;
/// With fewer client connections the service does not start.
const CONNECTIONS_MIN: usize = 16;

/// Raises the limit on open files as far as the system allows, and returns how many client connections it leaves.
pub(super) fn connections_that_fit(config: &Config) -> Result<usize, AppError> {
    let (soft, hard) = Resource::NOFILE.get().map_err(AppError::Runtime)?;
    let wanted = files(config, config.connections_max);
    let limit = match raise(soft, hard, wanted) {
        Ok(limit) => limit,
        Err(error) => {
            warn!(%error, soft, hard, "the limit on open files cannot be raised");
            soft
        }
    };
    let fit = largest_that_fits(config, limit);
    let least = CONNECTIONS_MIN.min(config.connections_max);
    if fit < least {
        return Err(AppError::Descriptors { limit, needed: files(config, least) });
    }
    if fit < config.connections_max {
        let asked = config.connections_max;
        warn!(limit, asked, connections_max = fit, "the limit on open files allows fewer client connections");
    }
    Ok(fit)
}

/// Every process raises its soft limit by itself: it is low for programs that use `select`.
fn raise(soft: u64, hard: u64, wanted: u64) -> io::Result<u64> {
    let limit = raised(soft, hard, wanted);
    if limit > soft {
        Resource::NOFILE.set(limit, hard)?;
    }
    Ok(limit)
}

fn raised(soft: u64, hard: u64, wanted: u64) -> u64 {
    soft.max(hard.min(wanted.max(SOFT_LIMIT)))
}

/// The open files of the service with so many client connections.
fn files(config: &Config, connections_max: usize) -> u64 {
    let store = (config.read_connections as u64 + config.write_connections as u64 + OTHER_STORE_CONNECTIONS)
        * FILES_PER_STORE_CONNECTION;
    let workers = config.http_workers as u64 * FILES_PER_WORKER;
    OWN_FILES + workers + store + client_sockets_max(connections_max, config.http_workers) as u64
}

fn largest_that_fits(config: &Config, limit: u64) -> usize {
    let (mut fits, mut too_many) = (0, config.connections_max + 1);
    while too_many - fits > 1 {
        let middle = fits + (too_many - fits) / 2;
        if files(config, middle) <= limit { fits = middle } else { too_many = middle }
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one_but_for_very_high_ones() {
        assert_eq!(raised(1_024, 524_288, 5_000), 524_288);
        assert_eq!(raised(1_024, 4_096, 5_000), 4_096);
        assert_eq!(raised(1_024, u64::MAX, 5_000), SOFT_LIMIT);
        assert_eq!(raised(1_024, u64::MAX, 2_000_000), 2_000_000);
        assert_eq!(raised(3_000_000, u64::MAX, 5_000), 3_000_000, "it is never lowered");
    }

    #[test]
    fn as_many_connections_are_allowed_as_there_are_files_for() {
        let config = Config { http_workers: 2, ..Config::default() };
        for limit in [256, 1_024, 4_096] {
            let fit = largest_that_fits(&config, limit);
            assert!(files(&config, fit) <= limit && files(&config, fit + 1) > limit, "{limit}: {fit}");
        }
        assert_eq!(largest_that_fits(&config, 1 << 20), config.connections_max);
        assert_eq!(largest_that_fits(&config, 64), 0);
    }
}
