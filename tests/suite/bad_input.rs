//! Bad input must show: a clear 4xx or a right answer, in the shape of its surface, never a 5xx, and nobody else notices.
//!
//! Everything is sent as bytes over plain sockets, and while it is, a neighbour's requests with known results go on. Limits: a
//! head that the HTTP parser cannot read is answered below the application; of that answer only its status is judged here.

mod neighbour;
mod random;
mod wire;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use self::neighbour::Neighbour;
use self::wire::{Heard, assert_clear, hear, request, stranger, with_body};
use crate::harness::app::ROOT_TOKEN;
use crate::harness::described::Operation;
use crate::harness::{App, Options, Redis};
use crate::keys::{patient, problem};

async fn start() -> (Redis, App) {
    let redis = Redis::start(Options::default()).await;
    // What a busy machine does to an attempt would be noticed by the neighbour, and bad input is not to blame for it.
    let app = patient(&redis.url()).start().await;
    (redis, app)
}

/// Bodies that are no increment, with the status at `/`, `/pipeline` and the increment.
fn bodies() -> Vec<(Vec<u8>, [u16; 3])> {
    let nested = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let garbage = (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        (b"".to_vec(), [400, 400, 200]),
        (b"[]".to_vec(), [400, 400, 422]),
        (b"[[]]".to_vec(), [400, 200, 422]),
        (b"null".to_vec(), [400, 400, 422]),
        (b"true".to_vec(), [400, 400, 422]),
        (b"{}".to_vec(), [400, 400, 200]),
        (br#"{"by":1,"by":2}"#.to_vec(), [400, 400, 422]),
        (br#"{"command":["GET","a"]}"#.to_vec(), [400, 400, 422]),
        (b"12".to_vec(), [400, 400, 422]),
        (br#""GET a""#.to_vec(), [400, 400, 422]),
        (br#"["GET","a"]"#.to_vec(), [200, 400, 422]),
        (br#"["GET",null]"#.to_vec(), [400, 400, 422]),
        (br#"["GET",["a"]]"#.to_vec(), [400, 400, 422]),
        (br#"["GET",{"a":1}]"#.to_vec(), [400, 400, 422]),
        (br#"[["GET","a"],"GET"]"#.to_vec(), [400, 400, 422]),
        (br#"["GET","a",]"#.to_vec(), [400, 400, 422]),
        (br#"["GET","a"] x"#.to_vec(), [400, 400, 422]),
        (br#"["GET","a"#.to_vec(), [400, 400, 422]),
        (br#"["","a"]"#.to_vec(), [400, 400, 422]),
        (br#"["NOSUCHCOMMAND"]"#.to_vec(), [400, 400, 422]),
        (b"[\"GET\",\"\xff\xfe\"]".to_vec(), [200, 400, 422]),
        (br#"["GET","\ud800"]"#.to_vec(), [200, 400, 422]),
        (br#"["GET","\u0000"]"#.to_vec(), [200, 400, 422]),
        (br#"["GET","\q"]"#.to_vec(), [400, 400, 422]),
        (vec![b'['; 100_000], [400, 400, 413]),
        (vec![b'['; 4000], [400, 400, 422]),
        (nested, [400, 200, 413]),
        (garbage, [400, 400, 413]),
    ]
}

#[tokio::test]
async fn bodies_that_are_no_request_are_refused_and_a_neighbour_notices_nothing() {
    let (_redis, app) = start().await;
    let neighbour = Neighbour::moves_in(&app).await;
    for (body, statuses) in bodies() {
        for (path, status) in ["/", "/pipeline", "/v1/counters/c/increment"].into_iter().zip(statuses) {
            let bytes = with_body(&format!("POST {path}"), &body);
            let heard = hear(app.public(), &bytes).await;
            // The parser of typed bodies tells "not JSON" (400) from "not an increment" (422); either is clear.
            let status = if status == 422 && heard.status == 400 { 400 } else { status };
            assert_clear(&heard, &bytes, status);
        }
        let bytes = with_body("PUT /v1/keys/any", &body);
        let heard = hear(app.public(), &bytes).await;
        assert!(matches!(heard.status, 201 | 204), "{heard:?}");
        assert_eq!(app.client().get_key("any").await.body, body, "content is bytes, whatever they are");
    }
    neighbour.noticed_nothing().await;
}

#[tokio::test]
async fn a_body_over_the_limit_gets_a_readable_413_and_a_stranger_a_401() {
    let (_redis, app) = start().await;
    let neighbour = Neighbour::moves_in(&app).await;
    let body = vec![b'x'; 20_000_000];
    let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    for line in ["PUT /v1/keys/a", "POST /v1/counters/a/increment", "POST /", "POST /pipeline"] {
        let length = format!("Content-Length: {}\r\n", body.len());
        for (fields, content) in [(length.as_str(), &body), ("Transfer-Encoding: chunked\r\n", &chunk)] {
            let bytes = request(line, fields, content);
            assert_clear(&hear(app.public(), &bytes).await, &bytes, 413);
            let bytes = stranger(line, fields, content);
            assert_clear(&hear(app.public(), &bytes).await, &bytes, 401);
        }
    }
    neighbour.noticed_nothing().await;
}

#[tokio::test]
async fn a_usual_client_reads_the_413_too() {
    let (_redis, app) = start().await;
    for _ in 0..5 {
        assert_eq!(app.client().put_key("a", vec![b'x'; 20_000_000]).await.status, 413);
    }
}

#[tokio::test]
async fn a_stranger_is_refused_before_his_body_is_read() {
    let (_redis, app) = start().await;
    for line in ["PUT /v1/keys/a", "POST /v1/counters/a/increment", "POST /", "POST /pipeline"] {
        // The body never comes: an answer within the time of a body proves that nobody waited for it.
        let bytes = stranger(line, "Content-Length: 1000\r\n", b"");
        let heard = hear(app.public(), &bytes).await;
        assert_clear(&heard, &bytes, 401);
        assert_eq!(heard.field("connection"), "close");
    }
}

#[tokio::test]
async fn sizes_hold_at_the_limit_and_not_one_beyond() {
    let redis = Redis::start(Options::default()).await;
    let builder = patient(&redis.url()).set("limits.body", 4096).set("limits.argument", 2048);
    let app = builder.set("limits.batch_commands", 3).start().await;
    let set = |bytes: usize| format!(r#"["SET","k","{}"]"#, "x".repeat(bytes)).into_bytes();
    let batch = |commands: usize| format!("[{}]", vec![r#"["PING"]"#; commands].join(",")).into_bytes();
    let padded = |bytes: usize| [br#"["PING"]"#.to_vec(), vec![b' '; bytes - 8]].concat();
    let table: [(&str, Vec<u8>, u16); 8] = [
        ("POST /", set(2048), 200),
        ("POST /", set(2049), 413),
        ("POST /pipeline", batch(3), 200),
        ("POST /pipeline", batch(4), 413),
        ("POST /", padded(4096), 200),
        ("POST /", padded(4097), 413),
        ("PUT /v1/keys/a", vec![b'x'; 4096], 201),
        ("PUT /v1/keys/b", vec![b'x'; 4097], 413),
    ];
    for (line, body, status) in table {
        let bytes = with_body(line, &body);
        assert_clear(&hear(app.public(), &bytes).await, &bytes, status);
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up_with_408() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).set("server.body_timeout", "200ms").start().await;
    for line in ["PUT /v1/keys/a", "POST /v1/counters/a/increment", "POST /", "POST /pipeline"] {
        let bytes = request(line, "Content-Length: 100\r\n", b"abc");
        assert_clear(&hear(app.public(), &bytes).await, &bytes, 408);
    }
}

#[tokio::test]
async fn heads_hold_at_the_limit_and_not_one_beyond() {
    let (_redis, app) = start().await;
    // `Host`, `Connection` and `Authorization` are three of the fields.
    let fields = |count: usize| "X: y\r\n".repeat(count - 3);
    let long = |bytes: usize| format!("X: {}\r\n", "y".repeat(bytes));
    // A path of the dialect is a command, and Redis knows none of that name.
    for (line, other) in [("GET /v1/nothing", 404), ("GET /nothing", 400)] {
        for (fields, status) in [(fields(64), other), (fields(65), 431), (long(16_000), other), (long(16_400), 431)] {
            let bytes = request(line, &fields, b"");
            assert_clear(&hear(app.public(), &bytes).await, &bytes, status);
        }
        let padding = |bytes: usize| format!("{line}/{}", "a".repeat(bytes - (line.len() - 4) - 1));
        for (line, status) in [(padding(8192), other), (padding(8193), 414)] {
            let bytes = request(line, "", b"");
            assert_clear(&hear(app.public(), &bytes).await, &bytes, status);
        }
    }
}

#[tokio::test]
async fn strange_targets_are_answered_in_the_shape_of_their_surface() {
    let (_redis, app) = start().await;
    let client = app.client();
    assert_eq!(client.put_key("known", "v").await.status, 201);
    assert_eq!(client.put_key("a+b", "plus").await.status, 201);
    let neighbour = Neighbour::moves_in(&app).await;
    let table: [(&str, u16); 27] = [
        ("GET /v1/keys/known", 200),
        ("GET /v1/keys/%6bnown", 200),
        ("GET /%76%31/keys/known", 200),
        ("GET http://elsewhere/v1/keys/known", 200),
        ("GET /v1/keys/a+b", 200),
        ("GET /v1/keys/a%2Bb", 200),
        ("GET /v1/keys/a%20b", 404),
        ("GET /v1/keys/%00", 404),
        ("GET /v1/keys/%ff%fe", 404),
        ("GET /v1/keys/%0d%0aX:%20y", 404),
        ("GET /v1/keys/../known", 404),
        ("GET /v1/keys/./known", 404),
        ("GET /v1/../v1/keys/known", 404),
        ("GET /v1/keys//known", 404),
        ("GET /v1/keys/%", 400),
        ("GET /v1/keys/%4", 400),
        ("GET /v1/keys/%zz", 400),
        ("GET /v1/keys/%u0041", 400),
        ("PUT /v1/keys/a?ttl_seconds=0", 422),
        ("PUT /v1/keys/a?ttl_seconds=1&ttl_seconds=2", 400),
        ("PUT /v1/keys/a?ttl_seconds=%zz", 400),
        ("PUT /v1/keys/a?unknown=1", 400),
        ("PUT /v1/keys/collective:x", 403),
        ("GET /v1/nothing", 404),
        ("GET /docs/nothing", 404),
        ("GET /problems/nothing", 404),
        ("GET /.well-known/nothing", 404),
    ];
    for (line, status) in table {
        let bytes = request(line, "", b"");
        assert_clear(&hear(app.public(), &bytes).await, &bytes, status);
    }
    for line in ["GET /%zz", "GET /..", "GET //", "GET /a/%00", "GET *", "GET http://elsewhere", "GET /?_token=%zz"] {
        let bytes = request(line, "", b"");
        let heard = hear(app.public(), &bytes).await;
        assert!((200..500).contains(&heard.status), "{line}: {heard:?}");
        assert_eq!(heard.fault("/"), None, "{line}: {heard:?}");
    }
    for line in [&b"GET /v1/keys/\xff\xfe"[..], b"GET /\xc3\x28", b"GET /v1/keys/a b", b"GET"] {
        let heard = hear(app.public(), &request(line, "", b"")).await;
        assert_eq!(heard.status, 400, "{line:?}: {heard:?}");
    }
    neighbour.noticed_nothing().await;
}

#[tokio::test]
async fn methods_that_are_none_get_405_and_the_list_of_those_that_are() {
    let (_redis, app) = start().await;
    let neighbour = Neighbour::moves_in(&app).await;
    for method in ["get", "Post", "BREW", "PATCH", "TRACE", "GET2", "M-SEARCH", "*"] {
        for path in ["/v1/keys/a", "/v1/counters/a", "/problems", "/", "/pipeline"] {
            let bytes = request(format!("{method} {path}"), "", b"");
            assert_clear(&hear(app.public(), &bytes).await, &bytes, 405);
        }
    }
    for line in ["CONNECT elsewhere:443", "CONNECT /", "CONNECT /v1/keys/a", "TRACE *"] {
        let bytes = request(line, "", b"");
        assert_clear(&hear(app.public(), &bytes).await, &bytes, 405);
    }
    for (path, allow) in [
        ("/v1/keys/a", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/v1/counters/a", "GET, HEAD, DELETE, POST, OPTIONS"),
        ("/problems", "GET, HEAD, OPTIONS"),
    ] {
        let heard = hear(app.public(), &request(format!("OPTIONS {path}"), "", b"")).await;
        assert_eq!((heard.status, heard.field("allow"), heard.text().as_str()), (204, allow, ""), "{path}");
    }
    let in_body = "POST, PUT, HEAD, OPTIONS";
    for (path, allow) in [("/", in_body), ("/pipeline", in_body), ("/get/a", "GET, HEAD, POST, PUT, OPTIONS")] {
        // 200 as the hosted service has it, and to anyone.
        let heard = hear(app.public(), &stranger(format!("OPTIONS {path}"), "", b"")).await;
        assert_eq!((heard.status, heard.field("allow"), heard.text().as_str()), (200, allow, ""), "{path}");
    }
    neighbour.noticed_nothing().await;
}

#[tokio::test]
async fn headers_that_contradict_themselves_are_refused() {
    let (_redis, app) = start().await;
    assert_eq!(app.client().put_key("k", "v").await.status, 201);
    let neighbour = Neighbour::moves_in(&app).await;
    let token = format!("Authorization: Bearer {ROOT_TOKEN}\r\n");
    let timeout = |value: &str| format!("X-Request-Timeout-Ms: {value}\r\n");
    let mut table = vec![(token, 400), (timeout("5000"), 200), (timeout("99999999999999999999999"), 200)];
    table.push((timeout("5000").repeat(2), 400));
    table.push(("X-Request-Id: a\r\n".repeat(2), 200));
    table.push(("Accept: a\r\n".repeat(3), 200));
    table.push(("Cookie: \u{1}\r\n".to_owned(), 400));
    table.extend(["0", "-1", "+5", "1.5", "1e3", "0x10", "5ms", "", "\u{e9}"].map(|bad| (timeout(bad), 400)));
    for (fields, status) in &table {
        let bytes = request("GET /v1/keys/k", fields, b"");
        let heard = hear(app.public(), &bytes).await;
        assert_eq!(heard.status, *status, "{fields:?} {heard:?}");
        // A control character in a field is the parser's to refuse.
        if !fields.starts_with("Cookie") {
            assert_clear(&heard, &bytes, *status);
            let bytes = request("POST /", &format!("{fields}Content-Length: 8\r\n"), br#"["PING"]"#);
            assert_clear(&hear(app.public(), &bytes).await, &bytes, *status);
        }
    }
    for fields in ["Upstash-Encoding: gzip\r\n", "Upstash-Encoding: base64\r\nUpstash-Encoding: base64\r\n"] {
        let bytes = request("POST /", &format!("{fields}Content-Length: 8\r\n"), br#"["PING"]"#);
        assert_clear(&hear(app.public(), &bytes).await, &bytes, 400);
    }
    for framing in [
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +3\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length : 3\r\n",
    ] {
        let heard = hear(app.public(), &request("POST /", framing, b"abc")).await;
        assert_eq!(heard.status, 400, "{framing:?} {heard:?}");
    }
    neighbour.noticed_nothing().await;
}

#[tokio::test]
async fn a_body_where_none_belongs_is_refused_and_nothing_is_done() {
    let (_redis, app) = start().await;
    let client = app.client();
    assert_eq!(client.put_key("k", "v").await.status, 201);
    for line in ["GET /v1/keys/k", "DELETE /v1/keys/k", "GET /v1/counters/c", "DELETE /v1/counters/c"] {
        for (fields, body) in
            [("Content-Length: 2\r\n", &b"{}"[..]), ("Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n")]
        {
            let bytes = request(line, fields, body);
            let heard = hear(app.public(), &bytes).await;
            assert_clear(&heard, &bytes, 400);
            assert_eq!(heard.json()["code"], "unexpected_body");
        }
        let heard = hear(app.public(), &request(line, "Content-Length: 0\r\n", b"")).await;
        assert_ne!(heard.status, 400, "an empty body is none");
    }
    assert_eq!(client.get_key("k").await.status, 404, "only the deletion without a body was done");
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let (_redis, app) = start().await;
    let client = app.client();
    let content = vec![b'x'; 70_000];
    assert_eq!(client.put_key("big", content.clone()).await.status, 201);
    client.increment("n", 7).await;
    for path in
        ["/v1/keys/big", "/v1/counters/n", "/v1/keys/none", "/v1/nothing", "/problems", "/problems/not_found", "/none"]
    {
        let get = hear(app.public(), &request(format!("GET {path}"), "", b"")).await;
        let head = hear(app.public(), &request(format!("HEAD {path}"), "", b"")).await;
        assert!(head.body.is_empty(), "{path}: {}", head.text());
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "content-length", "etag", "vary"] {
            // A problem document holds the id of its request, whose length may differ.
            assert_eq!(head.field(name), get.field(name), "{path} {name}");
        }
        assert_eq!(get.field("content-length"), get.body.len().to_string(), "{path}");
    }
    let get = hear(app.public(), &request("GET /v1/keys/big", "", b"")).await;
    assert_eq!(get.body, content);
}

#[tokio::test]
async fn what_follows_a_head_on_the_same_connection_is_the_next_answer() {
    let (_redis, app) = start().await;
    assert_eq!(app.client().put_key("k", "value").await.status, 201);
    let mut stream = TcpStream::connect(app.public()).await.expect("a connection");
    let ask =
        |line: &str, close: &str| format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: {ROOT_TOKEN}\r\n{close}\r\n");
    let lines =
        ["HEAD /v1/keys/k", "HEAD /v1/keys/none", "HEAD /pipeline", "OPTIONS /v1/keys/k", "DELETE /v1/keys/none"];
    let mut bytes: String = lines.iter().map(|line| ask(line, "")).collect();
    bytes.push_str(&ask("GET /v1/keys/k", "Connection: close\r\n"));
    stream.write_all(bytes.as_bytes()).await.expect("six requests");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.expect("six answers");
    let mut rest = &all[..];
    for (line, status) in lines.iter().zip([200, 404, 200, 204, 204]) {
        let heard = Heard::parse(rest);
        assert_eq!(heard.status, status, "{line}");
        let end = rest.len() - heard.body.len();
        rest = &rest[end..];
        assert!(rest.starts_with(b"HTTP/1.1 "), "{line} brought a body: {}", heard.text());
    }
    let last = Heard::parse(rest);
    assert_eq!((last.status, last.text().as_str()), (200, "value"));
}

#[tokio::test]
async fn a_member_nobody_knows_is_refused_by_name_in_every_body() {
    let (redis, app) = start().await;
    let client = app.client();
    client.settled().await;
    let mut tried = 0;
    for operation in Operation::all().iter().filter(|operation| operation.path.starts_with("/v1/")) {
        let Some((_, body)) = operation.body(None).filter(|(media_type, _)| media_type == "application/json") else {
            continue;
        };
        let mut body: Value = serde_json::from_slice(&body).expect("an example that is JSON");
        body["surplus"] = json!(1);
        let answer = client.send(operation.example(&client).body(body.to_string())).await;
        let document = problem(&answer, 422, "invalid_value");
        assert!(document["errors"].to_string().contains("`surplus`"), "{}: {document}", operation.name());
        tried += 1;
    }
    assert!(tried >= 5, "only {tried} bodies are described");
    assert_eq!(redis.keys_of_callers().await, 0);
    for kind in ["collective:l*", "collective:presence*"] {
        let made = redis.command(&["KEYS", kind]).await;
        assert!(made.items().is_empty(), "{made}");
    }
}

#[tokio::test]
async fn a_parameter_that_is_not_understood_is_named() {
    let (_redis, app) = start().await;
    for query in ["ttl_seconds=", "ttl_seconds=1.5", "ttl_seconds=-1", "ttl_seconds=1&ttl_seconds=2", "ttl_seconds"] {
        let bytes = request(format!("PUT /v1/keys/a?{query}"), "", b"");
        let heard = hear(app.public(), &bytes).await;
        assert_clear(&heard, &bytes, 400);
        assert!(heard.text().contains("ttl_seconds"), "{query}: {}", heard.text());
    }
}
