//! The binary: parses the command line, runs it, and prints an error as one sentence.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use sekali::cli::{self, Cli, CliError};

/// Buffers from this size on are mapped one by one, and given back to the system when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES_MIN: libc::c_int = 512 * 1024;
/// What each of the allocator's arenas keeps free at its end, at most.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENA_FREE_BYTES_MAX: libc::c_int = 4 * 1024 * 1024;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    give_memory_back();
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CliError::Told(_)) {
                // If standard error is closed, the exit code still tells of the failure.
                let _ = writeln!(io::stderr(), "sekali: {}", error.in_words());
            }
            error.exit_code()
        }
    }
}

/// glibc raises its threshold for mapping to the largest buffer that was ever freed, up to 32 MiB, and then keeps
/// buffers of that size: after five bodies of 16 MiB, 630 MB stayed resident. With fixed thresholds 50 MB do.
/// They hold for SQLite too, which a Rust allocator would not change.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_memory_back() {
    // SAFETY: mallopt takes two numbers, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
        libc::mallopt(libc::M_TRIM_THRESHOLD, ARENA_FREE_BYTES_MAX);
    }
}
