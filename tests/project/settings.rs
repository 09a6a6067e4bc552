//! .env.example and docker-compose.yml name the settings that there are, with the defaults that they have.

use std::{collections::BTreeMap, fs};

use clap::CommandFactory;
use sekali::cli::Cli;

use crate::package_root;

/// What docker-compose.yml settles itself, since containers leave no choice.
const SETTLED_BY_COMPOSE: [&str; 2] = ["DATABASE_URL", "SEKALI_LISTEN"];

/// Names with their defaults; no default is an empty text.
type Settings = BTreeMap<String, String>;

fn read(name: &str) -> String {
    fs::read_to_string(package_root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What `sekali serve` reads from its environment.
fn settings_of_serve() -> Settings {
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").expect("the subcommand serve");
    let settings = serve.get_arguments().filter_map(|flag| {
        let default = flag.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        Some((flag.get_env()?.to_str()?.to_owned(), default.unwrap_or_default()))
    });
    settings.collect()
}

/// Every `#NAME=default` of .env.example. A line in force would hold the default fast when it changes.
fn settings_of_example() -> Settings {
    let example = read(".env.example");
    let mut settings = Settings::new();
    for line in example.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let setting = line.strip_prefix('#').and_then(|setting| setting.split_once('='));
        let (name, default) = setting.unwrap_or_else(|| panic!("neither a remark nor a setting: {line}"));
        let again = settings.insert(name.to_owned(), default.to_owned());
        assert!(again.is_none(), "{name} stands there twice");
    }
    settings
}

/// Every `${NAME:-default}` of docker-compose.yml.
fn variables_of_compose() -> Settings {
    let compose = read("docker-compose.yml");
    let mut settings = Settings::new();
    for place in compose.split("${").skip(1) {
        let variable = place.split_once('}').and_then(|(inside, _)| inside.split_once(":-"));
        let (name, default) = variable.unwrap_or_else(|| panic!("a variable without a default: ${{{place}"));
        let before = settings.insert(name.to_owned(), default.to_owned());
        assert!(before.is_none_or(|before| before == default), "{name} has several defaults");
    }
    settings
}

/// The settings that docker-compose.yml hands on, which stand there without a value.
fn handed_on_by_compose() -> Vec<String> {
    let compose = read("docker-compose.yml");
    let names = compose.lines().filter_map(|line| line.trim().strip_suffix(':'));
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with("SEKALI_")).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn the_example_names_every_setting_of_the_service_and_of_compose_with_its_default() {
    let serve = settings_of_serve();
    assert!(serve.len() > 20 && serve["SEKALI_LISTEN"] == "127.0.0.1:8080", "{serve:?}");
    let mut all = variables_of_compose();
    all.extend(serve);
    assert_eq!(settings_of_example(), all);
}

#[test]
fn the_readme_tells_the_defaults_that_there_are() {
    let (readme, defaults) = (read("README.md"), settings_of_example());
    let rows = readme.lines().filter_map(|line| {
        let mut cells = line.split('|').skip(1).map(|cell| cell.trim().trim_matches('`'));
        Some((cells.next()?, cells.next()?)).filter(|(name, _)| defaults.contains_key(*name))
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() > 4, "the settings were not found: {rows:?}");
    for (name, default) in rows {
        assert_eq!(default, defaults[name], "{name}");
    }
}

#[test]
fn compose_hands_every_setting_of_the_service_on() {
    let handed_on =
        settings_of_serve().into_keys().filter(|name| !SETTLED_BY_COMPOSE.contains(&name.as_str()));
    assert_eq!(handed_on_by_compose(), handed_on.collect::<Vec<_>>());
}

#[test]
fn the_image_is_built_with_the_toolchain_and_the_images_that_are_named() {
    let (toolchain, dockerfile) = (read("rust-toolchain.toml"), read("Dockerfile"));
    let version = toolchain.split('"').nth(1).expect("a channel");
    let (minor, _patch) = version.rsplit_once('.').expect("a version of three parts");
    let compose = variables_of_compose();
    assert!(compose["RUST_IMAGE"].starts_with(&format!("rust:{minor}-")), "{compose:?} for Rust {version}");
    for name in ["RUST_IMAGE", "RUNTIME_IMAGE", "SEKALI_COMMIT"] {
        let argument = format!("ARG {name}={}", compose[name]);
        assert!(dockerfile.lines().any(|line| line == argument), "the Dockerfile has no line {argument}");
    }
}
