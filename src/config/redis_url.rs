//! The address of a Redis as operators write it: `redis://`, `rediss://`, `unix://`.
//!
//! Why parsed here and not by the driver: the driver's errors may repeat the URL, password included, and it quietly
//! accepts parameters we would ignore. Every fault below is a fixed text, so nothing of the URL can leak.
//! Limits: one server; user and password must be percent-encoded; of parameters only the `db`, `user`, `pass` of a
//! unix URL.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::telemetry::Secret;

/// Longest path a unix socket address can hold: `sun_path` has 108 bytes on Linux, one of them for the final NUL.
pub const SOCKET_PATH_BYTES: usize = 107;

/// The port a Redis URL means when it names none.
const DEFAULT_PORT: u16 = 6379;

/// Where a Redis is, without the credentials that came in the same URL.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct RedisUrl {
    /// How to reach it.
    pub address: Address,
    /// The logical database of callers' data, 0 when the URL names none.
    pub database: u32,
    /// User of the URL; the loader moves it to [`super::settings::Redis::username`].
    pub(super) username: Option<String>,
    /// Password of the URL; the loader moves it to [`super::settings::Redis::password`].
    pub(super) password: Option<Secret>,
}

/// How a Redis is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP connection, within TLS if `tls`.
    Tcp {
        /// Name or address; an IPv6 address without its brackets.
        host: String,
        /// Port.
        port: u16,
        /// True for `rediss://`.
        tls: bool,
    },
    /// A unix socket at an absolute path.
    Unix(PathBuf),
}

impl Address {
    /// True when no other machine can listen in: a unix socket, `localhost`, 127.0.0.0/8 or ::1.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
                address.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for RedisUrl {
    /// The URL without credentials: fit for a log, and for a driver that gets the credentials apart from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => write!(f, "unix://{}?db={}", encode(&path.to_string_lossy()), self.database),
            Address::Tcp { host, port, tls } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{scheme}://{open}{host}{close}:{port}/{}", self.database)
            }
        }
    }
}

impl TryFrom<String> for RedisUrl {
    type Error = &'static str;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        Self::parse(&url)
    }
}

impl RedisUrl {
    /// Reads a URL. The error is the rule it breaks, and never a piece of the URL.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("holds a space or control character");
        }
        if url.contains('#') {
            return Err(
                "has a fragment (`#…`): certificates are always verified, and a `#` in a password is written %23",
            );
        }
        match url.split_once("://") {
            Some(("redis", rest)) => parse_tcp(rest, false),
            Some(("rediss", rest)) => parse_tcp(rest, true),
            Some(("unix" | "redis+unix", rest)) => parse_unix(rest),
            _ => Err("is not a Redis URL"),
        }
    }
}

fn parse_tcp(rest: &str, tls: bool) -> Result<RedisUrl, &'static str> {
    if rest.contains('?') {
        return Err("has parameters (`?…`), which are not supported; a `?` in a password is written %3F");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if path.contains('@') {
        return Err("has a user or password that is not percent-encoded (`/` is written %2F, `@` %40)");
    }
    let (credentials, place) = match authority.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, authority),
    };
    let (username, password) = parse_credentials(credentials.unwrap_or_default())?;
    let (host, port) = parse_place(place)?;
    Ok(RedisUrl { address: Address::Tcp { host, port, tls }, database: parse_database(path)?, username, password })
}

fn parse_unix(rest: &str) -> Result<RedisUrl, &'static str> {
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let path = decode(path)?;
    if !path.starts_with('/') || path.len() == 1 {
        return Err("does not name an absolute socket path (three slashes: unix:///run/redis.sock)");
    }
    if path.len() > SOCKET_PATH_BYTES {
        return Err("names a socket path of more than 107 bytes, which no unix socket can have");
    }
    let mut url = RedisUrl { address: Address::Unix(path.into()), database: 0, username: None, password: None };
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("db", value)) => url.database = parse_database(value)?,
            Some(("user", value)) => url.username = non_empty(decode(value)?),
            Some(("pass", value)) => url.password = non_empty(decode(value)?).map(Secret::from),
            _ => return Err("has an unknown parameter; a unix URL knows db, user and pass"),
        }
    }
    Ok(url)
}

type Credentials = (Option<String>, Option<Secret>);

fn parse_credentials(text: &str) -> Result<Credentials, &'static str> {
    if text.contains('@') {
        return Err("has a user or password that is not percent-encoded (`@` is written %40)");
    }
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Ok((non_empty(decode(user)?), non_empty(decode(password)?).map(Secret::from)))
}

