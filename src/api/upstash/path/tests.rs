//! Path, query and body as tables, then as a round trip.

use proptest::prelude::*;

use super::*;
use crate::api::upstash::arguments::StatusHint;

const LIMITS: Limits = Limits { argument_bytes: 64, arguments: 64, commands: 1 };

struct Command(Vec<Vec<u8>>);

impl Sink for Command {
    fn argument(&mut self, bytes: &[u8]) {
        self.0.push(bytes.to_vec());
    }
}

/// As the service does it: split at the `?`, route, then read.
fn parse(target: &str, body: &[u8]) -> Result<Vec<Vec<u8>>, ArgumentError> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let Route::Command(command) = route(path) else { panic!("{path} is no command") };
    let mut sink = Command(Vec::new());
    parse_path(command, query, body, &LIMITS, &mut sink).map(|()| sink.0)
}

#[test]
fn targets_become_arguments() {
    let table: &[(&str, &str, &[&str])] = &[
        ("/set/foo/bar", "", &["set", "foo", "bar"]),
        ("/set/foo?EX=100", "V", &["set", "foo", "V", "EX", "100"]),
        ("/set/foo/bar?EX=100&NX", "", &["set", "foo", "bar", "EX", "100", "NX"]),
        ("/set/foo/bar?NX&EX=", "", &["set", "foo", "bar", "NX", "EX", ""]),
        ("/set/foo?", r#"{"a":1}"#, &["set", "foo", r#"{"a":1}"#]),
        ("/get/a%20b%2Fc%00", "", &["get", "a b/c\0"]),
        ("/get/%e2%82%AC", "", &["get", "\u{20ac}"]),
        ("/get/\u{e9}", "", &["get", "\u{e9}"]),
        ("/xrange/s/-/+", "", &["xrange", "s", "-", "+"]),
        ("/set/k?a+b=c+d%2B", "", &["set", "k", "a b", "c d+"]),
        ("/set/k?a=b=c", "", &["set", "k", "a", "b=c"]),
        ("/set/k?&&a&", "", &["set", "k", "a"]),
        ("/set/k?=v", "", &["set", "k", "", "v"]),
        ("///set/k//v///", "", &["set", "k", "", "v"]),
        ("/set/k/", "v", &["set", "k", "v"]),
        ("/get/k?_token=secret", "", &["get", "k"]),
        ("/set/k/v?_token=a&EX=1", "", &["set", "k", "v", "EX", "1"]),
        ("/set/k/v?EX=1&_token=a&NX&_token", "", &["set", "k", "v", "EX", "1", "NX"]),
        ("/set/k/v?%5Ftoken=a&_Token=b", "", &["set", "k", "v", "_Token", "b"]),
        ("/get/_token", "", &["get", "_token"]),
        ("/pipeline/x", "", &["pipeline", "x"]),
        ("/publish/chat/hello", "", &["publish", "chat", "hello"]),
    ];
    for (target, body, expected) in table {
        let expected: Vec<Vec<u8>> = expected.iter().map(|text| text.as_bytes().to_vec()).collect();
        assert_eq!(parse(target, body.as_bytes()), Ok(expected), "{target}");
    }
}

#[test]
fn fact_10_only_a_body_with_bytes_is_an_argument() {
    assert_eq!(parse("/incr/k", b"").unwrap().len(), 2);
    assert_eq!(parse("/set/k", b"\0\xff").unwrap()[2], b"\0\xff");
}

#[test]
fn malformed_percent_sequences_are_named() {
    let table = [
        ("/get/a%zzb", "'%zz' in the path"),
        ("/get/%", "'%' in the path"),
        ("/get/%4", "'%4' in the path"),
        ("/get/%4/x", "'%4' in the path"),
        ("/get/%+1", "'%+1' in the path"),
        ("/get/%\u{e9}\u{e9}\u{e9}", "'%\u{e9}\u{e9}' in the path"),
        ("/get/a?x=%2", "'%2' in the query"),
        ("/get/a?%g0=1", "'%g0' in the query"),
    ];
    for (target, expected) in table {
        let error = parse(target, b"").unwrap_err();
        assert_eq!(error.status, StatusHint::BadRequest);
        assert!(error.message.contains(expected), "{target}: {error}");
    }
}

#[test]
fn the_argument_limit_holds_for_segments_and_body() {
    assert!(parse("/set/k", &[b'x'; 64]).is_ok());
    let error = parse("/set/k", &[b'x'; 65]).unwrap_err();
    assert_eq!(error.status, StatusHint::TooLarge);
    assert_eq!(error.message, "ERR max request size exceeded. Limit: 64 bytes, Actual: 65 bytes.");
    assert!(parse(&format!("/get/{}", "x".repeat(65)), b"").is_err());
}

#[test]
fn reserved_first_segments_are_routes() {
    let table = [
        ("", Route::Root),
        ("/", Route::Root),
        ("//", Route::Root),
        ("/pipeline", Route::Pipeline),
        ("//pipeline/", Route::Pipeline),
        ("/multi-exec", Route::MultiExec),
        ("/MULTI-EXEC", Route::MultiExec),
        ("/monitor", Route::Monitor),
        ("/subscribe", Route::Subscribe("")),
        ("/subscribe/chat", Route::Subscribe("chat")),
        ("/Subscribe/a/b%20c", Route::Subscribe("a/b%20c")),
        ("/psubscribe/user:*", Route::PatternSubscribe("user:*")),
        ("/pipelines", Route::Command("pipelines")),
        ("/monitor/x", Route::Command("monitor/x")),
        ("/get/subscribe", Route::Command("get/subscribe")),
    ];
    for (path, expected) in table {
        assert_eq!(route(path), expected, "{path}");
    }
}

#[test]
fn fact_8_a_channel_is_the_rest_of_the_path_and_nothing_else() {
    assert_eq!(channel("a/b%20c").unwrap(), b"a/b c");
    assert_eq!(channel("user:1+2%2F3").unwrap(), b"user:1+2/3");
    assert_eq!(channel("").unwrap(), b"");
    assert!(channel("100%").is_err());
}

#[test]
fn the_token_is_found_wherever_it_stands() {
    let table: &[(&str, Option<&[u8]>)] = &[
        ("_token=abc", Some(b"abc")),
        ("EX=1&_token=a+b%2Bc%3D=&NX", Some(b"a+b+c==")),
        ("%5ftoken=x", Some(b"x")),
        ("_token=a&_token=b", Some(b"a")),
        ("_token=", Some(b"")),
        ("_token", None),
        ("token=a", None),
        ("_token=%zz", None),
        ("%zz=1&_token=a", Some(b"a")),
        ("", None),
    ];
    for (query, expected) in table {
        assert_eq!(token(query).as_deref(), *expected, "{query}");
    }
}

/// Every byte as `%XX`.
fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

proptest! {
    #[test]
    fn any_bytes_survive_percent_encoding(
        segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..5),
        parameter in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let path: String = segments.iter().map(|segment| format!("/{}", encoded(segment))).collect();
        let target = format!("{path}?X={}", encoded(&parameter));
        let mut expected = segments;
        expected.extend([b"X".to_vec(), parameter]);
        prop_assert_eq!(parse(&target, b""), Ok(expected));
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic(path in any::<String>(), query in any::<String>(), near in "[/%+&=_token0-9a-f]{0,40}") {
        for text in [&path, &near] {
            let _ = route(text);
            let _ = channel(text);
            let _ = parse_path(text, Some(&query), b"", &LIMITS, &mut Command(Vec::new()));
            let _ = parse_path(text, Some(&near), text.as_bytes(), &LIMITS, &mut Command(Vec::new()));
        }
        let _ = token(&query);
        let _ = token(&near);
    }
}
