//! Bodies and paths nobody would write: made at random from the parts that real ones are made of, and read by our parsers.
//!
//! A body is built together with what it must give, then read; then it is damaged, and whatever comes of that must be an
//! answer of the parser and never a panic. The seed is fixed, so a failure is the same failure tomorrow, and each message
//! names its round. `make fuzz` looks for longer and without a plan.
//!
//! Limits: in process, no server; 20 000 rounds for each test, times `COLLECTIVE_TEST_ROUNDS`.

use collective::api::upstash::arguments::{
    ArgumentError, BatchSink, Limits, Sink, StatusHint, parse_batch, parse_command,
};
use collective::api::upstash::path::{Route, parse_path, route, token};
use fastrand::Rng;

const LIMITS: Limits = Limits { argument_bytes: 48, arguments: 48, commands: 6 };
const ROUNDS: usize = 20_000;

fn rounds() -> usize {
    let times = std::env::var("COLLECTIVE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    ROUNDS * times
}

/// One command: its arguments, or the reason it was refused for.
type Given = Result<Vec<Vec<u8>>, ArgumentError>;

/// Remembers what a parser gives, and holds it to the order that was promised.
#[derive(Default)]
struct Listener {
    open: Option<Vec<Vec<u8>>>,
    given: Vec<Given>,
}

impl Sink for Listener {
    fn argument(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= LIMITS.argument_bytes, "an argument is longer than its limit");
        self.open.get_or_insert_default().push(bytes.to_vec());
    }
}

impl BatchSink for Listener {
    fn begin(&mut self) {
        assert!(self.open.is_none(), "a command began inside another");
        self.open = Some(Vec::new());
    }

    fn end(&mut self) {
        let arguments = self.open.take().expect("a command ends after it began");
        assert!(!arguments.is_empty(), "a command has a name");
        self.given.push(Ok(arguments));
    }

    fn refuse(&mut self, error: ArgumentError) {
        self.open.take().expect("a command is refused after it began");
        self.given.push(Err(error));
    }
}

/// What a command of the plan must give: its arguments, or a refusal of this kind.
type Planned = Result<Vec<Vec<u8>>, StatusHint>;

