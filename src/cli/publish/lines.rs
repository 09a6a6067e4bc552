//! Reads lines on a thread of its own, so that a slow input never delays a retry.

use std::{
    io::{self, BufRead, BufReader, Read},
    thread,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::BODY_BYTES_MAX_DEFAULT;

/// Longest line: the default limit of a request's body.
pub const LINE_BYTES_MAX: usize = BODY_BYTES_MAX_DEFAULT;
/// Bytes that are read from the input at once, and passed on at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that wait in the channel.
const CHUNKS_WAITING: usize = 2;

/// One line of the input that is not blank.
pub struct Line {
    /// Counted from 1, blank lines included.
    pub number: u64,
    /// The line between square brackets, or `None` if it was longer than [`LINE_BYTES_MAX`].
    pub in_brackets: Option<Bytes>,
}

/// Lines that were read together, or the error that ended the input.
pub type Chunk = io::Result<Vec<Line>>;

/// Starts the thread. At most a few chunks are in memory, each of 1 MiB or of one long line.
pub fn read(input: impl Read + Send + 'static) -> mpsc::Receiver<Chunk> {
    let (sender, chunks) = mpsc::channel(CHUNKS_WAITING);
    let reader = Reader { input: BufReader::with_capacity(CHUNK_BYTES, input), number: 0 };
    thread::spawn(move || reader.run(&sender));
    chunks
}

struct Reader<R> {
    input: BufReader<R>,
    number: u64,
}

impl<R: Read> Reader<R> {
    fn run(mut self, chunks: &mpsc::Sender<Chunk>) {
        loop {
            let chunk = self.chunk();
            let is_last = chunk.as_ref().map_or(true, |(_, is_last)| *is_last);
            if chunks.blocking_send(chunk.map(|(lines, _)| lines)).is_err() || is_last {
                return;
            }
        }
    }

    /// The lines of one read, and whether the input is at its end.
    fn chunk(&mut self) -> io::Result<(Vec<Line>, bool)> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        loop {
            let Some(in_brackets) = self.line()? else { return Ok((lines, true)) };
            self.number += 1;
            bytes += in_brackets.as_ref().map_or(0, Vec::len);
            if !in_brackets.as_deref().is_some_and(is_blank) {
                lines.push(Line { number: self.number, in_brackets: in_brackets.map(Bytes::from) });
            }
            if bytes >= CHUNK_BYTES || self.input.buffer().is_empty() {
                return Ok((lines, false));
            }
        }
    }

    /// The next line, or `None` at the end. A line that is too long is `Some(None)`.
    fn line(&mut self) -> io::Result<Option<Option<Vec<u8>>>> {
        let mut line = vec![b'['];
        let limit = LINE_BYTES_MAX as u64 + 2;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        let is_whole = line.pop_if(|last| *last == b'\n').is_some();
        line.pop_if(|last| *last == b'\r');
        if line.len() - 1 > LINE_BYTES_MAX {
            if !is_whole {
                self.input.skip_until(b'\n')?;
            }
            return Ok(Some(None));
        }
        // Some editors begin a file with a byte order mark.
        if self.number == 0 && line[1..].starts_with(b"\xef\xbb\xbf") {
            line.drain(1..4);
        }
        line.push(b']');
        Ok(Some(Some(line)))
    }
}

fn is_blank(in_brackets: &[u8]) -> bool {
    in_brackets[1..in_brackets.len() - 1].iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number and text of each line; a line that is too long has none.
    fn lines(input: &[u8]) -> Vec<(u64, Option<String>)> {
        let mut chunks = read(io::Cursor::new(input.to_vec()));
        let mut found = Vec::new();
        while let Some(chunk) = chunks.blocking_recv() {
            for line in chunk.unwrap() {
                let text =
                    line.in_brackets.map(|text| String::from_utf8(text[1..text.len() - 1].to_vec()).unwrap());
                found.push((line.number, text));
            }
        }
        found
    }

    fn line(number: u64, text: &str) -> (u64, Option<String>) {
        (number, Some(text.to_owned()))
    }

    #[test]
    fn blank_lines_are_counted_and_left_out() {
        assert_eq!(lines(b"\xef\xbb\xbfa\r\n\n \t\r\nb\n\nc"), [line(1, "a"), line(4, "b"), line(6, "c")]);
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n\n"), []);
    }

    #[test]
    fn a_line_that_is_too_long_does_not_hide_the_next() {
        let longest = "x".repeat(LINE_BYTES_MAX);
        for (line_end, too_much) in [("\n", "y"), ("\r\n", "y"), ("\n", "yyyy"), ("\n", &longest)] {
            let input = format!("{longest}{line_end}{longest}{too_much}{line_end}z{line_end}");
            let found = lines(input.as_bytes());
            assert!(found == [line(1, &longest), (2, None), line(3, "z")], "{line_end:?} {}", too_much.len());
        }
    }
}
