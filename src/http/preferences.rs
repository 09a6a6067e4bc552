//! What clients prefer (RFC 7240).

use actix_web::HttpRequest;

/// The preferences of a request, as `name=value` in lower case without spaces, quotes and parameters.
pub(super) fn preferences(request: &HttpRequest) -> impl Iterator<Item = String> {
    let values = request.headers().get_all("prefer").filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|preference| preference.split(';').next()).map(
        |preference| {
            let plain = preference.chars().filter(|c| !c.is_whitespace() && *c != '"');
            plain.map(|c| c.to_ascii_lowercase()).collect()
        },
    )
}
