//! A URL as it may be shown: scheme, host, port and database; never user, password or parameters.
//!
//! Why not a URL parser: what is shown here may be malformed (that is when people print it), and a parser that
//! fails leaves only the raw text. So the rule is textual and errs towards hiding: everything up to the *last* `@`
//! goes, because an unescaped password may itself hold `/`, `?`, `#` or `@`. Where that is ambiguous, all is hidden.
//! Limits: it says nothing about whether the URL is valid.

/// What stands in for text that cannot be shown safely.
const HIDDEN: &str = "[hidden]";

/// `redis://user:password@host:6379/0?x=y` → `redis://host:6379/0`; text that is no URL → `[hidden]`.
pub fn display_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return HIDDEN.to_owned();
    };
    if scheme.is_empty() || !scheme.bytes().all(is_scheme_byte) {
        return HIDDEN.to_owned();
    }
    let shown = match scheme {
        "unix" | "redis+unix" => Some(without_parameters(rest)), // a path, no user: an `@` belongs to the file name
        _ => without_user(rest),
    };
    let shown = shown.filter(|text| !text.chars().any(char::is_control));
    format!("{scheme}://{}", shown.unwrap_or(HIDDEN))
}

fn without_user(rest: &str) -> Option<&str> {
    let after = rest.rfind('@').map_or(0, |at| at + 1);
    // `?…@` is either a password with a question mark or a parameter with an at sign: one of the two is secret.
    let ambiguous = rest[..after].contains(['?', '#']);
    (!ambiguous).then(|| without_parameters(&rest[after..]))
}

fn without_parameters(rest: &str) -> &str {
    rest.split(['?', '#']).next().unwrap_or_default()
}

fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_gone_and_the_address_stays() {
        assert_eq!(display_url("redis://user:canary@db.example:6380/3"), "redis://db.example:6380/3");
        assert_eq!(display_url("rediss://:canary@[::1]:6379"), "rediss://[::1]:6379");
        assert_eq!(display_url("redis://127.0.0.1:6379/0"), "redis://127.0.0.1:6379/0");
        assert_eq!(display_url("unix:///run/a@b.sock?db=1&pass=canary"), "unix:///run/a@b.sock");
    }

    #[test]
    fn an_unescaped_password_does_not_leak() {
        for url in [
            "redis://u:ca/nary@host/0",
            "redis://u:ca@nary@host/0",
            "redis://u:ca?nary@host",
            "redis://u:ca#nary@host",
            "redis://host/0?password=can@nary",
            "unix:///x.sock?pass=a@nary",
            "canary",
            "no url: //nary",
            "redis:nary@host",
        ] {
            assert!(!display_url(url).contains("nary"), "{url} → {}", display_url(url));
        }
    }
}
