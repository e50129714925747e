//! Who may see what without a credential, and where the `type` of a problem leads.
//!
//! Limits: routes are listed here by hand; a new one must be added, or its strangers are not tried.

use reqwest::Method;

use crate::harness::{App, Client, Options, Redis};

const METHODS: [&str; 9] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "get", "BREW"];

/// Every route that is nobody's business but its callers'.
const PRIVATE: [&str; 14] = [
    "/v1",
    "/v1/",
    "/v1/keys",
    "/v1/keys/",
    "/v1/keys/a",
    "/v1/counters/a",
    "/v1/counters/a/increment",
    "/v1/nothing",
    "/",
    "/pipeline",
    "/multi-exec",
    "/subscribe/a",
    "/get/a",
    "/nothing",
];

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
    for (path, method, client) in PRIVATE
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

#[tokio::test]
async fn the_public_list_is_short_and_known() {
    let (_redis, app) = start().await;
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
async fn a_page_for_people_carries_the_full_set_of_headers_and_loads_only_its_style() {
    let (_redis, app) = start().await;
    let stranger = app.client().without_token();
    for path in ["/problems", "/problems/circuit_open"] {
        let page = accepting(&stranger, path, "text/html").await;
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self';") && !policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("x-permitted-cross-domain-policies", "none"),
        ] {
            assert_eq!(page.header(name), Some(value), "{path} {name}");
        }
        assert!(page.header("permissions-policy").is_some() && page.header("server").is_none());
        let text = page.text();
        let style = text.split("rel=\"stylesheet\" href=\"").nth(1).and_then(|rest| rest.split('"').next());
        let style = stranger.get(style.expect("a style sheet")).await;
        assert_eq!((style.status, style.header("content-type")), (200, Some("text/css; charset=utf-8")));
        assert_eq!(style.header("cache-control"), Some("public, max-age=31536000, immutable"));
    }
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
    assert!(text.starts_with("Contact: mailto:security@example.com\nExpires: 2"), "{text}");
    assert!(text.contains("T00:00:00.000Z\nPreferred-Languages: en\nPolicy: https://example.com/policy\n"), "{text}");
    assert_eq!(stranger.get("/.well-known/other").await.status, 404);
}
