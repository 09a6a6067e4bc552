//! URLs as they may be shown: rebuilt from parts that hold no password.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// Shown in place of a text that is not understood as a URL, since any part of it may be a password.
const NOT_SHOWN: &str = "(URL not shown)";
/// Stands for the host that a URL leaves out, which the URL crate does not allow beside a user.
const NO_HOST: &str = "no-host.invalid";
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// `text` as it may be shown in messages and logs: scheme, host, port, name of the database, and a few parameters;
/// for SQLite the path. A part with an unusual character is left out.
pub fn redacted(text: &str) -> String {
    let shown = match text.split_once(':') {
        Some(("sqlite", path)) => shown_file(path),
        Some(("postgres" | "postgresql" | "http" | "https", _)) => shown_url(text),
        _ => None,
    };
    shown.unwrap_or_else(|| NOT_SHOWN.to_owned())
}

/// A URL whose host may be left out although it has a user or a port.
pub fn parse_url(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host_at = rest[..end].rfind('@').map_or(0, |at| at + 1);
    let has_host = end == 0 || !(rest[host_at..end].is_empty() || rest[host_at..end].starts_with(':'));
    let placeholder = if has_host { "" } else { NO_HOST };
    Url::parse(&format!("{scheme}://{}{placeholder}{}", &rest[..host_at], &rest[host_at..])).ok()
}

/// The host of a URL of [`parse_url`], decoded and without brackets: a name, an address or the folder of a socket.
pub fn host_of(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Domain(NO_HOST | "") => None,
        Host::Domain(name) => Some(percent_decode_str(name).decode_utf8().ok()?.into_owned()),
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
    }
}

fn shown_file(path: &str) -> Option<String> {
    let (slashes, path) = path.strip_prefix("//").map_or(("", path), |path| ("//", path));
    let path = path.split('?').next().unwrap_or_default();
    let is_usual = |letter: char| letter.is_alphanumeric() || " _-./~+,()".contains(letter);
    // Only in an absolute path an '@' surely ends no password.
    let is_shown = path.chars().all(|letter| is_usual(letter) || letter == '@' && path.starts_with('/'));
    (is_shown || path == ":memory:").then(|| format!("sqlite:{slashes}{path}"))
}

fn shown_url(text: &str) -> Option<String> {
    let url = parse_url(text)?;
    // Any other '@' than the one behind the user may stand in a password.
    let has_user = !url.username().is_empty() || url.password().is_some();
    if text.matches('@').count() != usize::from(has_user) {
        return None;
    }
    let host = host_of(&url).unwrap_or_default();
    let host = match url.host() {
        Some(Host::Ipv6(_)) => format!("[{host}]"),
        _ if is_plain_path(&host) => host.replace('/', "%2F"),
        _ => return None,
    };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = Some(url.path()).filter(|path| is_plain_path(path)).unwrap_or_default();
    let parameters: Vec<String> =
        url.query_pairs().filter_map(|pair| parameter(pair.0.as_ref(), pair.1.as_ref())).collect();
    let query = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
    Some(format!("{}://{host}{port}{path}{query}", url.scheme()))
}

fn parameter(name: &str, value: &str) -> Option<String> {
    let is_shown = match name {
        "sslmode" => SSL_MODES.contains(&value),
        "port" => value.parse::<u16>().is_ok(),
        "host" | "dbname" => is_plain_path(value),
        _ => false,
    };
    is_shown.then(|| format!("{name}={value}"))
}

fn is_plain_path(text: &str) -> bool {
    text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn what_is_harmless_is_shown() {
        for (url, shown) in [
            ("postgres://u:secret@db:5432/x", "postgres://db:5432/x"),
            ("postgresql://u@db/x?sslmode=require", "postgresql://db/x?sslmode=require"),
            ("postgres://u:p%40ss@[::1]:5432/x", "postgres://[::1]:5432/x"),
            ("postgres://u:secret@/x?host=/run/pg&port=5433", "postgres:///x?host=/run/pg&port=5433"),
            ("postgres://%2Frun%2Fpg/x", "postgres://%2Frun%2Fpg/x"),
            ("postgres:///x?user=u&password=secret&host=db", "postgres:///x?host=db"),
            ("http://u:secret@127.0.0.1:8080/base", "http://127.0.0.1:8080/base"),
            ("sqlite://sekali.db?mode=rwc", "sqlite://sekali.db"),
            ("sqlite:///data/a@b/sekali.db", "sqlite:///data/a@b/sekali.db"),
            ("sqlite::memory:", "sqlite::memory:"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn a_password_is_shown_in_no_form() {
        for url in [
            "host=db user=app password=s3cr3t dbname=events",
            "Host=db;Username=app;Password=s3cr3t",
            "Server=db;Pwd=s3cr3t;",
            "app:s3cr3t@tcp(db:5432)/events",
            "jdbc:postgresql://db/x?user=u&password=s3cr3t",
            "postgres//app:s3cr3t@db/events",
            "postgres:u:s3cr3t@db",
            "postgres:/u:s3cr3t@db",
            "postgres://u:s3cr3t",
            "postgres://u:s3cr3t@",
            "postgres://u:s3cr3t@:5432/x",
            "postgres://:s3cr3t@db/x",
            "postgres://u:1/s3cr3t@db/x",
            "postgres://u:1?s3cr3t@db/x",
            "postgres://u:1#s3cr3t@db/x",
            "postgres://u:p@ss/s3cr3t@db/x",
            "postgres://u:p@s3cr3t@db/x",
            "postgres://u:p ss:s3cr3t@db/x",
            "postgres://u%3As3cr3t%40db/x",
            "postgres://db/x;password=s3cr3t",
            "postgres://db/x%3Bpassword=s3cr3t",
            "postgres://db;password=s3cr3t/x",
            "postgres://db/x?pass=s3cr3t",
            "postgres://db/x?pass%77ord=s3cr3t",
            "postgres://db/x?user=u;password=s3cr3t",
            "postgres://db/x?sslmode=require;password=s3cr3t",
            "postgres://db/x?host=db;password=s3cr3t",
            "postgres://db/x?passfile=/s3cr3t",
            "postgres://db/x?options=-c%20a.b=s3cr3t",
            "postgres://db/x?s3cr3t",
            "postgres://db/x#s3cr3t",
            "mysql://u:s3cr3t@db/x",
            "http://u:s3cr3t@db/",
            "http://db/?token=s3cr3t",
            "sqlite://u:s3cr3t@x/y.db",
            "sqlite://y.db?password=s3cr3t",
            "sqlite://y.db;password=s3cr3t",
            "sqlite:s3cr3t@y.db",
            "u:s3cr3t@h",
            "s3cr3t",
        ] {
            let shown = redacted(url);
            assert!(!shown.contains("s3cr3t"), "{url} is shown as {shown}");
            assert!(!shown.is_empty());
        }
    }
}
