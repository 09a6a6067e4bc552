//! GET /namespaces: pages, links and parameters.

use serde_json::json;

use super::{create, detail, names, names_in};
use crate::harness::{Client, on_both_stores};

/// The names on all pages from `path` on, and how many pages these are.
async fn along_the_links(client: &Client, path: &str) -> (Vec<String>, usize) {
    let (mut all, mut pages, mut path) = (Vec::new(), 0, path.to_owned());
    loop {
        let page = client.get(&path).await;
        all.extend(names_in(&page));
        pages += 1;
        match page.next_link() {
            Some(next) => path = next,
            None => return (all, pages),
        }
    }
}

#[test]
fn the_list_is_ordered_by_name_and_its_links_lead_to_the_end() {
    on_both_stores(async |service| {
        let client = &service.client;
        let mut expected: Vec<String> =
            ["0", "9z", "a", "a-", "a-b", "a0", "default", "shop-1", "shop-10", "shop-2", "z"]
                .map(str::to_owned)
                .into();
        // Created in another order than they are listed in.
        for name in expected.iter().rev().filter(|name| *name != "default") {
            create(client, name, json!({})).await;
        }
        expected.sort();
        assert_eq!(names(client).await, expected);
        assert_eq!(client.get("/namespaces").await.header("link"), None);
        for (limit, pages) in [(1, 11), (4, 3), (5, 3), (10, 2), (11, 1), (1_000, 1)] {
            let listed = along_the_links(client, &format!("/namespaces?limit={limit}")).await;
            assert_eq!(listed, (expected.clone(), pages), "{limit}");
        }
        let shops: Vec<String> = ["shop-1", "shop-10", "shop-2"].map(str::to_owned).into();
        assert_eq!(along_the_links(client, "/namespaces?prefix=shop-&limit=2").await, (shops, 2));
        for (query, listed) in [
            ("prefix=a-", &["a-", "a-b"][..]),
            ("prefix=shop-1&after=shop-1", &["shop-10"]),
            ("after=shop-2", &["z"]),
            ("after=shop-1&limit=1", &["shop-10"]),
            ("after=m&prefix=a", &[]),
            ("prefix=none", &[]),
            ("after=zz", &[]),
        ] {
            assert_eq!(names_in(&client.get(&format!("/namespaces?{query}")).await), listed, "{query}");
        }
    });
}

#[test]
fn parameters_of_the_list_that_cannot_be_are_refused() {
    on_both_stores(async |service| {
        for (query, names) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=x", "limit"),
            ("limit=", "limit"),
            ("limit=1&limit=1", "limit"),
            ("prefix=", "prefix"),
            ("prefix=A", "prefix"),
            ("prefix=a%25", "prefix"),
            ("prefix=-", "prefix"),
            ("after=a_b", "after"),
            ("after=%00", "after"),
            ("before=a", "before"),
            ("name=a", "name"),
        ] {
            let problem = service.client.get(&format!("/namespaces?{query}")).await.problem(422);
            assert!(detail(&problem).contains(names), "{query}: {problem}");
        }
        let long = "a".repeat(64);
        service.client.get(&format!("/namespaces?prefix={long}")).await.problem(422);
        service.client.get("/namespaces/default?limit=1").await.problem(422);
    });
}
