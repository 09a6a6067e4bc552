//! Where a page in a browser comes from.

use std::{fmt, net::IpAddr, str::FromStr};

/// Where a page comes from: scheme, host and port. Without a port it is the scheme's own one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
}

/// The scheme of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// The text is not `http://HOST[:PORT]` or `https://HOST[:PORT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an origin")]
pub struct NotAnOrigin;

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let (scheme, authority) = text.split_once("://").ok_or(NotAnOrigin)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(NotAnOrigin),
        };
        Self::new(scheme, authority).ok_or(NotAnOrigin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.scheme == Scheme::Http { "http" } else { "https" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Origin {
    /// From `HOST` or `HOST:PORT`.
    pub fn new(scheme: Scheme, authority: &str) -> Option<Self> {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, scheme.port()),
        };
        let is_literal = host.starts_with('[') && host.ends_with(']');
        let is_name = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        (is_literal || is_name).then(|| Self { scheme, host: host.to_ascii_lowercase(), port })
    }

    /// Whether its host is an address or a name that leads to this machine wherever it is asked for, and so cannot be
    /// a name of somebody else that leads here for a moment.
    pub fn cannot_be_rebound(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("https://App.Example", "https://app.example"),
            ("http://a:80", "http://a"),
            ("https://a:8443", "https://a:8443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), shown);
        }
        for text in
            ["null", "*", "app.example", "ftp://a", "https://", "https://a/path", "https://a b", "http://u@a"]
        {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
