//! Who may see what without a credential, and where the `type` of a problem leads.
//!
//! Private is every operation of the OpenAPI document that is not in [`PUBLIC`], so a new route is private or its author adds it
//! there. Limits: a route that is neither described nor measured would be seen by nobody; what is no route is tried on a few paths.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::SystemTime;

use reqwest::Method;

use crate::harness::described::Operation;
use crate::harness::{App, Client, Options, Redis};
use crate::headers::dressed_for_people;

const METHODS: [&str; 9] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "get", "BREW"];

/// What strangers may ask for. An operation that joins them is a decision, and made here.
const PUBLIC: [&str; 4] = ["/.well-known/security.txt", "/openapi.json", "/problems", "/problems/{code}"];

/// Private, and no operation: what strangers are not even told about.
const ELSEWHERE: [&str; 7] =
    ["/v1", "/v1/", "/v1/keys/", "/v1/nothing", "/v1/counters/a/b/increment", "/get/a", "/nothing"];

/// The path of every operation that is nobody's business but its callers', and [`ELSEWHERE`].
fn private() -> BTreeSet<String> {
    let described = Operation::all().iter().filter(|operation| !PUBLIC.contains(&operation.path.as_str()));
    let paths = described.map(|operation| operation.target(&operation.parameters(&Default::default())));
    paths.chain(ELSEWHERE.map(str::to_owned)).collect()
}

async fn start() -> (Redis, App) {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    (redis, app)
}

async fn ask(client: &Client, method: &str, path: &str) -> crate::harness::Answer {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    client.send(client.request(method, path)).await
}

async fn accepting(client: &Client, path: &str, accept: &str) -> crate::harness::Answer {
    client.send(client.request(Method::GET, path).header("Accept", accept)).await
}

#[tokio::test]
async fn strangers_get_401_on_every_route_and_method_in_its_shape() {
    let (_redis, app) = start().await;
    let strangers = [app.client().without_token(), app.client().token("wrong")];
    let private = private();
    assert!(private.len() > 20, "{private:?}");
    for (path, method, client) in private
        .iter()
        .flat_map(|path| METHODS.iter().map(move |method| (path, method)))
        .flat_map(|(path, method)| strangers.iter().map(move |client| (path, method, client)))
    {
        let document = path.starts_with("/v1");
        let answer = ask(client, method, path).await;
        if *method == "OPTIONS" && !document {
            // A browser asks before it has credentials; the dialect answers as the hosted service does.
            assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{path}");
            continue;
        }
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text());
        let media_type = if document { "application/problem+json" } else { "application/json" };
        assert_eq!(answer.header("content-type"), Some(media_type), "{method} {path}");
        assert!(answer.header("x-request-id").is_some(), "{method} {path}");
        if *method == "HEAD" {
            assert!(answer.body.is_empty());
        } else if document {
            assert_eq!(answer.json()["code"], "unauthenticated", "{method} {path}");
        } else {
            assert!(answer.text().starts_with(r#"{"error":"WRONGPASS"#), "{method} {path}: {}", answer.text());
        }
    }
}

/// What the service counts requests by is what its document describes; `unmatched` is all that no route of ours answers.
#[tokio::test]
async fn every_route_that_is_measured_is_described_and_every_private_one_is_measured() {
    let (_redis, app) = start().await;
    let metrics = app.client().metrics().await;
    let counted = metrics.lines().filter(|line| line.starts_with("collective_http_requests_total{"));
    let routes = counted.filter_map(|line| Some(line.split_once("route=\"")?.1.split_once('"')?.0.to_owned()));
    let measured: BTreeSet<String> = routes.filter(|route| route != "unmatched").collect();
    let paths = Operation::all().iter().map(|operation| operation.path.clone());
    let described: BTreeSet<String> = paths.filter(|path| !PUBLIC.contains(&path.as_str())).collect();
    assert_eq!(measured, described);
}

#[tokio::test]
async fn the_public_list_is_short_and_known() {
    let (_redis, app) = start().await;
    let public = Operation::all().iter().filter(|operation| operation.is_public());
    let mut told: Vec<String> = public.map(|operation| format!("{} {}", operation.method, operation.path)).collect();
    told.sort();
    let mut known: Vec<String> =
        ["GET", "HEAD"].iter().flat_map(|method| PUBLIC.map(|path| format!("{method} {path}"))).collect();
    known.sort();
    assert_eq!(told, known, "what needs no token in the document is what strangers may ask for");
    let stranger = app.client().without_token();
    for path in ["/problems", "/problems/", "/problems/not_found", "/openapi.json", "/docs/", "/docs/index.css"] {
        assert_eq!(ask(&stranger, "GET", path).await.status, 200, "{path}");
        assert_eq!(ask(&stranger, "HEAD", path).await.status, 200, "{path}");
        assert_eq!(ask(&stranger, "OPTIONS", path).await.status, 204, "{path}");
        let refused = ask(&stranger, "POST", path).await;
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD, OPTIONS")), "{path}");
    }
    for path in ["/problems/nothing", "/docs/nothing", "/openapi.json/x", "/.well-known", "/.well-known/security.txt"] {
        let answer = ask(&stranger, "GET", path).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("not_found")), "{path}");
    }
}

