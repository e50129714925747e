//! Origins of pages, as `cors.allowed_origins` lists them.
//!
//! Why so strict: a browser sends its page's origin in one spelling (lower case, no default port, no slash at the end), and what
//! is compared is that spelling. An entry in any other would silently allow nobody, so each is told how to be written. Limits:
//! no patterns; sub-domains are written out one by one.

use std::net::Ipv6Addr;

use ::config::ValueKind;

use super::mistake::{Complaint, quoted};

/// Every origin there is; stands alone.
pub const ANY: &str = "*";

/// Most origins: each is compared with the caller's.
const MOST: usize = 100;

/// Longest origin: a host name has 253 bytes at most.
const LONGEST: usize = 300;

/// The ports browsers leave away.
const DEFAULT_PORTS: [(&str, &str); 2] = [("https", "443"), ("http", "80")];

/// What is allowed, as the reference page prints it.
pub(super) fn bounds() -> String {
    format!("up to {MOST}, `scheme://host` or `scheme://host:port`, or `*` alone; as one text: separated by commas")
}

/// Reads the list.
pub(super) fn read<'t>(texts: impl Iterator<Item = &'t str>) -> Result<ValueKind, Complaint> {
    let origins: Vec<String> = texts.map(str::to_owned).collect();
    if origins.len() > MOST {
        return Err(Complaint::new(
            format!("has more than {MOST} entries"),
            "list fewer origins, or serve the pages from one",
        ));
    }
    if origins.iter().any(|origin| origin == ANY) {
        return match origins.len() {
            1 => Ok(ValueKind::from(origins)),
            _ => Err(Complaint::new("has `*` beside other entries", "write `*` alone, or leave it away")),
        };
    }
    for origin in &origins {
        check(origin).map_err(|(fault, way_out)| Complaint::new(format!("{} {fault}", quoted(origin)), way_out))?;
    }
    if origins.is_empty() {
        return Err(Complaint::new("is an empty list", "name an origin, or remove the key"));
    }
    Ok(ValueKind::from(origins))
}

/// What is wrong with an origin, and the way out.
fn check(origin: &str) -> Result<(), (&'static str, &'static str)> {
    const FORM: &str = "write scheme://host or scheme://host:port, for example https://app.example.com";
    if origin == "null" {
        return Err((
            "is what every sandboxed page sends, whoever made it",
            "serve the page from an origin of its own",
        ));
    }
    let (scheme, authority) = origin.split_once("://").ok_or(("has no scheme", FORM))?;
    if !is_scheme(scheme) {
        return Err(("has no scheme a browser writes (a-z, 0-9, `+`, `-`, `.`)", FORM));
    }
    if authority.contains(['/', '?', '#']) {
        return Err((
            "has more than an origin: a slash, a path or a query",
            "end it with the host or the port, without a slash",
        ));
    }
    if authority.contains('@') {
        return Err(("has credentials, which no origin has", FORM));
    }
    if authority.contains('*') {
        return Err(("is a pattern, and origins are compared byte for byte", "write out each sub-domain"));
    }
    let (host, port) = split_port(authority).ok_or(("has a port that is none", FORM))?;
    if DEFAULT_PORTS.iter().any(|(known, default)| *known == scheme && port == Some(default)) {
        return Err(("has the port that browsers leave away", "leave the port away"));
    }
    if origin.len() > LONGEST || !is_host(host) {
        return Err((
            "has no host a browser writes",
            "write the host in lower case, and in its xn-- form if it has other letters",
        ));
    }
    Ok(())
}

fn is_scheme(scheme: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_lowercase()) && scheme.bytes().all(plain)
}

/// `host:port`, `host` or `[v6]:port`; `None` if what stands for the port is none.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let bracket = authority.rfind(']').unwrap_or(0);
    let Some(colon) = authority[bracket..].find(':').map(|at| bracket + at) else { return Some((authority, None)) };
    let port = &authority[colon + 1..];
    // Digits as a browser writes them: no sign, no leading zero.
    let number = port.parse::<u16>().ok().filter(|number| number.to_string() == port)?;
    (number > 0).then_some((&authority[..colon], Some(port)))
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address);
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    !host.is_empty() && host.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_as_browsers_write_them_are_taken() {
        for origin in [
            "https://app.example.com",
            "http://localhost:3000",
            "http://127.0.0.1:8000",
            "http://[::1]:8000",
            "https://xn--bcher-kva.example",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
        ] {
            assert!(read([origin].into_iter()).is_ok(), "{origin}");
        }
        assert!(read(["*"].into_iter()).is_ok());
    }

    #[test]
    fn what_no_browser_ever_sends_is_refused_and_told_how_to_be_written() {
        for (origin, word) in [
            ("https://app.example.com/", "slash"),
            ("https://app.example.com/path", "slash"),
            ("https://app.example.com?x", "query"),
            ("app.example.com", "scheme"),
            ("//app.example.com", "scheme"),
            ("HTTPS://app.example.com", "scheme"),
            ("https://App.example.com", "lower case"),
            ("https://bücher.example", "xn--"),
            ("https://app.example.com:443", "port"),
            ("http://app.example.com:80", "port"),
            ("https://app.example.com:", "port"),
            ("https://app.example.com:0", "port"),
            ("https://app.example.com:0443", "port"),
            ("https://user@app.example.com", "credentials"),
            ("https://*.example.com", "sub-domain"),
            ("https://", "host"),
            ("null", "sandboxed"),
            ("", "scheme"),
        ] {
            let told = read([origin].into_iter()).expect_err(origin);
            let told = format!("{} {}", told.rule, told.way_out);
            assert!(told.contains(word), "{origin}: {told}");
        }
        assert!(read(["*", "https://a.example"].into_iter()).is_err(), "`*` stands alone");
        assert!(read([].into_iter()).is_err());
        assert!(read((0..=MOST).map(|_| "https://a.example")).is_err());
    }
}
