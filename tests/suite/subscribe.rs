//! Streams of messages: what is on the wire, what they cost Redis, and that they outlive it.
//!
//! Messages are published on connections of the test's own, so that a stream is never proved by the path that is broken.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::harness::app::ROOT_TOKEN;
use crate::harness::{App, Client, Next, Options, Proxy, Redis, Reply, eventually, eventually_within};
use crate::keys::patient;

/// For anything that should take milliseconds.
const SOON: Duration = Duration::from_secs(10);

/// A program whose heartbeats stay out of the way, however long a busy machine takes.
async fn app(redis: &Redis) -> App {
    patient(&redis.url()).set("streams.heartbeat", "1h").start().await
}

async fn publish(redis: &Redis, channel: &str, payload: &[u8]) {
    redis.command(&[b"PUBLISH", channel.as_bytes(), payload]).await;
}

/// Subscribers that Redis counts on a channel.
async fn numsub(redis: &Redis, channel: &str) -> i64 {
    match redis.command(&["PUBSUB", "NUMSUB", channel]).await {
        Reply::Array(parts) => match parts.get(1) {
            Some(Reply::Integer(count)) => *count,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

async fn open_streams(client: &Client) -> f64 {
    client.metric("collective_streams_open", &[]).await.expect("a sample")
}

async fn cuts(client: &Client, reason: &str) -> f64 {
    client.metric("collective_streams_cut_total", &[("reason", reason)]).await.expect("a sample")
}

#[tokio::test]
async fn a_stream_begins_with_the_confirmation_and_goes_on_with_messages_in_order() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let mut stream = app.client().subscribe("chat").await;
    stream.expect("data: subscribe,chat,1").await;
    for n in 0..200 {
        publish(&redis, "chat", format!("message {n}").as_bytes()).await;
    }
    for n in 0..200 {
        stream.expect(&format!("data: message,chat,message {n}")).await;
    }
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("cache-control"), Some("no-store"));
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
}

#[tokio::test]
async fn a_payload_arrives_byte_for_byte() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    // The header asks for base64 in replies; messages are none.
    let client = app.client().with_header("Upstash-Encoding", "base64");
    let mut stream = client.subscribe("c").await;
    stream.expect("data: subscribe,c,1").await;
    let large = vec![b'x'; 1 << 20];
    for payload in [&b"a,b,,c"[..], b"", b"\xff\xfe\x00\x80", br#"{"a":"\n"}"#, b"data: x", b"cr\rhere", &large] {
        publish(&redis, "c", payload).await;
        assert_eq!(stream.next().await, Next::Block([b"data: message,c,", payload].concat()));
    }
    publish(&redis, "c", b"two\nlines").await;
    stream.expect("data: message,c,two\ndata: lines").await;
}

#[tokio::test]
async fn patterns_name_the_channel_and_a_channel_may_hold_slashes_and_spaces() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let mut pattern = app.client().psubscribe("user/*").await;
    let mut exact = app.client().events(Method::GET, "/subscribe/user/1%20a").await;
    pattern.expect("data: psubscribe,user/*,1").await;
    exact.expect("data: subscribe,user/1 a,1").await;
    publish(&redis, "user/1 a", b"x,y").await;
    publish(&redis, "user/2", b"z").await;
    pattern.expect("data: pmessage,user/*,user/1 a,x,y").await;
    pattern.expect("data: pmessage,user/*,user/2,z").await;
    exact.expect("data: message,user/1 a,x,y").await;
}

#[tokio::test]
async fn two_channels_do_not_mix() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let (mut a, mut b) = (app.client().subscribe("a").await, app.client().subscribe("b").await);
    a.expect("data: subscribe,a,1").await;
    b.expect("data: subscribe,b,1").await;
    publish(&redis, "b", b"for b").await;
    publish(&redis, "a", b"for a").await;
    a.expect("data: message,a,for a").await;
    b.expect("data: message,b,for b").await;
    assert_eq!(app.client().metric("collective_subscriptions", &[]).await, Some(2.0));
}

#[tokio::test]
async fn a_thousand_streams_of_one_channel_cost_one_subscription() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let client = app.client();
    let opened = (0..1000).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut stream = client.subscribe("all").await;
            stream.expect("data: subscribe,all,1").await;
            stream
        })
    });
    let mut streams = Vec::new();
    for stream in opened.collect::<Vec<_>>() {
        streams.push(stream.await.expect("a stream"));
    }
    assert_eq!(numsub(&redis, "all").await, 1);
    assert_eq!(client.metric("collective_subscriptions", &[]).await, Some(1.0));
    assert_eq!(open_streams(&client).await, 1000.0);
    publish(&redis, "all", b"hello").await;
    for stream in &mut streams {
        stream.expect("data: message,all,hello").await;
    }
}