/// A JSON value in its text, and the argument it stands for.
fn value(rng: &mut Rng, body: &mut String) -> Result<Vec<u8>, StatusHint> {
    let kind = rng.u8(0..24);
    match kind {
        0 => literal(body, "null", StatusHint::BadRequest),
        1 => literal(body, r#"[1,["x",{}],"]"]"#, StatusHint::BadRequest),
        2 => literal(body, r#"{"a":[null,"}"],"\"":{}}"#, StatusHint::BadRequest),
        3..=8 => {
            let word = *rng.choice(&["0", "-0", "1", "-12.50", "1e+21", "9223372036854775808", "1E-7"]).expect("some");
            body.push_str(word);
            Ok(word.into())
        }
        9 | 10 => {
            let word = if rng.bool() { "true" } else { "false" };
            body.push_str(word);
            Ok(word.into())
        }
        _ => text(rng, body),
    }
}

fn literal(body: &mut String, text: &str, refusal: StatusHint) -> Result<Vec<u8>, StatusHint> {
    body.push_str(text);
    Err(refusal)
}

/// A string of plain, escaped and wide characters.
fn text(rng: &mut Rng, body: &mut String) -> Result<Vec<u8>, StatusHint> {
    const PARTS: &[(&str, &str)] = &[
        ("a", "a"),
        ("0123456789", "0123456789"),
        (" ", " "),
        ("/", "/"),
        (r"\/", "/"),
        (r#"\""#, "\""),
        (r"\\", "\\"),
        (r"\n", "\n"),
        (r"\u0000", "\0"),
        (r"\u00e9", "\u{e9}"),
        ("\u{e9}", "\u{e9}"),
        (r"\ud83d\ude00", "\u{1f600}"),
        ("\u{1f600}", "\u{1f600}"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ude00", "\u{fffd}"),
        ("]", "]"),
        (",", ","),
        ("{", "{"),
    ];
    let mut meant = String::new();
    body.push('"');
    let mut after_high = false;
    for _ in 0..rng.usize(0..9) {
        let (written, read) = *rng.choice(PARTS).expect("there are parts");
        // Two halves that happen to meet would be one character, which is another test.
        if after_high && written == r"\ude00" {
            continue;
        }
        after_high = written == r"\ud83d";
        body.push_str(written);
        meant.push_str(read);
    }
    body.push('"');
    if meant.len() > LIMITS.argument_bytes { Err(StatusHint::TooLarge) } else { Ok(meant.into_bytes()) }
}

fn space(rng: &mut Rng, body: &mut String) {
    if rng.u8(0..4) == 0 {
        body.push_str(rng.choice([" ", "\n", "\t\r ", "  "]).expect("some"));
    }
}

fn command(rng: &mut Rng, body: &mut String) -> Planned {
    let mut planned = Ok(Vec::new());
    body.push('[');
    let count = rng.usize(0..6);
    for index in 0..count {
        space(rng, body);
        let mut meant = value(rng, body);
        if index == 0 && meant.as_ref().is_ok_and(Vec::is_empty) {
            meant = Err(StatusHint::BadRequest);
        }
        match (&mut planned, meant) {
            (Ok(arguments), Ok(argument)) => arguments.push(argument),
            (Ok(_), Err(refusal)) => planned = Err(refusal),
            (Err(_), _) => {}
        }
        space(rng, body);
        if index + 1 < count {
            body.push(',');
        }
    }
    body.push(']');
    if count == 0 { Err(StatusHint::BadRequest) } else { planned }
}

fn batch(rng: &mut Rng) -> (String, Vec<Planned>) {
    let mut body = String::from("[");
    let mut planned = Vec::new();
    for index in 0..rng.usize(1..=LIMITS.commands) {
        if index > 0 {
            body.push(',');
        }
        space(rng, &mut body);
        planned.push(command(rng, &mut body));
        space(rng, &mut body);
    }
    body.push(']');
    (body, planned)
}

fn assert_as_planned(given: &Given, planned: &Planned, told: &str) {
    match (given, planned) {
        (Ok(given), Ok(planned)) => assert_eq!(given, planned, "{told}"),
        (Err(error), Err(refusal)) => assert_eq!(error.status, *refusal, "{told}: {error}"),
        _ => panic!("{told}: gave {given:?}, planned {planned:?}"),
    }
}

/// Cuts, flips, doubles or inserts bytes.
fn damage(rng: &mut Rng, body: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..5) {
        let at = rng.usize(0..=body.len());
        match rng.u8(0..5) {
            0 => body.truncate(at),
            1 if at < body.len() => body[at] = rng.u8(..),
            2 if at < body.len() => drop(body.remove(at)),
            3 => body.insert(at, *rng.choice(br#"[]{}",:\u0ntf-+.eE"#).expect("some")),
            _ => body.insert(at, rng.u8(..)),
        }
    }
}

#[test]
fn a_random_command_gives_exactly_its_arguments_or_its_refusal() {
    let mut rng = Rng::with_seed(1);
    for round in 0..rounds() {
        let mut body = String::new();
        let planned = command(&mut rng, &mut body);
        let mut listener = Listener::default();
        let given = parse_command(body.as_bytes(), &LIMITS, &mut listener);
        let given = given.map(|()| listener.open.unwrap_or_default());
        assert_as_planned(&given, &planned, &format!("round {round}: {body}"));
    }
}

#[test]
fn a_random_batch_gives_each_command_in_its_place() {
    let mut rng = Rng::with_seed(2);
    for round in 0..rounds() {
        let (body, planned) = batch(&mut rng);
        let mut listener = Listener::default();
        let read = parse_batch(body.as_bytes(), &LIMITS, &mut listener);
        assert_eq!(read, Ok(()), "round {round}: {body}");
        assert_eq!(listener.given.len(), planned.len(), "round {round}: {body}");
        for (given, planned) in listener.given.iter().zip(&planned) {
            assert_as_planned(given, planned, &format!("round {round}: {body}"));
        }
    }
}

#[test]
fn a_damaged_body_is_answered_and_never_a_panic() {
    let mut rng = Rng::with_seed(3);
    for _ in 0..rounds() {
        let mut body = batch(&mut rng).0.into_bytes();
        damage(&mut rng, &mut body);
        let told = |error: ArgumentError| assert!(error.message.starts_with("ERR "), "{error}");
        let _ = parse_command(&body, &LIMITS, &mut Listener::default()).map_err(told);
        let mut listener = Listener::default();
        let read = parse_batch(&body, &LIMITS, &mut listener).map_err(told);
        assert!(read.is_err() || listener.open.is_none(), "an accepted batch is complete");
    }
}

fn percent(rng: &mut Rng, bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    bytes
        .iter()
        .map(|&byte| match plain(byte) && rng.u8(0..8) > 0 {
            true => char::from(byte).to_string(),
            false if rng.bool() => format!("%{byte:02x}"),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

fn some_bytes(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(1..9)).map(|_| if rng.bool() { rng.alphanumeric() as u8 } else { rng.u8(..) }).collect()
}

#[test]
fn a_random_path_gives_its_segments_its_body_and_its_query() {
    let mut rng = Rng::with_seed(4);
    for round in 0..rounds() {
        let mut planned = vec![b"set".to_vec()];
        let mut path = String::from("/set");
        for _ in 0..rng.usize(1..5) {
            let bytes = some_bytes(&mut rng);
            path = format!("{path}/{}", percent(&mut rng, &bytes));
            planned.push(bytes);
        }
        let body = if rng.bool() { some_bytes(&mut rng) } else { Vec::new() };
        planned.extend((!body.is_empty()).then(|| body.clone()));
        let mut query = vec!["_token=secret".to_owned()];
        for _ in 0..rng.usize(0..3) {
            let (name, value) = (some_bytes(&mut rng), some_bytes(&mut rng));
            query.push(format!("{}={}", percent(&mut rng, &name), percent(&mut rng, &value)));
            planned.extend([name, value]);
        }
        let query = query.join("&");
        let Route::Command(command) = route(&path) else { panic!("round {round}: {path} is no command") };
        let mut listener = Listener::default();
        let read = parse_path(command, Some(&query), &body, &LIMITS, &mut listener);
        assert_eq!(read, Ok(()), "round {round}: {path}?{query}");
        assert_eq!(listener.open, Some(planned), "round {round}: {path}?{query}");
        assert_eq!(token(&query).as_deref(), Some(&b"secret"[..]), "round {round}: {query}");
    }
}

#[test]
fn a_damaged_path_is_answered_and_never_a_panic() {
    let mut rng = Rng::with_seed(5);
    for _ in 0..rounds() {
        let target: String = (0..rng.usize(0..40))
            .map(|_| {
                *rng.choice(&['/', '%', '2', 'f', '?', '&', '=', '+', '_', 'a', '\u{e9}', '\u{1f600}']).expect("some")
            })
            .collect();
        let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
        let _ = query.and_then(token);
        if let Route::Command(command) = route(path) {
            let read = parse_path(command, query, b"", &LIMITS, &mut Listener::default());
            let _ = read.map_err(|error| assert!(error.message.starts_with("ERR "), "{error}"));
        }
    }
}
