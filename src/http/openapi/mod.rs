//! GET /openapi.json: the description of this interface (OpenAPI 3.1), made of the table of routes.
//!
//! Each route has an [`Operation`] here, and each operation a route; what a route needs of a key, and which status a problem has,
//! are told by the code itself. Schemas, parameters and headers stand in `components.json`.

mod of_ledger;
mod of_service;
mod of_subscriptions;
mod operation;
mod problems;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use self::operation::{Operation, reference};
use super::{
    place::Place,
    routes::{self, NAMESPACE},
};

/// The description as it is sent.
pub(super) static DESCRIPTION: LazyLock<String> = LazyLock::new(|| document().to_string());

const ABOUT: &str = "An event log that stores each event once, however often it is published.\n\nHEAD is there wherever GET is. A method that an address does not know is 405 with `Allow`. Every answer has an `X-Request-Id` and `X-Content-Type-Options: nosniff`, and `Cache-Control: no-store` where nothing else is said. A page of many things ends with `Link: <…>; rel=\"next\"` while there is more. Problems are documents of RFC 9457; `retryable` says whether the same request may be answered otherwise later, and where it is true there is a `Retry-After`. Further fields may be added to answers.";

fn operations() -> Vec<Operation> {
    let mut operations = of_ledger::operations();
    operations.extend(of_subscriptions::operations());
    operations.extend(of_service::operations());
    operations
}

fn document() -> Value {
    let mut answers = Map::new();
    let paths = paths(&mut answers);
    let mut components: Value =
        serde_json::from_str(include_str!("components.json")).expect("a file of this crate is JSON");
    components["responses"] = answers.into();
    let tag = |name: &str, description: &str| json!({"name": name, "description": description});
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "sekali",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "tags": [
            tag("events", "Publishing and reading events. Each address is there for the namespace `default`, and below `/namespaces/{namespace}` for any."),
            tag("subscriptions", "Named, durable places in the log, for consumers that fail and come back."),
            tag("namespaces", "Ledgers of their own, for tenants, teams or tests."),
            tag("service", "Probes, metrics and pages."),
        ],
        "paths": paths,
        "components": components,
    })
}

/// Every address with its operations. What they refer to is added to the answers of the components.
fn paths(answers: &mut Map<String, Value>) -> Map<String, Value> {
    let (operations, mut paths) = (operations(), Map::new());
    for place in routes::of_ledger() {
        let path = plain(place.path());
        paths.insert(format!("{NAMESPACE}{path}"), item(&place, &operations, true, answers));
        paths.insert(path, item(&place, &operations, false, answers));
    }
    for place in routes::of_service() {
        paths.insert(plain(place.path()), item(&place, &operations, false, answers));
    }
    paths
}

/// The operations at one address; `is_named` where it is below that of a namespace.
fn item(place: &Place, operations: &[Operation], is_named: bool, answers: &mut Map<String, Value>) -> Value {
    let namespace = is_named.then_some("Namespace");
    let parameters = namespace.into_iter().chain(["X-Request-Id", "traceparent"]);
    let parameters: Vec<Value> = parameters.map(|name| reference("parameters", name)).collect();
    let mut item = Map::from_iter([("parameters".to_owned(), parameters.into())]);
    for (method, needs) in place.needs() {
        let described = operations.iter().find(|it| it.path == plain(place.path()) && it.method == *method);
        if let Some(operation) = described {
            let name = method.as_str().to_ascii_lowercase();
            item.insert(name, operation.document(needs, is_named, answers));
        }
    }
    item.into()
}

/// A path as a client reads it: without the pattern of a parameter.
fn plain(path: &str) -> String {
    path.replace(":.*}", "}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use actix_web::http::Method;

    use super::*;

    fn routed() -> BTreeSet<(String, String)> {
        let places = routes::of_ledger().into_iter().chain(routes::of_service());
        let methods = places.flat_map(|place| {
            let of = |(method, _): (&Method, _)| (plain(place.path()), method.to_string());
            place.needs().map(of).collect::<Vec<_>>()
        });
        methods.filter(|(_, method)| method != "HEAD").collect()
    }

    #[test]
    fn every_route_is_described_once_and_nothing_else_is() {
        let operations = operations();
        let described: BTreeSet<_> =
            operations.iter().map(|it| (it.path.to_owned(), it.method.to_string())).collect();
        assert_eq!(described.len(), operations.len(), "an operation is there twice");
        assert_eq!(described, routed());
    }

    /// Everything that a value refers to.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    found.insert(to.trim_start_matches('#').to_owned());
                }
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn what_is_referred_to_is_there_and_what_is_there_is_referred_to() {
        let document = document();
        let mut named = BTreeSet::new();
        references(&document, &mut named);
        let missing: Vec<_> = named.iter().filter(|to| document.pointer(to).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        for kind in ["schemas", "parameters", "headers", "responses"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                assert!(
                    named.contains(&format!("/components/{kind}/{name}")),
                    "nothing refers to {kind}/{name}"
                );
            }
        }
    }

    #[test]
    fn each_operation_has_a_name_of_its_own_and_every_parameter_of_its_path() {
        let document = document();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in
                item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
            {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{id} is there twice");
                let own = operation["parameters"].as_array().into_iter().flatten();
                let given: BTreeSet<_> = own
                    .chain(item["parameters"].as_array().unwrap())
                    .map(|it| document.pointer(it["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap())
                    .filter(|it| it["in"] == "path")
                    .map(|it| it["name"].as_str().unwrap())
                    .collect();
                let named: BTreeSet<_> =
                    path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
                assert_eq!(given, named, "{method} {path}");
            }
        }
        assert!(ids.len() > 40, "{ids:?}");
    }

    #[test]
    fn the_scopes_are_those_that_the_routes_ask_for() {
        let document = document();
        let scopes = |path: &str, method: &str| document["paths"][path][method]["security"].clone();
        assert_eq!(scopes("/namespaces/{namespace}/publish", "post"), json!([{"key": ["publish"]}]));
        assert_eq!(scopes("/subscriptions/{subscription}", "patch"), json!([{"key": ["admin"]}]));
        assert_eq!(scopes("/metrics", "get"), json!([{"key": ["read"]}]));
        assert_eq!(scopes("/openapi.json", "get"), json!([]));
    }

    #[test]
    fn the_description_stays_small() {
        assert!(DESCRIPTION.len() < 150_000, "{} bytes", DESCRIPTION.len());
    }
}