#[tokio::test]
async fn a_stream_lives_through_a_killed_redis_and_is_told_of_the_hole() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let mut channel = app.client().subscribe("news").await;
    let mut pattern = app.client().psubscribe("n*").await;
    channel.expect("data: subscribe,news,1").await;
    pattern.expect("data: psubscribe,n*,1").await;
    publish(&redis, "news", b"before").await;
    channel.expect("data: message,news,before").await;
    pattern.expect("data: pmessage,n*,news,before").await;
    for round in 1..=2 {
        redis.kill9();
        app.client().until_both_lanes_refuse().await;
        redis.restart().await;
        // The hole is told when it has ended: what is published from now on arrives.
        channel.expect(": discontinuity").await;
        pattern.expect(": discontinuity").await;
        publish(&redis, "news", b"after").await;
        channel.expect("data: message,news,after").await;
        pattern.expect("data: pmessage,n*,news,after").await;
        let told = app.client().metric("collective_streams_discontinuities_total", &[]).await;
        assert_eq!(told, Some(2.0 * f64::from(round)));
    }
    assert_eq!(cuts(&app.client(), "refused").await, 0.0);
}

#[tokio::test]
async fn a_stream_lives_through_a_cut_connection() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let mut stream = app.client().subscribe("c").await;
    stream.expect("data: subscribe,c,1").await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    stream.expect(": discontinuity").await;
    publish(&redis, "c", b"x").await;
    stream.expect("data: message,c,x").await;
    assert_eq!(app.client().breaker("redis.read").await, "closed");
}

#[tokio::test]
async fn a_subscription_whose_connection_fell_silent_is_renewed() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 1);
    let app = App::with_redis(&proxy.url()).start().await;
    app.client().settled().await;
    let mut stream = app.client().subscribe("c").await;
    stream.expect("data: subscribe,c,1").await;
    // What is connected hears nothing any more, and nobody tells it; new connections are well.
    proxy.hold_replies();
    stream.expect(": discontinuity").await;
    publish(&redis, "c", b"x").await;
    stream.expect("data: message,c,x").await;
}

#[tokio::test]
async fn a_stream_goes_on_after_a_frozen_redis_has_thawed() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    app.client().settled().await;
    let mut stream = app.client().subscribe("c").await;
    stream.expect("data: subscribe,c,1").await;
    redis.freeze();
    app.client().until_both_lanes_refuse().await;
    redis.thaw();
    app.client().until_both_lanes_serve().await;
    // The connection was given up as stalled or has outlived the freeze; in both cases a message arrives in the end.
    let received = async {
        loop {
            if let Next::Block(block) = stream.next().await
                && block == b"data: message,c,x"
            {
                return;
            }
        }
    };
    let publishing = async {
        loop {
            publish(&redis, "c", b"x").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = received => {}
        () = publishing => {}
    }
    assert_eq!(open_streams(&app.client()).await, 1.0);
}

#[tokio::test]
async fn while_redis_is_frozen_new_streams_are_refused_like_other_calls() {
    let redis = Redis::start(Options::default()).await;
    let app = App::with_redis(&redis.url()).start().await;
    let client = app.client();
    redis.freeze();
    // Nobody else calls: this one is answered when the breaker opens under it, and has the time to wait for that.
    let first = client.timeout_ms(20_000).post("/subscribe/c", &serde_json::json!([])).await;
    assert_eq!((first.status, first.outcome()), (503, "not_executed"), "{}", first.text());
    let answer = client.post("/subscribe/c", &serde_json::json!([])).await;
    assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{}", answer.text());
    assert!(answer.retry_after.is_some_and(|seconds| seconds >= 1));
    assert!(answer.json()["error"].as_str().is_some_and(|text| text.starts_with("UNAVAILABLE")));
    redis.thaw();
    client.until_both_lanes_serve().await;
    let mut stream = client.subscribe("c").await;
    stream.expect("data: subscribe,c,1").await;
    assert_eq!(open_streams(&client).await, 1.0, "what was refused holds no place");
}

