//! What the system tells of the process, under the names that are usual for it.

use std::{fmt, fs};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::lines::Lines;

/// The unit of the times that Linux tells of a process, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;
/// The place of the time in user mode behind the name of the program; the time in the kernel follows.
const USER_TICKS_PLACE: usize = 11;

/// The process that this is. Where the system does not tell, nothing is shown.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut lines = Lines(encoder);
        if let Some(seconds) = cpu_seconds() {
            let help = "Time of processors that the process has used";
            lines.seconds_counter("process_cpu_seconds", help, seconds)?;
        }
        if let Some(bytes) = memory("VmRSS:") {
            lines.gauge("process_resident_memory_bytes", "Memory that the process holds", bytes)?;
        }
        if let Some(bytes) = memory("VmSize:") {
            lines.gauge("process_virtual_memory_bytes", "Memory that the process has mapped", bytes)?;
        }
        if let Some(open) = fs::read_dir("/proc/self/fd").ok().map(Iterator::count) {
            lines.gauge("process_open_fds", "Files and sockets that are open", open as u64)?;
        }
        if let Ok((soft, _hard)) = rlimit::Resource::NOFILE.get() {
            lines.gauge("process_max_fds", "Files and sockets that may be open", soft)?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold anything, and stands in parentheses.
    let (_, behind_the_name) = stat.rsplit_once(") ")?;
    let ticks = behind_the_name.split(' ').skip(USER_TICKS_PLACE).take(2);
    let ticks: Vec<u64> = ticks.map(|ticks| ticks.parse().ok()).collect::<Option<_>>()?;
    Some(ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND)
}

/// A line of what Linux tells, in bytes.
fn memory(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
