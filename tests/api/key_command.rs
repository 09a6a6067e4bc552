//! `sekali key`, and the keys of the client commands.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;

use crate::harness::{
    keys::KeyFile,
    on_both_stores_with,
    process::{all_of, failure, finished, sekali},
};

#[test]
fn keys_are_made_listed_and_revoked_and_kept_as_hashes_alone() {
    let file = KeyFile::new();
    let path = file.path();
    let first = file.make("web", &["--scope", "publish", "--topic", "logs.*", "--namespace", "shop-*,a"]);
    let second = file.make("ops", &["--scope", "read,admin", "--expires", "90d"]);
    assert!(first.starts_with("sekali_") && first.len() == 71 && first != second, "{first}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&first[7..]) && !text.contains(&second[7..]), "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let listed = finished(sekali(&["key", "list", "--json", "--api-keys"]).arg(&path));
    let lines = String::from_utf8(listed.stdout).unwrap();
    let keys: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((keys[0]["name"].as_str(), keys[1]["name"].as_str()), (Some("web"), Some("ops")));
    assert_eq!(keys[0]["topics"], serde_json::json!(["logs.*"]));
    let table = all_of(&finished(sekali(&["key", "list"]).env("SEKALI_API_KEYS", &path)));
    assert!(table.contains("shop-*,a") && table.contains("read,admin"), "{table}");

    let taken = failure(sekali(&["key", "new", "web", "--scope", "read", "--api-keys"]).arg(&path), 1);
    assert!(taken.contains("has a key web already"), "{taken}");
    file.revoke("web");
    let gone = failure(sekali(&["key", "revoke", "web", "--api-keys"]).arg(&path), 1);
    assert!(gone.contains("has no key web"), "{gone}");
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn a_key_that_cannot_be_is_wrong_usage() {
    let file = KeyFile::new();
    for arguments in [
        &["a", "--scope", "write"][..],
        &["a"],
        &["a", "--scope", "read", "--namespace", "A"],
        &["a", "--scope", "read", "--topic", ""],
        &["a", "--scope", "read", "--expires", "soon"],
        &["a b", "--scope", "read"],
        &["", "--scope", "read"],
    ] {
        let output = finished(sekali(&["key", "new"]).args(arguments).arg("--api-keys").arg(file.path()));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", all_of(&output));
        assert!(!file.path().exists());
    }
    let nowhere = failure(&mut sekali(&["key", "new", "a", "--scope", "read"]), 2);
    assert!(nowhere.contains("--api-keys must be the file of keys"), "{nowhere}");
}

#[test]
fn the_commands_are_let_in_with_a_key_that_nobody_gets_to_see() {
    let file = KeyFile::new();
    let key = file.make("client", &["--scope", "publish,read,admin"]);
    let held = file.folder().join("key");
    fs::write(&held, format!("{key}\n")).unwrap();
    on_both_stores_with(
        |settings| settings.config.api_keys = Some(file.path()),
        async |service| {
            let stats = || sekali(&["stats", "--json", "--url", &service.url()]);
            let at_held = format!("@{}", held.display());
            let (mut by_environment, mut by_file) = (stats(), stats());
            for command in [by_environment.env("SEKALI_KEY", &key), by_file.args(["--key", &at_held])] {
                let output = finished(command);
                assert!(output.status.success(), "{}", all_of(&output));
            }
            let simulate =
                ["simulate", "--events=50", "--namespaces=2", "--url", &service.url(), "--key", &at_held];
            let output = finished(&mut sekali(&simulate));
            assert!(output.status.success(), "{}", all_of(&output));

            let wrong = format!("{key}0");
            let without = failure(&mut stats(), 1);
            assert!(without.contains("401 Unauthorized: a key is needed here"), "{without}");
            let denied = failure(stats().env("SEKALI_KEY", &wrong), 1);
            assert!(denied.contains("is not known here") && !denied.contains(&key), "{denied}");
            let malformed = failure(stats().env("SEKALI_KEY", format!("{key} {key}")), 2);
            assert!(malformed.contains("--key must be") && !malformed.contains(&key), "{malformed}");
            let help = all_of(&finished(sekali(&["stats", "--help"]).env("SEKALI_KEY", &key)));
            assert!(help.contains("SEKALI_KEY") && !help.contains(&key), "{help}");
        },
    );
}