#[tokio::test]
async fn while_redis_is_absent_new_streams_are_refused() {
    let redis = Redis::start(Options::default()).await;
    redis.kill9();
    let app = app(&redis).await;
    app.client().until_both_lanes_refuse().await;
    let answer = app.client().get("/subscribe/c").await;
    assert_eq!((answer.status, answer.outcome()), (503, "not_executed"), "{}", answer.text());
    assert!(answer.retry_after.is_some());
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn the_last_reader_to_leave_ends_the_subscription_at_redis() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let client = app.client();
    let mut first = client.subscribe("c").await;
    let second = client.subscribe("c").await;
    first.expect("data: subscribe,c,1").await;
    drop(second);
    eventually(SOON, async || open_streams(&client).await == 1.0).await;
    publish(&redis, "c", b"x").await;
    first.expect("data: message,c,x").await;
    drop(first);
    eventually(SOON, async || numsub(&redis, "c").await == 0).await;
    assert_eq!(open_streams(&client).await, 0.0);
    // And from the start again.
    client.subscribe("c").await.expect("data: subscribe,c,1").await;
}

/// A reader who asks for a stream and never reads on, over a socket that takes little.
async fn deaf_reader(app: &App, channel: &str) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(app.public()).await.expect("a connection");
    let head = format!("POST /subscribe/{channel} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut byte = [0; 1];
    stream.read_exact(&mut byte).await.expect("an answer");
    stream
}

#[tokio::test]
async fn a_subscriber_who_reads_too_slowly_is_cut_and_the_others_are_not_disturbed() {
    let redis = Redis::start(Options::default()).await;
    // He must be found too slow before he is found to read nothing at all.
    let builder = patient(&redis.url()).set("streams.buffer", 8).set("server.client_write_timeout", "4s");
    let app = builder.set("streams.heartbeat", "1h").start().await;
    let client = app.client();
    let mut quick = client.subscribe("flood").await;
    quick.expect("data: subscribe,flood,1").await;
    let deaf = deaf_reader(&app, "flood").await;
    eventually(SOON, async || open_streams(&client).await == 2.0).await;
    let payload = vec![b'x'; 256 << 10];
    let mut sent = 0;
    while cuts(&client, "slow_reader").await == 0.0 {
        assert!(sent < 400, "100 MiB went into a reader who does not read");
        publish(&redis, "flood", &payload).await;
        sent += 1;
        // In step with the quick one: only who does not read can fall behind.
        assert_eq!(quick.next().await, Next::Block([b"data: message,flood,", &payload[..]].concat()));
    }
    publish(&redis, "flood", b"still there").await;
    quick.expect("data: message,flood,still there").await;
    assert_eq!(cuts(&client, "slow_reader").await, 1.0);
    // His connection is dropped although he never reads: it holds neither place nor memory.
    eventually(SOON * 2, async || open_streams(&client).await == 1.0).await;
    drop(deaf);
}

#[tokio::test]
async fn a_reader_cut_for_slowness_sees_a_response_that_broke_off() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("streams.buffer", 1).start().await;
    let client = app.client();
    let mut stream = client.subscribe("c").await;
    stream.expect("data: subscribe,c,1").await;
    let payload = vec![b'x'; 1 << 20];
    let burst: Vec<Vec<u8>> = vec![payload; 64];
    let mut connection = redis.connect().await;
    while cuts(&client, "slow_reader").await == 0.0 {
        for payload in &burst {
            connection.command(&[b"PUBLISH", &b"c"[..], payload]).await.expect("a reply");
        }
    }
    let end = loop {
        match stream.next().await {
            Next::Block(_) => {}
            end => break end,
        }
    };
    assert_eq!(end, Next::Broken, "an orderly end would look as if nothing more was to come");
}

#[tokio::test]
async fn a_drain_ends_streams_and_does_not_wait_for_their_readers() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let mut stream = app.client().subscribe("c").await;
    stream.expect("data: subscribe,c,1").await;
    publish(&redis, "c", b"last").await;
    stream.expect("data: message,c,last").await;
    app.terminate();
    assert_eq!(stream.next().await, Next::End);
    // Far below the 25 s that a request in flight would get.
    let exited = tokio::time::timeout(SOON, app.exited()).await.expect("it does not wait");
    assert_eq!(exited.code(), Some(0));
}

#[tokio::test]
async fn a_silent_stream_has_a_heartbeat() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("streams.heartbeat", "100ms").start().await;
    let mut stream = app.client().subscribe("c").await;
    stream.expect("data: subscribe,c,1").await;
    for _ in 0..3 {
        stream.expect(": keepalive").await;
    }
}

#[tokio::test]
async fn streams_have_a_bound_and_a_place_that_comes_free_is_taken_again() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("streams.max", 2).start().await;
    let client = app.client();
    let first = client.subscribe("a").await;
    let _second = client.subscribe("b").await;
    let refused = client.post("/subscribe/c", &serde_json::json!([])).await;
    assert_eq!((refused.status, refused.outcome()), (503, "not_executed"), "{}", refused.text());
    assert!(refused.retry_after.is_some() && refused.text().contains("streams.max"));
    assert_eq!(client.metric("collective_shed_total", &[("reason", "streams")]).await, Some(1.0));
    eventually(SOON, async || app.log().contains("overloaded")).await;
    drop(first);
    eventually(SOON, async || open_streams(&client).await == 1.0).await;
    client.subscribe("c").await.expect("data: subscribe,c,1").await;
}

