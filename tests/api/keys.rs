//! With keys in force, each request needs one that allows it; what is denied costs nothing.

use std::{fs, time::Duration};

use serde_json::json;

use crate::harness::{
    Database, Engine, RunningService, block_on, event, eventually,
    keys::{KeyFile, ask},
    on_both_stores_with,
    process::{Process, failure, sekali},
    raw::{Raw, publish_head},
    stream::Stream,
};

/// Every address, with a method that it knows, and the scope that it needs.
const NEEDS: [(&str, &str, &str); 26] = [
    ("POST", "/publish", "publish"),
    ("GET", "/events", "read"),
    ("HEAD", "/events", "read"),
    ("GET", "/events/a", "read"),
    ("HEAD", "/stream", "read"),
    ("GET", "/topics", "read"),
    ("GET", "/stats", "read"),
    ("GET", "/namespaces", "read"),
    ("GET", "/namespaces/default", "read"),
    ("PUT", "/namespaces/other", "admin"),
    ("DELETE", "/namespaces/other", "admin"),
    ("POST", "/namespaces/default/publish", "publish"),
    ("GET", "/namespaces/default/events", "read"),
    ("GET", "/namespaces/default/topics", "read"),
    ("GET", "/namespaces/default/stats", "read"),
    ("GET", "/subscriptions", "read"),
    ("GET", "/subscriptions/s", "read"),
    ("PUT", "/subscriptions/s", "admin"),
    ("PATCH", "/subscriptions/s", "admin"),
    ("POST", "/subscriptions/s/lease", "read"),
    ("POST", "/subscriptions/s/ack", "read"),
    ("POST", "/subscriptions/s/seek", "admin"),
    ("GET", "/subscriptions/s/parked", "read"),
    ("POST", "/subscriptions/s/parked/retry", "admin"),
    ("DELETE", "/subscriptions/s", "admin"),
    ("POST", "/namespaces/default/subscriptions/s/lease", "read"),
];
const SCOPES: [&str; 3] = ["publish", "read", "admin"];

/// Runs `test` on both stores with the keys of `file` in force.
fn with_keys<F: Future<Output = ()>>(file: &KeyFile, test: impl Fn(RunningService) -> F) {
    on_both_stores_with(|settings| settings.config.api_keys = Some(file.path()), test);
}

#[test]
fn each_address_needs_a_key_with_its_scope_and_the_probes_need_none() {
    let file = KeyFile::new();
    let keys = SCOPES.map(|scope| (scope, file.make(scope, &["--scope", scope])));
    with_keys(&file, async |service| {
        let client = &service.client;
        for path in ["/livez", "/readyz", "/health"] {
            assert_eq!(client.get(path).await.status, 200, "{path}");
        }
        for (method, path, needed) in NEEDS {
            let without = client.send(client.request(method, path)).await.unwrap();
            assert_eq!(
                (without.status, without.header("www-authenticate")),
                (401, Some("Bearer realm=\"sekali\""))
            );
            for (scope, key) in &keys {
                let answer = ask(client, key, method, path, event("t", "a")).await;
                let is_denied = [401, 403].contains(&answer.status);
                assert_eq!(is_denied, *scope != needed, "{method} {path} with {scope}: {}", answer.text);
                if is_denied && method != "HEAD" {
                    let problem = answer.problem(403);
                    let said = format!("the key {scope} lacks the scope {needed}");
                    assert_eq!(
                        (&problem["detail"], &problem["type"]),
                        (&json!(said), &json!("urn:sekali:problem:forbidden"))
                    );
                }
            }
        }
        assert_eq!(client.get("/no-such-address").await.status, 404);
        assert_eq!(client.send(client.request("PATCH", "/events")).await.unwrap().status, 405);
    });
}

