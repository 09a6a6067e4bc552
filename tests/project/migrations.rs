//! A migration that was released is never changed: databases keep its checksum, and refuse to be served by another one.

use std::fs;

use sha2::{Digest, Sha256};

use crate::package_root;

/// The migrations, and the first bytes of SHA-256 over the text of each.
const MIGRATIONS: [(&str, &str); 4] = [
    ("migrations/postgres/0001_ledgers_and_events.sql", "9da574079285574a"),
    ("migrations/sqlite/0001_ledgers_and_events.sql", "0638909039d85ffd"),
    ("migrations/postgres/0002_subscriptions.sql", "dffdcfe89c38363b"),
    ("migrations/sqlite/0002_subscriptions.sql", "bfcb5f2d882884cb"),
];

#[test]
fn no_migration_is_changed() {
    for (path, expected) in MIGRATIONS {
        let text = fs::read(package_root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let found: String = Sha256::digest(&text)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            found, expected,
            "{path} was changed: databases that have had it would be refused. Put it back, and add a further migration"
        );
    }
}

#[test]
fn every_migration_is_held() {
    for engine in ["postgres", "sqlite"] {
        for entry in fs::read_dir(package_root().join("migrations").join(engine)).unwrap() {
            let path = format!("migrations/{engine}/{}", entry.unwrap().file_name().to_string_lossy());
            let is_held = MIGRATIONS.iter().any(|(held, _)| *held == path);
            assert!(
                is_held,
                "{path} is new: add it to MIGRATIONS, so that it is not changed once it is released"
            );
        }
    }
}
