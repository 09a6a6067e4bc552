//! Writes log lines to standard error from a thread of its own.
//!
//! Whoever logs hands a line over and goes on. It neither waits nor fails where nobody reads standard error, where
//! its disk is full or where it is closed: such lines are lost and counted.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::service::LinesLost;

/// Bytes that may wait to be written; a line beyond them is lost.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;

enum Job {
    Line(Vec<u8>),
    /// Answered when everything before it is written or lost.
    Flush(mpsc::Sender<()>),
}

/// The way to the thread that writes; a clone leads to the same one. One write is one line.
#[derive(Clone)]
pub(super) struct LogWriter {
    jobs: mpsc::Sender<Job>,
    queued_bytes: Arc<AtomicUsize>,
    lost: LinesLost,
}

impl LogWriter {
    /// Starts the thread, which writes to `output` until the process ends.
    pub(super) fn start(mut output: impl Write + Send + 'static) -> io::Result<Self> {
        let (jobs, received) = mpsc::channel();
        let writer = Self { jobs, queued_bytes: Arc::default(), lost: LinesLost::default() };
        let (queued_bytes, lost) = (Arc::clone(&writer.queued_bytes), writer.lost.clone());
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            for job in received {
                match job {
                    Job::Line(line) => {
                        if output.write_all(&line).is_err() {
                            lost.add_one();
                        }
                        queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    }
                    // Who asked may have given up.
                    Job::Flush(done) => drop(done.send(())),
                }
            }
        })?;
        Ok(writer)
    }

    /// The lines that nobody will see.
    pub(super) fn lost(&self) -> LinesLost {
        self.lost.clone()
    }

    /// Waits until everything is written; false if that takes longer than `timeout`.
    pub(super) fn flush_within(&self, timeout: Duration) -> bool {
        let (done, is_done) = mpsc::channel();
        self.jobs.send(Job::Flush(done)).is_ok() && is_done.recv_timeout(timeout).is_ok()
    }

    fn hand_over(&self, line: &[u8]) -> bool {
        let queued = self.queued_bytes.fetch_add(line.len(), Ordering::Relaxed);
        let fits = queued + line.len() <= QUEUE_BYTES_MAX;
        if fits && self.jobs.send(Job::Line(line.to_vec())).is_ok() {
            return true;
        }
        self.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        false
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.hand_over(line) {
            self.lost.add_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Takes what the test takes from it, and nothing before that.
    struct Unread(mpsc::SyncSender<Vec<u8>>);

    impl Write for Unread {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.send(line.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_takes_a_mebibyte_and_loses_the_rest() {
        let (output, read) = mpsc::sync_channel(0);
        let mut writer = LogWriter::start(Unread(output)).unwrap();
        let line = [b'x'; 1024];
        for _ in 0..2_000 {
            writer.write_all(&line).unwrap();
        }
        assert_eq!(writer.lost().count(), 2_000 - 1024);
        assert!(!writer.flush_within(Duration::from_millis(10)));

        let reader = thread::spawn(move || read.iter().take(1025).count());
        assert!(writer.flush_within(SOON));
        writer.write_all(b"last\n").unwrap();
        assert_eq!(reader.join().unwrap(), 1025, "what waited, and what came after there was room");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (output, read) = mpsc::sync_channel(8);
        let mut writer = LogWriter::start(Unread(output)).unwrap();
        writer.write_all(b"one\n").unwrap();
        assert!(writer.flush_within(SOON));
        assert_eq!(writer.lost().count(), 0);
        drop(read);
        writer.write_all(b"two\n").unwrap();
        writer.write_all(b"three\n").unwrap();
        assert!(writer.flush_within(SOON));
        assert_eq!(writer.lost().count(), 2);
    }
}
