//! Pages of a database's files, as a failing disk leaves them.

use std::{fs, path::Path};

/// Overwrites the page of the file in which this text stands first; false where it stands nowhere.
pub fn wipe_page_of(file: &Path, text: &str, page_bytes: usize) -> bool {
    let mut bytes = fs::read(file).unwrap();
    let found = bytes.windows(text.len()).position(|window| window == text.as_bytes());
    let Some(start) = found.map(|place| place / page_bytes * page_bytes) else { return false };
    bytes[start..start + page_bytes].fill(0xff);
    fs::write(file, bytes).unwrap();
    true
}
