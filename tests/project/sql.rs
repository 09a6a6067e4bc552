//! Every statement on a ledger's tables names `namespace_no`: those tables are distributed by it over the nodes of a
//! cluster, and no ledger's rows may be touched by another one's statement.
//!
//! SQLite's table of events has it within its key, `place`.

use std::{collections::HashMap, fs, path::Path};

use crate::{
    layering::read_sources,
    package_root,
    source::{Token, tokens_and_texts_outside_tests},
};

/// The tables of a ledger.
const DISTRIBUTED: [&str; 8] =
    ["ledgers", "identities", "topics", "stored_events", "commits", "subscriptions", "leases", "parked"];
/// The words before a table whose rows are chosen by a condition, and before one whose columns follow.
const CHOOSES: [&str; 5] = ["FROM", "JOIN", "UPDATE", "USING", ","];
const LISTS: [&str; 3] = ["INTO", "TABLE", "ON"];
/// The words that begin a part of a statement with tables and conditions of its own.
const BEGINS: [&str; 5] = ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"];

/// A part of a statement, without the parts inside it.
#[derive(Default)]
struct Part<'a> {
    tables: Vec<&'a str>,
    keys: usize,
    /// Brackets that are open inside it and begin no part.
    brackets: usize,
}

impl Part<'_> {
    /// Each table needs its own mention of the key.
    fn fault(&self) -> Option<String> {
        (self.tables.len() > self.keys).then(|| {
            let (tables, keys) = (self.tables.join(", "), self.keys);
            format!("namespace_no is named {keys} times for {tables}")
        })
    }
}

/// How a statement names a table.
enum Named {
    /// By a condition.
    Chosen,
    /// With its columns, in brackets that close here.
    Listed(usize),
}

struct Text<'a> {
    words: Vec<&'a str>,
    keys: &'a [&'a str],
}

impl<'a> Text<'a> {
    fn is(&self, place: usize, among: &[&str]) -> bool {
        self.words.get(place).is_some_and(|word| among.iter().any(|other| other.eq_ignore_ascii_case(word)))
    }

    fn table_at(&self, place: usize) -> Option<Named> {
        if !self.is(place, &DISTRIBUTED) || self.is(place + 1, &["."]) {
            return None;
        }
        // The name of the schema belongs to the table.
        let is_qualified = place > 1 && self.is(place - 1, &["."]) && self.is(place - 2, &["sekali"]);
        let before = place.checked_sub(if is_qualified { 3 } else { 1 })?;
        if self.is(before, &LISTS) && self.is(place + 1, &["("]) {
            return Some(Named::Listed(self.closing(place + 1)));
        }
        // The name of a statement in a message has nothing behind it.
        let is_message = self.is(before, &["UPDATE"]) && place + 1 == self.words.len();
        (self.is(before, &CHOOSES) && !is_message).then_some(Named::Chosen)
    }

    /// The bracket that closes the one at `open`.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (place, word) in self.words.iter().enumerate().skip(open) {
            match *word {
                "(" => depth += 1,
                ")" if depth == 1 => return place,
                ")" => depth -= 1,
                _ => {}
            }
        }
        self.words.len() - 1
    }

    /// Ends, begins or goes on with a part, as the word at `place` says. The outermost part stays.
    fn divide(&self, place: usize, parts: &mut Vec<Part<'a>>) -> Option<String> {
        let depth = parts.len();
        let part = parts.last_mut()?;
        match self.words[place] {
            "(" if self.is(place + 1, &BEGINS) => parts.push(Part::default()),
            "(" => part.brackets += 1,
            ")" if part.brackets > 0 => part.brackets -= 1,
            ")" if depth > 1 => return parts.pop()?.fault(),
            ";" => return std::mem::take(part).fault(),
            _ => {}
        }
        None
    }

    /// The faults, and how many times a ledger's table is named.
    fn look_through(&self) -> (Vec<String>, usize) {
        let mut parts = vec![Part::default()];
        let (mut faults, mut found, mut place) = (Vec::new(), 0, 0);
        while place < self.words.len() {
            let part = parts.last_mut().expect("the outermost part stays");
            match self.table_at(place) {
                Some(Named::Chosen) => {
                    part.tables.push(self.words[place]);
                    found += 1;
                }
                Some(Named::Listed(end)) => {
                    if !(place + 1..end).any(|place| self.is(place, self.keys)) {
                        faults.push(format!("the columns of {} lack namespace_no", self.words[place]));
                    }
                    found += 1;
                    place = end;
                }
                None if self.is(place, self.keys) => part.keys += 1,
                None => faults.extend(self.divide(place, &mut parts)),
            }
            place += 1;
        }
        faults.extend(parts.iter().filter_map(Part::fault));
        (faults, found)
    }
}

/// The faults of a text of SQL, and how many times it names a ledger's table.
fn look_through(sql: &str, keys: &[&str]) -> (Vec<String>, usize) {
    Text { words: words(sql), keys }.look_through()
}

/// The words and marks of a text of SQL, without its comments and its own texts.
fn words(sql: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let (word, kept) = if rest.starts_with("--") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if first == '\'' {
            (rest[1..].find('\'').map_or(rest.len(), |end| end + 2), false)
        } else if is_word(first) {
            (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), true)
        } else {
            (first.len_utf8(), true)
        };
        found.extend(kept.then(|| &rest[..word]));
        rest = rest[word..].trim_start();
    }
    found
}

