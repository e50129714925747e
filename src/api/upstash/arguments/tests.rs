//! The rules of the parent module as tables, then as properties against `serde_json`.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { argument_bytes: 10 * 1024 * 1024, arguments: 100_000, commands: 10_000 };

const BRACKETS: usize = 100_000;

type Command = Vec<Vec<u8>>;

impl Sink for Command {
    fn argument(&mut self, bytes: &[u8]) {
        self.push(bytes.to_vec());
    }
}

#[derive(Default)]
struct Batch {
    open: Option<Command>,
    done: Vec<Result<Command, ArgumentError>>,
}

impl Sink for Batch {
    fn argument(&mut self, bytes: &[u8]) {
        self.open.as_mut().expect("begin comes first").push(bytes.to_vec());
    }
}

impl BatchSink for Batch {
    fn begin(&mut self) {
        assert!(self.open.replace(Vec::new()).is_none(), "begin before end");
    }
    fn end(&mut self) {
        self.done.push(Ok(self.open.take().expect("begin comes first")));
    }
    fn refuse(&mut self, error: ArgumentError) {
        self.open.take().expect("begin comes first");
        self.done.push(Err(error));
    }
}

fn single(body: impl AsRef<[u8]>) -> Result<Command, ArgumentError> {
    let mut command = Command::new();
    parse_command(body.as_ref(), &LIMITS, &mut command).map(|()| command)
}

fn batch(body: impl AsRef<[u8]>) -> Result<Vec<Result<Command, ArgumentError>>, ArgumentError> {
    let mut batch = Batch::default();
    parse_batch(body.as_ref(), &LIMITS, &mut batch).map(|()| batch.done)
}

fn args(texts: &[&str]) -> Command {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn message(result: Result<impl Sized, ArgumentError>) -> String {
    result.err().expect("an error").message
}

/// `"…"` of arbitrary bytes, escaping only what JSON demands.
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for &byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'"');
    text
}

