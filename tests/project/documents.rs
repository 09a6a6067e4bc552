//! What the documents name is there: files, tests and other names of the code, settings, and the figures of the README.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use crate::package_root;

/// Where names come from. A document names what stands in here, and not the other way round.
const SOURCES: [&str; 9] = [
    "src",
    "tests",
    "benches",
    "migrations",
    "scripts",
    "k6",
    "compose",
    "docker-compose.yml",
    ".env.example",
];

/// So many words joined by `_` are the name of a test or of something else in the sources; shorter ones may be a word of
/// another program.
const WORDS_OF_A_NAME_MIN: usize = 4;

#[test]
fn what_the_documents_name_is_there() {
    let root = package_root();
    let sources = words_of_the_sources(&root);
    let documents = documents(&root);
    assert!(documents.len() >= 4, "the documents were not found: {documents:?}");
    let missing: Vec<String> = documents
        .iter()
        .flat_map(|document| {
            let text = fs::read_to_string(document).expect("a readable document");
            let folder = document.parent().expect("a folder");
            let name = document.strip_prefix(&root).expect("in the package").display();
            let missing = missing(&text, &root, folder, &sources);
            missing.into_iter().map(move |what| format!("{name} names {what}")).collect::<Vec<_>>()
        })
        .collect();
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn the_figures_of_the_readme_are_those_that_were_measured() {
    let read = |name| fs::read_to_string(package_root().join(name)).expect("a readable document");
    let (readme, measured) = (read("README.md"), read("docs/performance.md"));
    let (_, figures) = readme.split_once("<!-- figures:").expect("a place for figures");
    let (figures, _) = figures.split_once("<!-- end of figures -->").expect("its end");
    let measured: HashSet<&str> = numbers(&measured).collect();
    let unknown: Vec<&str> = numbers(figures).filter(|number| !measured.contains(number)).collect();
    assert!(numbers(figures).count() > 5 && unknown.is_empty(), "not in docs/performance.md: {unknown:?}");
}

/// Numbers of four digits or with a fraction.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_digit() && !matches!(c, ',' | '.'))
        .map(|number| number.trim_matches([',', '.']))
        .filter(|number| number.contains([',', '.']))
}

/// Those of the package's folder and of `docs`.
fn documents(root: &Path) -> Vec<PathBuf> {
    let entries = [root.to_owned(), root.join("docs")].map(|folder| fs::read_dir(folder).expect("a folder"));
    let paths = entries.into_iter().flatten().map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn words_of_the_sources(root: &Path) -> HashSet<String> {
    let mut words = HashSet::new();
    let mut paths: Vec<PathBuf> = SOURCES.iter().map(|name| root.join(name)).collect();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if let Ok(text) = fs::read_to_string(path) {
            words.extend(text.split(|c: char| !is_word(c)).map(str::to_owned));
        }
    }
    words
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Everything that a document names and that is not there.
fn missing(text: &str, root: &Path, folder: &Path, sources: &HashSet<String>) -> Vec<String> {
    let targets = links(text).filter(|link| !link.contains("://") && !link.starts_with('#'));
    let links = targets.filter(|link| !folder.join(link.split('#').next().unwrap_or(link)).exists());
    let spans = code_spans(text);
    let paths = spans.iter().filter_map(|span| path_in(span, root)).filter(|path| !root.join(path).exists());
    let tests =
        spans.iter().filter_map(|span| span.split_once("::")).filter(|(file, _)| file.ends_with(".rs"));
    let tests = tests.filter(|(file, name)| {
        !fs::read_to_string(root.join(file)).is_ok_and(|text| text.contains(&format!("fn {name}(")))
    });
    let names = text.split(|c: char| !is_word(c)).filter(|word| is_name(word) && !sources.contains(*word));
    links
        .map(str::to_owned)
        .chain(paths.map(str::to_owned))
        .chain(tests.map(|(file, name)| format!("{file}::{name}")))
        .chain(names.map(str::to_owned))
        .collect()
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The texts between backticks, without the fenced blocks.
fn code_spans(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// `src/store/mod.rs`, also before `::a_test`: what begins with a folder of the package.
fn path_in<'a>(span: &'a str, root: &Path) -> Option<&'a str> {
    let path = span.split("::").next()?.split_whitespace().next()?;
    let (first, _) = path.split_once('/')?;
    let is_one = !first.is_empty() && !path.contains(['*', '…', '<', '{']) && root.join(first).is_dir();
    is_one.then_some(path)
}

/// A setting, or words enough to be no accident.
fn is_name(word: &str) -> bool {
    let words = word.split('_').filter(|word| !word.is_empty()).count();
    word.starts_with("SEKALI_")
        || words >= WORDS_OF_A_NAME_MIN
            && word.starts_with(|c: char| c == '_' || c.is_ascii_lowercase())
            && word.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
}

#[test]
fn what_is_missing_is_named() {
    let root = package_root();
    let sources = HashSet::from(["a_name_that_is_there", "SEKALI_LISTEN"].map(str::to_owned));
    let missing = |text: &str| missing(text, &root, &root, &sources);
    let there = "`a_name_that_is_there`, SEKALI_LISTEN, `src/main.rs`, `actors/x`, [a](README.md#top), [b](https://x.y/z)";
    assert_eq!(missing(there), Vec::<String>::new());
    assert_eq!(missing("`tests/project/main.rs::package_root`"), Vec::<String>::new());
    for (text, what) in [
        ("see [there](docs/nowhere.md)", "docs/nowhere.md"),
        ("in `src/nowhere.rs`", "src/nowhere.rs"),
        ("`tests/project/main.rs::nobody`", "tests/project/main.rs::nobody"),
        ("a test, a_name_that_is_nowhere", "a_name_that_is_nowhere"),
        ("SEKALI_NOTHING", "SEKALI_NOTHING"),
    ] {
        assert_eq!(missing(text), [what], "{text}");
    }
}
