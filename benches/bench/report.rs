//! The table that a run writes.

use std::{fs, io, path::Path};

use super::{cases::Compare, figures::Figure, isolation::Isolation, load::Measured};

/// One case.
pub struct Row {
    pub name: String,
    pub measured: Measured,
    pub compare: Compare,
    /// What was reached just before by what it is compared with, in the unit of `compare`.
    pub limit: Option<f64>,
    /// The ratio that must be reached.
    pub at_least: Option<f64>,
    /// Events that were stored before.
    pub stored: u64,
    /// Whether the disk's flush is slow.
    pub slow_flush: bool,
    /// Seconds a million events.
    pub service_cpu: f64,
    pub database_cpu: Option<f64>,
    pub memory_max_mib: f64,
    /// Latencies of pages read afterwards, and beside what.
    pub reads: Vec<(&'static str, Measured)>,
}

/// All that a run measured.
pub struct Report {
    /// Events a second that the generator can send: in batches of 1,000, and singly over 64 connections.
    pub generator: (f64, f64),
    /// Rows a second by UNNEST over two connections.
    pub unnest_two: f64,
    /// With the ledger's lock under READ COMMITTED, and without under SERIALIZABLE.
    pub isolation: [Isolation; 2],
    pub rows: Vec<Row>,
    pub figures: Vec<Figure>,
}

impl Row {
    /// Its line of the table.
    pub fn line(&self) -> String {
        let measured = &self.measured;
        let rate = measured.events_per_second();
        let ratio = match (self.compare, self.limit) {
            (_, None) => "–".to_owned(),
            (Compare::SingleLatency, Some(millis)) => {
                format!("{:.2} of {millis:.2} ms", measured.p50_ms / millis)
            }
            (_, Some(limit)) => format!("{:.2} of {}", rate / limit, thousands(limit)),
        };
        let at_least = self.at_least.map_or(String::new(), |ratio| format!(" (at least {ratio})"));
        let database_cpu = self.database_cpu.map_or("–".to_owned(), |seconds| format!("{seconds:.1}"));
        format!(
            "| {} | {} | {ratio}{at_least} | {:.2} / {:.2} | {:.1} / {database_cpu} | {:.0} | {} |",
            self.name,
            thousands(rate),
            measured.p50_ms,
            measured.p99_ms,
            self.service_cpu,
            self.memory_max_mib,
            measured.refused,
        )
    }
}

const BEGIN: &str = "<!-- table: written by scripts/bench -->";
const END: &str = "<!-- end of table -->";

impl Report {
    pub fn to_markdown(&self) -> String {
        let rate = |compare| self.spread(compare, &|rate| format!("{} rows/s", thousands(rate)));
        let mut text = format!(
            "| raw limit, measured before each case that is compared with it: median (lowest–highest) | |\n|---|---|\n\
             | Postgres, UNNEST with ON CONFLICT, batches of 1,000, one connection, empty table | {} |\n\
             | the same over two connections, once | {} rows/s |\n\
             | Postgres, single rows over 32 connections | {} |\n\
             | Postgres, a single row over one connection, p50 | {} |\n\
             | Postgres on a disk with a slow flush, single rows over 64 connections | {} |\n\
             | SQLite, `json_each` in transactions of 1,000 rows | {} |\n\
             | the load generator against a server that does nothing, batches of 1,000 / singles | {} / {} events/s |\n\n\
             | case | events/s | ratio, of which limit | p50 / p99 ms | CPU s per million events, service / database | service MiB, peak | refused |\n\
             |---|---|---|---|---|---|---|\n",
            rate(Compare::Unnest),
            thousands(self.unnest_two),
            rate(Compare::Singles),
            self.spread(Compare::SingleLatency, &|millis| format!("{millis:.2} ms")),
            rate(Compare::SlowSingles),
            rate(Compare::JsonEach),
            thousands(self.generator.0),
            thousands(self.generator.1),
        );
        for row in &self.rows {
            text.push_str(&row.line());
            text.push('\n');
        }
        if !self.figures.is_empty() {
            text.push_str("\n| figure | measured | at most |\n|---|---|---|\n");
        }
        for figure in &self.figures {
            text.push_str(&figure.line());
            text.push('\n');
        }
        text.push_str(
            "\n| raw SQL: 8 writers that append 100 events a transaction | commits/s | attempts aborted | gapless and counted |\n|---|---|---|---|\n",
        );
        for (way, isolation) in ["a row locked first, READ COMMITTED", "no lock, SERIALIZABLE, tried again"]
            .iter()
            .zip(&self.isolation)
        {
            text.push_str(&format!(
                "| {way} | {} | {:.0} % | {} |\n",
                thousands(isolation.commits_per_second),
                isolation.aborted_share * 100.0,
                if isolation.sound { "yes" } else { "no" },
            ));
        }
        let reads = || self.rows.iter().flat_map(|row| row.reads.iter().map(move |read| (row, read)));
        if reads().next().is_some() {
            text.push_str(
                "\n| `GET /events?topic=&limit=100`, one reader | pages/s | p50 / p99 ms |\n|---|---|---|\n",
            );
        }
        for (row, (beside, read)) in reads() {
            text.push_str(&format!(
                "| {}, {beside} | {} | {:.2} / {:.2} |\n",
                row.name,
                thousands(read.events_per_second()),
                read.p50_ms,
                read.p99_ms
            ));
        }
        text
    }

    /// The middle, the lowest and the highest of a limit over the run.
    fn spread(&self, compare: Compare, show: &dyn Fn(f64) -> String) -> String {
        let mut limits: Vec<f64> = self
            .rows
            .iter()
            .filter(|row| row.compare == compare && row.stored == 0)
            .filter(|row| row.slow_flush == (compare == Compare::SlowSingles))
            .filter_map(|row| row.limit)
            .collect();
        limits.sort_by(f64::total_cmp);
        match limits[..] {
            [] => "–".to_owned(),
            [one] => show(one),
            [lowest, .., highest] => {
                format!("{} ({}–{})", show(limits[limits.len() / 2]), show(lowest), show(highest))
            }
        }
    }
}

/// Puts a table in its place in a document.
pub fn write_table(document: &Path, table: &str) -> io::Result<()> {
    let text = fs::read_to_string(document)?;
    let missing = || io::Error::other(format!("{} has no place for the table", document.display()));
    let (head, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(END).ok_or_else(missing)?;
    fs::write(document, format!("{head}{BEGIN}\n\n{table}\n{END}{tail}"))
}

pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
