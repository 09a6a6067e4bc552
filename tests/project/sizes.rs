//! Files stay small enough to be read in one go.

use std::{fs, path::Path};

use crate::package_root;

/// More lines are two jobs.
const FILE_LINES_MAX: usize = 400;
/// Half of the files have at most so many lines.
const FILE_LINES_MEDIAN_MAX: usize = 140;

#[test]
fn no_source_is_long_and_most_are_short() {
    let mut sizes = Vec::new();
    measure(&package_root().join("src"), &mut sizes);
    sizes.sort();
    let long: Vec<_> = sizes.iter().filter(|(lines, _)| *lines > FILE_LINES_MAX).collect();
    assert!(long.is_empty(), "files with more than {FILE_LINES_MAX} lines: {long:?}");
    let (median, _) = sizes[sizes.len() / 2];
    assert!(median <= FILE_LINES_MEDIAN_MAX, "the median of {} files is {median} lines", sizes.len());
}

fn measure(folder: &Path, sizes: &mut Vec<(usize, String)>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            measure(&path, sizes);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let lines = fs::read_to_string(&path).expect("a readable source").lines().count();
            sizes.push((lines, path.display().to_string()));
        }
    }
}
