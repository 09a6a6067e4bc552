//! What the documents name is there: files, tests and other names of the code, settings, and the figures of the README.

use std::{
    collections::{BTreeSet, HashSet},
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
    let sources = Sources::read(&root);
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

/// The texts of all files, each with its path from the package's folder on, and the words in them.
struct Sources {
    files: Vec<(String, String)>,
    words: HashSet<String>,
}

impl Sources {
    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        let mut paths: Vec<PathBuf> = SOURCES.iter().map(|name| root.join(name)).collect();
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                paths.extend(
                    fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()),
                );
            } else if let Ok(text) = fs::read_to_string(&path) {
                let name = path.strip_prefix(root).expect("in the package").display().to_string();
                files.push((name, text));
            }
        }
        let words = files.iter().flat_map(|(_, text)| text.split(|c: char| !is_word(c)));
        Self { words: words.map(str::to_owned).collect(), files }
    }

    /// Whether there is such a file, which may be named by the end of its path, and such a function in it.
    fn have(&self, file: &str, function: Option<&str>) -> bool {
        let is_named =
            |name: &str| name.strip_suffix(file).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
        let has = |text: &str| function.is_none_or(|function| text.contains(&format!("fn {function}(")));
        self.files.iter().any(|(name, text)| is_named(name) && has(text))
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Everything that a document names and that is not there.
fn missing(text: &str, root: &Path, folder: &Path, sources: &Sources) -> Vec<String> {
    let targets = links(text).filter(|link| !link.contains("://") && !link.starts_with('#'));
    let links = targets.filter(|link| !folder.join(link.split('#').next().unwrap_or(link)).exists());
    let spans = code_spans(text);
    let paths = spans.iter().copied().filter(|span| is_path(span, root) && !root.join(span).exists());
    let places = spans.iter().copied().filter(|span| {
        let (file, function) = span.split_once("::").map_or((*span, None), |(file, name)| (file, Some(name)));
        file.ends_with(".rs") && !sources.have(file, function)
    });
    let names = text.split(|c: char| !is_word(c));
    let names = names.filter(|word| is_name(word) && !sources.words.contains(*word));
    let missing: BTreeSet<&str> = links.chain(paths).chain(places).chain(names).collect();
    missing.into_iter().map(str::to_owned).collect()
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The texts between backticks, without the fenced blocks.
fn code_spans(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// What begins with a folder of the package, as `scripts/test` does.
fn is_path(span: &str, root: &Path) -> bool {
    let first = span.split_once('/').map_or("", |(first, _)| first);
    let is_plain = span.chars().all(|c| is_word(c) || matches!(c, '/' | '.' | '-'));
    is_plain && !first.is_empty() && root.join(first).is_dir()
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
    let sources = Sources {
        files: vec![("tests/api/main.rs".to_owned(), "fn a_test() {}".to_owned())],
        words: HashSet::from(["a_name_that_is_there", "SEKALI_LISTEN"].map(str::to_owned)),
    };
    let missing = |text: &str| missing(text, &root, &root, &sources);
    for text in [
        "`a_name_that_is_there` and SEKALI_LISTEN, `scripts/test dedup`, `actors/x`, `GET /events`",
        "`tests/api/main.rs::a_test`, `api/main.rs`, `main.rs::a_test`",
        "[a](README.md#top), [b](https://x.y/z)",
    ] {
        assert_eq!(missing(text), Vec::<String>::new(), "{text}");
    }
    for what in [
        "tests/api/nowhere.rs",
        "ain.rs",
        "main.rs::no_test",
        "scripts/nothing",
        "a_name_that_is_nowhere",
        "SEKALI_NOTHING",
    ] {
        assert_eq!(missing(&format!("in `{what}`")), [what]);
    }
    assert_eq!(missing("see [there](docs/nowhere.md)"), ["docs/nowhere.md"]);
}
