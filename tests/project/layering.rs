//! The arrows of ARCHITECTURE.md go one way, and some crates and names stay on their floor.
//!
//! `main → cli → app → http → service → actors → ledger → store → event`: left may use right, never back. `access` stands
//! between `http` and `store`. `client` and `config`
//! stand beside: they use nothing but `event`, and only those named in [`MAY_USE`] use them.

use std::fs;
use std::path::Path;

use crate::package_root;
use crate::source::{Token, tokens_outside_tests};

/// Every module of the crate's root, and what it may use beside itself.
const MAY_USE: [(&str, &[&str]); 15] = [
    ("main", &["cli", "app", "http", "service", "actors", "ledger", "store", "event", "config"]),
    (
        "cli",
        &[
            "access", "app", "http", "service", "actors", "ledger", "store", "event", "config", "client",
            "redact",
        ],
    ),
    ("app", &["access", "http", "service", "actors", "ledger", "store", "event", "config", "redact"]),
    ("http", &["access", "service", "actors", "ledger", "store", "event", "origin", "request_ids"]),
    ("access", &["store", "event"]),
    ("service", &["actors", "ledger", "store", "event", "request_ids"]),
    ("actors", &["ledger", "store", "event", "request_ids"]),
    ("ledger", &["store", "event"]),
    ("store", &["event", "redact"]),
    ("event", &[]),
    ("client", &["event", "redact"]),
    ("config", &["event", "origin", "redact"]),
    ("origin", &[]),
    ("redact", &[]),
    ("request_ids", &[]),
];

/// Crates that only these floors may name.
const CRATE_STAYS_IN: [(&str, &[&str]); 7] = [
    ("actix", &["actors", "app"]), // app starts the System that the actors run in
    ("actix_rt", &["actors", "app"]),
    ("actix_http", &["http"]),
    ("actix_server", &["http"]),
    ("actix_service", &["http"]),
    ("actix_web", &["http", "app"]), // app starts the HTTP server
    ("sqlx", &["store"]),
];

/// The clients read status codes; on the server one file chooses them.
const STATUS_CODES_STAY_IN: &str = "src/http/problem.rs";
const STATUS_CODES_ARE_READ_IN: [&str; 2] = ["client", "cli"];
/// Without 500, which as a number is mostly a limit.
const STATUS_NUMBERS: [&str; 13] =
    ["400", "401", "403", "404", "405", "406", "408", "409", "413", "415", "422", "429", "503"];

#[test]
fn the_sources_keep_to_their_floors() {
    let mut sources = Vec::new();
    read_sources(&package_root().join("src"), "src", &mut sources);
    let names: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"src/lib.rs"), "the sources were not found: {names:?}");

    let offences: Vec<String> = sources.iter().flat_map(|(name, source)| offences(name, source)).collect();
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

pub(crate) fn read_sources(folder: &Path, name: &str, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = format!("{name}/{}", path.file_name().expect("a name").to_string_lossy());
        if path.is_dir() {
            read_sources(&path, &name, sources);
        } else if name.ends_with(".rs") {
            sources.push((name, fs::read_to_string(&path).expect("a readable source")));
        }
    }
}

/// One sentence for each breach of the rules in a file, which is named from the package's root: `src/app.rs`.
fn offences(file: &str, source: &str) -> Vec<String> {
    let floor = floor_of(file);
    let tokens = tokens_outside_tests(source);
    let faults = [
        used_floors(file, floor, &tokens),
        crates_off_their_floor(floor, &tokens),
        status_codes_off_their_file(file, floor, &tokens),
    ];
    faults.concat().into_iter().map(|(line, fault)| format!("{file}:{line}: {fault}")).collect()
}

type Fault = (usize, String);

/// `src/store/sqlite.rs` and `src/store.rs` are on the floor `store`.
fn floor_of(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

fn used_floors(file: &str, floor: &str, tokens: &[Token]) -> Vec<Fault> {
    if floor == "lib" {
        return Vec::new(); // It declares the floors and may show them to users of the library.
    }
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == floor) else {
        return vec![(1, format!("`{floor}` is a new floor: give it its place in MAY_USE"))];
    };
    let is_floor = |name: &str| MAY_USE.iter().any(|(floor, _)| *floor == name);
    let fault = |used: &Token, through_super: bool| match used.text.as_str() {
        name if name == floor || allowed.contains(&name) => None,
        name if is_floor(name) => Some((used.line, format!("`{floor}` must not use `{name}`"))),
        // `super::name` can be in the file's own floor: in a module inside of it.
        _ if through_super => None,
        name => Some((used.line, format!("`{name}` hides which floor is used: name its module"))),
    };
    let mut faults = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "crate" | "sekali" if begins_a_path(tokens, i) => {
                faults.extend(names_under(tokens, i).into_iter().filter_map(|used| fault(used, false)));
            }
            "super" => {
                let supers = supers_ending_at(tokens, i);
                if supers >= depth_of(file) {
                    faults.extend(names_under(tokens, i).into_iter().filter_map(|used| fault(used, true)));
                }
            }
            _ => {}
        }
    }
    faults
}

