//! The operations on namespaces, and on the service itself.

use actix_web::http::Method;
use serde_json::json;

use super::operation::{Operation, json};
use crate::http::{problem::Kind, routes::NAMESPACE};

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = of_namespaces();
    operations.extend(of_monitoring());
    operations.extend(of_pages());
    operations
}

fn of_namespaces() -> Vec<Operation> {
    let operation = |method, path, id, summary| {
        Operation::new("namespaces", method, path, id, summary)
            .fails(&[Kind::InvalidParameter, Kind::Unreadable])
    };
    vec![
        operation(Method::GET, "/namespaces", "listNamespaces", "List namespaces")
            .says("By name.")
            .takes(&["PrefixOfName", "LimitOfNames", "AfterName"])
            .answers(200, "A page of namespaces.", &["Link"], &json("Namespaces")),
        operation(Method::GET, NAMESPACE, "readNamespace", "Read a namespace")
            .takes(&["Namespace"])
            .answers(200, "The namespace.", &[], &json("Namespace"))
            .fails(&[Kind::NoNamespace]),
        operation(Method::PUT, NAMESPACE, "createNamespace", "Create a namespace")
            .takes(&["Namespace"])
            .reads("NamespaceSettings", false, json!({"example": {"value": {"dedup_scope": "topic"}}}))
            .answers(201, "It was created.", &[], &json("Namespace"))
            .answers(200, "It was there already with these settings.", &[], &json("Namespace"))
            .fails(&[Kind::InvalidSettings, Kind::OtherSettings, Kind::TooManyNamespaces]),
        operation(Method::DELETE, NAMESPACE, "deleteNamespace", "Delete a namespace")
            .says("Everything that is in it is deleted for ever. `default` cannot be deleted.")
            .takes(&["Namespace", "Confirm"])
            .answers(204, "It is deleted.", &[], &[])
            .fails(&[Kind::NoNamespace]),
    ]
}

fn of_monitoring() -> Vec<Operation> {
    let get = |path, id, summary| Operation::new("service", Method::GET, path, id, summary);
    let unavailable = Kind::Unavailable.status().as_u16();
    vec![
        get("/metrics", "readMetrics", "Read the metrics of this process")
            .says("OpenMetrics where `Accept` names it, else the text format of Prometheus. On the port of `--metrics-listen` no key is needed.")
            .answers(200, "The metrics.", &[], &[
                ("text/plain", "PlainText"),
                ("application/openmetrics-text", "PlainText"),
            ])
            .fails(&[Kind::Unavailable]),
        get("/health", "readHealth", "Ask whether the database answers")
            .answers(200, "It answers.", &[], &json("Health"))
            .answers(unavailable, "It does not.", &[], &json("Health")),
        get("/livez", "readLiveness", "Ask whether the process answers")
            .answers(200, "It does.", &[], &json("Status")),
        get("/readyz", "readReadiness", "Ask whether requests should be sent here")
            .answers(200, "They should.", &[], &json("Status"))
            .answers(unavailable, "They should not; `reason` says why.", &[], &json("Status")),
    ]
}

fn of_pages() -> Vec<Operation> {
    const HEADERS: [&str; 3] = ["ETag", "Cache-Control", "Content-Security-Policy"];
    let file = |path, id, summary, content: &[(&'static str, &'static str)]| {
        Operation::new("service", Method::GET, path, id, summary)
            .answers(200, "The file.", &HEADERS, content)
            .answers(304, "It is the one that `If-None-Match` names.", &HEADERS, &[])
    };
    let html = [("text/html", "PlainText")];
    vec![
        file("/", "readPage", "Look at the service in a browser", &html).takes(&["If-None-Match"]),
        file("/docs", "readDocumentation", "Read this description in a browser", &html)
            .takes(&["If-None-Match"]),
        file("/openapi.json", "readDescription", "Read this description", &json("Description"))
            .takes(&["If-None-Match"]),
        file(
            "/ui/{file}",
            "readFile",
            "Load a file of a page",
            &[("text/css", "PlainText"), ("text/javascript", "PlainText"), ("image/svg+xml", "PlainText")],
        )
        .takes(&["File", "If-None-Match"])
        .fails(&[Kind::NotFound]),
    ]
}
