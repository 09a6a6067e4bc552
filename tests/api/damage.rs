//! Databases that something went wrong with while the service was down.

use crate::harness::{Engine, RunningService, Settings, event, events, on_both_stores};

#[test]
fn a_damaged_ledger_is_the_services_trouble_and_not_the_producers() {
    on_both_stores(async |service| {
        service.client.publish_ok(events("t", ["a", "b"])).await;
        let (ended, database) = service.stop().await;
        ended.unwrap();
        // As a restore of some tables alone would leave it.
        database
            .execute(match database.engine {
                Engine::Sqlite => "UPDATE ledger SET commit_no = 0, last_seq = 0, received = 0",
                Engine::Postgres => "DELETE FROM sekali.commits",
            })
            .await;
        let service = RunningService::start(Settings::new(database)).await;
        let refusal = service.client.publish(event("t", "c")).await;
        let problem = refusal.problem(503);
        assert_eq!(problem["retryable"], true, "{problem}");
        let ready = service.client.get("/readyz").await;
        assert_eq!(ready.status, 503, "{}", ready.text);
        assert_eq!(service.database().number(&count_events(&service)).await, 2);
    });
}

fn count_events(service: &RunningService) -> String {
    format!("SELECT count(*) FROM {}", service.database().events_table())
}