#[tokio::test]
async fn every_type_leads_to_a_page_in_three_forms() {
    let (_redis, app) = start().await;
    let client = app.client();
    let met = client.get_key("none").await.json();
    let stranger = client.without_token();
    assert_eq!(stranger.get(met["type"].as_str().expect("a type")).await.status, 200);

    let list = accepting(&stranger, "/problems", "application/json").await.json();
    let problems = list["problems"].as_array().expect("all problems");
    assert!(problems.len() >= 20);
    for problem in problems {
        let (kind, title) =
            (problem["example"]["type"].as_str().expect("a type"), problem["title"].as_str().expect("a title"));
        assert_eq!(kind, format!("/problems/{}", problem["code"].as_str().expect("a code")));
        assert_eq!(&accepting(&stranger, kind, "application/json").await.json(), problem);
        let markdown = stranger.get(kind).await;
        assert_eq!(markdown.header("content-type"), Some("text/markdown; charset=utf-8"));
        assert!(markdown.text().starts_with(&format!("# {title}\n")), "{}", markdown.text());
        let html = accepting(&stranger, kind, "text/html,application/xhtml+xml,*/*;q=0.8").await;
        assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(html.header("vary"), Some("accept"));
        assert!(html.text().contains("<h1"), "{}", html.text());
    }
}

#[tokio::test]
async fn a_page_for_people_loads_only_its_style() {
    let (_redis, app) = start().await;
    let stranger = app.client().without_token();
    for path in ["/problems", "/problems/circuit_open"] {
        let page = accepting(&stranger, path, "text/html").await;
        dressed_for_people(&page, path);
        let policy = page.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'; style-src 'self';") && !policy.contains("script"), "{policy}");
        let text = page.text();
        let style = text.split("rel=\"stylesheet\" href=\"").nth(1).and_then(|rest| rest.split('"').next());
        let style = stranger.get(style.expect("a style sheet")).await;
        assert_eq!((style.status, style.header("content-type")), (200, Some("text/css; charset=utf-8")));
        assert_eq!(style.header("cache-control"), Some("public, max-age=31536000, immutable"));
    }
}

/// A time as seconds since 1970, as the `date` of coreutils reads it: the service's own arithmetic is what is judged.
fn seconds_of(time: &str) -> i64 {
    let output = Command::new("date").args(["-u", "+%s", "-d", time]).output().expect("date of coreutils");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    text.parse().unwrap_or_else(|_| panic!("{time} is no time: {}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test]
async fn security_txt_is_there_once_somebody_is_named() {
    let redis = Redis::start(Options::default()).await;
    let builder = App::with_redis(&redis.url()).set("server.security_contact", "mailto:security@example.com");
    let app = builder.set("server.security_policy", "https://example.com/policy").start().await;
    let stranger = app.client().without_token();
    let answer = stranger.get("/.well-known/security.txt").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    let text = answer.text();
    let field = |name: &str| {
        let values: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect();
        assert_eq!(values.len(), 1, "RFC 9116 wants {name} once here: {text}");
        values[0]
    };
    assert_eq!(field("Contact"), "mailto:security@example.com");
    assert_eq!((field("Preferred-Languages"), field("Policy")), ("en", "https://example.com/policy"));
    let expires = field("Expires");
    let (day, time) = expires.split_once('T').expect("RFC 3339");
    assert!(day.len() == 10 && time.ends_with('Z') && time.len() >= 9, "RFC 3339: {expires}");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock that is set").as_secs();
    let days_left = (seconds_of(expires) - i64::try_from(now).expect("a time near ours")) / 86_400;
    assert!(
        (30..366).contains(&days_left),
        "RFC 9116 wants it later than now and recommends less than a year: {expires}"
    );
    assert_eq!(stranger.get("/.well-known/other").await.status, 404);
}
