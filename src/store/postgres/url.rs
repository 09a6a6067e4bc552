//! A Postgres URL, read by the rules of libpq as far as sqlx has what they ask for.
//!
//! No message tells a value, and none reaches the server's messages that could be a misplaced password.

use std::{collections::BTreeMap, fs::File, net::IpAddr};

use percent_encoding::percent_decode_str;
use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use tracing::warn;
use url::Url;

use crate::{redact, store::OpenError};

const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
const KNOWN: &str = "host, hostaddr, port, dbname, user, password, sslmode, sslrootcert, sslcert, sslkey, options, \
                     application_name and statement-cache-capacity";

/// What a URL says, by the names of its parameters. The part before `?` is a parameter, too.
type Parameters = BTreeMap<&'static str, String>;

/// How to connect to the database that `text` names.
pub(super) fn connect_options(text: &str) -> Result<PgConnectOptions, OpenError> {
    options_of(&read(text)?)
}

/// How to connect to the same database on another server.
pub(super) fn connect_options_at(text: &str, host: &str, port: u16) -> Result<PgConnectOptions, OpenError> {
    let mut parameters = read(text)?;
    parameters.extend([("host", host.to_owned()), ("port", port.to_string())]);
    options_of(&parameters)
}

fn options_of(parameters: &Parameters) -> Result<PgConnectOptions, OpenError> {
    check(parameters)?;
    let mut url = Url::parse("postgres:///").map_err(|_| wrong("it cannot be used"))?;
    url.query_pairs_mut().extend_pairs(parameters);
    // All values were checked, so that the error tells nothing that is worth its risk.
    let options = PgConnectOptions::from_url(&url).map_err(|_| wrong("a parameter cannot be used"))?;
    Ok(options.application_name("sekali"))
}

fn read(text: &str) -> Result<Parameters, OpenError> {
    let url = redact::parse_url(text).ok_or_else(|| {
        wrong("it must be like postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded, or like postgres:///DATABASE?host=/FOLDER&user=USER")
    })?;
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(wrong("it is not UTF-8 once it is decoded")),
    };
    let mut parameters = Parameters::new();
    let mut set = |name, value: String| {
        if !value.is_empty() {
            parameters.insert(name, value);
        }
    };
    set("host", redact::host_of(&url).unwrap_or_default());
    set("port", url.port().map(|port| port.to_string()).unwrap_or_default());
    set("user", decoded(url.username())?);
    set("password", decoded(url.password().unwrap_or_default())?);
    set("dbname", decoded(url.path().trim_start_matches('/'))?);
    let mut unknown = 0;
    let mut session_options = Vec::new();
    for (name, value) in url.query_pairs() {
        match (known(&name), name.strip_prefix("options[").and_then(|name| name.strip_suffix(']'))) {
            (Some("options"), _) => session_options.push(value.into_owned()),
            (Some(known), _) => set(known, value.into_owned()),
            (None, Some(setting)) => {
                session_options.push(format!("-c {setting}={}", value.replace(' ', "\\ ")))
            }
            (None, None) => unknown += 1,
        }
    }
    set("options", session_options.join(" "));
    if unknown > 0 {
        warn!(unknown, "parameters of the database URL are ignored; those that have an effect are {KNOWN}");
    }
    Ok(parameters)
}

/// The name of a parameter as sqlx has it.
fn known(name: &str) -> Option<&'static str> {
    Some(match name {
        "host" | "hostaddr" => "host",
        "port" => "port",
        "dbname" => "dbname",
        "user" => "user",
        "password" => "password",
        "sslmode" | "ssl-mode" => "sslmode",
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" => "sslrootcert",
        "sslcert" | "ssl-cert" => "sslcert",
        "sslkey" | "ssl-key" => "sslkey",
        "statement-cache-capacity" => "statement-cache-capacity",
        "application_name" => "application_name",
        "options" => "options",
        _ => return None,
    })
}

