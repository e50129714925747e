//! Where traces are sent, and with which headers: read once, refused early.
//!
//! Limits: plain HTTP. A collector beside the service or in its cluster is the usual receiver, and it speaks TLS to whatever lies
//! beyond; so no TLS library is linked for this.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// Where OTLP/HTTP receivers take spans, if the URL names no path.
const PATH: &str = "/v1/traces";

/// The URL of an OTLP/HTTP receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub(super) uri: Uri,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Receiver {
    /// Reads `http://host:port` with or without a path. The error says what is wrong with it, never what it holds.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => return Err("asks for TLS, which is not built here: send to a collector that has it"),
            _ => return Err("does not begin with http://"),
        };
        if rest.contains(['@', '?', '#']) {
            return Err("holds a user, a query or a fragment");
        }
        let uri: Uri = text.parse().map_err(|_| "is not a URL")?;
        let port = uri.port_u16().filter(|port| *port != 0).ok_or("names no port")?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("names no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let uri = match uri.path() {
            "" | "/" => format!("{}{PATH}", text.trim_end_matches('/')).parse().map_err(|_| "is not a URL")?,
            _ => uri,
        };
        Ok(Self { uri, host, port })
    }

    /// True if what is sent does not leave this machine.
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Headers that go with every batch, such as a token. Their values are never printed.
#[derive(Clone, Default)]
pub struct Headers(pub(super) HeaderMap);

impl Headers {
    /// Reads `name=value,name=value`. The error says what is wrong, never what it holds.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut headers = HeaderMap::new();
        for pair in text.split(',') {
            let (name, value) = pair.split_once('=').ok_or("has an entry without `=`")?;
            let name: HeaderName = name.trim().parse().map_err(|_| "has a name that is no header's")?;
            let mut value: HeaderValue =
                value.trim().parse().map_err(|_| "has a value that does not fit in a header")?;
            if matches!(name.as_str(), "host" | "content-length" | "content-type" | "transfer-encoding") {
                return Err("sets a header that belongs to the transport");
            }
            value.set_sensitive(true);
            if headers.insert(name, value).is_some() {
                return Err("names a header twice");
            }
        }
        Ok(Self(headers))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers(set)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_means_the_usual_one() {
        for (text, sent_to) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("http://[::1]:4318/otlp/traces", "http://[::1]:4318/otlp/traces"),
        ] {
            assert_eq!(Receiver::parse(text).map(|receiver| receiver.to_string()), Ok(sent_to.to_owned()));
        }
        let local = |text| Receiver::parse(text).is_ok_and(|receiver| receiver.is_local());
        assert!(local("http://[::1]:4318") && local("http://localhost:1") && !local("http://collector:4318"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        for (text, reason) in [
            ("https://collector:4318", "TLS"),
            ("collector:4318", "http://"),
            ("http://collector", "port"),
            ("http://collector:0", "port"),
            ("http://:4318", "host"),
            ("http://user:pass@collector:4318", "user"),
            ("http://collector:4318?x", "query"),
        ] {
            let refused = Receiver::parse(text).expect_err(text);
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn headers_are_pairs_and_never_shown() {
        let headers = Headers::parse("authorization=Bearer hunter2, x-scope = team=a").expect("two headers");
        assert_eq!(headers.0["authorization"], "Bearer hunter2");
        assert_eq!(headers.0["x-scope"], "team=a");
        assert!(!format!("{headers:?}{:?}", headers.0).contains("hunter2"));
        for bad in ["", "x", "a b=c", "x=\u{1}", "host=x", "x=1,x=2", "x=1,"] {
            assert!(Headers::parse(bad).is_err(), "{bad:?}");
        }
    }
}