fn keys_in(file: &str) -> &'static [&'static str] {
    if file.contains("sqlite") { &["namespace_no", "place"] } else { &["namespace_no"] }
}

/// `const NAME: &str = "…";`, by its name in braces, as `format!` takes it.
fn constants(tokens: &[Token]) -> HashMap<String, String> {
    let constant = |window: &[Token]| {
        let [word, name, colon, and, of, is, value] = window else { return None };
        let marks = [word, colon, and, of, is].map(|token| token.text.as_str());
        (marks == ["const", ":", "&", "str", "="])
            .then(|| Some((format!("{{{}}}", name.text), value.literal()?)))?
    };
    tokens.windows(7).filter_map(constant).collect()
}

/// The texts of a source, each with its line and with the constants that it takes in, which may take in others.
fn texts(tokens: &[Token], constants: &HashMap<String, String>) -> Vec<(usize, String)> {
    let whole = |mut text: String| {
        for _ in 0..2 {
            text = constants.iter().fold(text, |text, (name, value)| text.replace(name, value));
        }
        text
    };
    tokens.iter().filter_map(|token| Some((token.line, whole(token.literal()?)))).collect()
}

#[test]
fn every_statement_on_a_ledgers_table_names_its_namespace() {
    let mut sources = Vec::new();
    read_sources(&package_root().join("src/store"), "src/store", &mut sources);
    let sources: Vec<(String, Vec<Token>)> =
        sources.into_iter().map(|(file, source)| (file, tokens_and_texts_outside_tests(&source))).collect();
    let constants: HashMap<String, String> =
        sources.iter().flat_map(|(_, tokens)| constants(tokens)).collect();
    let mut statements: Vec<(String, String)> = Vec::new();
    for (file, tokens) in &sources {
        let of_file = texts(tokens, &constants).into_iter();
        statements.extend(of_file.map(|(line, text)| (format!("{file}:{line}"), text)));
    }
    for engine in ["postgres", "sqlite"] {
        statements.extend(migrations(&Path::new("migrations").join(engine)));
    }
    let (mut faults, mut found) = (Vec::new(), HashMap::new());
    for (place, sql) in &statements {
        let (faults_here, tables) = look_through(sql, keys_in(place));
        faults.extend(faults_here.into_iter().map(|fault| format!("{place}: {fault}")));
        let engine = if place.contains("sqlite") { "SQLite" } else { "Postgres" };
        *found.entry(engine).or_insert(0) += tables;
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(found["Postgres"] > 40 && found["SQLite"] > 25, "the statements were not found: {found:?}");
}

/// The files of a folder of migrations, with their texts.
fn migrations(folder: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(package_root().join(folder)).expect("a folder of migrations");
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("a readable entry");
        let text = fs::read_to_string(entry.path()).expect("a readable migration");
        (folder.join(entry.file_name()).display().to_string(), text)
    };
    files.map(file).collect()
}

#[track_caller]
fn assert_refused(sql: &str) {
    let (faults, _) = look_through(sql, keys_in("sqlite"));
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[track_caller]
fn assert_passes(sql: &str) {
    let (faults, found) = look_through(sql, keys_in("postgres"));
    assert_eq!((faults, found), (Vec::new(), 1));
}

#[test]
fn a_statement_without_the_key_is_refused() {
    assert_refused("DELETE FROM sekali.identities WHERE digest = $1");
    assert_refused("SELECT * FROM topics");
    assert_refused("UPDATE topics SET unique_events = 0 WHERE topic_no = 'namespace_no'");
    assert_refused("INSERT INTO sekali.stored_events (topic_no, seq) SELECT namespace_no, 1");
    assert_refused("CREATE INDEX i ON stored_events (topic_no)");
    assert_refused("SELECT 1; SELECT 1 FROM commits -- namespace_no\n; SELECT namespace_no");
    // The key of one table or of one part is not that of another.
    assert_refused("SELECT * FROM ledgers l JOIN topics t ON t.namespace_no = $1");
    assert_refused("SELECT * FROM other, sekali.commits c WHERE c.commit_no > 1");
    assert_refused("SELECT (SELECT seq FROM identities) FROM ledgers WHERE namespace_no = $1");
    assert_refused("SELECT (SELECT seq FROM identities WHERE namespace_no = $1) FROM ledgers");
    let (faults, _) = look_through("SELECT 1 FROM sekali.stored_events WHERE place > 1", keys_in("postgres"));
    assert_eq!(faults.len(), 1, "the place is SQLite's");
}

#[test]
fn a_statement_with_the_key_passes() {
    assert_passes("SELECT * FROM sekali.commits c WHERE c.namespace_no = $1 AND c.commit_no > 1");
    assert_passes("DELETE FROM sekali.identities WHERE (namespace_no, digest) IN (SELECT 1, 2)");
    assert_passes("INSERT INTO sekali.topics (namespace_no, topic) VALUES ($1, $2)");
    assert_passes("SELECT last_no FROM counters; SELECT (SELECT 1 FROM topics WHERE namespace_no = max(1))");
    for no_statement in
        ["UPDATE topics", "INSERT INTO topics", "the topics, and ledgers.", "('x', 'ledgers')"]
    {
        assert_eq!(look_through(no_statement, &[]), (Vec::new(), 0), "{no_statement}");
    }
    let (faults, found) = look_through("SELECT 1 FROM stored_events WHERE place > 1", keys_in("sqlite"));
    assert_eq!((faults, found), (Vec::new(), 1));
}