fn check(parameters: &Parameters) -> Result<(), OpenError> {
    for (name, value) in parameters {
        let fault = match *name {
            "host" if !is_host(value) => "the host must be one name, one address or one folder of a socket",
            "port" if !value.parse().is_ok_and(|port: u16| port > 0) => {
                "the port must be a number from 1 to 65535"
            }
            "user" | "dbname" if value.contains([';', '=', ':', '?', '&', '#']) => {
                "the name of the user or of the database has a character that belongs to another part of a URL"
            }
            "sslmode" if !SSL_MODES.contains(&value.as_str()) => {
                "sslmode must be disable, allow, prefer, require, verify-ca or verify-full"
            }
            "sslrootcert" | "sslcert" | "sslkey" if !is_readable(value) => {
                "a file that sslrootcert, sslcert or sslkey names cannot be read"
            }
            "statement-cache-capacity" if value.parse::<u16>().is_err() => {
                "statement-cache-capacity must be a number up to 65535"
            }
            "options" if !are_settings(value) => "options must be like `-c name=value -c name=value`",
            _ => continue,
        };
        return Err(wrong(fault));
    }
    Ok(())
}

fn is_host(text: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    text.starts_with('/') || text.parse::<IpAddr>().is_ok() || text.chars().all(is_name)
}

/// A file, or the certificate itself.
fn is_readable(text: &str) -> bool {
    text.starts_with("-----BEGIN") || File::open(text).is_ok()
}

/// What the server would repeat in its message is refused here: a word that is no setting.
fn are_settings(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter))
    };
    let words = text.replace("\\ ", "_").replace("-c ", "-c").replace("-c", "--");
    words.split_whitespace().all(|word| {
        let setting = word.strip_prefix("--").and_then(|setting| setting.split_once('='));
        setting.is_some_and(|(name, _)| is_name(name))
    })
}

fn wrong(sentence: &str) -> OpenError {
    OpenError::Url(sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_users_and_sockets_are_found_in_every_form() {
        for (url, host, port, socket) in [
            ("postgres://u:p@db/x", "db", 5432, None),
            ("postgres://u:p@[::1]:5433/x", "::1", 5433, None),
            ("postgres://u:p@/x?host=/run/pg&port=5433", "", 5433, Some("/run/pg")),
            ("postgres://u:p@:5433/x?host=db", "db", 5433, None),
            ("postgres://u:p@%2Frun%2Fpg/x", "", 5432, Some("/run/pg")),
            ("postgresql:///x?user=u&password=p&hostaddr=127.0.0.1", "127.0.0.1", 5432, None),
            ("postgres:///?dbname=x&user=u&host=db", "db", 5432, None),
        ] {
            let options = connect_options(url).unwrap();
            assert_eq!(options.get_username(), "u", "{url}");
            assert_eq!(options.get_database(), Some("x"), "{url}");
            assert_eq!(options.get_port(), port, "{url}");
            assert_eq!(options.get_socket().map(|path| path.to_str().unwrap()), socket, "{url}");
            assert!(socket.is_some() || options.get_host() == host, "{url}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_without_a_word_of_it() {
        for url in [
            "postgres://u:s3cr3t",
            "postgres:u:s3cr3t@db",
            "postgres://db1,s3cr3t/x",
            "postgres://db/x;password=s3cr3t",
            "postgres://db/x?user=u;password=s3cr3t",
            "postgres://db/x?host=db;password=s3cr3t",
            "postgres://db/x?port=s3cr3t",
            "postgres://db/x?sslmode=s3cr3t",
            "postgres://db/x?sslrootcert=s3cr3t",
            "postgres://db/x?options=s3cr3t",
            "postgres://db/x?options=-c%20s3cr3t",
            "postgres://db/x?options[s3cr3t%20x]=s3cr3t",
        ] {
            let error = connect_options(url).unwrap_err().to_string();
            assert!(!error.contains("s3cr3t"), "{url}: {error}");
        }
        assert!(connect_options("postgres://u:p@db/x?pass=s3cr3t&options=-c%20search_path=a\\%20b").is_ok());
    }
}
