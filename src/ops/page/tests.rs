//! The page, rendered from facts that try to break it.

use super::*;
use crate::ops::Facts;
use crate::ops::tests::facts;

fn page(facts: Facts) -> String {
    render(&StatusDocument::assess(facts))
}

#[test]
fn a_healthy_service_says_so_in_word_and_shape() {
    let page = page(facts());
    assert!(page.contains("Healthy"));
    assert!(page.contains("href=\"#sign-pass\"") && !page.contains("href=\"#sign-warn\""));
    assert_eq!(page.matches("href=\"#breaker-closed\"").count(), 2);
    assert!(page.contains("3 of 10000") && page.contains("at most 16777216"));
    assert!(!page.contains("{{"), "a placeholder was left");
}

#[test]
fn an_outage_names_redis_and_the_breakers_that_refuse() {
    let mut outage = facts();
    outage.redis.reachable = false;
    outage.redis.latency_ms = None;
    outage.breakers[1].state = "half_open";
    outage.breakers[1].retry_after_ms = Some(420);
    let page = page(outage);
    assert!(page.contains("Degraded, still serving"));
    assert!(page.contains("Redis does not answer. redis.write is half-open."));
    assert!(page.contains("href=\"#breaker-half_open\"") && page.contains("420 ms"));
    assert!(page.contains("no answer"));
}

#[test]
fn every_state_has_a_shape_of_its_own() {
    for state in ["closed", "open", "half_open", "forced_open", "disabled"] {
        assert_eq!(PAGE.matches(&format!("id=\"breaker-{state}\"")).count(), 1, "{state}");
    }
    for health in [Health::Pass, Health::Warn, Health::Fail] {
        assert_eq!(PAGE.matches(&format!("id=\"sign-{}\"", health.as_str())).count(), 1);
        assert!(STYLE.contains(&format!(".{}", health.as_str())));
    }
}

#[test]
fn no_value_can_become_markup() {
    const ATTACK: &str = "\"><script>alert(1)</script>'&";
    let mut hostile = facts();
    hostile.version = ATTACK.to_owned();
    hostile.redis.topology = ATTACK.to_owned();
    hostile.redis.server_version = Some(ATTACK.to_owned());
    hostile.breakers[0].name = ATTACK.to_owned();
    hostile.breakers[0].since = ATTACK.to_owned();
    hostile.breakers[0].state = "open"; // so that the name reaches the headline, too
    hostile.limits.insert(ATTACK, Limit { used: Some(1), max: 2 });
    let page = page(hostile);
    assert!(!page.contains("<script") && !page.contains("alert(1)</"));
    assert!(page.matches("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#39;&amp;").count() >= 7);
}

#[test]
fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
    let page = page(facts());
    for banned in ["<script", "<style", " style=", " onclick", " onload", "src=", "href=\"http", "@import"] {
        assert!(!page.contains(banned), "{banned}");
    }
    assert!(!STYLE.contains("@import") && !STYLE.contains("url("));
    assert!(STYLE.contains("prefers-color-scheme: dark"));
    assert!(page.contains(&format!("<link rel=\"stylesheet\" href=\"{}\">", style_path())));
}

#[test]
fn markup_is_balanced() {
    let page = page(facts());
    let void = ["meta", "link", "br", "path", "circle", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap_or_default();
        match tag.strip_prefix('/') {
            Some(_) => assert_eq!(open.pop(), Some(name), "closed out of order"),
            None if tag.ends_with('/') || void.contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn uptime_is_said_in_two_units() {
    assert_eq!(uptime(0), "0 s");
    assert_eq!(uptime(125), "2 min 5 s");
    assert_eq!(uptime(3 * 3600 + 59), "3 h 0 min");
    assert_eq!(uptime(3 * 86_400 + 4 * 3600), "3 d 4 h");
}
