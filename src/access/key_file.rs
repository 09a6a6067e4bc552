//! The file of keys: a JSON object a line, one for each key. Empty lines and lines that begin with `#` are for people.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use super::{Key, WrongKey, key::PREFIX};

const FILE_BYTES_MAX: u64 = 16 << 20;
const KEYS_MAX: usize = 10_000;
/// The hashes are of use to nobody; who has which rights is still nobody's business.
const NEW_FILE_MODE: u32 = 0o600;

/// Why the file cannot be used. No line is shown: one may hold a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot read the keys in {path}")]
    Read { path: String, source: io::Error },
    #[error("cannot write the keys to {path}")]
    Write { path: String, source: io::Error },
    #[error("the keys in {path} are larger than 16 MiB")]
    TooLarge { path: String },
    #[error("line {line} of {path} is no key: {fault}")]
    Malformed { path: String, line: usize, fault: String },
    #[error("{path} has a key {name} already")]
    NameTaken { path: String, name: String },
    #[error("{path} has no key {name}")]
    NoSuchKey { path: String, name: String },
}

/// The file as it was read, to be shown or changed.
pub struct KeyFile {
    /// Where it lies, links followed: they stay.
    path: PathBuf,
    lines: Vec<Line>,
    /// Keeps others from changing it meanwhile, where it is to be changed.
    _lock: Option<File>,
}

enum Line {
    Key(Box<Key>),
    Remark(String),
}

impl KeyFile {
    /// Reads a file that is there.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let text = text_of(path).map_err(|source| KeyFileError::Read { path: shown(path), source })?;
        let text = text.ok_or_else(|| KeyFileError::TooLarge { path: shown(path) })?;
        let lines = parse(&text, path)?;
        Ok(Self { path: path.to_owned(), lines, _lock: None })
    }

    /// Reads a file to change it, or begins one that is not there.
    pub fn read_or_new(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |source| KeyFileError::Write { path: shown(path), source };
        let path = match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            found => found.map_err(failed)?,
        };
        let lock = lock_folder_of(&path).map_err(failed)?;
        match Self::read(&path) {
            Err(KeyFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Self { path, lines: Vec::new(), _lock: Some(lock) })
            }
            read => read.map(|file| Self { _lock: Some(lock), ..file }),
        }
    }

    /// The keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.lines.iter().filter_map(|line| match line {
            Line::Key(key) => Some(&**key),
            Line::Remark(_) => None,
        })
    }

    /// The keys in their order.
    pub fn into_keys(self) -> impl Iterator<Item = Key> {
        self.lines.into_iter().filter_map(|line| match line {
            Line::Key(key) => Some(*key),
            Line::Remark(_) => None,
        })
    }

    /// Adds a key with a name of its own.
    pub fn add(&mut self, key: Key) -> Result<(), KeyFileError> {
        if self.keys().any(|known| known.name == key.name) {
            return Err(KeyFileError::NameTaken { path: shown(&self.path), name: key.name });
        }
        self.lines.push(Line::Key(Box::new(key)));
        Ok(())
    }

    /// Removes a key.
    pub fn remove(&mut self, name: &str) -> Result<(), KeyFileError> {
        let before = self.lines.len();
        self.lines.retain(|line| !matches!(line, Line::Key(key) if key.name == name));
        if self.lines.len() == before {
            return Err(KeyFileError::NoSuchKey { path: shown(&self.path), name: name.to_owned() });
        }
        Ok(())
    }

    /// Puts the file in the place of the old one, with its owner and mode. Whoever reads sees the one or the other.
    pub fn write(&self) -> Result<(), KeyFileError> {
        self.try_write().map_err(|source| KeyFileError::Write { path: shown(&self.path), source })
    }

    fn try_write(&self) -> io::Result<()> {
        let folder = folder_of(&self.path);
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        for line in &self.lines {
            match line {
                Line::Key(key) => serde_json::to_writer(&mut file, key)?,
                Line::Remark(text) => file.write_all(text.as_bytes())?,
            }
            file.write_all(b"\n")?;
        }
        let mut mode = NEW_FILE_MODE;
        if let Ok(old) = fs::metadata(&self.path) {
            mode = old.mode() & 0o777;
            let new = file.as_file().metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                // A service that runs as the owner must be able to read it.
                fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
            }
        }
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        File::open(folder)?.sync_all()
    }
}

/// The text of a file; `None` if it is too long.
fn text_of(path: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    let read = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok((read as u64 <= FILE_BYTES_MAX).then_some(text))
}

