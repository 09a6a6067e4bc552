//! The table that a run writes.

use std::{fmt, fs, io, path::Path};

use super::{cases::Compare, load::Measured};

/// What the raw database reached in this run.
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

impl Limits {
    /// The case's figure as a multiple of the limit that it is compared with.
    pub fn ratio(&self, compare: Compare, measured: &Measured) -> Option<f64> {
        match compare {
            Compare::Unnest => Some(measured.events_per_second() / self.unnest_one),
            Compare::Singles => Some(measured.events_per_second() / self.singles_32),
            Compare::SingleLatency => Some(measured.p50_ms / self.single_p50_ms),
            Compare::Nothing => None,
        }
    }
}

/// One case.
pub struct Row {
    pub name: String,
    pub measured: Measured,
    pub ratio: Option<f64>,
    /// Seconds a million events.
    pub service_cpu: f64,
    pub database_cpu: Option<f64>,
    pub memory_max_mib: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = &self.measured;
        let ratio = self.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let database_cpu = self.database_cpu.map_or("–".to_owned(), |seconds| format!("{seconds:.1}"));
        write!(
            f,
            "| {} | {} | {ratio} | {:.2} / {:.2} | {:.1} / {database_cpu} | {:.0} | {} |",
            self.name,
            thousands(measured.events_per_second()),
            measured.p50_ms,
            measured.p99_ms,
            self.service_cpu,
            self.memory_max_mib,
            measured.refused,
        )
    }
}

/// All that a run measured.
pub struct Report {
    /// Events a second that the generator can send: in batches of 1,000, and singly over 64 connections.
    pub generator: (f64, f64),
    pub limits: Limits,
    pub rows: Vec<Row>,
}

const BEGIN: &str = "<!-- table: written by scripts/bench -->";
const END: &str = "<!-- end of table -->";

impl Report {
    pub fn to_markdown(&self) -> String {
        let limits = &self.limits;
        let mut text = format!(
            "| raw Postgres, same run, same rows and indexes | |\n|---|---|\n\
             | UNNEST with ON CONFLICT, batches of 1,000, one connection | {} rows/s |\n\
             | the same over two connections | {} rows/s |\n\
             | single rows over 32 connections | {} rows/s |\n\
             | a single row over one connection, p50 | {:.2} ms |\n\
             | the load generator against a server that does nothing, batches of 1,000 / singles | {} / {} events/s |\n\n\
             | case | events/s | ratio | p50 / p99 ms | CPU s per million events, service / database | service MiB, peak | refused |\n\
             |---|---|---|---|---|---|---|\n",
            thousands(limits.unnest_one),
            thousands(limits.unnest_two),
            thousands(limits.singles_32),
            limits.single_p50_ms,
            thousands(self.generator.0),
            thousands(self.generator.1),
        );
        for row in &self.rows {
            text.push_str(&format!("{row}\n"));
        }
        text
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
