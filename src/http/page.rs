//! GET / and GET /ui/{file}: the page that people look at the service with; and GET /docs, which shows GET /openapi.json.
//!
//! Its files are part of the binary, as they stand in `src/http/page`: there is no build step. The page uses the public
//! API alone, so that nothing here knows what it shows.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, EntityTag, Header, IfNoneMatch},
};
use sha2::{Digest, Sha256};

use super::{
    metered_body::Pieces,
    openapi::DESCRIPTION,
    problem::{self, Problem},
};

/// Everything comes from this origin, and no text becomes markup or code.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; \
                                       frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
struct File {
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
}

const INDEX: File =
    File { name: "", media_type: "text/html; charset=utf-8", content: include_str!("page/index.html") };

const DOCS: File =
    File { name: "", media_type: "text/html; charset=utf-8", content: include_str!("page/docs.html") };

const FILES: [File; 23] = [
    File {
        name: "style.css",
        media_type: "text/css; charset=utf-8",
        content: include_str!("page/style.css"),
    },
    File { name: "icon.svg", media_type: "image/svg+xml", content: include_str!("page/icon.svg") },
    script("api.js", include_str!("page/api.js")),
    script("detail.js", include_str!("page/detail.js")),
    script("dom.js", include_str!("page/dom.js")),
    File { name: "docs.css", media_type: "text/css; charset=utf-8", content: include_str!("page/docs.css") },
    script("docs.js", include_str!("page/docs.js")),
    script("download.js", include_str!("page/download.js")),
    script("events.js", include_str!("page/events.js")),
    script("feed.js", include_str!("page/feed.js")),
    script("filters.js", include_str!("page/filters.js")),
    script("find.js", include_str!("page/find.js")),
    script("format.js", include_str!("page/format.js")),
    script("grid.js", include_str!("page/grid.js")),
    script("json.js", include_str!("page/json.js")),
    script("log.js", include_str!("page/log.js")),
    script("main.js", include_str!("page/main.js")),
    script("overview.js", include_str!("page/overview.js")),
    script("plot.js", include_str!("page/plot.js")),
    script("send.js", include_str!("page/send.js")),
    script("shell.js", include_str!("page/shell.js")),
    script("subscriptions.js", include_str!("page/subscriptions.js")),
    script("topics.js", include_str!("page/topics.js")),
];

const fn script(name: &'static str, content: &'static str) -> File {
    File { name, media_type: "text/javascript; charset=utf-8", content }
}

/// The page itself.
pub(super) async fn index(request: HttpRequest) -> HttpResponse {
    static TAG: LazyLock<EntityTag> = LazyLock::new(|| tag(&INDEX));
    answer(&request, &INDEX, &TAG)
}

/// The page that shows the description of the interface.
pub(super) async fn docs(request: HttpRequest) -> HttpResponse {
    static TAG: LazyLock<EntityTag> = LazyLock::new(|| tag(&DOCS));
    answer(&request, &DOCS, &TAG)
}

/// The description of the interface (OpenAPI 3.1).
pub(super) async fn description(request: HttpRequest) -> HttpResponse {
    static FILE: LazyLock<File> =
        LazyLock::new(|| File { name: "", media_type: "application/json", content: &DESCRIPTION });
    static TAG: LazyLock<EntityTag> = LazyLock::new(|| tag(&FILE));
    answer(&request, &FILE, &TAG)
}

/// A file that a page loads.
pub(super) async fn file(request: HttpRequest) -> Result<HttpResponse, Problem> {
    static TAGS: LazyLock<[EntityTag; FILES.len()]> = LazyLock::new(|| FILES.each_ref().map(tag));
    let name = request.match_info().get("file").unwrap_or_default();
    match FILES.iter().position(|file| file.name == name) {
        Some(index) => Ok(answer(&request, &FILES[index], &TAGS[index])),
        None => Err(Problem::not_found("the page has no such file")),
    }
}

fn tag(file: &File) -> EntityTag {
    EntityTag::new_strong(hex::encode(&Sha256::digest(file.content)[..16]))
}

/// The file, or nothing but its tag for one who has it already. Browsers ask each time, so that an upgrade is seen at once.
fn answer(request: &HttpRequest, file: &File, tag: &EntityTag) -> HttpResponse {
    let is_known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    };
    let mut response = if is_known { problem::unchanged() } else { HttpResponse::Ok() };
    response
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header(header::ETag(tag.clone()))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if is_known {
        return response.finish();
    }
    // Whoever reads none of it makes a connection hold a few pieces, and no copy of the whole.
    response.content_type(file.media_type).body(Pieces::of(file.content))
}
