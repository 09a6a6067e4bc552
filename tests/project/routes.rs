//! Every route says what it needs of a key: only `Place`, which asks for that, makes routes.

use crate::{layering::read_sources, package_root, source::tokens_outside_tests};

/// The one file that makes routes.
const ROUTES_ARE_MADE_IN: &str = "src/http/place.rs";
/// What makes a route, or puts one somewhere.
const MAKERS: [&str; 10] =
    ["resource", "route", "get", "head", "post", "put", "patch", "delete", "method", "to"];

#[test]
fn no_route_comes_about_without_what_it_needs() {
    let mut sources = Vec::new();
    read_sources(&package_root().join("src/http"), "src/http", &mut sources);
    assert!(sources.iter().any(|(name, _)| name == ROUTES_ARE_MADE_IN), "{ROUTES_ARE_MADE_IN} was not found");
    let strays: Vec<String> = sources
        .iter()
        .filter(|(name, _)| name != ROUTES_ARE_MADE_IN)
        .flat_map(|(name, source)| strays(name, source))
        .collect();
    assert!(strays.is_empty(), "make these with Place (src/http/place.rs):\n{}", strays.join("\n"));
}

fn strays(name: &str, source: &str) -> Vec<String> {
    let tokens = tokens_outside_tests(source);
    let text = |place: usize| tokens.get(place).map_or("", |token| token.text.as_str());
    let makes_a_route = |place: usize| {
        let of_web = place >= 2 && text(place - 1) == "::" && text(place - 2) == "web";
        let puts_one =
            place >= 1 && text(place - 1) == "." && text(place) == "route" && text(place + 1) == "(";
        MAKERS.contains(&text(place)) && (of_web || puts_one)
    };
    let found = (0..tokens.len()).filter(|place| makes_a_route(*place));
    found.map(|place| format!("{name}:{}: {}", tokens[place].line, text(place))).collect()
}

#[test]
fn a_route_that_is_made_elsewhere_is_found() {
    let source = "fn f(s: S) { s.service(web::resource(\"/a\").route(web::get().to(f))); a.get(b); }";
    assert_eq!(strays("a.rs", source), ["a.rs:1: resource", "a.rs:1: route", "a.rs:1: get"]);
    assert!(strays("a.rs", "fn f() { Place::at(\"/a\").get(Read, f); web::scope(\"/a\"); }").is_empty());
}
