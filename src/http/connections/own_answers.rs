//! The answers that the HTTP library gives by itself, to what it cannot read as a request: a status without a body.
//! They are replaced by problem documents on their way out.

use bytes::Bytes;
use memchr::memmem;

use crate::http::problem::Problem;

/// No answer of the library is longer.
const OWN_ANSWER_BYTES_MAX: usize = 256;

/// Where the library's own answer begins, if the bytes to be written end with one; and the document in its place.
///
/// No other answer looks like it: those of the service have a body, and no JSON has bare line breaks before a status line.
pub(super) fn find(bytes: &[u8]) -> Option<(usize, Bytes)> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail = bytes.len().saturating_sub(OWN_ANSWER_BYTES_MAX);
    let start = tail + memmem::rfind(&bytes[tail..], b"HTTP/1.")?;
    let head = std::str::from_utf8(&bytes[start..]).ok()?;
    let is_empty = head.to_ascii_lowercase().contains("\r\ncontent-length: 0\r\n");
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((start, Problem::unreadable_request(status).filter(|_| is_empty)?.to_wire()))
}

#[cfg(test)]
mod tests {
    use super::find;

    const OWN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";

    #[test]
    fn an_answer_of_the_library_is_found_alone_and_behind_others() {
        assert_eq!(find(OWN).unwrap().0, 0);
        let behind = [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".as_slice(), OWN].concat();
        assert_eq!(find(&behind).unwrap().0, behind.len() - OWN.len());
    }

    #[test]
    fn answers_of_the_service_are_left_alone() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 120\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "{}\r\n\r\n",
            "",
        ] {
            assert!(find(answer.as_bytes()).is_none(), "{answer}");
        }
    }
}
