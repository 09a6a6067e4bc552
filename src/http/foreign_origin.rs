//! Which pages in browsers may change something here.
//!
//! A browser sends a form or a text to any address without asking first, and names the page it comes from in `Origin`.
//! Who sends no such header is no page.

use actix_http::RequestHead;
use actix_web::http::{Method, header};

use crate::origin::{Origin, Scheme};

/// Whether a page in a browser sends this request that may not. `own_scheme`: how the service is reached; `on_loopback`: the
/// client is on this machine.
pub(super) fn is_foreign(
    head: &RequestHead,
    allowed: &[Origin],
    own_scheme: Scheme,
    on_loopback: bool,
) -> bool {
    if matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let headers = head.headers();
    let mut origins = headers.get_all(header::ORIGIN).peekable();
    if origins.peek().is_none() {
        // No page of ours is meant by it either: browsers send an `Origin` with each such request.
        return headers
            .get("sec-fetch-site")
            .is_some_and(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"));
    }
    let own = headers.get(header::HOST).and_then(|host| Origin::new(own_scheme, host.to_str().ok()?));
    // The name of a page that is open on this machine may have been made to lead here (DNS rebinding).
    let own = own.filter(|own| !on_loopback || own.cannot_be_rebound());
    !origins.all(|origin| {
        let origin = origin.to_str().ok().and_then(|origin| origin.parse().ok());
        origin.is_some_and(|origin| own.as_ref() == Some(&origin) || allowed.contains(&origin))
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn foreign(method: Method, headers: &[(&str, &str)], on_loopback: bool) -> bool {
        let mut head = RequestHead::default();
        head.method = method;
        for (name, value) in headers {
            head.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        is_foreign(&head, &["https://app.example".parse().unwrap()], Scheme::Http, on_loopback)
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        for headers in [
            &[("host", "127.0.0.1:8080"), ("origin", "http://evil.example")][..],
            &[("host", "127.0.0.1:8080"), ("origin", "null")],
            &[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8081")],
            &[("host", "127.0.0.1:8080"), ("origin", "https://127.0.0.1:8080")],
            &[
                ("host", "127.0.0.1:8080"),
                ("origin", "http://127.0.0.1:8080"),
                ("origin", "http://evil.example"),
            ],
            &[("host", "127.0.0.1:8080"), ("sec-fetch-site", "cross-site")],
            &[("host", "evil.example:8080"), ("origin", "http://evil.example:8080")],
            &[("origin", "http://evil.example")],
        ] {
            assert!(foreign(Method::POST, headers, true), "{headers:?}");
            assert!(!foreign(Method::GET, headers, true), "{headers:?}");
        }
    }

    #[test]
    fn its_own_pages_those_that_are_allowed_and_other_clients_may() {
        for headers in [
            &[("host", "127.0.0.1:8080")][..],
            &[("host", "any.name:8080")],
            &[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")],
            &[("host", "LOCALHOST"), ("origin", "http://localhost:80")],
            &[("host", "[::1]:8080"), ("origin", "http://[::1]:8080"), ("sec-fetch-site", "same-origin")],
            &[
                ("host", "events.example"),
                ("origin", "https://app.example"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert!(!foreign(Method::POST, headers, true), "{headers:?}");
        }
        assert!(!foreign(Method::POST, &[("host", "events.lan"), ("origin", "http://events.lan")], false));
    }
}
