//! Events that could be taken for something else, and ids that clients cannot send in a path.

use serde_json::json;

use crate::harness::{event, on_both_stores, on_both_stores_with};

#[test]
fn an_event_with_a_further_field_events_is_stored_itself() {
    on_both_stores(async |service| {
        let client = &service.client;
        for (place, inner) in [json!([event("t", "inner")]), json!([]), json!([5]), json!({}), json!(null)]
            .into_iter()
            .enumerate()
        {
            let id = format!("outer-{place}");
            let mut outer = event("t", &id);
            outer["events"] = inner;
            // serde_json sorts the keys: `event_id` stands before `events` here, and behind it below.
            let results = client.publish_ok(&outer).await;
            assert_eq!(results.len(), 1, "{results:?}");
            assert_eq!(results[0]["event_id"], id.as_str());
            let behind = format!(
                "{{\"events\":{},{}",
                outer["events"],
                &event("t", &format!("behind-{place}")).to_string()[1..]
            );
            assert_eq!(client.publish_ok(behind).await[0]["event_id"], format!("behind-{place}").as_str());
            assert_eq!(client.get(&format!("/events/{id}")).await.status, 200);
        }
        assert_eq!(client.get("/events/inner").await.status, 404);
        assert_eq!(client.counts().await, (10, 10, 0));
    });
}

#[test]
fn ids_that_clients_take_out_of_a_path_are_found_by_a_parameter() {
    on_both_stores(async |service| {
        let client = &service.client;
        for id in [".", "..", "a b&c=ü%2E"] {
            client.publish_ok(event("t", id)).await;
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("event_id", id).finish();
            for filter in ["", "&topic=t"] {
                let found = client.events(&format!("?{query}{filter}")).await;
                assert_eq!(found.len(), 1, "{id}");
                assert_eq!(found[0]["event_id"], id);
            }
            assert!(client.events(&format!("?{query}&topic=other")).await.is_empty());
        }
        assert!(client.events("?event_id=absent").await.is_empty());
        for query in
            ["event_id=.&limit=1", "before=9&event_id=.", "event_id=.&after=0", "event_id=", "event_id=%0A"]
        {
            client.get(&format!("/events?{query}")).await.problem(422);
        }
    });
}

#[test]
fn an_id_in_scope_topic_is_asked_for_with_its_topic() {
    let by_topic = |settings: &mut crate::harness::Settings| {
        settings.config.dedup_scope = Some(sekali::event::DedupScope::Topic);
    };
    on_both_stores_with(by_topic, async |service| {
        let client = &service.client;
        client.publish_ok(json!([event("a", ".."), event("b", "..")])).await;
        client.get("/events?event_id=..").await.problem(422);
        let found = client.events("?event_id=..&topic=b").await;
        assert_eq!((found.len(), &found[0]["topic"]), (1, &json!("b")));
    });
}
