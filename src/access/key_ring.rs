//! The keys in force.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use subtle::ConstantTimeEq;

use super::{Key, KeyFile, KeyFileError, key::Hash};

/// No key is longer. What is longer is not looked at.
const SECRET_BYTES_MAX: usize = 256;

/// The keys of a file; those that were read last.
pub struct KeyRing {
    path: PathBuf,
    keys: RwLock<Keys>,
}

/// Keys by the first half of their hashes: it says nothing about a key, and finds one without comparing all.
type Keys = HashMap<[u8; 16], Arc<Key>>;

/// Why a key is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("this key is not known here")]
    Unknown,
    #[error("the key {0} has expired")]
    Expired(String),
}

impl KeyRing {
    /// Reads the keys.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyFileError> {
        let path = path.into();
        let keys = RwLock::new(read(&path)?);
        Ok(Self { path, keys })
    }

    /// Reads the keys again; after an error the old ones stay. Returns how many there are.
    pub fn reload(&self) -> Result<usize, KeyFileError> {
        let keys = read(&self.path)?;
        let count = keys.len();
        *self.keys.write() = keys;
        Ok(count)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.read().len()
    }

    /// Whether there is none, and so nobody gets in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key that a client presents.
    pub fn find(&self, secret: &[u8]) -> Result<Arc<Key>, Denied> {
        if secret.len() > SECRET_BYTES_MAX {
            return Err(Denied::Unknown);
        }
        let hash = Hash::of(secret);
        let found = self.keys.read().get(&place(&hash)).cloned();
        let is_same = |key: &Arc<Key>| bool::from(key.sha256.bytes().ct_eq(hash.bytes()));
        let key = found.filter(is_same).ok_or(Denied::Unknown)?;
        if key.has_expired() {
            return Err(Denied::Expired(key.name.clone()));
        }
        Ok(key)
    }

    /// Whether a key that was found is still in force, and as it was.
    pub fn still_has(&self, key: &Key) -> bool {
        let is_there = self.keys.read().get(&place(&key.sha256)).is_some_and(|now| **now == *key);
        is_there && !key.has_expired()
    }
}

fn read(path: &Path) -> Result<Keys, KeyFileError> {
    let keys = KeyFile::read(path)?.into_keys();
    Ok(keys.map(|key| (place(&key.sha256), Arc::new(key))).collect())
}

fn place(hash: &Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.bytes()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::Scope, event::Timestamp};

    #[test]
    fn a_key_is_found_by_what_its_holder_presents_and_by_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let mut file = KeyFile::read_or_new(&path).unwrap();
        let new = Key::make("a", vec![Scope::Read], None, None, None).unwrap();
        let past = Timestamp::parse("2020-01-01T00:00:00Z").unwrap();
        let old = Key::make("old", vec![Scope::Read], None, None, Some(past)).unwrap();
        file.add(new.key).unwrap();
        file.add(old.key).unwrap();
        file.write().unwrap();
        let ring = KeyRing::open(&path).unwrap();
        assert_eq!(ring.find(new.secret.as_bytes()).unwrap().name, "a");
        assert_eq!(ring.find(old.secret.as_bytes()).unwrap_err(), Denied::Expired("old".to_owned()));
        let longer = new.secret.clone() + "0";
        for secret in ["", "a", &new.secret[1..], &longer, &"x".repeat(100_000)] {
            assert_eq!(ring.find(secret.as_bytes()).unwrap_err(), Denied::Unknown);
        }
    }
}