#[tokio::test]
async fn what_may_not_be_subscribed_to_is_refused_before_streaming() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let client = app.client();
    for (client, path, status, begins) in [
        (client.without_token(), "/subscribe/c", 401, "WRONGPASS"),
        (client.token("no such token"), "/psubscribe/c", 401, "WRONGPASS"),
        (client.clone(), "/subscribe/collective:x", 403, "NOPERM"),
        (client.clone(), "/psubscribe/collective:*", 403, "NOPERM"),
        (client.clone(), "/subscribe", 400, "ERR wrong number of arguments for 'subscribe' command"),
        (client.clone(), "/subscribe/%zz", 400, "ERR malformed percent-encoding"),
    ] {
        let answer = client.post(path, &serde_json::json!([])).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(
            answer.json()["error"].as_str().is_some_and(|text| text.starts_with(begins)),
            "{path} {}",
            answer.text()
        );
    }
    for method in [Method::DELETE, Method::PUT, Method::HEAD] {
        let other_method = client.send(client.request(method, "/subscribe/c")).await;
        assert_eq!((other_method.status, other_method.header("allow")), (405, Some("GET, POST, OPTIONS")));
    }
}

#[tokio::test]
async fn a_browser_subscribes_with_a_token_in_the_query() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let browser = app.client().without_token();
    let mut exact = browser.events(Method::GET, &format!("/subscribe/a/b?_token={ROOT_TOKEN}")).await;
    exact.expect("data: subscribe,a/b,1").await;
    let mut pattern = browser.events(Method::GET, &format!("/PSubscribe/a*?x=1&_token={ROOT_TOKEN}")).await;
    pattern.expect("data: psubscribe,a*,1").await;
    publish(&redis, "a/b", b"m").await;
    exact.expect("data: message,a/b,m").await;
    pattern.expect("data: pmessage,a*,a/b,m").await;
    assert_eq!(browser.get("/subscribe/c?_token=wrong").await.status, 401);
    assert!(!app.log().contains(ROOT_TOKEN), "the token is in the log");
}

#[tokio::test]
async fn patterns_do_not_show_the_services_own_channels() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let mut stream = app.client().psubscribe("*").await;
    stream.expect("data: psubscribe,*,1").await;
    publish(&redis, "collective:changes", b"secret").await;
    publish(&redis, "plain", b"seen").await;
    stream.expect("data: pmessage,*,plain,seen").await;
}

#[tokio::test]
async fn redis_own_refusal_is_passed_on() {
    let redis = Redis::start(Options::default()).await;
    redis
        .command(&[
            "ACL",
            "SETUSER",
            "gateway",
            "on",
            ">a-password-of-some-length",
            "~*",
            "+@all",
            "resetchannels",
            "&open:*",
        ])
        .await;
    let url = format!("redis://gateway:a-password-of-some-length@{}", redis.address());
    let app = patient(&url).start().await;
    let refused = app.client().post("/subscribe/closed", &serde_json::json!([])).await;
    assert_eq!((refused.status, refused.outcome()), (400, "not_executed"), "{}", refused.text());
    assert!(refused.text().contains("NOPERM"));
    let mut allowed = app.client().subscribe("open:1").await;
    allowed.expect("data: subscribe,open:1,1").await;
    assert_eq!(open_streams(&app.client()).await, 1.0);
}

#[tokio::test]
async fn streams_leave_no_reader_behind_when_clients_come_and_go() {
    let redis = Redis::start(Options::default()).await;
    let app = app(&redis).await;
    let client = app.client();
    let visitors = (0..8).map(|visitor| {
        let client = client.clone();
        tokio::spawn(async move {
            for round in 0..10 {
                let channel = format!("c{}", (visitor + round) % 3);
                client.subscribe(&channel).await.expect(&format!("data: subscribe,{channel},1")).await;
            }
        })
    });
    for visitor in visitors.collect::<Vec<_>>() {
        visitor.await.expect("every stream was confirmed");
    }
    eventually(SOON, async || open_streams(&client).await == 0.0).await;
    for channel in ["c0", "c1", "c2"] {
        let gone = eventually_within(SOON, async || numsub(&redis, channel).await == 0).await;
        assert!(gone.is_some(), "{channel} is still subscribed to");
    }
}