fn parse_place(place: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, rest.strip_prefix(':')),
        _ => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_host = !host.is_empty() && (host.bytes().all(name) || place.starts_with('['));
    if !is_host || host.contains(['[', ']']) {
        return Err("has no valid host name");
    }
    let port = port.map_or(Ok(DEFAULT_PORT), str::parse).ok().filter(|port| *port != 0);
    Ok((host.to_owned(), port.ok_or("has a port that is not between 1 and 65535")?))
}

fn parse_database(text: &str) -> Result<u32, &'static str> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or("has a database that is not a number (redis://host:6379/0)")
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A path as a URL holds it: everything but unreserved characters and slashes percent-encoded (RFC 3986, 2.3).
fn encode(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~');
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn decode(text: &str) -> Result<String, &'static str> {
    const FAULT: &str = "is not percent-encoded correctly (a `%` itself is written %25)";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = digit().zip(digit()).ok_or(FAULT)?;
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| FAULT)?);
    }
    String::from_utf8(bytes).map_err(|_| FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: bool) -> Address {
        Address::Tcp { host: host.to_owned(), port, tls }
    }

    #[test]
    fn a_tcp_url_gives_address_database_and_credentials() {
        let url = RedisUrl::parse("rediss://ann:p%40ss@db.example:6380/3").unwrap();
        assert_eq!(url.address, tcp("db.example", 6380, true));
        assert_eq!((url.database, url.username.as_deref()), (3, Some("ann")));
        assert_eq!(url.password.as_ref().unwrap().expose(), "p@ss");
        assert_eq!(url.to_string(), "rediss://db.example:6380/3");
        assert!(!format!("{url:?}").contains("p@ss"));
    }

    #[test]
    fn port_database_and_credentials_may_be_left_out() {
        let url = RedisUrl::parse("redis://localhost").unwrap();
        assert_eq!((url.address, url.database), (tcp("localhost", 6379, false), 0));
        assert!(url.username.is_none() && url.password.is_none());
        assert_eq!(RedisUrl::parse("redis://:x@[::1]:7000/").unwrap().address, tcp("::1", 7000, false));
    }

    #[test]
    fn a_unix_url_takes_its_database_and_credentials_as_parameters() {
        let url = RedisUrl::parse("unix:///run/my%20redis.sock?db=2&user=u&pass=p").unwrap();
        assert_eq!(url.address, Address::Unix("/run/my redis.sock".into()));
        assert_eq!((url.database, url.password.unwrap().expose()), (2, "p"));
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_address() {
        for text in ["redis://u:p@h:1/2", "rediss://[::1]", "unix:///run/a%3Fb%20%25c.sock?db=3&pass=p"] {
            let url = RedisUrl::parse(text).unwrap();
            let again = RedisUrl::parse(&url.to_string()).unwrap();
            assert_eq!((again.address, again.database), (url.address, url.database), "{text}");
            assert!(again.password.is_none());
        }
    }

    #[test]
    fn a_socket_path_may_have_107_bytes_and_not_108() {
        let path = |bytes: usize| format!("unix:///{}", "s".repeat(bytes - 1));
        assert!(RedisUrl::parse(&path(107)).is_ok());
        assert!(RedisUrl::parse(&path(108)).is_err());
    }

    #[test]
    fn a_malformed_url_is_refused_without_repeating_any_of_it() {
        for url in [
            "canary",
            "http://canary",
            "redis://",
            "redis://u:canary@",
            "redis://u:can/ary@host",
            "redis://u:c@nary@host",
            "redis://host:0",
            "redis://host:99999",
            "redis://host/x",
            "redis://host/-1",
            "redis://host?canary=1",
            "rediss://host#insecure",
            "redis://u:%zz@host",
            "redis://::1:6379",
            "redis://[canary]:1",
            "redis://ho st",
            "unix://run/canary.sock",
            "unix:///x?canary=1",
        ] {
            let fault = RedisUrl::parse(url).err().unwrap_or_else(|| panic!("accepted {url}"));
            assert!(!fault.contains("canary"), "{fault}");
        }
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        let local = |url: &str| RedisUrl::parse(url).unwrap().address.is_local();
        for url in [
            "redis://localhost",
            "redis://127.0.0.1",
            "redis://127.9.9.9",
            "redis://[::1]",
            "redis://[::ffff:127.0.0.1]",
            "unix:///x",
        ] {
            assert!(local(url), "{url}");
        }
        for url in [
            "redis://10.0.0.1",
            "redis://localhost.example",
            "redis://[::2]",
            "redis://0.0.0.0",
            "redis://127.0.0.1.example",
        ] {
            assert!(!local(url), "{url}");
        }
    }
}
