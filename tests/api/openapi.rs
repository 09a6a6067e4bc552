//! The description of the interface, and the page that shows it. What the service answers is compared with it by
//! `scripts/api-description`.

use crate::harness::{
    keys::{KeyFile, ask},
    on_both_stores, on_both_stores_with,
};

/// Bytes of the page at /docs with its own files and the description.
const DOCS_BYTES_MAX: usize = 190_000;

#[test]
fn the_description_is_openapi_3_1_and_needs_no_key() {
    let file = KeyFile::new();
    file.make("a", &["--scope", "read"]);
    on_both_stores_with(
        |settings| settings.config.api_keys = Some(file.path()),
        async |service| {
            let answer = service.client.get("/openapi.json").await;
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
            let description: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
            assert_eq!(description["openapi"], "3.1.0");
            assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
            let tag = answer.header("etag").unwrap();
            let again = service.client.request("GET", "/openapi.json").header("if-none-match", tag);
            assert_eq!(service.client.send(again).await.unwrap().status, 304);
            assert_eq!(service.client.get("/docs").await.status, 200);
        },
    );
}

#[test]
fn a_key_with_the_scope_that_is_described_is_let_in_and_no_other() {
    let file = KeyFile::new();
    let keys = ["publish", "read", "admin"].map(|scope| (scope, file.make(scope, &["--scope", scope])));
    on_both_stores_with(
        |settings| settings.config.api_keys = Some(file.path()),
        async |service| {
            let client = &service.client;
            let description: serde_json::Value =
                serde_json::from_str(&client.get("/openapi.json").await.text).unwrap();
            for (path, item) in description["paths"].as_object().unwrap() {
                let address = path.replace("{namespace}", "default").replace(['{', '}'], "");
                for (method, operation) in item.as_object().unwrap().iter().filter(|it| it.0 != "parameters")
                {
                    // A stream does not end; its HEAD needs the same.
                    let method =
                        if path.ends_with("/stream") { "HEAD".to_owned() } else { method.to_uppercase() };
                    for (scope, key) in &keys {
                        let status = ask(client, key, &method, &address, "").await.status;
                        let scopes = operation["security"][0]["key"].as_array();
                        let is_let_in = scopes.is_none_or(|scopes| scopes[0] == *scope);
                        assert_eq!(status != 403, is_let_in, "{method} {address} with {scope}: {status}");
                    }
                }
            }
        },
    );
}

#[test]
fn the_page_of_the_description_loads_nothing_from_elsewhere_and_is_small() {
    on_both_stores(async |service| {
        let client = &service.client;
        let mut bytes = 0;
        for path in ["/docs", "/ui/docs.css", "/ui/docs.js", "/ui/dom.js", "/ui/style.css", "/openapi.json"] {
            let answer = client.get(path).await;
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
            let text = answer.text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{path}");
            bytes += text.len();
        }
        assert!(bytes <= DOCS_BYTES_MAX, "{bytes} bytes");
    });
}

#[test]
fn a_whole_number_is_taken_as_clients_without_integers_write_it() {
    on_both_stores(async |service| {
        let client = &service.client;
        let put = client
            .request("PUT", "/subscriptions/s")
            .header("content-type", "application/json")
            .body(r#"{"after":0.0,"lease_seconds":4509.0}"#);
        let made = client.send(put).await.unwrap();
        let made: serde_json::Value = serde_json::from_str(&made.text).unwrap();
        assert_eq!((&made["after"], &made["lease_seconds"]), (&0.into(), &4509.into()));
    });
}
