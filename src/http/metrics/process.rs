//! What the system tells of the process, under the names that are usual for it.

use std::{fmt, fs};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::lines::Lines;

/// The process that this is. Where the system does not tell, nothing is shown.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut lines = Lines(encoder);
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

/// A line of what Linux tells, in bytes.
fn memory(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
