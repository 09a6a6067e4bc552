//! Every time in the sources stands in one table of ARCHITECTURE.md, and those that must be in an order are.
//!
//! A constant `NAME: Duration` outside of tests needs a row: its name, its file, its value and what it bounds.

use std::{collections::BTreeMap, fs, time::Duration};

use sekali::config::Config;

use crate::{
    layering::read_sources,
    package_root,
    source::{Token, tokens_outside_tests},
};

/// A constant: its file and its name.
type Place = (String, String);

/// A time of the sources, or of the settings' defaults.
enum Time {
    Const(&'static str, &'static str),
    /// A setting's default, by its flag.
    Default(&'static str),
    /// What another file says, for people to keep: its value and where it stands.
    Fixed(Duration),
}

use Time::{Const, Default, Fixed};

/// Each pair of sums: the first is less than the second, for this reason.
const ORDERS: [(&[Time], &[Time], &str); 28] = [
    (
        &[Const("src/service/tasks.rs", "FOLLOW_INTERVAL")],
        &[Const("src/ledger/announcements.rs", "WANTED_TIME")],
        "commits are told for as long as there are readers",
    ),
    (
        &[Const("src/http/stream/body.rs", "SIGN_OF_LIFE_INTERVAL")],
        &[Const("src/client/stream.rs", "SILENCE_MAX")],
        "a stream that rests is not taken for one that is lost",
    ),
    (
        &[Const("src/actors/writer/connections.rs", "APPEND_DEADLINE")],
        &[Default("publish-timeout")],
        "who publishes is answered after the first append has failed, not before",
    ),
    (
        // `statement_timeout` of the writer's session.
        &[Fixed(Duration::from_secs(6))],
        &[Const("src/actors/writer/connections.rs", "APPEND_DEADLINE")],
        "the server gives a hanging append up before its connection is dropped",
    ),
    (
        &[Const("src/store/sqlite/connect.rs", "BUSY_TIMEOUT")],
        &[Const("src/actors/writer/connections.rs", "APPEND_DEADLINE")],
        "a locked file is reported as locked",
    ),
    (
        &[Const("src/store/postgres/session.rs", "CONNECT_TIMEOUT")],
        &[Const("src/actors/writer/connections.rs", "APPEND_DEADLINE")],
        "a server that takes no connection is reported as that",
    ),
    (
        &[Const("src/store/postgres/session.rs", "CONNECT_TIMEOUT")],
        &[Const("src/app.rs", "OPEN_STOP_TIMEOUT")],
        "a stop outlasts the attempt to connect that is under way",
    ),
    (
        &[Const("src/store/postgres/connections.rs", "NODE_APPEND_TIMEOUT")],
        &[Const("src/actors/writer/connections.rs", "APPEND_DEADLINE")],
        "a node that hangs is told from a database that does",
    ),
    (
        &[Const("src/store/postgres/connections.rs", "READ_ACQUIRE_TIMEOUT")],
        &[Const("src/service/mod.rs", "READ_TIMEOUT")],
        "a reader learns that the connections are in use",
    ),
    (
        &[Const("src/store/sqlite/connect.rs", "READ_ACQUIRE_TIMEOUT")],
        &[Const("src/service/mod.rs", "READ_TIMEOUT")],
        "a reader learns that the connections are in use",
    ),
    (
        &[Const("src/store/postgres/connections.rs", "READ_ACQUIRE_TIMEOUT")],
        &[Const("src/service/mod.rs", "STATS_TIMEOUT")],
        "who asks for the counters learns that the connections are in use",
    ),
    (
        &[Const("src/service/mod.rs", "STATS_TIMEOUT")],
        &[Const("src/service/mod.rs", "REPORT_TIMEOUT")],
        "a read of the counters that fails is told as that",
    ),
    (
        &[Const("src/service/readiness.rs", "PING_TIMEOUT")],
        &[Const("src/client/mod.rs", "READY_TIMEOUT")],
        "a probe is answered before the client gives up",
    ),
    (
        &[Default("publish-timeout")],
        &[Const("src/client/mod.rs", "REQUEST_TIMEOUT")],
        "our client hears the answer to its publish",
    ),
    (
        &[Const("src/client/mod.rs", "CONNECT_TIMEOUT")],
        &[Const("src/client/mod.rs", "REQUEST_TIMEOUT")],
        "the time for a request includes connecting",
    ),
    (
        &[Const("src/service/tasks.rs", "PULSE_INTERVAL")],
        &[Const("src/service/readiness.rs", "ANSWER_AGE_MAX")],
        "a store that answers is known to have answered just now",
    ),
    (
        &[Const("src/actors/writer/connections.rs", "APPEND_DEADLINE")],
        &[Const("src/actors/liveness.rs", "THREAD_STUCK_MAX")],
        "a store that is slow is not taken for a thread that is stuck",
    ),
    (
        &[Const("src/actors/writer/commit.rs", "BACKOFF_MIN")],
        &[Const("src/actors/writer/commit.rs", "BACKOFF_MAX")],
        "pauses between attempts grow",
    ),
    (
        &[Const("src/app/opening.rs", "STORE_RETRY_MIN")],
        &[Const("src/app/opening.rs", "STORE_RETRY_MAX")],
        "pauses between attempts grow",
    ),
    (
        &[Const("src/http/body.rs", "DISCARD_PAUSE_MAX")],
        &[Const("src/http/body.rs", "DISCARD_TIMEOUT")],
        "a refused body may pause while it is discarded",
    ),
    (
        &[
            Const("src/store/sqlite/mod.rs", "READERS_CLOSE_TIMEOUT"),
            Const("src/store/sqlite/mod.rs", "LOG_REMOVAL_TIMEOUT"),
        ],
        &[Const("src/service/mod.rs", "STORE_CLOSE_TIMEOUT")],
        "each step of closing the store has its time",
    ),
    (
        &[Const("src/store/postgres/mod.rs", "CLOSE_TIMEOUT")],
        &[Const("src/service/mod.rs", "STORE_CLOSE_TIMEOUT")],
        "a server that does not answer does not make the end a failure",
    ),
    (
        &[Const("src/http/connections/mod.rs", "DRAIN_SWEEP_INTERVAL")],
        &[Const("src/http/connections/connection.rs", "DRAIN_PATIENCE")],
        "who takes no answer in a drain is cut off at that time and not at the next look",
    ),
    (
        &[Const("src/http/connections/connection.rs", "DRAIN_PATIENCE")],
        &[Default("drain-timeout")],
        "a client that takes no answer does not hold a drain for its whole time",
    ),
    (
        &[Const("src/app/stops.rs", "SECOND_STOP_MIN")],
        &[Default("drain-timeout")],
        "a second signal can end a drain",
    ),
    (
        // The tasks end while the writer's connection is closed.
        &[
            Default("drain-timeout"),
            Const("src/app.rs", "ANSWERS_TIMEOUT_MIN"),
            Const("src/actors/mod.rs", "WRITER_CLOSE_TIMEOUT"),
            Const("src/service/mod.rs", "STORE_CLOSE_TIMEOUT"),
            Const("src/app.rs", "RUNTIME_STOP_TIMEOUT"),
            Const("src/cli/logging.rs", "FLUSH_TIMEOUT"),
        ],
        // STOP_GRACE_PERIOD of docker-compose.yml.
        &[Fixed(Duration::from_secs(20))],
        "a stop that takes its whole time ends before the platform kills it",
    ),
    (
        &[Default("wait-max")],
        // `timeout server` of compose/haproxy.cfg.
        &[Fixed(Duration::from_secs(75))],
        "the balancer does not cut readers off that wait",
    ),
    (
        // What usual load balancers keep a connection for.
        &[Fixed(Duration::from_secs(60))],
        &[Default("client-idle-timeout")],
        "the side that sends requests closes an idle connection",
    ),
];

#[test]
fn every_time_stands_in_the_table_with_its_value() {
    let found = times();
    let architecture =
        fs::read_to_string(package_root().join("ARCHITECTURE.md")).expect("a readable document");
    let table = table(&architecture);
    let mut faults = Vec::new();
    for ((file, name), value) in &found {
        let row = format!("| `{name}` | `{file}` | {} | … |", shown(*value));
        match table.get(&(file.clone(), name.clone())) {
            None => faults.push(format!("no row: {row}")),
            Some(told) if *told != shown(*value) => faults.push(format!("the row says {told}: {row}")),
            Some(_) => {}
        }
    }
    let stale = table.keys().filter(|place| !found.contains_key(*place));
    faults.extend(stale.map(|(file, name)| format!("a row, and no such constant: {file} {name}")));
    assert!(found.len() > 40, "the constants were not found: {found:?}");
    assert!(faults.is_empty(), "ARCHITECTURE.md, Timeouts:\n{}", faults.join("\n"));
}

#[test]
fn times_that_depend_on_each_other_are_in_order() {
    let found = times();
    for (less, more, reason) in &ORDERS {
        let (less_sum, more_sum) = (sum(&found, less), sum(&found, more));
        assert!(less_sum < more_sum, "{reason}: {less_sum:?} < {more_sum:?}");
    }
}

fn sum(found: &BTreeMap<Place, Duration>, times: &[Time]) -> Duration {
    let config = Config::default();
    let value = |time: &Time| match time {
        Const(file, name) => *found
            .get(&((*file).to_owned(), (*name).to_owned()))
            .unwrap_or_else(|| panic!("an order names {file} {name}, which is not there")),
        Default("publish-timeout") => config.publish_timeout,
        Default("wait-max") => config.wait_max,
        Default("drain-timeout") => config.drain_timeout,
        Default("client-idle-timeout") => config.client_idle_timeout,
        Default(other) => panic!("no such setting: {other}"),
        Fixed(time) => *time,
    };
    times.iter().map(value).sum()
}

/// All constants of the sources that are a duration.
fn times() -> BTreeMap<Place, Duration> {
    let mut sources = Vec::new();
    read_sources(&package_root().join("src"), "src", &mut sources);
    let of_file = |(file, source): &(String, String)| {
        let times = times_in(&tokens_outside_tests(source));
        times.into_iter().map(|(name, time)| ((file.clone(), name), time)).collect::<Vec<_>>()
    };
    sources.iter().flat_map(of_file).collect()
}

/// `const NAME: Duration = Duration::from_secs(60 * 60);`
fn times_in(tokens: &[Token]) -> Vec<(String, Duration)> {
    let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    let mut found = Vec::new();
    for place in 0..texts.len() {
        let [name, rest @ ..] = &texts[place..] else { break };
        if let [":", "Duration", "=", value @ ..] = rest
            && let Some(end) = value.iter().position(|text| *text == ";")
            && place > 0
            && texts[place - 1] == "const"
        {
            let value = &value[..end];
            let time =
                evaluated(value).unwrap_or_else(|| panic!("write {name} as Duration::from_…: {value:?}"));
            found.push(((*name).to_owned(), time));
        }
    }
    found
}

fn evaluated(value: &[&str]) -> Option<Duration> {
    let ["Duration", "::", unit, "(", factors @ .., ")"] = value else { return None };
    let number = factors.split(|text| *text == "*").try_fold(1_u64, |product, factor| match factor {
        [number] => Some(product * number.replace('_', "").parse::<u64>().ok()?),
        _ => None,
    })?;
    match *unit {
        "from_secs" => Some(Duration::from_secs(number)),
        "from_millis" => Some(Duration::from_millis(number)),
        "from_micros" => Some(Duration::from_micros(number)),
        _ => None,
    }
}

/// As the table writes a time: `1 h`, `5 s`, `250 ms`, `200 µs`.
fn shown(time: Duration) -> String {
    let micros = time.as_micros();
    let units = [(3_600_000_000, "h"), (1_000_000, "s"), (1_000, "ms"), (1, "µs")];
    let (size, unit) =
        units.into_iter().find(|(size, _)| micros.is_multiple_of(*size)).expect("whole microseconds");
    format!("{} {unit}", micros / size)
}

/// The rows below "## Timeouts", each with the value that it tells.
fn table(architecture: &str) -> BTreeMap<Place, String> {
    let (_, section) = architecture.split_once("\n## Timeouts\n").expect("a section Timeouts");
    let section = section.split("\n## ").next().unwrap_or(section);
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
        let [name, file, value, bounds, ..] = cells[..] else { panic!("not a whole row: {line}") };
        assert!(!bounds.is_empty(), "it does not say what it bounds: {line}");
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        Some(((plain(file), plain(name)), value.to_owned()))
    };
    section.lines().filter_map(row).collect()
}

#[test]
fn constants_are_read_with_their_values() {
    let source = "
        /// A doc comment of const WRONG: Duration = Duration::from_secs(1);
        const A: Duration = Duration::from_secs(60 * 60);
        pub(super) const B: Duration = Duration::from_millis(1_500);
        #[cfg(test)]
        mod tests { const C: Duration = Duration::from_secs(1); }
        static D: u64 = 5;
    ";
    let times = times_in(&tokens_outside_tests(source));
    assert_eq!(
        times,
        [("A".to_owned(), Duration::from_secs(3_600)), ("B".to_owned(), Duration::from_millis(1_500)),]
    );
    let shown: Vec<String> = times.iter().map(|(_, time)| shown(*time)).collect();
    assert_eq!(shown, ["1 h", "1500 ms"]);
}
