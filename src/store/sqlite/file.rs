//! The database's file, identified by device and inode. Names, links and mounts only lead to it.

use std::{
    fs::{self, File, Metadata, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::store::{OpenError, StoreError};

/// A database file that this process alone serves.
///
/// The lock is `flock`'s. On Linux it is independent of the `fcntl` locks by which SQLite's connections share the
/// file. But a process that closes any handle of a file loses all its `fcntl` locks on it: so this handle is opened
/// before the first connection, and closed after the last one.
pub(super) struct DatabaseFile {
    /// The path as it was given, which the next start will follow again.
    given: PathBuf,
    /// The same without links. SQLite keeps its log beside it.
    path: PathBuf,
    lock: File,
    id: FileId,
    /// The log that the connections have open.
    log: OnceLock<FileId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl From<Metadata> for FileId {
    fn from(metadata: Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl DatabaseFile {
    /// Opens and locks the file, and creates an empty one where `create` says so and none is there.
    pub(super) fn lock(given: &Path, create: bool) -> Result<Self, OpenError> {
        let shown = given.display();
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => OpenError::Unsuitable(format!(
                "the database {shown} does not exist: run `sekali migrate`, or serve without --migrate=false"
            )),
            _ => OpenError::Unsuitable(format!("the database {shown} cannot be opened for writing: {error}")),
        };
        // Created before it is named: a symbolic link that leads nowhere then leads to the file.
        let lock = File::options().read(true).write(true).create(create).truncate(false).open(given);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { database: shown.to_string() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let metadata = lock.metadata().map_err(failed)?;
        if metadata.nlink() > 1 {
            return Err(OpenError::Unsuitable(format!(
                "the database {shown} has {} names (hard links), and SQLite's log goes by one of them: remove the others",
                metadata.nlink()
            )));
        }
        let path = given.canonicalize().map_err(failed)?;
        let file = Self { given: given.to_owned(), path, lock, id: metadata.into(), log: OnceLock::new() };
        file.check().map_err(|error| OpenError::Unsuitable(error.to_string()))?;
        Ok(file)
    }

    /// The path without links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes the log that lies beside the file now. One connection must be open and stay open: the last one to
    /// close removes the log.
    pub(super) fn note_log(&self) -> io::Result<()> {
        let log = fs::metadata(self.log_path())?;
        self.log.get_or_init(|| log.into());
        Ok(())
    }

    /// Returns the bytes of the log, or an error where the names no longer lead to the file and log that are open:
    /// what is written then is lost with the last connection.
    pub(super) fn check(&self) -> Result<u64, StoreError> {
        check_name(&self.given, self.id, "database file")?;
        if self.given != self.path {
            check_name(&self.path, self.id, "database file")?;
        }
        match self.log.get() {
            Some(log) => Ok(check_name(&self.log_path(), *log, "database's log")?.len()),
            None => Ok(0),
        }
    }

    /// Whether a log lies beside the file.
    pub(super) fn has_log(&self) -> bool {
        self.log_path().exists()
    }

    /// Lets another service have the file. The handle stays open, for the sake of connections that are still
    /// closing.
    pub(super) fn unlock(&self) -> io::Result<()> {
        self.lock.unlock()
    }

    fn log_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push("-wal");
        path.into()
    }
}

fn check_name(path: &Path, id: FileId, what: &str) -> Result<Metadata, StoreError> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StoreError::Detached(format!("the {what} {shown} was removed")),
        _ => StoreError::Detached(format!("the {what} {shown} cannot be reached: {error}")),
    })?;
    if FileId::from(metadata.clone()) == id {
        return Ok(metadata);
    }
    Err(StoreError::Detached(format!("the {what} {shown} was replaced by another file")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn reason(error: StoreError) -> String {
        assert!(matches!(error, StoreError::Detached(_)), "{error:?}");
        error.to_string()
    }

    #[test]
    fn a_file_is_known_by_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link, log] = ["a.db", "link.db", "a.db-wal"].map(|name| folder.path().join(name));
        symlink("a.db", &link).unwrap();
        let file = DatabaseFile::lock(&link, true).unwrap();
        assert_eq!(file.path(), path.canonicalize().unwrap());
        fs::write(&log, "log").unwrap();
        file.note_log().unwrap();
        assert_eq!(file.check().unwrap(), 3);
        for name in [&path, &link] {
            assert!(matches!(DatabaseFile::lock(name, true), Err(OpenError::InUse { .. })));
        }

        // Kept elsewhere meanwhile, so that its inode is not used again.
        let aside = folder.path().join("aside");
        for (name, what) in [(&path, "database file"), (&log, "database's log")] {
            fs::rename(name, &aside).unwrap();
            assert!(reason(file.check().unwrap_err()).contains(&format!("the {what}")));
            fs::copy(&aside, name).unwrap();
            assert!(reason(file.check().unwrap_err()).contains("was replaced by another file"));
            fs::rename(&aside, name).unwrap();
            file.check().unwrap();
        }
        fs::remove_file(&link).unwrap();
        assert!(reason(file.check().unwrap_err()).contains("link.db was removed"));

        file.unlock().unwrap();
        fs::hard_link(&path, &link).unwrap();
        assert!(matches!(DatabaseFile::lock(&path, true), Err(OpenError::Unsuitable(_))));
    }
}