/// How many `super` lead from a file to the crate's root.
fn depth_of(file: &str) -> usize {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    inside.trim_end_matches(".rs").split('/').filter(|&part| part != "mod").count()
}

fn supers_ending_at(tokens: &[Token], last: usize) -> usize {
    let mut first = last;
    while first >= 2 && tokens[first - 1].text == "::" && tokens[first - 2].text == "super" {
        first -= 2;
    }
    (last - first) / 2 + 1
}

/// The names right under the path's begin at `i`: one, or for `crate::{a::b, c}` each first one of the group.
fn names_under(tokens: &[Token], i: usize) -> Vec<&Token> {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    if text(i + 1) == "as" {
        return vec![&tokens[i + 1]]; // `use sekali as other`: under the new name nothing would be seen.
    }
    if text(i + 1) != "::" {
        return Vec::new();
    }
    if text(i + 2) != "{" {
        return tokens.get(i + 2).into_iter().collect();
    }
    let mut names = Vec::new();
    let mut depth = 0;
    for (n, token) in tokens.iter().enumerate().skip(i + 2) {
        if depth == 1 && matches!(text(n - 1), "{" | ",") && token.text != "}" {
            names.push(token);
        }
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// False for the later parts of a path: `crate::store::sqlx` has nothing to do with the crate sqlx.
fn begins_a_path(tokens: &[Token], i: usize) -> bool {
    if i == 0 || tokens[i - 1].text != "::" {
        return true;
    }
    let before = if i >= 2 { tokens[i - 2].text.as_str() } else { "" };
    let is_name = before.chars().all(|c| c.is_alphanumeric() || c == '_') && !before.is_empty();
    let is_keyword = matches!(before, "use" | "return" | "in" | "as" | "mut" | "dyn" | "impl");
    !(before == ">" || is_name && !is_keyword)
}

fn crates_off_their_floor(floor: &str, tokens: &[Token]) -> Vec<Fault> {
    let names_a_crate = |i: usize| {
        let next = tokens.get(i + 1).map_or("", |token| token.text.as_str());
        let previous = if i == 0 { "" } else { tokens[i - 1].text.as_str() };
        begins_a_path(tokens, i) && (next == "::" || matches!(previous, "use" | "crate"))
    };
    let fault = |(i, token): (usize, &Token)| {
        let (name, floors) = CRATE_STAYS_IN.iter().find(|(name, _)| *name == token.text)?;
        let strays = !floors.contains(&floor) && names_a_crate(i);
        strays.then(|| (token.line, format!("`{name}` stays in {}", floors.join(" and "))))
    };
    tokens.iter().enumerate().filter_map(fault).collect()
}

fn status_codes_off_their_file(file: &str, floor: &str, tokens: &[Token]) -> Vec<Fault> {
    if file == STATUS_CODES_STAY_IN || STATUS_CODES_ARE_READ_IN.contains(&floor) {
        return Vec::new();
    }
    let chooses_a_status = |i: usize, token: &Token| {
        let builder = i >= 2 && tokens[i - 1].text == "::" && tokens[i - 2].text == "HttpResponse";
        let named = builder && token.text.starts_with(char::is_uppercase) && token.text != "Ok";
        let number = floor == "http" && STATUS_NUMBERS.contains(&token.text.trim_end_matches("u16"));
        token.text == "StatusCode" || named || number
    };
    let strays = tokens.iter().enumerate().filter(|(i, token)| chooses_a_status(*i, token));
    strays
        .map(|(_, token)| {
            (token.line, format!("`{}`: a status is chosen in {STATUS_CODES_STAY_IN}", token.text))
        })
        .collect()
}

#[track_caller]
fn assert_refused(file: &str, source: &str, expected: &str) {
    let found = offences(file, source);
    assert!(found.len() == 1 && found[0].contains(expected), "{file}: {source}\nfound {found:?}");
}

#[track_caller]
fn assert_passes(file: &str, source: &str) {
    let found = offences(file, source);
    assert!(found.is_empty(), "{file}: {source}\nfound {found:?}");
}

#[test]
fn a_floor_that_uses_one_to_its_left_is_refused_with_its_place() {
    assert_refused(
        "src/store/sqlite.rs",
        "\nuse crate::http::Error;",
        "src/store/sqlite.rs:2: `store` must not use `http`",
    );
    assert_refused(
        "src/event.rs",
        "fn f() -> crate::store::Outcome { panic!() }",
        "`event` must not use `store`",
    );
    assert_refused(
        "src/actors/writer.rs",
        "use crate::{event::Event, app::{self, App}};",
        "must not use `app`",
    );
    assert_refused("src/http/mod.rs", "use crate::config::Config;", "`http` must not use `config`");
    assert_refused("src/app.rs", "use crate::client::Client;", "`app` must not use `client`");
    assert_refused("src/main.rs", "fn main() { sekali::client::run() }", "`main` must not use `client`");
    assert_refused("src/client.rs", "use crate::http;", "`client` must not use `http`");
}

#[test]
fn a_floor_may_use_itself_and_those_to_its_right() {
    assert_passes("src/main.rs", "fn main() { sekali::cli::run(sekali::config::read()) }");
    assert_passes("src/cli/publish.rs", "use crate::{client::Client, event::Event};");
    assert_passes("src/app.rs", "use crate::{actors, config::Config, http, store};");
    assert_passes("src/actors/writer.rs", "use crate::actors::stats; use crate::store::ReadStore;");
    assert_passes("src/store/mod.rs", "pub(crate) struct S; pub(in crate::store) struct T;");
}

#[test]
fn the_way_round_through_super_is_seen() {
    assert_refused("src/store/sqlite.rs", "use super::super::http::Error;", "`store` must not use `http`");
    assert_refused("src/store/mod.rs", "use super::http::Error;", "`store` must not use `http`");
    assert_refused("src/event.rs", "use super::{store, http2};", "`event` must not use `store`");
    assert_passes("src/store/sqlite.rs", "use super::ReadStore; use super::config::Pragma;");
}

#[test]
fn names_of_the_crates_root_and_globs_hide_a_floor_and_are_refused() {
    assert_refused("src/store/mod.rs", "use crate::*;", "`*` hides which floor is used");
    assert_refused("src/store/mod.rs", "use crate::Error;", "`Error` hides which floor is used");
    assert_refused("src/main.rs", "use sekali as other;", "`as` hides which floor is used");
}

#[test]
fn a_new_module_needs_its_place_in_the_table() {
    assert_refused("src/metrics.rs", "", "`metrics` is a new floor");
}

#[test]
fn a_crate_off_its_floor_is_refused() {
    assert_refused("src/http/publish.rs", "use actix::Addr;", "`actix` stays in actors and app");
    assert_refused("src/main.rs", "#[actix_rt::main] async fn main() {}", "`actix_rt` stays in");
    assert_refused("src/cli/serve.rs", "use ::actix_web::App;", "`actix_web` stays in http and app");
    assert_refused("src/actors/writer.rs", "fn f(e: sqlx::Error) {}", "`sqlx` stays in store");
    assert_refused("src/lib.rs", "use {std::io, sqlx::Row};", "`sqlx` stays in store");
    assert_refused("src/lib.rs", "use sqlx;", "`sqlx` stays in store");
    assert_refused("src/event.rs", "extern crate sqlx;", "`sqlx` stays in store");
}

#[test]
fn a_crate_on_its_floor_passes() {
    assert_passes("src/app.rs", "use actix::System; use actix_web::HttpServer;");
    assert_passes("src/actors/mod.rs", "use actix::prelude::*; use actix_rt::Arbiter;");
    assert_passes("src/store/postgres.rs", "use sqlx::postgres::PgPool;");
    assert_passes("src/http/mod.rs", "// like actix::Actor\nlet sqlx = \"sqlx::Row\"; other::sqlx::f();");
}

#[test]
fn a_status_chosen_outside_of_the_one_file_is_refused() {
    assert_refused(
        "src/http/publish.rs",
        "use actix_web::http::StatusCode;",
        "`StatusCode`: a status is chosen in",
    );
    assert_refused(
        "src/http/health.rs",
        "HttpResponse::ServiceUnavailable().finish()",
        "`ServiceUnavailable`",
    );
    assert_refused("src/http/health.rs", "let status = 503u16;", "`503u16`");
    assert_refused("src/store/mod.rs", "fn f() -> StatusCode { panic!() }", "`StatusCode`");
}

#[test]
fn a_status_in_its_file_and_in_the_clients_passes() {
    assert_passes("src/http/problem.rs", "StatusCode::CONFLICT; HttpResponse::BadRequest(); 503");
    assert_passes("src/client.rs", "if status == StatusCode::OK || status == 503 {}");
    assert_passes("src/cli/healthcheck.rs", "StatusCode::OK");
    assert_passes(
        "src/http/events.rs",
        "HttpResponse::Ok().json(x); let limit = 100; // 404\n let t = \"503\";",
    );
}

#[test]
fn modules_for_tests_may_use_what_they_need() {
    assert_passes(
        "src/event.rs",
        "#[cfg(test)] mod tests { use crate::http; use sqlx::Row; const S: u16 = 503; }",
    );
}
