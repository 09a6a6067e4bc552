//! How the files of the page are served. What it does in a browser is tested by `scripts/page`.

use std::{collections::BTreeSet, path::Path};

use crate::harness::{Client, RunningService, block_on, on_both_stores, process::Process};

/// Bytes of all files together.
const PAGE_BYTES_MAX: usize = 150_000;

/// The addresses that a file of the page names to be loaded, from the page's own. What an `<a>` leads to is not loaded.
fn loaded_by(path: &str, text: &str) -> Vec<String> {
    let (openings, marks, folder) = if path == "/" {
        (["<link ", "<script "], ["href=\"", "src=\""], "/")
    } else {
        ([" from \"./", "import(\"./"], ["\"./", "\"./"], "/ui/")
    };
    let mut found = Vec::new();
    for (opening, mark) in openings.into_iter().zip(marks) {
        for (at, _) in text.match_indices(opening) {
            let rest = text[at..].split_once(mark).unwrap().1;
            found.push(format!("{folder}{}", rest.split('"').next().unwrap()));
        }
    }
    found
}

/// The page with all that it loads, each file once.
async fn files(client: &Client) -> Vec<(String, String)> {
    let (mut files, mut known) = (Vec::new(), BTreeSet::new());
    let mut waiting = vec!["/".to_owned()];
    while let Some(path) = waiting.pop() {
        if !known.insert(path.clone()) {
            continue;
        }
        let answer = client.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        waiting.extend(loaded_by(&path, &answer.text));
        files.push((path, answer.text));
    }
    files
}

#[test]
fn the_page_is_small_and_loads_nothing_from_elsewhere() {
    on_both_stores(async |service| {
        let files = files(&service.client).await;
        assert!(files.len() > 10, "{}", files.len());
        let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
        assert!(bytes <= PAGE_BYTES_MAX, "{bytes} bytes");
        for (path, text) in files {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{path}");
            for way_to_markup in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", " style=\""]
            {
                assert!(!text.contains(way_to_markup), "{path} has {way_to_markup}");
            }
        }
    });
}

#[test]
fn each_file_says_what_it_is_and_what_it_may_load() {
    on_both_stores(async |service| {
        for (path, _) in files(&service.client).await {
            let answer = service.client.get(&path).await;
            let media_type = match path.rsplit_once('.') {
                None => "text/html; charset=utf-8",
                Some((_, "css")) => "text/css; charset=utf-8",
                Some((_, "svg")) => "image/svg+xml",
                Some(_) => "text/javascript; charset=utf-8",
            };
            assert_eq!(answer.header("content-type"), Some(media_type), "{path}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'self';"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        }
        service.client.get("/ui/none.js").await.problem(404);
        service.client.get("/ui/").await.problem(404);
    });
}

#[test]
fn a_browser_that_has_a_file_is_not_sent_it_again() {
    on_both_stores(async |service| {
        let client = &service.client;
        for path in ["/", "/ui/main.js"] {
            let tag = client.get(path).await.header("etag").unwrap().to_owned();
            let known = async |tags: &str| {
                client.send(client.request("GET", path).header("if-none-match", tags)).await.unwrap()
            };
            for tags in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
                let answer = known(&tags).await;
                assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{tags}");
                assert_eq!(answer.header("etag"), Some(tag.as_str()));
            }
            assert_eq!(known("\"other\"").await.status, 200);
        }
        let tags = [client.get("/").await, client.get("/ui/main.js").await];
        assert_ne!(tags[0].header("etag"), tags[1].header("etag"));
    });
}

#[test]
fn the_page_is_only_read() {
    on_both_stores(async |service| {
        let RunningService { client, .. } = &service;
        for path in ["/", "/ui/main.js"] {
            let whole = client.get(path).await;
            let head = client.send(client.request("HEAD", path)).await.unwrap();
            assert_eq!((head.status, head.text.as_str()), (200, ""));
            for name in ["content-type", "content-length", "etag", "content-security-policy"] {
                assert_eq!(head.header(name), whole.header(name), "{name}");
            }
            for method in ["POST", "PUT", "DELETE"] {
                let answer = client.send(client.request(method, path)).await.unwrap();
                answer.problem(405);
                assert_eq!(answer.header("allow"), Some("GET, HEAD"));
            }
        }
    });
}

#[test]
fn the_page_is_there_while_the_database_is_not() {
    let unavailable = "postgres://nobody@127.0.0.1:1/none";
    let process = Process::start(Path::new("/"), &["--database-url", unavailable]);
    block_on(async {
        assert_eq!(process.client.get("/readyz").await.status, 503);
        assert_eq!(files(&process.client).await[0].0, "/");
    });
}
