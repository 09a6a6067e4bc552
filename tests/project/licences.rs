//! Every crate that is built in carries a licence that asks for no more than its notice.
//!
//! This looks at the crates of the machine's own platform, which a build has fetched already; cargo-deny looks
//! at those of all platforms, with the same list.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::package_root;

/// The same list as in deny.toml. Where a crate offers a choice, one of these is chosen.
const ALLOWED: [&str; 7] =
    ["Apache-2.0", "BSD-3-Clause", "CDLA-Permissive-2.0", "ISC", "MIT", "Unicode-3.0", "Zlib"];

#[test]
fn every_crate_has_a_licence_of_the_list() {
    let packages = packages();
    assert!(packages.iter().any(|package| package["name"] == "serde_json"), "the crates were not found");
    let refused: Vec<String> = packages.iter().filter_map(refusal).collect();
    assert!(refused.is_empty(), "licences that deny.toml does not allow:\n{}", refused.join("\n"));
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            "host-tuple",
        ])
        .current_dir(package_root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    metadata["packages"].as_array().expect("metadata lists packages").clone()
}

fn refusal(package: &Value) -> Option<String> {
    let name =
        format!("{} {}", package["name"].as_str().unwrap_or("?"), package["version"].as_str().unwrap_or("?"));
    match package["license"].as_str() {
        None => Some(format!("{name}: names no licence (file: {})", package["license_file"])),
        Some(licence) => match is_allowed(licence) {
            Ok(true) => None,
            Ok(false) => Some(format!("{name}: {licence}")),
            Err(fault) => Some(format!("{name}: {licence}: {fault}")),
        },
    }
}

/// Whether an SPDX expression can be met with licences of the list alone.
fn is_allowed(expression: &str) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let allowed = choice(&mut words)?;
    match words.pop() {
        None => Ok(allowed),
        Some(word) => Err(format!("unexpected `{word}`")),
    }
}

// One function a rule of the grammar. Each takes its words off the end of the list, which is in reverse order.

fn choice(words: &mut Vec<&str>) -> Result<bool, String> {
    let mut allowed = all_of(words)?;
    while words.pop_if(|word| *word == "OR").is_some() {
        allowed |= all_of(words)?;
    }
    Ok(allowed)
}

fn all_of(words: &mut Vec<&str>) -> Result<bool, String> {
    let mut allowed = one(words)?;
    while words.pop_if(|word| *word == "AND").is_some() {
        allowed &= one(words)?;
    }
    Ok(allowed)
}

fn one(words: &mut Vec<&str>) -> Result<bool, String> {
    match words.pop() {
        Some("(") => {
            let allowed = choice(words)?;
            words.pop_if(|word| *word == ")").ok_or("a parenthesis is not closed")?;
            Ok(allowed)
        }
        None | Some(")" | "AND" | "OR" | "WITH") => Err("a licence is missing".to_string()),
        Some(licence) if words.pop_if(|word| *word == "WITH").is_some() => {
            let exception = words.pop().ok_or("an exception is missing")?;
            Ok(ALLOWED.contains(&format!("{licence} WITH {exception}").as_str()))
        }
        Some(licence) => Ok(ALLOWED.contains(&licence)),
    }
}

#[test]
fn the_list_of_deny_toml_is_the_list_of_this_test() {
    let deny = fs::read_to_string(package_root().join("deny.toml")).expect("deny.toml");
    assert_eq!(list_in(&deny, "[licenses]", "allow"), ALLOWED);
}

/// The texts of `key = ["…", "…"]` under a heading: this much of TOML needs no parser.
fn list_in(toml: &str, heading: &str, key: &str) -> Vec<String> {
    let lines = toml.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    let section = lines.skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with('['));
    let section: Vec<&str> =
        section.skip_while(|line| line.split('=').next().map(str::trim) != Some(key)).collect();
    let section = section.join(" ");
    let list = section.split(']').next().unwrap_or("");
    list.split('"').skip(1).step_by(2).map(str::to_string).collect()
}

#[test]
fn a_list_is_read_from_its_own_section_only() {
    let toml = "[a]\nallow = [\"x\"]\n[licenses]\nallow-other = [\"y\"]\nallow = [\n \"MIT\", # \"no\"\n \"ISC\",\n]\n[b]\nallow = [\"z\"]";
    assert_eq!(list_in(toml, "[licenses]", "allow"), ["MIT", "ISC"]);
    assert!(list_in(toml, "[c]", "allow").is_empty());
}

#[test]
fn a_copyleft_licence_alone_is_refused() {
    assert_eq!(is_allowed("GPL-3.0"), Ok(false));
    assert_eq!(is_allowed("GPL-3.0-or-later AND MIT"), Ok(false));
    assert_eq!(is_allowed("(MIT OR Apache-2.0) AND LGPL-2.1"), Ok(false));
}

#[test]
fn a_choice_passes_by_its_allowed_side() {
    assert_eq!(is_allowed("MIT OR GPL-2.0"), Ok(true));
    assert_eq!(is_allowed("GPL-2.0 OR MIT"), Ok(true));
    assert_eq!(is_allowed("GPL-2.0/MIT"), Ok(true));
    assert_eq!(is_allowed("MIT / GPL-2.0"), Ok(true));
    assert_eq!(is_allowed("GPL-2.0 OR AGPL-3.0"), Ok(false));
}

#[test]
fn and_binds_closer_than_or_unless_parentheses_say_otherwise() {
    assert_eq!(is_allowed("MIT OR ISC AND GPL-2.0"), Ok(true));
    assert_eq!(is_allowed("(MIT OR ISC) AND GPL-2.0"), Ok(false));
    assert_eq!(is_allowed("((MIT) AND (GPL-2.0 OR Zlib))"), Ok(true));
}

#[test]
fn an_exception_makes_a_licence_of_its_own() {
    assert_eq!(is_allowed("Apache-2.0 WITH LLVM-exception"), Ok(false));
    assert_eq!(is_allowed("Apache-2.0 WITH LLVM-exception OR MIT"), Ok(true));
    assert_eq!(is_allowed("GPL-2.0 WITH Classpath-exception-2.0"), Ok(false));
}

#[test]
fn what_is_not_an_expression_is_refused() {
    for broken in ["", "OR MIT", "MIT OR", "MIT AND", "(MIT", "MIT)", "MIT ISC", "MIT WITH", "()"] {
        assert!(is_allowed(broken).is_err(), "{broken:?} passed");
    }
}

#[test]
fn a_crate_without_a_licence_is_refused_by_its_name() {
    let package = serde_json::json!({"name": "nameless", "version": "1.0.0", "license": null});
    assert!(refusal(&package).expect("refused").starts_with("nameless 1.0.0: names no licence"));
    let package = serde_json::json!({"name": "copyleft", "version": "1.0.0", "license": "GPL-3.0"});
    assert_eq!(refusal(&package).as_deref(), Some("copyleft 1.0.0: GPL-3.0"));
}
