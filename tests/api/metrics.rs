//! GET /metrics: what this process did, in the formats of monitoring systems.

use std::{collections::HashMap, sync::Arc};

use crate::harness::{
    Client, Database, Engine, RunningService, Settings, block_on, event, events, eventually,
    keys::{KeyFile, ask},
    on_both_stores, on_both_stores_with,
    process::Process,
};

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

/// Every metric, as monitoring systems know it.
const NAMES: [&str; 39] = [
    "sekali_actor_endings_total",
    "sekali_actor_queue",
    "sekali_actor_up",
    "sekali_build_info",
    "sekali_commit_age_seconds",
    "sekali_commit_events",
    "sekali_commit_seconds",
    "sekali_commits_total",
    "sekali_connections",
    "sekali_connections_closed_total",
    "sekali_connections_max",
    "sekali_events_duplicate_total",
    "sekali_events_received_total",
    "sekali_events_unique_total",
    "sekali_exceptions_total",
    "sekali_http_requests_total",
    "sekali_in_flight",
    "sekali_in_flight_max",
    "sekali_ledger_head",
    "sekali_ledgers_open",
    "sekali_log_lines_lost_total",
    "sekali_problems_total",
    "sekali_publish_seconds",
    "sekali_store_losses_total",
    "sekali_store_restored_total",
    "sekali_store_up",
    "sekali_subscription_lag",
    "sekali_subscription_parked",
    "sekali_topic_duplicate_total",
    "sekali_topic_unique_total",
    "sekali_uptime_seconds",
    "sekali_window_hits_total",
    "sekali_window_ids",
    "sekali_window_lookups_total",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
];

/// What one scrape says, by name and labels.
struct Scrape {
    values: HashMap<String, f64>,
    text: String,
}

impl Scrape {
    async fn of(client: &Client) -> Self {
        let answer = client.get("/metrics").await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("text/plain; version=0.0.4; charset=utf-8"))
        );
        Self::read(answer.text)
    }

    /// Each sample must belong to the family that was declared last.
    fn read(text: String) -> Self {
        let mut values = HashMap::new();
        let mut family = (String::new(), String::new());
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').unwrap();
                family = (name.to_owned(), kind.to_owned());
            }
            if line.starts_with('#') {
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let ending =
                name.strip_prefix(&family.0).unwrap_or_else(|| panic!("{name} is not of {family:?}"));
            let is_fit = match family.1.as_str() {
                "counter" => ending == "_total" || (ending.is_empty() && name.ends_with("_total")),
                "histogram" => ["_sum", "_count", "_bucket"].contains(&ending),
                kind => kind == "gauge" && ending.is_empty(),
            };
            assert!(is_fit, "{line} in {family:?}");
            let again = values.insert(sample.to_owned(), value.parse().unwrap());
            assert!(again.is_none(), "{sample} stands there twice");
        }
        Self { values, text }
    }

    fn value(&self, sample: &str) -> f64 {
        *self.values.get(sample).unwrap_or_else(|| panic!("no {sample} in\n{}", self.text))
    }
}

#[test]
fn the_head_of_a_ledger_is_the_databases_also_on_a_node_that_only_reads() {
    block_on(async {
        let database = Arc::new(Database::create(Engine::Postgres).await);
        let writes = RunningService::start(Settings::new(Arc::clone(&database))).await;
        let reads = RunningService::start(Settings::new(database)).await;
        for round in 1..=3 {
            writes.client.publish_ok(event("t", &round.to_string())).await;
            for service in [&writes, &reads] {
                eventually("it is shown", async || {
                    let scrape = Scrape::of(&service.client).await;
                    scrape.value("sekali_ledger_head{namespace=\"default\"}") == f64::from(round)
                })
                .await;
            }
        }
    });
}

