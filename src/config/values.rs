//! Parses one value from text: a number, size, time or address within its limits.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use bytesize::ByteSize;
use ipnet::IpNet;

use super::{DatabaseUrl, WrongValue};
use crate::origin::Origin;

/// The default of `--body-bytes-max`, 16 MiB: the largest body that a client may expect a service to take.
pub const BODY_BYTES_MAX_DEFAULT: usize = 16 << 20;

/// Longest time that any setting may ask for.
const DURATION_MAX: Duration = Duration::from_secs(60 * 60);
const DURATION_TEXT_BYTES_MAX: usize = 16;

/// A whole number within `range`.
pub fn whole(flag: &'static str, text: &str, range: RangeInclusive<usize>) -> Result<usize, WrongValue> {
    let allowed = || format!("a whole number from {} to {}", range.start(), range.end());
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| WrongValue::new(flag, allowed(), text))
}

/// A number of bytes within `range`: plain, or with a unit such as KiB, MiB or GiB.
pub fn size(flag: &'static str, text: &str, range: RangeInclusive<usize>) -> Result<usize, WrongValue> {
    let allowed = || {
        let (least, most) = (shown_size(*range.start()), shown_size(*range.end()));
        format!("a size from {least} to {most}, in bytes or with KiB, MiB or GiB")
    };
    let bytes = parse_size(text).filter(|bytes| range.contains(bytes));
    bytes.ok_or_else(|| WrongValue::new(flag, allowed(), text))
}

/// A time above zero, at most an hour: plain seconds, or with a unit such as ms, s, m or h.
pub fn duration(flag: &'static str, text: &str) -> Result<Duration, WrongValue> {
    let time = parse_duration(text).filter(|time| !time.is_zero() && *time <= DURATION_MAX);
    time.ok_or_else(|| WrongValue::new(flag, "a time from 1ms to 1h, such as 500ms, 10s or 2m", text))
}

/// Addresses and networks, with commas between them.
pub fn networks(flag: &'static str, text: Option<&str>) -> Result<Vec<IpNet>, WrongValue> {
    list(flag, text, "addresses or networks, such as 10.0.0.1,fd00::/64", |part| {
        part.parse().ok().or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from))
    })
}

/// Origins of pages, with commas between them.
pub fn origins(flag: &'static str, text: Option<&str>) -> Result<Vec<Origin>, WrongValue> {
    let allowed = "origins without a path, such as https://app.example,http://localhost:3000";
    list(flag, text, allowed, |part| part.parse().ok())
}

/// Values with commas between them; none where there is no text.
fn list<T>(
    flag: &'static str,
    text: Option<&str>,
    allowed: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, WrongValue> {
    let text = text.unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let values: Option<Vec<T>> = text.split(',').map(|part| parse(part.trim())).collect();
    values.ok_or_else(|| WrongValue::new(flag, allowed, text))
}

/// `true` or `false`.
pub fn truth(flag: &'static str, text: &str) -> Result<bool, WrongValue> {
    text.parse().map_err(|_| WrongValue::new(flag, "true or false", text))
}

/// `host:port`, where the host is a name or an address. The name is not looked up here.
pub fn address(flag: &'static str, text: &str) -> Result<String, WrongValue> {
    let is_named = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains([':', '/', '@', ' ']) && port.parse::<u16>().is_ok()
    });
    if is_named || text.parse::<SocketAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err(WrongValue::new(flag, "host:port, such as 127.0.0.1:8080 or [::1]:8080", text))
    }
}

/// A database URL with the scheme of one of the stores.
pub fn database_url(flag: &'static str, text: &str) -> Result<DatabaseUrl, WrongValue> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    if ["sqlite", "postgres", "postgresql"].contains(&scheme) {
        return Ok(DatabaseUrl::from(text.to_owned()));
    }
    let allowed = "a URL that begins with sqlite:, postgres: or postgresql:";
    Err(WrongValue::new(flag, allowed, super::redacted(text)))
}

/// The size to the byte, as a flag takes it: `16MiB`.
pub fn shown_size(bytes: usize) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes} bytes")
}

fn parse_size(text: &str) -> Option<usize> {
    text.parse::<ByteSize>().ok()?.0.try_into().ok()
}

fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // humantime panics at the end of its range, which takes a longer text than any allowed time.
    let is_short = text.len() <= DURATION_TEXT_BYTES_MAX;
    is_short.then(|| humantime::parse_duration(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("64KiB", 64 << 10),
            ("16 MiB", 16 << 20),
            ("2GiB", 2 << 30),
            ("1.5MiB", 3 << 19),
            ("16MB", 16_000_000),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1 ", "1,5MiB", "16 eggs"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_read_with_and_without_a_unit() {
        for (text, ms) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("7", 7_000),
            ("1.5s", 1_500),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "10 ", "1s 1", "5124095576030431h15s1000ms"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_above_zero_and_at_most_an_hour() {
        assert!(duration("drain-timeout", "1ms").is_ok());
        assert!(duration("drain-timeout", "60m").is_ok());
        assert!(duration("drain-timeout", "0s").is_err());
        assert!(duration("drain-timeout", "3601").is_err());
        assert!(duration("drain-timeout", "99999999999999999999h").is_err());
    }

    #[test]
    fn a_wrong_value_names_the_flag_the_value_and_what_is_allowed() {
        let sentence = whole("shards", "0", 1..=256).unwrap_err().to_string();
        assert_eq!(sentence, r#"--shards must be a whole number from 1 to 256, not "0""#);
        let sentence = size("body-bytes-max", "1GiB", 1024..=256 << 20).unwrap_err().to_string();
        assert!(sentence.starts_with("--body-bytes-max must be a size from 1KiB to 256MiB"), "{sentence}");
        assert!(size("body-bytes-max", "99999999999999GiB", 1024..=256 << 20).is_err());
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for text in ["127.0.0.1:0", "localhost:8080", "[::1]:8080", "0.0.0.0:65535"] {
            assert!(address("listen", text).is_ok(), "{text}");
        }
        for text in ["8080", ":8080", "::1:8080", "localhost", "localhost:65536", "http://localhost:80", ""] {
            assert!(address("listen", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_database_url_has_a_known_scheme_and_never_shows_its_password() {
        for text in ["sqlite://sekali.db", "sqlite::memory:", "postgres://db/x", "postgresql://db/x"] {
            assert!(database_url("database-url", text).is_ok(), "{text}");
        }
        let sentence = database_url("database-url", "mysql://u:secret@db/x").unwrap_err().to_string();
        assert!(sentence.ends_with(r#"not "(URL not shown)""#), "{sentence}");
        assert!(database_url("database-url", "sekali.db").is_err());
        assert!(database_url("database-url", "").is_err());
    }
}
