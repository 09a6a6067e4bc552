//! URLs without their passwords.

/// `url` with every password replaced by `***`: the one before `@`, and those of `password=` parameters.
///
/// It works on any text, for it is also used on URLs that are wrong; in doubt it hides more.
pub fn redacted(url: &str) -> String {
    let (scheme, rest) = split_after_scheme(url);
    let (place, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    // The parameters first: an '@' in one of their passwords must not be taken for the end of a user's.
    let rest = format!("{place}{}", without_password_parameters(query));
    format!("{scheme}{}", without_user_password(&rest))
}

fn split_after_scheme(url: &str) -> (&str, &str) {
    match (url.find("://"), url.find(':')) {
        (Some(at), _) => url.split_at(at + 3),
        (None, Some(at)) => url.split_at(at + 1),
        (None, None) => ("", url),
    }
}

/// The password ends at the last `@` before the query, or at any later one: it may hold a raw `?`.
fn without_user_password(rest: &str) -> String {
    let place = &rest[..rest.find('?').unwrap_or(rest.len())];
    let Some(end) = place.rfind('@').or_else(|| rest.rfind('@')) else { return rest.to_owned() };
    match rest[..end].split_once(':') {
        Some((user, _)) => format!("{user}:***{}", &rest[end..]),
        None => rest.to_owned(),
    }
}

fn without_password_parameters(query: &str) -> String {
    let hidden = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().ends_with("password") => format!("{name}=***"),
        _ => parameter.to_owned(),
    };
    match query.strip_prefix('?') {
        Some(parameters) => format!("?{}", parameters.split('&').map(hidden).collect::<Vec<_>>().join("&")),
        None => query.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn passwords_are_hidden_wherever_they_stand() {
        for (url, shown) in [
            ("postgres://u:secret@db:5432/x", "postgres://u:***@db:5432/x"),
            ("postgres://u:se/cr@et@db/x?sslmode=require", "postgres://u:***@db/x?sslmode=require"),
            ("postgres://u:se?cret@db/x", "postgres://u:***@db/x"),
            ("postgres://:secret@db/x", "postgres://:***@db/x"),
            ("postgres:///x?user=u&password=secret&host=db", "postgres:///x?user=u&password=***&host=db"),
            ("postgres://u:secret@db/x?a=1&sslPassword=secret", "postgres://u:***@db/x?a=1&sslPassword=***"),
            ("postgres://u:secret@db/x?application_name=a@b", "postgres://u:***@db/x?application_name=a@b"),
            ("postgres://db/x?password=sec@ret", "postgres://db/x?password=***"),
            ("postgres://db:5432/x?password=sec@ret", "postgres://db:5432/x?password=***"),
            ("postgres:u:secret@db", "postgres:u:***@db"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }

    #[test]
    fn a_url_without_a_password_is_shown_as_it_is() {
        for url in ["sqlite://sekali.db", "sqlite::memory:", "postgres://u@db/x?sslmode=require", "db", ""] {
            assert_eq!(redacted(url), url);
        }
    }
}