#[test]
fn a_wrong_key_is_refused_whatever_is_wrong_with_it() {
    let file = KeyFile::new();
    let key = file.make("a", &["--scope", "read"]);
    let expired = file.make("old", &["--scope", "read", "--expires", "2020-01-01T00:00:00Z"]);
    with_keys(&file, async |service| {
        let client = &service.client;
        let longer = format!("{key}0");
        let oversized = "x".repeat(60_000);
        for (value, said) in [
            (format!("Bearer {longer}"), "is not known"),
            (format!("Bearer {}", &key[..key.len() - 1]), "is not known"),
            (format!("Bearer {}", key.to_uppercase()), "is not known"),
            (format!("Bearer {oversized}"), "is not known"),
            (format!("Bearer {expired}"), "the key old has expired"),
            ("Bearer ".to_owned(), "is needed"),
            (format!("Basic {key}"), "is needed"),
            (key.clone(), "is needed"),
        ] {
            let request = client.request("GET", "/events").header("authorization", &value);
            let problem = client.send(request).await.unwrap().problem(401);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(said), "{value:.80}: {detail}");
            assert!(!problem.to_string().contains(&key[..key.len() - 1]), "{problem}");
        }
        let twice = client.request("GET", "/events").bearer_auth(&key).header("authorization", "Bearer a");
        client.send(twice).await.unwrap().problem(401);
        let lower = client.request("GET", "/events").header("authorization", format!("bearer {key}"));
        assert_eq!(client.send(lower).await.unwrap().status, 200);
    });
}

#[test]
fn a_key_is_good_for_its_namespaces_alone() {
    let file = KeyFile::new();
    let admin = file.make("admin", &["--scope", "admin"]);
    let shop = file.make("shop", &["--scope", "publish,read,admin", "--namespace", "shop,test-*"]);
    with_keys(&file, async |service| {
        let client = &service.client;
        for name in ["shop", "other"] {
            assert_eq!(ask(client, &admin, "PUT", &format!("/namespaces/{name}"), "").await.status, 201);
        }
        assert_eq!(ask(client, &shop, "PUT", "/namespaces/test-1", "").await.status, 201);
        for path in
            ["/publish", "/namespaces/other/publish", "/namespaces/none/publish", "/namespaces/A/publish"]
        {
            let problem = ask(client, &shop, "POST", path, event("t", "a")).await.problem(403);
            assert!(
                problem["detail"].as_str().unwrap().contains("limited to the namespaces shop, test-*"),
                "{problem}"
            );
        }
        for (path, status) in [("shop", 200), ("test-1", 200), ("test-2", 404)] {
            let path = format!("/namespaces/{path}/publish");
            assert_eq!(ask(client, &shop, "POST", &path, event("t", "a")).await.status, status, "{path}");
        }
        ask(client, &shop, "GET", "/namespaces", "").await.problem(403);
        ask(client, &shop, "PUT", "/namespaces/mine", "").await.problem(403);
        assert_eq!(ask(client, &shop, "DELETE", "/namespaces/test-1?confirm=test-1", "").await.status, 204);
    });
}

#[test]
fn a_key_is_good_for_its_topics_alone() {
    let file = KeyFile::new();
    let all = file.make("all", &["--scope", "publish,read"]);
    let some =
        file.make("some", &["--scope", "publish,read,admin", "--topic", "orders", "--topic", "logs.*"]);
    with_keys(&file, async |service| {
        let client = &service.client;
        assert_eq!(ask(client, &all, "POST", "/publish", event("secret", "s")).await.status, 200);
        let mixed =
            json!([event("orders", "1"), event("logs.web", "2"), event("orders2", "3"), event("logs", "4")]);
        let problem = ask(client, &some, "POST", "/publish", mixed).await.problem(403);
        assert_eq!(
            (&problem["errors"][0]["index"], &problem["errors"][0]["pointer"]),
            (&json!(2), &json!("/topic"))
        );
        assert_eq!(problem["errors"].as_array().unwrap().len(), 1);
        assert_eq!(ask(client, &all, "GET", "/stats", "").await.json()["received"], 1, "nothing was stored");
        let allowed = json!([event("orders", "1"), event("logs.web", "2")]);
        assert_eq!(ask(client, &some, "POST", "/publish", allowed).await.status, 200);

        let read = async |path: &str| ask(client, &some, "GET", path, "").await;
        let problem = read("/events").await.problem(403);
        assert!(problem["detail"].as_str().unwrap().contains("name topics with ?topic="), "{problem}");
        for path in [
            "/events?topic=secret",
            "/events?topic=orders&topic=secret",
            "/events?event_id=s",
            "/events/s",
            "/events/s?topic=secret",
            "/events?t%6fpic=secret",
            "/topics",
            "/topics?topic=orders",
            "/stats",
            "/stats?topic=orders",
            "/namespaces/default",
            "/namespaces",
        ] {
            read(path).await.problem(403);
        }
        let found = read("/events?topic=orders&topic=logs.web").await;
        assert_eq!((found.status, found.json().as_array().unwrap().len()), (200, 2));
        assert_eq!(read("/events/1?topic=orders").await.status, 200);
        assert_eq!(read("/events/s?topic=orders").await.status, 404);
        assert_eq!(read("/events?event_id=s&topic=orders").await.json(), json!([]));
        ask(client, &some, "PUT", "/namespaces/new", "").await.problem(403);
    });
}

