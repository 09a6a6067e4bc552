//! The table that a run writes.

use std::{fs, io, path::Path};

use super::{cases::Compare, isolation::Isolation, load::Measured};

/// What raw Postgres reached, once.
#[derive(Debug)]
pub struct Limits {
    /// Rows a second, UNNEST with ON CONFLICT in batches of 1,000.
    pub unnest_one: f64,
    pub unnest_two: f64,
    /// Single rows a second over 32 connections.
    pub singles_32: f64,
    /// Median of a single row over one connection.
    pub single_p50_ms: f64,
}

/// Rows a second that raw SQLite takes from `json_each`.
#[derive(Debug)]
pub struct SqliteLimits {
    pub batches_of_1000: f64,
    pub batches_of_8000: f64,
}

/// One case.
pub struct Row {
    pub name: String,
    pub measured: Measured,
    pub compare: Compare,
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
    /// Of several times over the run.
    pub limits: Vec<Limits>,
    pub sqlite: SqliteLimits,
    /// With the ledger's lock under READ COMMITTED, and without under SERIALIZABLE.
    pub isolation: [Isolation; 2],
    pub rows: Vec<Row>,
}

const BEGIN: &str = "<!-- table: written by scripts/bench -->";
const END: &str = "<!-- end of table -->";

impl Report {
    pub fn to_markdown(&self) -> String {
        let rate = |limit: fn(&Limits) -> f64| {
            let spread = self.spread(limit);
            format!("{} ({}–{}) rows/s", thousands(spread[1]), thousands(spread[0]), thousands(spread[2]))
        };
        let single = self.spread(|limits| limits.single_p50_ms);
        let mut text = format!(
            "| raw limit: median of three times over the run (lowest–highest) | |\n|---|---|\n\
             | Postgres, UNNEST with ON CONFLICT, batches of 1,000, one connection | {} |\n\
             | the same over two connections | {} |\n\
             | Postgres, single rows over 32 connections | {} |\n\
             | Postgres, a single row over one connection, p50 | {:.2} ({:.2}–{:.2}) ms |\n\
             | SQLite, `json_each` in transactions of 1,000 / 8,000 rows | {} / {} rows/s |\n\
             | the load generator against a server that does nothing, batches of 1,000 / singles | {} / {} events/s |\n\n\
             | case | events/s | ratio | p50 / p99 ms | CPU s per million events, service / database | service MiB, peak | refused |\n\
             |---|---|---|---|---|---|---|\n",
            rate(|limits| limits.unnest_one),
            rate(|limits| limits.unnest_two),
            rate(|limits| limits.singles_32),
            single[1],
            single[0],
            single[2],
            thousands(self.sqlite.batches_of_1000),
            thousands(self.sqlite.batches_of_8000),
            thousands(self.generator.0),
            thousands(self.generator.1),
        );
        for row in &self.rows {
            text.push_str(&self.line(row));
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

    /// The lowest, the middle and the highest of a limit over the run.
    fn spread(&self, limit: fn(&Limits) -> f64) -> [f64; 3] {
        let mut values: Vec<f64> = self.limits.iter().map(limit).collect();
        values.sort_by(f64::total_cmp);
        [values[0], values[values.len() / 2], values[values.len() - 1]]
    }

    /// The case's figure as a multiple of the limit that it is compared with.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let rate = row.measured.events_per_second();
        match row.compare {
            Compare::Unnest => Some(rate / self.spread(|limits| limits.unnest_one)[1]),
            Compare::UnnestAtSize(limit) => Some(rate / limit),
            Compare::Singles => Some(rate / self.spread(|limits| limits.singles_32)[1]),
            Compare::SingleLatency => {
                Some(row.measured.p50_ms / self.spread(|limits| limits.single_p50_ms)[1])
            }
            Compare::JsonEach => Some(rate / self.sqlite.batches_of_1000),
            Compare::Nothing => None,
        }
    }

    /// A case's line of the table; its ratio is to the limits as far as they are known.
    pub fn line(&self, row: &Row) -> String {
        let measured = &row.measured;
        let mut ratio = self.ratio(row).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        if let Compare::UnnestAtSize(limit) = row.compare {
            ratio = format!("{ratio} of {}", thousands(limit));
        }
        let database_cpu = row.database_cpu.map_or("–".to_owned(), |seconds| format!("{seconds:.1}"));
        format!(
            "| {} | {} | {ratio} | {:.2} / {:.2} | {:.1} / {database_cpu} | {:.0} | {} |",
            row.name,
            thousands(measured.events_per_second()),
            measured.p50_ms,
            measured.p99_ms,
            row.service_cpu,
            row.memory_max_mib,
            measured.refused,
        )
    }

    /// Puts the table in its place in a document.
    pub fn write_into(&self, document: &Path) -> io::Result<()> {
        let text = fs::read_to_string(document)?;
        let missing = || io::Error::other(format!("{} has no place for the table", document.display()));
        let (head, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
        let (_, tail) = rest.split_once(END).ok_or_else(missing)?;
        fs::write(document, format!("{head}{BEGIN}\n\n{}\n{END}{tail}", self.to_markdown()))
    }
}

fn thousands(number: f64) -> String {
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