#[test]
fn scalars_become_the_bytes_redis_expects() {
    let table: &[(&str, &[&str])] = &[
        (r#"["GET","k"]"#, &["GET", "k"]),
        (" \t\r\n[ \"GET\" ,\n\"k\" ] \r\n", &["GET", "k"]),
        (r#"["set","k",""]"#, &["set", "k", ""]),
        (
            r#"["x",1e+21,1.0,-0,0,10,-1.5E-7,12345678901234567890]"#,
            &["x", "1e+21", "1.0", "-0", "0", "10", "-1.5E-7", "12345678901234567890"],
        ),
        (r#"["set","k",true,false]"#, &["set", "k", "true", "false"]),
        (r#"[1,true]"#, &["1", "true"]),
        (r#"["x","\"\\\/\b\f\n\r\t"]"#, &["x", "\"\\/\u{8}\u{c}\n\r\t"]),
        (r#"["x","a\u0041\u00e9\u20AC\u0000z"]"#, &["x", "aA\u{e9}\u{20ac}\0z"]),
        (r#"["x","\ud83d\ude00!"]"#, &["x", "\u{1f600}!"]),
        ("[\"x\",\"\u{e9}\u{1f600}\"]", &["x", "\u{e9}\u{1f600}"]),
        (r#"["\u0047ET","k"]"#, &["GET", "k"]),
        // JSON.stringify of a value an SDK stores: one opaque string.
        (r#"["set","k","{\"a\":[1,null]}"]"#, &["set", "k", r#"{"a":[1,null]}"#]),
    ];
    for (body, expected) in table {
        assert_eq!(single(body), Ok(args(expected)), "{body}");
    }
}

#[test]
fn lone_surrogates_become_the_replacement_character() {
    let table = [
        (r#"["\ud83d"]"#, "\u{fffd}"),
        (r#"["\ude00"]"#, "\u{fffd}"),
        (r#"["a\ud83dz"]"#, "a\u{fffd}z"),
        (r#"["\ud83d\ud83d\ude00"]"#, "\u{fffd}\u{1f600}"),
        (r#"["\ud83d\u0041"]"#, "\u{fffd}A"),
        (r#"["\ud83d\n"]"#, "\u{fffd}\n"),
        (r#"["\ude00\ud83d"]"#, "\u{fffd}\u{fffd}"),
    ];
    for (body, expected) in table {
        assert_eq!(single(body), Ok(args(&[expected])), "{body}");
    }
}

#[test]
fn bytes_that_are_not_text_are_kept() {
    let raw: &[u8] = b"\xff\xc3\x01\n\x7f\xed\xa0\x80";
    let body = [b"[".as_slice(), &quoted(raw), b",", &quoted(&[raw, b"\""].concat()), b"]"].concat();
    let expected = vec![raw.to_vec(), [raw, b"\""].concat()];
    assert_eq!(single(body), Ok(expected));
}

#[test]
fn what_is_no_argument_refuses_the_command_with_the_known_text() {
    let array = r#"ERR unsupported arg type: "[": json.Delim"#;
    let object = r#"ERR unsupported arg type: "{": json.Delim"#;
    let table = [
        (r#"["SET","k",null]"#, "ERR null args are not supported"),
        (r#"[null]"#, "ERR null args are not supported"),
        (r#"[["GET","a"],["GET","b"]]"#, array),
        (r#"["SET","k",[1,[2,{"a":"]"}]]]"#, array),
        (r#"["SET","k",{"a":[1,{}],"b":null},"x"]"#, object),
        (r#"["SET",{},null,[]]"#, object),
        ("[]", "ERR empty command"),
        (" [ ] ", "ERR empty command"),
        (r#"["","k"]"#, "ERR Command is not available: ''"),
    ];
    for (body, expected) in table {
        let error = single(body).unwrap_err();
        assert_eq!((error.status, error.message.as_str()), (StatusHint::BadRequest, expected), "{body}");
        // The same command in a batch is refused alone.
        let both = batch(format!(r#"[{body},["GET","k"]]"#)).unwrap();
        assert_eq!(both, [Err(error), Ok(args(&["GET", "k"]))], "{body}");
    }
}

#[test]
fn malformed_json_names_what_and_where_for_both_kinds_of_body() {
    let table = [
        (r#"["GET""#, 6, "the text ends before the array is closed"),
        (r#"["GET","#, 7, "the text ends before the array is closed"),
        (r#"["GET","k"#, 7, "the string that starts here is not closed"),
        (r#"["GET","k\"#, 9, "unknown escape in a string"),
        (r#"["GET","k\""#, 7, "the string that starts here is not closed"),
        (r#"["GET" "k"]"#, 7, "expected ',' or ']' after an element"),
        (r#"["GET",]"#, 7, "expected a value"),
        (r#"[,"GET"]"#, 1, "expected a value"),
        (r#"["GET"]x"#, 7, "expected nothing after the array"),
        (r#"["GET"]["GET"]"#, 7, "expected nothing after the array"),
        (r#"["GET"}"#, 6, "expected ',' or ']' after an element"),
        (r#"["\x"]"#, 2, "unknown escape in a string"),
        (r#"["\u12g4"]"#, 2, "expected four hex digits after \\u"),
        (r#"["\u12"#, 2, "expected four hex digits after \\u"),
        (r#"["\ud83d\uzzzz"]"#, 8, "expected four hex digits after \\u"),
        (r#"["\u+123"]"#, 2, "expected four hex digits after \\u"),
        ("[tru]", 1, "expected a value"),
        ("[nul", 1, "expected a value"),
        ("[NaN]", 1, "expected a value"),
        ("['GET']", 1, "expected a value"),
        ("[01]", 2, "expected ',' or ']' after an element"),
        ("[1.]", 3, "expected a digit"),
        ("[.5]", 1, "expected a value"),
        ("[-]", 2, "expected a digit"),
        ("[1e+]", 4, "expected a digit"),
        ("[+1]", 1, "expected a value"),
        ("[truefalse]", 5, "expected ',' or ']' after an element"),
        (r#"["a",[1,]]"#, 8, "expected a value"),
        (r#"["a",[1 2]]"#, 8, "expected ',' or the closing bracket"),
        (r#"["a",[1}]"#, 7, "expected ',' or the closing bracket"),
        (r#"["a",{1:2}]"#, 6, "expected a member name in quotes"),
        (r#"["a",{"b" 2}]"#, 10, "expected ':' after a member name"),
        (r#"["a",{"b":2,}]"#, 12, "expected a member name in quotes"),
        (r#"["a",{"b":}]"#, 10, "expected a value"),
        (r#"["a",{"b":1"#, 11, "the text ends before the array is closed"),
        // A refusal before or after it does not hide it.
        (r#"[null,"#, 6, "the text ends before the array is closed"),
    ];
    for (body, at, what) in table {
        let error = single(body).unwrap_err();
        let expected = format!("ERR malformed JSON at byte {at}: {what}");
        assert_eq!((error.status, error.message), (StatusHint::BadRequest, expected), "{body}");
        // One bracket further in, the batch as a whole fails.
        if !body.contains("]x") && !body.contains("][") {
            let expected = format!("ERR malformed JSON at byte {}: {what}", at + 1);
            assert_eq!(message(batch(format!("[{body}"))), expected, "{body}");
        }
    }
}

#[test]
fn a_body_that_is_no_array_says_what_was_expected() {
    for body in ["", " ", "\r\n"] {
        let text = r#"ERR the request body is empty: expected a JSON array such as ["SET","key","value"]"#;
        assert_eq!(message(single(body)), text);
        assert!(message(batch(body)).ends_with(r#"such as [["SET","key","value"],["GET","key"]]"#));
    }
    for body in ["{}", "\"GET\"", "null", "GET k", "1", "\u{feff}[]", "]"] {
        assert!(message(single(body)).starts_with("ERR expected JSON array"), "{body}");
        assert!(message(batch(body)).starts_with("ERR expected JSON array"), "{body}");
    }
}

#[test]
fn fact_1_and_12_a_pipeline_keeps_order_and_refuses_items_alone() {
    let done = batch(r#"[["get","a"],["set","k",null],[],["set","k",[1]], ["PING"]]"#).unwrap();
    assert_eq!(done.len(), 5);
    assert_eq!(done[0], Ok(args(&["get", "a"])));
    assert_eq!(done[1].as_ref().unwrap_err().message, "ERR null args are not supported");
    assert_eq!(done[2].as_ref().unwrap_err().message, "ERR empty command");
    assert!(done[3].as_ref().unwrap_err().message.contains("json.Delim"));
    assert_eq!(done[4], Ok(args(&["PING"])));
}

#[test]
fn a_batch_of_something_else_fails_as_a_whole() {
    assert_eq!(message(batch("[]")), "ERR empty pipeline request");
    let text = message(batch(r#"[["GET","a"],"GET"]"#));
    assert!(text.starts_with("ERR expected JSON array for command 1 of the batch (byte 13)"), "{text}");
    assert!(message(batch(r#"["GET","a"]"#)).contains("command 0"));
    assert!(message(batch(r#"[["GET"],]"#)).starts_with("ERR expected JSON array"));
    assert!(message(batch(r#"[["GET"],"#)).contains("ends before"));
    assert!(message(batch(r#"[["GET"]] ["#)).contains("byte 10: expected nothing"));
}

#[test]
fn an_argument_may_have_exactly_the_limit() {
    let limits = Limits { argument_bytes: 4, arguments: 9, commands: 9 };
    let parse = |body: &str| {
        let mut command = Command::new();
        parse_command(body.as_bytes(), &limits, &mut command).map(|()| command)
    };
    // The decoded length counts, not the length on the wire.
    assert_eq!(parse(r#"["SET","1234","\u0031\u0032\u0033\u0034",1234]"#).unwrap().len(), 4);
    for body in [r#"["SET","12345"]"#, r#"["SET","\u00312345"]"#, r#"["SET",12345]"#] {
        let error = parse(body).unwrap_err();
        assert_eq!(error.status, StatusHint::TooLarge);
        assert_eq!(error.message, "ERR max request size exceeded. Limit: 4 bytes, Actual: 5 bytes.");
    }
    let mut sink = Batch::default();
    parse_batch(br#"[["SET","12345"],["GET","1234"]]"#, &limits, &mut sink).unwrap();
    assert_eq!(sink.done[0].as_ref().unwrap_err().status, StatusHint::TooLarge);
    assert_eq!(sink.done[1], Ok(args(&["GET", "1234"])));
}

#[test]
fn a_command_may_have_exactly_the_limit_of_arguments() {
    let limits = Limits { argument_bytes: 9, arguments: 3, commands: 99 };
    assert!(parse_command(br#"["DEL","a","b"]"#, &limits, &mut Command::new()).is_ok());
    let error = parse_command(br#"["DEL","a","b","c"]"#, &limits, &mut Command::new()).unwrap_err();
    assert_eq!(error.status, StatusHint::TooLarge);
    assert_eq!(
        error.message,
        "ERR max arguments of one command exceeded. Limit: 3 arguments. Send several smaller commands"
    );
    let mut sink = Batch::default();
    parse_batch(br#"[["DEL","a","b","c"],["DEL","a","b"]]"#, &limits, &mut sink).unwrap();
    assert!(sink.done[0].is_err());
    assert_eq!(sink.done[1], Ok(args(&["DEL", "a", "b"])));
}

#[test]
fn a_batch_may_have_ten_times_the_arguments_of_a_command_and_no_more() {
    let limits = Limits { argument_bytes: 9, arguments: 3, commands: 99 };
    let body = |count| format!("[{}]", vec![r#"["DEL","a","b"]"#; count].join(","));
    assert!(parse_batch(body(10).as_bytes(), &limits, &mut Batch::default()).is_ok());
    let error = parse_batch(body(11).as_bytes(), &limits, &mut Batch::default()).unwrap_err();
    assert_eq!(error.status, StatusHint::TooLarge);
    assert!(error.message.contains("Limit: 30 arguments"), "{error}");
}

#[test]
fn a_batch_may_have_exactly_the_limit() {
    let limits = Limits { argument_bytes: 9, arguments: 9, commands: 3 };
    let body = |count| format!("[{}]", vec![r#"["PING"]"#; count].join(","));
    assert!(parse_batch(body(3).as_bytes(), &limits, &mut Batch::default()).is_ok());
    let error = parse_batch(body(4).as_bytes(), &limits, &mut Batch::default()).unwrap_err();
    assert_eq!(error.status, StatusHint::TooLarge);
    assert!(error.message.contains("Limit: 3 commands"), "{error}");
}

#[test]
fn a_hundred_thousand_brackets_are_skipped_without_recursion() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let inner = if open == "[" { "" } else { "1" };
        let nested = format!("{}{inner}{}", open.repeat(BRACKETS), close.repeat(BRACKETS));
        let done = batch(format!(r#"[["SET","k",{nested}],["GET","k"]]"#)).unwrap();
        assert!(done[0].as_ref().unwrap_err().message.contains("json.Delim"));
        assert_eq!(done[1], Ok(args(&["GET", "k"])));
        // Never closed, and closed once too often.
        assert!(message(single(format!("[{}", open.repeat(BRACKETS)))).contains("malformed"));
        assert!(message(single(format!("[{nested}{close}]"))).contains("malformed"));
    }
}

#[test]
fn a_megabyte_of_garbage_is_refused() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let garbage: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(1 << 20)
    .collect();
    for prefix in ["", "[", "[\"", "[[\"SET\",", "[\"x\",{\"a\":"] {
        let body = [prefix.as_bytes(), &garbage].concat();
        assert!(single(&body).is_err());
        assert!(batch(&body).is_err());
    }
    for byte in [b'"', b'\\', b'[', b'{', b',', b'0', b' ', 0, 0xff] {
        let body = [b"[".as_slice(), &vec![byte; 1 << 20]].concat();
        assert!(single(&body).is_err());
        assert!(batch(&body).is_err());
    }
}

/// Text of a JSON number that `serde_json` accepts, too (it refuses exponents beyond f64).
const NUMBER: &str = r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?";

fn scalar() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        any::<String>().prop_map(|text| (serde_json::to_string(&text).unwrap(), text)),
        NUMBER.prop_map(|number| (number.clone(), number)),
        any::<bool>().prop_map(|flag| (flag.to_string(), flag.to_string())),
    ]
}

/// Documents that are JSON or nearly so: an array of anything, then one byte changed.
fn near_json() -> impl Strategy<Value = String> {
    let leaf =
        prop_oneof![scalar().prop_map(|(json, _)| json), Just("null".to_owned()), r#"[\[\]{},:"a0 \\.e+-]{0,6}"#,];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(inner, 0..3).prop_map(|items| format!(
                "{{{}}}",
                items.iter().map(|i| format!("\"k\": {i}")).collect::<Vec<_>>().join(" ,")
            )),
        ]
    });
    (prop::collection::vec(value, 0..5), any::<prop::sample::Index>(), "[\\[\\]{},:\"0a \\\\]?").prop_map(
        |(items, at, noise)| {
            let mut text = format!("[{}]", items.join(","));
            let at = at.index(text.len());
            if text.is_char_boundary(at) {
                text.insert_str(at, &noise);
            }
            text
        },
    )
}

/// Where we are lenient on purpose and `serde_json` is not.
fn serde_is_stricter(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    text.contains("surrogate")
        || text.contains("control character")
        || text.contains("out of range")
        || text.contains("unexpected end of hex escape")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_survive_quoting(name in prop::collection::vec(any::<u8>(), 1..40), rest in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)) {
        let mut expected = vec![name];
        expected.extend(rest);
        let body = [b"[".as_slice(), &expected.iter().map(|a| quoted(a)).collect::<Vec<_>>().join(&b','), b"]"].concat();
        prop_assert_eq!(single(&body), Ok(expected.clone()));
        prop_assert_eq!(batch([b"[".as_slice(), &body, b"]"].concat()), Ok(vec![Ok(expected)]));
    }

    #[test]
    fn any_text_survives_unicode_escapes(text in any::<String>()) {
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        prop_assert_eq!(single(format!("[\"ECHO\",\"{escaped}\"]")), Ok(args(&["ECHO", &text])));
    }

    #[test]
    fn scalars_arrive_as_serde_json_reads_them(scalars in prop::collection::vec(scalar(), 0..8)) {
        let json: Vec<&str> = scalars.iter().map(|(json, _)| json.as_str()).collect();
        let body = format!("[\"X\",{}\"Y\"]", json.iter().map(|j| format!("{j},")).collect::<String>());
        prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
        let mut expected = vec!["X"];
        expected.extend(scalars.iter().map(|(_, text)| text.as_str()));
        expected.push("Y");
        prop_assert_eq!(single(&body), Ok(args(&expected)));
    }

    #[test]
    fn we_call_malformed_what_serde_json_calls_malformed(body in near_json()) {
        let malformed = matches!(single(&body), Err(e) if e.message.contains("malformed") || e.message.contains("expected JSON array"));
        match serde_json::from_str::<serde_json::Value>(&body) {
            Ok(value) => prop_assert_eq!(malformed, !value.is_array(), "{}", body),
            Err(error) if serde_is_stricter(&error) => {}
            Err(error) => prop_assert!(malformed, "{}: {}", body, error),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), jsonish in r#"[\[\]{},:"\\untrfalse0-9.eE+ -]{0,80}"#) {
        for body in [bytes.as_slice(), jsonish.as_bytes()] {
            let _ = single(body);
            let _ = batch(body);
            let _ = single([b"[".as_slice(), body].concat());
            let _ = batch([b"[[\"".as_slice(), body].concat());
        }
    }
}
