//! Shows progress on standard error: a bar on a terminal, otherwise a line every few seconds.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::client::Retries;

const LINE_EVERY: Duration = Duration::from_secs(5);
/// Most draws per second on a terminal.
const DRAWS_HZ: u8 = 5;
/// How often to call [`Progress::tick`] while nothing else happens.
pub const TICK_EVERY: Duration = Duration::from_millis(500);

/// The progress of one task. Dropping it removes the bar.
pub struct Progress {
    bar: ProgressBar,
    prints_lines: bool,
    doing: &'static str,
    total: Option<u64>,
    begun: Instant,
    line_at: Instant,
    done_at_line: u64,
    retries_seen: u64,
    retried_at: Instant,
}

impl Progress {
    /// `doing` begins each line, such as `sending`. `total` is the number of events, if it is known. With `silent`
    /// nothing is shown.
    pub fn start(doing: &'static str, total: Option<u64>, silent: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let target = match is_terminal && !silent {
            true => ProgressDrawTarget::stderr_with_hz(DRAWS_HZ),
            false => ProgressDrawTarget::hidden(),
        };
        let prints_lines = !is_terminal && !silent;
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => "{prefix} [{bar:20}] {human_pos} of {human_len}, {rate}, {eta} left {msg}",
            None => "{prefix} {spinner} {human_pos} events, {rate} {msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the templates are constant and valid");
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            // A rate that cannot be shown is left out.
            let _ = write!(out, "{:.0} events/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
        bar.set_prefix(doing);
        let now = Instant::now();
        Self {
            bar,
            prints_lines,
            doing,
            total,
            begun: now,
            line_at: now,
            done_at_line: 0,
            retries_seen: 0,
            retried_at: now,
        }
    }

    /// Adds events that are done.
    pub fn advance(&mut self, events: u64) {
        self.bar.inc(events);
        self.print_line_if_due("");
    }

    /// Draws anew, with the last retry if there was one within five seconds.
    pub fn tick(&mut self, retries: &Retries) {
        if retries.count() > self.retries_seen {
            (self.retries_seen, self.retried_at) = (retries.count(), Instant::now());
        }
        let trouble = match self.retries_seen > 0 && self.retried_at.elapsed() <= LINE_EVERY {
            true => format!("{} retries, the last because {}", self.retries_seen, retries.last()),
            false => String::new(),
        };
        if self.bar.message() != trouble {
            self.bar.set_message(trouble.clone());
        }
        self.bar.tick();
        self.print_line_if_due(&trouble);
    }

    fn print_line_if_due(&mut self, trouble: &str) {
        if !self.prints_lines {
            return;
        }
        let since_line = self.line_at.elapsed();
        if since_line < LINE_EVERY {
            return;
        }
        let done = self.bar.position();
        let rate = (done - self.done_at_line) as f64 / since_line.as_secs_f64();
        let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let seconds = self.begun.elapsed().as_secs();
        let trouble = if trouble.is_empty() { String::new() } else { format!("; {trouble}") };
        self.say(&format!("{} {done}{of} events after {seconds} s, {rate:.0} events/s{trouble}", self.doing));
        (self.line_at, self.done_at_line) = (Instant::now(), done);
    }

    /// Prints a line above the bar.
    pub fn say(&self, line: &str) {
        // The work goes on if standard error is closed.
        self.bar.suspend(|| writeln!(io::stderr(), "{line}")).unwrap_or_default();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