#[test]
fn a_denied_body_is_not_read_and_takes_no_memory() {
    let file = KeyFile::new();
    let read = file.make("reader", &["--scope", "read"]);
    with_keys(&file, async |service| {
        for (authorization, status) in
            [(String::new(), 401), (format!("\r\nAuthorization: Bearer {read}"), 403)]
        {
            let mut raw = Raw::connect(service.address).await;
            // Nothing of the body is sent: an answer before it shows that it is not waited for.
            raw.send(publish_head(&format!("Content-Length: 10000000{authorization}"))).await;
            raw.answer().await.problem(status);
            assert_eq!(service.handle.node().bytes_in_flight, 0);
            raw.until_closed().await;
        }
    });
}

#[test]
fn who_has_no_key_is_told_that_before_anything_else() {
    let file = KeyFile::new();
    let key = file.make("a", &["--scope", "publish"]);
    with_keys(&file, async |service| {
        let client = &service.client;
        let foreign =
            || client.request("POST", "/namespaces/none/publish").header("origin", "http://evil.example");
        client.send(foreign().body("{")).await.unwrap().problem(401);
        let problem = client.send(foreign().bearer_auth(&key).body("{")).await.unwrap().problem(403);
        assert_eq!(problem["type"], "urn:sekali:problem:foreign-origin");
        ask(client, &key, "POST", "/namespaces/none/publish", "{").await.problem(404);
    });
}

#[test]
fn keys_are_read_again_on_a_hang_up_signal_and_kept_where_the_file_is_bad() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let file = KeyFile::new();
        let first = file.make("first", &["--scope", "read"]);
        let keys = file.path();
        let arguments = ["--database-url", &database.url, "--api-keys", keys.to_str().unwrap()];
        let mut process = Process::start(file.folder(), &arguments).ready().await;
        let status = async |key: &str| ask(&process.client, key, "GET", "/events", "").await.status;
        let second = file.make("second", &["--scope", "read"]);
        assert_eq!((status(&first).await, status(&second).await), (200, 401));
        process.signal("HUP");
        eventually("the second key is known", async || status(&second).await == 200).await;
        file.revoke("first");
        process.signal("HUP");
        eventually("the first key is revoked", async || status(&first).await == 401).await;

        let good = fs::read_to_string(&keys).unwrap();
        fs::write(&keys, format!("{good}{{\"name\":\"{second}\"}}\n")).unwrap();
        process.signal("HUP");
        eventually("the bad file is noticed", async || process.log().contains("the keys stay as they are"))
            .await;
        assert_eq!((status(&first).await, status(&second).await), (401, 200));
        process.signal("TERM");
        process.wait();
        let log = process.log();
        let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert!(errors.len() == 1 && errors[0].contains("line 2 of"), "{log}");
        assert!(!log.contains(&first) && !log.contains(&second), "{log}");

        // A start with the same file is refused.
        let sentence = failure(sekali(&["serve", "--listen", "127.0.0.1:0"]).args(arguments), 1);
        assert!(sentence.contains("line 2 of") && !sentence.contains(&second), "{sentence}");
        fs::remove_file(&keys).unwrap();
        let sentence = failure(sekali(&["serve", "--listen", "127.0.0.1:0"]).args(arguments), 1);
        assert!(sentence.contains("cannot read the keys in"), "{sentence}");
    });
}

