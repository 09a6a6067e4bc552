//! Identities as the tables keep them: by their digest, which the service and SQL compute alike.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::harness::{
    Client, Database, Engine, RunningService, Settings, block_on, event, events, on_both_stores_with,
};
use sekali::event::DedupScope;

/// SHA-256 takes 64 bytes a block: 16 of the key, 1 of the length, the topic, the id, and 9 that it adds itself.
const BLOCK: usize = 64;

fn scope(scope: DedupScope) -> impl Fn(&mut Settings) {
    move |settings| settings.config.dedup_scope = Some(scope)
}

async fn on_postgres(scope: DedupScope) -> RunningService {
    let mut settings = Settings::new(Database::create(Engine::Postgres).await);
    settings.config.dedup_scope = Some(scope);
    RunningService::start(settings).await
}

/// What `sekali.find` returns for these arguments: the `seq`, topic and id of each row.
async fn find(
    connection: &mut PgConnection,
    namespace: &str,
    event_id: &str,
    topic: Option<&str>,
) -> sqlx::Result<Vec<(i64, String, String)>> {
    sqlx::query_as("SELECT seq, topic, event_id FROM sekali.find($1, $2, $3)")
        .bind(namespace)
        .bind(event_id)
        .bind(topic)
        .fetch_all(connection)
        .await
}

/// What the service answers for this id.
async fn found_by(client: &Client, topic: &str, event_id: &str) -> Vec<Value> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    client
        .events(&format!("?{}", query.append_pair("event_id", event_id).append_pair("topic", topic).finish()))
        .await
}

/// Topics and ids around the ends of blocks, of the greatest length, and of several bytes a letter.
fn names() -> Vec<(String, String)> {
    let longest = ["é".repeat(127) + "x", "🦀".repeat(63) + "abc", "日".repeat(85)];
    assert!(longest.iter().all(|name| name.len() == 255));
    let mut names: Vec<_> = (1..=3 * BLOCK).map(|bytes| ("t".to_owned(), "i".repeat(bytes))).collect();
    for topic in &longest {
        names.extend(longest.iter().map(|id| (topic.clone(), id.clone())));
    }
    names
}

#[test]
fn ids_and_topics_of_any_length_are_told_apart_and_found() {
    on_both_stores_with(scope(DedupScope::Topic), async |service| {
        let (client, database) = (&service.client, service.database());
        let names = names();
        let batch: Value = names.iter().map(|(topic, id)| event(topic, id)).collect();
        for status in ["stored", "duplicate"] {
            let results = client.publish_ok(&batch).await;
            assert!(results.iter().all(|result| result["status"] == status), "{results:?}");
        }
        let mut connection = match database.engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(PgConnection::connect(&database.url).await.unwrap()),
        };
        for (seq, (topic, id)) in (1_i64..).zip(names) {
            let found = found_by(client, &topic, &id).await;
            assert_eq!((found.len(), &found[0]["seq"]), (1, &json!(seq)), "{topic} {id}");
            if let Some(connection) = &mut connection {
                let found = find(connection, "default", &id, Some(&topic)).await.unwrap();
                assert_eq!(found, [(seq, topic, id)]);
            }
        }
        database.assert_sound().await;
    });
}

#[test]
fn in_scope_topic_one_id_in_two_topics_is_two_events_each_found_by_its_own() {
    on_both_stores_with(scope(DedupScope::Topic), async |service| {
        let (client, database) = (&service.client, service.database());
        // Without the topic's length these two would be one.
        for topic in ["t", "u", "ab", "a"] {
            let id = if topic == "a" { "bx" } else { "x" };
            assert_eq!(client.publish_ok(event(topic, id)).await[0]["status"], "stored");
        }
        assert_eq!(client.publish_ok(event("u", "x")).await[0]["status"], "duplicate");
        for (topic, id, seq) in [("t", "x", 1), ("u", "x", 2), ("ab", "x", 3), ("a", "bx", 4)] {
            assert_eq!(found_by(client, topic, id).await[0]["seq"], seq);
        }
        database.assert_sound().await;
        if database.engine == Engine::Postgres {
            let mut connection = PgConnection::connect(&database.url).await.unwrap();
            for (topic, seq) in [("t", 1), ("u", 2)] {
                let found = find(&mut connection, "default", "x", Some(topic)).await.unwrap();
                assert_eq!(found, [(seq, topic.to_owned(), "x".to_owned())]);
            }
            assert_eq!(find(&mut connection, "default", "x", Some("unknown")).await.unwrap(), []);
        }
    });
}

#[test]
fn an_event_is_found_by_the_indexes_in_sql() {
    block_on(async {
        let service = on_postgres(DedupScope::EventId).await;
        let ids: Vec<String> = (0..5_000).map(|id| format!("id {id}")).collect();
        service.client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
        let mut connection = PgConnection::connect(&service.database().url).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        for topic in [None, Some("t")] {
            let found = find(&mut transaction, "default", "id 4321", topic).await.unwrap();
            assert_eq!(found, [(4_322, "t".to_owned(), "id 4321".to_owned())]);
        }
        assert_eq!(find(&mut transaction, "default", "id 4321", Some("other")).await.unwrap(), []);
        assert_eq!(find(&mut transaction, "default", "unknown", None).await.unwrap(), []);
        let scans: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT relname::text, seq_scan, idx_scan FROM pg_stat_xact_user_tables
             WHERE schemaname = 'sekali' AND relname IN ('identities', 'stored_events') ORDER BY relname",
        )
        .fetch_all(&mut *transaction)
        .await
        .unwrap();
        // Where there is no identity, no event is looked for.
        for (table, by_scan, by_index) in &scans {
            assert_eq!(*by_scan, 0, "{table}");
            assert!((1..=4).contains(by_index), "{table}: {by_index}");
        }
        assert_eq!(scans.len(), 2);
    });
}

#[test]
fn what_cannot_be_looked_up_in_sql_is_an_error_and_not_an_empty_answer() {
    block_on(async {
        for (scope, namespace, code, told) in [
            (DedupScope::EventId, "unknown", "42704", "there is no namespace unknown"),
            (DedupScope::Topic, "default", "22004", "give the topic as well"),
        ] {
            let service = on_postgres(scope).await;
            service.client.publish_ok(event("t", "a")).await;
            let mut connection = PgConnection::connect(&service.database().url).await.unwrap();
            let error = find(&mut connection, namespace, "a", None).await.unwrap_err();
            let error = error.as_database_error().expect("the server's own error");
            assert_eq!(error.code().as_deref(), Some(code));
            assert!(error.message().contains(told), "{error}");
        }
    });
}