#[test]
fn events_are_counted_by_namespace_as_this_process_committed_them() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("shop").await;
        client.publish_ok(events("t", ["a", "b", "a"])).await;
        client.publish_ok(event("t", "a")).await;
        client.publish_in("shop", event("t", "a")).await;
        let scrape = Scrape::of(client).await;
        for (namespace, received, unique, duplicate) in [("default", 4.0, 2.0, 2.0), ("shop", 1.0, 1.0, 0.0)]
        {
            let value = |name: &str| {
                scrape.value(&format!("sekali_events_{name}_total{{namespace=\"{namespace}\"}}"))
            };
            assert_eq!(
                (value("received"), value("unique"), value("duplicate")),
                (received, unique, duplicate)
            );
        }
        assert_eq!(scrape.value("sekali_ledger_head{namespace=\"default\"}"), 2.0);
        assert_eq!(scrape.value("sekali_commits_total"), scrape.value("sekali_commit_seconds_count"));
        assert_eq!(scrape.value("sekali_commit_events_sum"), 5.0);
        assert_eq!(scrape.value("sekali_publish_seconds_count"), 3.0);
        assert_eq!(scrape.value("sekali_window_lookups_total"), 5.0);
        assert_eq!(scrape.value("sekali_window_hits_total"), 1.0);
        let published = "sekali_http_requests_total{route=\"/publish\",method=\"POST\",status=\"200\"}";
        assert_eq!(scrape.value(published), 3.0);
        for gauge in ["sekali_store_up", "sekali_actor_up{actor=\"writer 0\"}", "sekali_ledgers_open"] {
            assert!(scrape.value(gauge) >= 1.0, "{gauge}");
        }
        for what in ["events", "body_bytes", "answer_bytes", "waiting_readers", "waiting_reads"] {
            let (held, max) = (
                format!("sekali_in_flight{{what=\"{what}\"}}"),
                format!("sekali_in_flight_max{{what=\"{what}\"}}"),
            );
            assert_eq!(scrape.value(&held), 0.0, "{what}");
            assert!(scrape.value(&max) > 0.0, "{what}");
        }
        assert!(scrape.value("process_resident_memory_bytes") > 1e6);
        assert!(scrape.value("process_open_fds") > 5.0);
        assert!(scrape.value("process_cpu_seconds_total") > 0.0);
    });
}

#[test]
fn events_are_counted_by_topic_whoever_found_that_they_are_duplicates() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("shop").await;
        client.publish_ok(events("t", ["a", "b", "a"])).await;
        client.publish_ok(event("t", "a")).await;
        client.publish_ok(event("say \"\\o/\"", "c")).await;
        client.publish_in("shop", event("t", "a")).await;
        let scrape = Scrape::of(client).await;
        for (namespace, topic, unique, duplicate) in
            [("default", "t", 2.0, 2.0), ("default", r#"say \"\\o/\""#, 1.0, 0.0), ("shop", "t", 1.0, 0.0)]
        {
            let value = |name: &str| {
                let labels = format!("namespace=\"{namespace}\",topic=\"{topic}\"");
                scrape.value(&format!("sekali_topic_{name}_total{{{labels}}}"))
            };
            assert_eq!((value("unique"), value("duplicate")), (unique, duplicate), "{namespace} {topic}");
        }
    });
}

#[test]
fn what_only_the_database_knew_is_a_duplicate_of_its_topic_too() {
    on_both_stores(async |service| {
        service.client.publish_ok(events("t", ["a", "b"])).await;
        let (ended, database) = service.stop().await;
        ended.unwrap();
        let mut settings = Settings::new(database);
        settings.config.window_ids = 0;
        let service = RunningService::start(settings).await;
        service.client.publish_ok(events("u", ["a", "c", "c"])).await;
        let scrape = Scrape::of(&service.client).await;
        assert_eq!(scrape.value("sekali_exceptions_total"), 1.0);
        for (name, count) in [("unique", 1.0), ("duplicate", 2.0)] {
            let labels = "{namespace=\"default\",topic=\"u\"}";
            assert_eq!(scrape.value(&format!("sekali_topic_{name}_total{labels}")), count, "{name}");
        }
    });
}

#[test]
fn each_subscription_shows_how_far_it_is_behind_and_what_is_parked() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(events("t", ["a", "b", "c"])).await;
        let body = serde_json::json!({"after": "earliest"}).to_string();
        let made = client.request("PUT", "/subscriptions/s").header("content-type", "application/json");
        assert_eq!(client.send(made.body(body)).await.unwrap().status, 201);
        eventually("a scrape shows the subscription", async || {
            let scrape = Scrape::of(client).await;
            let labels = "{namespace=\"default\",subscription=\"s\"}";
            let value =
                |name: &str| scrape.values.get(&format!("sekali_subscription_{name}{labels}")).copied();
            (value("lag"), value("parked")) == (Some(3.0), Some(0.0))
        })
        .await;
    });
}

#[test]
fn every_metric_is_one_that_the_documentation_names() {
    let documentation = include_str!("../../docs/operations.md");
    on_both_stores(async |service| {
        service.client.publish_ok(event("t", "a")).await;
        service.client.publish("{").await.problem(400);
        let scrape = Scrape::of(&service.client).await;
        let declared = scrape.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut names: Vec<&str> = declared.map(|line| line.split(' ').next().unwrap()).collect();
        names.sort_unstable();
        let mut expected = NAMES;
        expected.sort_unstable();
        assert_eq!(names, expected);
        for name in names.iter().filter(|name| name.starts_with("sekali_")) {
            assert!(documentation.contains(&format!("`{name}`")), "{name}");
        }
    });
}