/// More than a slow reader takes within the interval in which keys are looked at.
const LARGE_EVENTS: usize = 120;
const LARGE_EVENT_BYTES: usize = 500_000;

/// Takes far less than it could have, so that there is always more to send. All that came, in bytes, and the end of it.
async fn read_slowly(mut stream: reqwest::Response) -> (usize, String) {
    let (mut bytes, mut end) = (0, Vec::new());
    while let Ok(Some(piece)) = stream.chunk().await {
        bytes += piece.len();
        end.extend_from_slice(&piece);
        end.drain(..end.len().saturating_sub(1_000));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (bytes, String::from_utf8_lossy(&end).into_owned())
}

#[test]
fn a_stream_ends_when_its_key_is_revoked_whether_it_rests_or_not() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let file = KeyFile::new();
        let first = file.make("first", &["--scope", "read"]);
        let second = file.make("second", &["--scope", "read,publish"]);
        let keys = file.path();
        let arguments = ["--database-url", &database.url, "--api-keys", keys.to_str().unwrap()];
        let process = Process::start(file.folder(), &arguments).ready().await;
        let follow = async |key: &str| {
            let request = process.client.request("GET", "/stream").bearer_auth(key);
            Stream::of(request.send().await.unwrap())
        };
        let large = json!({"text": "x".repeat(LARGE_EVENT_BYTES)});
        let ids: Vec<_> = (0..LARGE_EVENTS).map(|number| number.to_string()).collect();
        for ids in ids.chunks(10) {
            let events: Vec<_> = ids
                .iter()
                .map(|id| {
                    let mut event = event("large", id);
                    event["payload"] = large.clone();
                    event
                })
                .collect();
            let body = serde_json::to_string(&events).unwrap();
            assert_eq!(ask(&process.client, &second, "POST", "/publish", body).await.status, 200);
        }
        let slow = process.client.request("GET", "/stream?after=0").bearer_auth(&first).send().await.unwrap();
        let slow = tokio::spawn(read_slowly(slow));
        let (mut ended, mut goes_on) = (follow(&first).await, follow(&second).await);
        for stream in [&mut ended, &mut goes_on] {
            stream.notice("caught-up").await;
        }
        file.revoke("first");
        process.signal("HUP");
        let said = ended.notice("unavailable").await;
        assert!(said.data["detail"].as_str().unwrap().contains("key"), "{said:?}");
        assert!(ended.next().await.is_none(), "the stream is over");
        assert_eq!(ask(&process.client, &first, "GET", "/stream", "").await.status, 401);
        let event = event("t", "a").to_string();
        assert_eq!(ask(&process.client, &second, "POST", "/publish", event).await.status, 200);
        assert_eq!(goes_on.seqs(1).await, [LARGE_EVENTS as u64 + 1]);

        let (bytes, end) = slow.await.unwrap();
        assert!(bytes < LARGE_EVENTS * LARGE_EVENT_BYTES, "{bytes}");
        assert!(end.contains("the key of this stream is no longer in force"), "{end}");
    });
}

#[test]
fn a_service_that_others_reach_without_keys_says_so() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let file = KeyFile::new();
        file.make("a", &["--scope", "read"]);
        let keys = file.path();
        let keys = ["--api-keys", keys.to_str().unwrap()];
        for (listen, keys, warns) in
            [("127.0.0.1:0", &[][..], false), ("0.0.0.0:0", &[], true), ("0.0.0.0:0", &keys, false)]
        {
            let arguments = [&["--database-url", &*database.url], keys].concat();
            let mut process = Process::start_at(listen, file.folder(), &arguments);
            process.signal("TERM");
            process.wait();
            assert_eq!(process.log().contains("no keys are asked for"), warns, "{listen} {keys:?}");
        }
    });
}
