//! What is known of one key, and what it allows. The key itself is known to its holder alone.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use super::Pattern;
use crate::{
    event::{Timestamp, check_name},
    store::check_namespace,
};

/// What every new key begins with, so that people and scanners know one when they see it.
pub(super) const PREFIX: &str = "sekali_";
const SECRET_BYTES: usize = 32;
const NAME_BYTES_MAX: usize = 64;
/// Patterns of one kind that a key may have.
const PATTERNS_MAX: usize = 1_000;

/// What a key allows. None of them includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To publish events.
    Publish,
    /// To read events, counts and settings.
    Read,
    /// To create, change and delete namespaces and what belongs to them.
    Admin,
}

/// What is known of a key, a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What people know it by.
    pub name: String,
    /// The hash of the key.
    pub sha256: Hash,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// The namespaces that it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<Pattern>>,
    /// The topics that it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<Pattern>>,
    /// From when on it allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub expires: Option<Timestamp>,
}

/// A key that was just made, and what its holder has to present.
pub struct NewKey {
    pub key: Key,
    /// Shown once, and kept nowhere.
    pub secret: String,
}

/// SHA-256 of a key, in hexadecimal digits where it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

/// What a key cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongKey(pub String);

impl Scope {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Publish => "publish",
            Scope::Read => "read",
            Scope::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = WrongKey;

    fn from_str(text: &str) -> Result<Self, WrongKey> {
        let known =
            [Scope::Publish, Scope::Read, Scope::Admin].into_iter().find(|scope| scope.name() == text);
        known.ok_or_else(|| WrongKey("a scope is publish, read or admin".to_owned()))
    }
}

impl Hash {
    /// Of what a client presents.
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut hash = [0; 32];
        let text = String::deserialize(deserializer)?;
        // The text stays unsaid: somebody may have put the key itself there.
        hex::decode_to_slice(text, &mut hash)
            .map_err(|_| de::Error::custom("`sha256` must be the 64 hexadecimal digits of a hash"))?;
        Ok(Self(hash))
    }
}

impl Key {
    /// Makes a key of 256 random bits.
    pub fn make(
        name: &str,
        scopes: Vec<Scope>,
        namespaces: Option<Vec<Pattern>>,
        topics: Option<Vec<Pattern>>,
        expires: Option<Timestamp>,
    ) -> Result<NewKey, WrongKey> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|error| WrongKey(format!("the system gives no random numbers: {error}")))?;
        let secret = format!("{PREFIX}{}", hex::encode(secret));
        let sha256 = Hash::of(secret.as_bytes());
        let key = Key { name: name.to_owned(), sha256, scopes, namespaces, topics, expires };
        key.check()?;
        Ok(NewKey { key, secret })
    }

    /// Whether it may stand in the file.
    pub(super) fn check(&self) -> Result<(), WrongKey> {
        let wrong = |fault: String| Err(WrongKey(fault));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(is_plain) {
            return wrong(format!(
                "the name of a key must have 1 to {NAME_BYTES_MAX} characters of a-z, A-Z, 0-9, -, _ and ."
            ));
        }
        if self.scopes.is_empty() {
            return wrong("`scopes` must name publish, read or admin".to_owned());
        }
        check_patterns("namespaces", self.namespaces.as_deref(), check_namespace)?;
        check_patterns("topics", self.topics.as_deref(), check_name)
    }

    /// Whether it allows things of this kind.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it is good for this namespace.
    pub fn reaches_namespace(&self, namespace: &str) -> bool {
        reaches(self.namespaces.as_deref(), namespace)
    }

    /// Whether it is good for this topic.
    pub fn reaches_topic(&self, topic: &str) -> bool {
        reaches(self.topics.as_deref(), topic)
    }

    /// Whether its time is over.
    pub fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Timestamp::now())
    }
}

fn reaches(patterns: Option<&[Pattern]>, name: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(name)))
}

fn check_patterns(
    field: &str,
    patterns: Option<&[Pattern]>,
    check: fn(&str) -> Result<(), String>,
) -> Result<(), WrongKey> {
    let Some(patterns) = patterns else { return Ok(()) };
    if patterns.is_empty() || patterns.len() > PATTERNS_MAX {
        return Err(WrongKey(format!("`{field}` must name 1 to {PATTERNS_MAX}; leave it out for all")));
    }
    for pattern in patterns {
        Pattern::parse(pattern.as_str(), check)
            .map_err(|fault| WrongKey(format!("a name in `{field}` {fault}")))?;
    }
    Ok(())
}

fn write_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    Timestamp::parse(&text).map(Some).map_err(|fault| de::Error::custom(format!("`expires` {fault}")))
}
