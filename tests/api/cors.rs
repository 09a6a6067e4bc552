//! Pages of other origins read and publish where `--cors-origin` names theirs, and nowhere else.

use crate::harness::{Answer, RunningService, event, keys::KeyFile, on_both_stores_with};

const PAGE: &str = "https://app.example";
const OTHER: &str = "https://evil.example";

fn with_page<F: Future<Output = ()>>(test: impl Fn(RunningService) -> F) {
    on_both_stores_with(|settings| settings.config.cors_origins = vec![PAGE.parse().unwrap()], test);
}

async fn from_page(service: &RunningService, method: &str, path: &str, origin: &str) -> Answer {
    let request = service.client.request(method, path).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    let request = request.header("content-type", "application/json").body(event("t", "a").to_string());
    service.client.send(request).await.unwrap()
}

#[test]
fn a_page_that_is_named_reads_answers_and_problems_and_no_other_does() {
    with_page(async |service| {
        for (method, path) in [
            ("GET", "/events"),
            ("GET", "/events?limit=0"),
            ("POST", "/publish"),
            ("GET", "/no-such-address"),
        ] {
            let named = from_page(&service, method, path, PAGE).await;
            assert_eq!(named.header("access-control-allow-origin"), Some(PAGE), "{path}");
            assert_eq!(named.header("vary"), Some("origin"), "{path}");
            let exposed = named.header("access-control-expose-headers").unwrap();
            assert!(exposed.contains("x-request-id") && exposed.contains("sekali-head"), "{exposed}");
            let other = from_page(&service, method, path, OTHER).await;
            assert!(other.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{path}");
        }
        let plain = service.client.get("/events").await;
        assert_eq!((plain.header("access-control-allow-origin"), plain.header("vary")), (None, None));
    });
}

#[test]
fn a_browser_is_told_what_a_page_that_is_named_may_send() {
    with_page(async |service| {
        let named = from_page(&service, "OPTIONS", "/publish", PAGE).await;
        assert_eq!((named.status, named.header("access-control-allow-origin")), (204, Some(PAGE)));
        assert!(named.header("access-control-allow-methods").unwrap().contains("POST"));
        let headers = named.header("access-control-allow-headers").unwrap();
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
        let other = from_page(&service, "OPTIONS", "/publish", OTHER).await;
        assert_eq!((other.status, other.header("access-control-allow-methods")), (405, None));
        assert_eq!(other.header("access-control-allow-origin"), None);
    });
}

#[test]
fn a_browser_asks_without_the_key_that_the_page_then_sends() {
    let file = KeyFile::new();
    let key = file.make("page", &["--scope", "publish"]);
    let change = |settings: &mut crate::harness::Settings| {
        settings.config.cors_origins = vec![PAGE.parse().unwrap()];
        settings.config.api_keys = Some(file.path());
    };
    on_both_stores_with(change, async |service| {
        assert_eq!(from_page(&service, "OPTIONS", "/publish", PAGE).await.status, 204);
        let denied = from_page(&service, "POST", "/publish", PAGE).await;
        denied.problem(401);
        assert_eq!(denied.header("access-control-allow-origin"), Some(PAGE));
        let request = service.client.request("POST", "/publish").header("origin", PAGE).bearer_auth(&key);
        let request = request.header("content-type", "application/json").body(event("t", "a").to_string());
        assert_eq!(service.client.send(request).await.unwrap().status, 200);
    });
}
