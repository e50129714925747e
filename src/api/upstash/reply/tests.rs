//! The tables of the wire contract, then the properties an SDK relies on.

use proptest::prelude::*;

use super::*;

fn written(reply: &Reply, encoding: Encoding) -> String {
    let mut out = b"before".to_vec();
    write_result(&mut out, reply, encoding);
    String::from_utf8(out.split_off(6)).expect("JSON is UTF-8")
}

fn text(reply: Reply) -> String {
    written(&reply, Encoding::Text)
}

fn base64(reply: Reply) -> String {
    written(&reply, Encoding::Base64)
}

/// What the driver makes of RESP bytes: the values these functions really meet.
fn resp(bytes: &[u8]) -> Reply {
    crate::redis::reply_of_bytes(bytes).expect("RESP")
}

fn bulk(bytes: &[u8]) -> Reply {
    Reply::BulkString(bytes.to_vec())
}

#[test]
fn every_kind_of_reply_has_one_form_in_each_encoding() {
    let table: &[(&str, &str, &str)] = &[
        ("+OK", r#""OK""#, r#""OK""#),
        ("+PONG", r#""PONG""#, r#""UE9ORw==""#),
        ("+none", r#""none""#, r#""bm9uZQ==""#),
        ("+QUEUED", r#""QUEUED""#, r#""UVVFVUVE""#),
        ("$2\r\nOK", r#""OK""#, r#""T0s=""#),
        ("$3\r\nbar", r#""bar""#, r#""YmFy""#),
        ("$0\r\n", r#""""#, r#""""#),
        ("$-1", "null", "null"),
        ("*-1", "null", "null"),
        ("_", "null", "null"),
        (":0", "0", "0"),
        (":9007199254740993", "9007199254740993", "9007199254740993"),
        (":-9223372036854775808", "-9223372036854775808", "-9223372036854775808"),
        ("*0", "[]", "[]"),
        ("*2\r\n+OK\r\n$2\r\nOK", r#"["OK","OK"]"#, r#"["T0s=","T0s="]"#),
        ("*1\r\n*1\r\n+OK", r#"[["OK"]]"#, r#"[["T0s="]]"#),
        ("*3\r\n:1\r\n$-1\r\n*1\r\n:2", "[1,null,[2]]", "[1,null,[2]]"),
        ("*2\r\n:1\r\n-ERR no", r#"[1,"ERR no"]"#, r#"[1,"RVJSIG5v"]"#),
        ("%2\r\n+a\r\n:1\r\n+b\r\n*0", r#"["a",1,"b",[]]"#, r#"["YQ==",1,"Yg==",[]]"#),
        ("%0", "[]", "[]"),
        ("~2\r\n+a\r\n+b", r#"["a","b"]"#, r#"["YQ==","Yg=="]"#),
        (">2\r\n+message\r\n+b", r#"["message","b"]"#, r#"["bWVzc2FnZQ==","Yg=="]"#),
        (",1.5", r#""1.5""#, r#""MS41""#),
        (",inf", r#""inf""#, r#""aW5m""#),
        ("#t", "1", "1"),
        ("#f", "0", "0"),
        ("*2\r\n#t\r\n#f", "[1,0]", "[1,0]"),
        (
            "(123456789012345678901234567890",
            r#""123456789012345678901234567890""#,
            r#""MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw""#,
        ),
        ("=7\r\ntxt:abc", r#""abc""#, r#""YWJj""#),
        ("|1\r\n+a\r\n:1\r\n+OK", r#""OK""#, r#""OK""#),
        ("|1\r\n+a\r\n:1\r\n|1\r\n+a\r\n:1\r\n:7", "7", "7"),
        ("*1\r\n|1\r\n+a\r\n:1\r\n+OK", r#"["OK"]"#, r#"["T0s="]"#),
    ];
    for (wire, as_text, as_base64) in table {
        let reply = resp(format!("{wire}\r\n").as_bytes());
        assert_eq!(text(reply.clone()), format!(r#"{{"result":{as_text}}}"#), "{wire}");
        assert_eq!(base64(reply), format!(r#"{{"result":{as_base64}}}"#), "{wire}");
    }
    assert_eq!(base64(Reply::SimpleString("OK".into())), r#"{"result":"OK"}"#);
}

#[test]
fn fact_6_error_replies_are_verbatim_and_never_encoded() {
    let table = [
        "ERR wrong number of arguments for 'get' command",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "NOSCRIPT No matching script. Please use EVAL.",
        "EXECABORT Transaction discarded because of previous errors.",
        "LOADING Redis is loading the dataset in memory",
        "MOVED 3999 127.0.0.1:6381",
        "ASK 3999 127.0.0.1:6381",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN Hash slot not served",
        "CROSSSLOT Keys in request don't hash to the same slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "READONLY You can't write against a read only replica.",
        "NOTBUSY No scripts in execution right now.",
        "NOPERM this user has no permissions to run the 'geoadd' command or its subcommand",
        "NOSUB x",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Redis is configured to save RDB snapshots",
        "BUSYGROUP Consumer Group name already exists",
        "my own  error  with  spaces ",
        "ERR",
        "ERR ",
        "ERR  two",
        "X",
        "",
    ];
    for line in table {
        let reply = resp(format!("-{line}\r\n").as_bytes());
        let expected = format!(r#"{{"error":"{line}"}}"#);
        assert_eq!(text(reply.clone()), expected);
        assert_eq!(base64(reply), expected);
    }
}

#[test]
fn control_characters_are_stripped_from_error_texts() {
    assert_eq!(error_text("ERR", Some("a\u{1b}[31mb\u{7f}\nc\u{9b}")), "ERR a[31mbc");
    assert_eq!(error_text("E\0RR", None), "ERR");
    let mut out = Vec::new();
    write_error(&mut out, r#"ERR "quoted" \ text"#);
    assert_eq!(out, br#"{"error":"ERR \"quoted\" \\ text"}"#);
}

#[test]
fn text_escapes_what_json_demands_and_replaces_what_is_not_utf8() {
    let table: &[(&[u8], &str)] = &[
        (b"a\"b\\c/", r#"a\"b\\c/"#),
        (b"\0\x01\x08\x0c\n\r\t\x1f\x7f", "\\u0000\\u0001\\u0008\\u000c\\n\\r\\t\\u001f\x7f"),
        ("\u{e9}\u{1f600}\u{2028}".as_bytes(), "\u{e9}\u{1f600}\u{2028}"),
        (b"a\xffb", "a\u{fffd}b"),
        (b"\xf0\x9f\x98", "\u{fffd}"),
        (b"\xed\xa0\x80\"", "\u{fffd}\u{fffd}\u{fffd}\\\""),
    ];
    for (bytes, expected) in table {
        assert_eq!(text(bulk(bytes)), format!(r#"{{"result":"{expected}"}}"#), "{bytes:?}");
    }
}

#[test]
fn doubles_read_as_redis_writes_them() {
    let table = [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.3, "3.3"),
        (-1.5, "-1.5"),
        (1e16, "10000000000000000"),
        (1e17, "1e+17"),
        (1.25e21, "1.25e+21"),
        (-1e300, "-1e+300"),
        (1e-4, "0.0001"),
        (1.5e-7, "1.5e-7"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
    ];
    for (number, expected) in table {
        assert_eq!(double_text(number), expected);
    }
}

#[test]
fn a_batch_has_one_object_per_command() {
    let replies = [Reply::Okay, resp(b"-WRONGTYPE no\r\n"), Reply::Nil, resp(b"*1\r\n+OK\r\n")];
    let mut list = List::of(5, Encoding::Base64);
    replies.iter().for_each(|reply| list.reply(reply));
    list.error("ERR null args are not supported");
    let expected = r#"[{"result":"OK"},{"error":"WRONGTYPE no"},{"result":null},{"result":["T0s="]},{"error":"ERR null args are not supported"}]"#;
    assert_eq!(String::from_utf8(list.finish()).unwrap(), expected);
    assert_eq!(List::of(0, Encoding::Text).finish(), b"[]");
}

fn nested(levels: usize) -> Reply {
    (0..levels).fold(Reply::Int(1), |inner, _| Reply::Array(vec![inner]))
}

#[test]
fn nesting_is_written_up_to_the_limit_and_refused_beyond() {
    let deepest = text(nested(MAX_DEPTH));
    assert_eq!(deepest, format!(r#"{{"result":{}1{}}}"#, "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH)));
    for beyond in [nested(MAX_DEPTH + 1), nested(5_000)] {
        let refused = text(beyond);
        assert!(refused.starts_with(r#"{"error":"ERR the command was executed"#), "{refused}");
    }
}

/// A push message with these data; its kind is the parser's.
fn push(items: Vec<Reply>) -> Reply {
    let Reply::Push { kind, .. } = resp(b">1\r\n+message\r\n") else { unreachable!("a push was parsed") };
    Reply::Push { kind, data: items }
}

fn reply() -> impl Strategy<Value = Reply> {
    let leaf = prop_oneof![
        Just(Reply::Nil),
        Just(Reply::Okay),
        any::<i64>().prop_map(Reply::Int),
        any::<f64>().prop_map(Reply::Double),
        any::<bool>().prop_map(Reply::Boolean),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Reply::BulkString),
        any::<String>().prop_map(Reply::SimpleString),
        Just(resp(b"=7\r\ntxt:a\"b\r\n")),
        Just(resp(b"-ERR no\r\n")),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            items.clone().prop_map(Reply::Array),
            items.clone().prop_map(Reply::Set),
            items.prop_map(push),
            prop::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Reply::Map),
            inner.prop_map(|data| Reply::Attribute { data: Box::new(data), attributes: vec![] }),
        ]
    })
}

/// Facts 4 and 5: only null, integers, strings and arrays; every string but a top-level OK is base64.
fn is_sdk_safe(value: &serde_json::Value, top: bool) -> bool {
    use serde_json::Value::{Array, Null, Number, String};
    match value {
        Null => true,
        Number(number) => number.is_i64(),
        String(text) => (top && text == "OK") || STANDARD.decode(text).is_ok(),
        Array(items) => items.iter().all(|item| is_sdk_safe(item, false)),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn answers_are_json_the_sdks_can_read(reply in reply()) {
        for encoding in [Encoding::Text, Encoding::Base64] {
            let json: serde_json::Value = serde_json::from_str(&written(&reply, encoding)).unwrap();
            let object = json.as_object().unwrap();
            prop_assert_eq!(object.len(), 1);
            match (object.get("result"), object.get("error")) {
                (Some(result), None) => prop_assert!(encoding == Encoding::Text || is_sdk_safe(result, true), "{}", json),
                (None, Some(error)) => prop_assert!(error.is_string()),
                _ => prop_assert!(false, "{}", json),
            }
        }
    }

    #[test]
    fn a_reply_is_as_long_as_it_is_measured(reply in reply()) {
        for encoding in [Encoding::Text, Encoding::Base64] {
            prop_assert_eq!(written_bytes(&reply, encoding), written(&reply, encoding).len());
        }
    }

    #[test]
    fn bytes_survive_base64_and_text_is_the_lossy_text(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let json: serde_json::Value = serde_json::from_str(&base64(bulk(&bytes))).unwrap();
        prop_assert_eq!(STANDARD.decode(json["result"].as_str().unwrap()).unwrap(), bytes.clone());
        let json: serde_json::Value = serde_json::from_str(&text(bulk(&bytes))).unwrap();
        prop_assert_eq!(json["result"].as_str().unwrap(), String::from_utf8_lossy(&bytes));
    }
}