fn parse(text: &str, path: &Path) -> Result<Vec<Line>, KeyFileError> {
    let mut lines = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut hashes: HashMap<[u8; 32], usize> = HashMap::new();
    for (number, text) in (1..).zip(text.lines()) {
        let malformed = |fault: String| KeyFileError::Malformed { path: shown(path), line: number, fault };
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            lines.push(Line::Remark(text.to_owned()));
            continue;
        }
        let key = parse_key(text).map_err(|wrong| malformed(wrong.0))?;
        if let Some(earlier) = places.insert(key.name.clone(), number) {
            return Err(malformed(format!("line {earlier} has this name already")));
        }
        if let Some(earlier) = hashes.insert(*key.sha256.bytes(), number) {
            return Err(malformed(format!("line {earlier} has this hash already")));
        }
        if places.len() > KEYS_MAX {
            return Err(malformed(format!("there may be {KEYS_MAX} keys at most")));
        }
        lines.push(Line::Key(Box::new(key)));
    }
    Ok(lines)
}

fn parse_key(text: &str) -> Result<Key, WrongKey> {
    // An array would be taken for the fields in their order.
    if !text.trim_start().starts_with('{') {
        return Err(WrongKey("it must be a JSON object".to_owned()));
    }
    // The category alone where the text is no JSON; a fault of a value names the field and no text.
    let key: Key = serde_json::from_str(text).map_err(|error| WrongKey(fault_of(&error)))?;
    key.check()?;
    Ok(key)
}

/// What is wrong, without what stands there.
fn fault_of(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    match error.classify() {
        serde_json::error::Category::Data if !words.starts_with("invalid ") && !words.contains(PREFIX) => {
            format!("{words} (column {})", error.column())
        }
        _ => format!("it is not the JSON of a key (column {})", error.column()),
    }
}

/// One change at a time. The file itself is replaced, so a lock on it would not last.
fn lock_folder_of(path: &Path) -> io::Result<File> {
    let folder = File::open(folder_of(path))?;
    folder.lock()?;
    Ok(folder)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::access::Scope;

    const KEY: &str = r#"{"name":"a","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","scopes":["read"],"namespaces":["shop-*"],"topics":["orders","logs.*"],"expires":"2030-01-01T00:00:00Z"}"#;

    fn fault(text: &str) -> String {
        match parse(text, Path::new("keys")) {
            Ok(_) => panic!("it is taken: {text}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_key_is_written_as_it_was_read_and_remarks_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("keys"), folder.path().join("link"));
        let text = format!("# shops\n\n{KEY}\n");
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        let mut file = KeyFile::read_or_new(&link).unwrap();
        let new = Key::make("b", vec![Scope::Publish], None, None, None).unwrap();
        file.add(new.key).unwrap();
        file.write().unwrap();
        drop(file);
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.starts_with(&text) && !written.contains(&new.secret), "{written}");
        let mut file = KeyFile::read_or_new(&link).unwrap();
        file.remove("b").unwrap();
        assert!(matches!(file.remove("b"), Err(KeyFileError::NoSuchKey { .. })));
        file.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        KeyFile::read_or_new(&path).unwrap().write().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, NEW_FILE_MODE);
    }

    #[test]
    fn a_wrong_line_is_named_with_its_number_and_never_shown() {
        for (old, new, expected) in [
            (r#""read""#, r#""write""#, "unknown variant `write`"),
            (r#"["read"]"#, "[]", "`scopes` must name"),
            (r#"["shop-*"]"#, "[]", "`namespaces` must name"),
            ("shop-*", "Shop", "a name in `namespaces` must consist of"),
            ("e3b0c4", "sekali", "`sha256` must be the 64 hexadecimal digits"),
            ("2030-01-01T00:00:00Z", "soon", "`expires` must look like"),
            (r#""name":"a""#, r#""name":"a b""#, "the name of a key must have"),
            (r#""name":"a","#, "", "missing field `name`"),
            (r#""name""#, r#""title""#, "unknown field `title`"),
            (r#""name""#, r#""sekali_secret_text""#, "it is not the JSON of a key"),
            (r#"["read"]"#, "\"secret_text\"", "it is not the JSON of a key"),
            ("}", "", "it is not the JSON of a key"),
        ] {
            let text = format!("# remark\n\n{}\n", KEY.replacen(old, new, 1));
            let fault = fault(&text);
            assert!(fault.starts_with("line 3 of keys is no key: "), "{fault}");
            assert!(fault.contains(expected) && !fault.contains("secret_text"), "{fault}");
        }
        assert!(fault("[]").contains("it must be a JSON object"));
        assert!(fault("sekali_0123").contains("it must be a JSON object"));
        assert!(fault(&format!("{KEY}\n{KEY}")).contains("line 2 of keys is no key: line 1 has this name"));
    }
}
