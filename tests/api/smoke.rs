//! The thinnest slice: one event through every actor.

use crate::harness::{event, on_both_stores};

#[test]
fn one_event_goes_in_and_comes_out_once() {
    on_both_stores(async |service| {
        let client = &service.client;
        let first = client.publish_ok(event("t", "a")).await;
        assert_eq!((first[0]["status"].as_str(), first[0]["seq"].as_u64()), (Some("stored"), Some(1)));
        let again = client.publish_ok(event("t", "a")).await;
        assert_eq!((again[0]["status"].as_str(), again[0]["seq"].as_u64()), (Some("duplicate"), Some(1)));
        assert_eq!(client.counts().await, (2, 1, 1));
        assert_eq!(client.all_events().await.len(), 1);
        service.database().assert_sound().await;
        let (ended, _database) = service.stop().await;
        ended.unwrap();
    });
}