#[test]
fn refusals_are_counted_by_the_kind_of_problem_and_what_has_no_route_is_one() {
    on_both_stores(async |service| {
        let client = &service.client;
        for path in ["/events?limit=0", "/events?limit=x", "/a", "/b?c", "/namespaces/none/events"] {
            assert!(client.get(path).await.status >= 400);
        }
        client.publish("{").await.problem(400);
        let odd = client.request("BREW", "/events");
        assert_eq!(client.send(odd).await.unwrap().status, 405);
        let scrape = Scrape::of(client).await;
        for (problem, count) in [
            ("invalid-parameter", 2.0),
            ("not-found", 2.0),
            ("no-such-namespace", 1.0),
            ("not-json", 1.0),
            ("method-not-allowed", 1.0),
        ] {
            assert_eq!(scrape.value(&format!("sekali_problems_total{{problem=\"{problem}\"}}")), count);
        }
        let requests = |route: &str, method: &str, status: u16| {
            scrape.value(&format!(
                "sekali_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}"
            ))
        };
        assert_eq!((requests("other", "GET", 404), requests("/events", "GET", 422)), (2.0, 2.0));
        assert_eq!((requests("other", "other", 405), requests("/events", "GET", 404)), (1.0, 1.0));
    });
}

#[test]
fn the_format_is_the_one_that_is_asked_for() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "a")).await;
        let asked = client.request("GET", "/metrics").header("accept", OPEN_METRICS);
        let answer = client.send(asked).await.unwrap();
        assert_eq!(
            answer.header("content-type"),
            Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        assert!(answer.text.ends_with("# EOF\n"), "{}", answer.text);
        assert!(answer.text.contains("# TYPE sekali_events_received counter\n"), "{}", answer.text);
        Scrape::read(answer.text);
        let plain = Scrape::of(client).await;
        assert!(plain.text.contains("# TYPE sekali_events_received_total counter\n"), "{}", plain.text);
        let head = client.send(client.request("HEAD", "/metrics")).await.unwrap();
        assert_eq!(head.status, 200);
    });
}

#[test]
fn namespaces_beyond_the_limit_are_shown_together() {
    on_both_stores_with(
        |settings| settings.config.metrics_namespaces_max = 1,
        async |service| {
            let client = &service.client;
            client.publish_ok(event("t", "a")).await;
            for name in ["a", "b"] {
                client.create_namespace(name).await;
                client.publish_in(name, events("t", ["1", "2"])).await;
            }
            let scrape = Scrape::of(client).await;
            assert_eq!(scrape.value("sekali_events_received_total{namespace=\"default\"}"), 1.0);
            assert_eq!(scrape.value("sekali_events_unique_total{namespace=\"_other\"}"), 4.0);
            let heads = scrape.values.keys().filter(|sample| sample.starts_with("sekali_ledger_head{"));
            assert_eq!(heads.count(), 1, "{}", scrape.text);
        },
    );
}

#[test]
fn metrics_are_told_while_the_database_is_not_there() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        // A port that nobody listens on.
        let nowhere = ["--database-url", "postgres://sekali@127.0.0.1:1/sekali"];
        let process = Process::start(folder.path(), &nowhere);
        let scrape = Scrape::of(&process.client).await;
        assert!(scrape.value("sekali_connections") >= 1.0);
        assert!(scrape.value("process_resident_memory_bytes") > 1e6);
    });
}

#[test]
fn keys_guard_metrics_but_for_those_on_a_port_of_their_own() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let file = KeyFile::new();
        let read = file.make("read", &["--scope", "read"]);
        let some = file.make("some", &["--scope", "read", "--namespace", "shop"]);
        let keys = file.path();
        let arguments = [
            "--database-url",
            &database.url,
            "--api-keys",
            keys.to_str().unwrap(),
            "--metrics-listen",
            "127.0.0.1:0",
        ];
        let process = Process::start(file.folder(), &arguments).ready().await;
        process.client.get("/metrics").await.problem(401);
        ask(&process.client, &some, "GET", "/metrics", "").await.problem(403);
        assert_eq!(ask(&process.client, &read, "GET", "/metrics", "").await.status, 200);
        let log = async || process.log();
        eventually("the port is told", async || log().await.contains("metrics are at http://")).await;
        let log = process.log();
        let rest = log.split("metrics are at http://").nth(1).unwrap();
        let alone = Client::new(rest[..rest.find("/metrics").unwrap()].parse().unwrap());
        let scrape = Scrape::of(&alone).await;
        assert!(scrape.value("sekali_problems_total{problem=\"unauthorized\"}") >= 1.0);
        for path in ["/events", "/readyz", "/"] {
            assert_eq!(alone.get(path).await.status, 404, "{path}");
        }
    });
}
