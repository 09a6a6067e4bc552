//! The short wait before a group where the store's flush is slow.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;

use crate::harness::{Settings, event, on_both_stores_with};

/// The requests of each group that has events.
type GroupSizes = Arc<Mutex<Vec<usize>>>;

/// A commit takes `flush` longer, and its size is written down.
fn slow_flush(settings: &mut Settings, flush: Duration, sizes: &GroupSizes) {
    let sizes = Arc::clone(sizes);
    settings.before_append = Some(Arc::new(move |ids: &[&str]| {
        if !ids.is_empty() {
            sizes.lock().unwrap().push(ids.len());
        }
        tokio::time::sleep(flush).boxed()
    }));
}

#[test]
fn clients_that_were_just_answered_share_the_next_group() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 20;
    let sizes = GroupSizes::default();
    // The wait is a quarter at most, and long enough for a busy machine; it ends when all clients are back.
    let change = |settings: &mut Settings| slow_flush(settings, Duration::from_millis(60), &sizes);
    on_both_stores_with(change, async |service| {
        sizes.lock().unwrap().clear();
        let publishing = (0..CLIENTS).map(|client| {
            let service = &service;
            async move {
                for round in 0..ROUNDS {
                    service.client.publish_ok(event("t", &format!("{client} {round}"))).await;
                }
            }
        });
        futures::future::join_all(publishing).await;
        let sizes = sizes.lock().unwrap().clone();
        let full = sizes.iter().filter(|size| **size == CLIENTS).count();
        // Without the wait, two halves take turns, and hardly any group has all clients.
        assert!(full >= ROUNDS / 2, "{sizes:?}");
        assert!(sizes.len() <= ROUNDS * 3 / 2, "{sizes:?}");
        service.database().assert_sound().await;
    });
}
