//! The page, rendered from facts that try to break it.

use std::time::Duration;

use super::*;
use crate::ops::live::history::History;
use crate::ops::tests::facts;
use crate::ops::{Facts, Health, Limit};
use crate::resilience::{Cause, Moment, State};
use crate::telemetry::clock;
use crate::telemetry::diary::Entry;
use crate::telemetry::metrics::HttpTotals;

fn values(facts: Facts) -> Values {
    Values::of(&StatusDocument::assess(facts), &an_outage(), &changes(), clock::now())
}

fn page(facts: Facts) -> String {
    render(&values(facts))
}

/// Three seconds: one calm, one of refusals, one half-open.
fn an_outage() -> History {
    let mut history = History::default();
    let bucket =
        |requests| HttpTotals { requests, failed: requests / 2, refused: requests / 2, durations: vec![requests] };
    for (second, state) in ["closed", "closed", "open", "half_open"].into_iter().enumerate() {
        let mut breakers = facts().breakers;
        breakers[0].state = state;
        let now = clock::start() + Duration::from_secs(second as u64);
        history.look(now, &breakers);
        history.sample(now, bucket(100 * second as u64));
    }
    history
}

fn changes() -> Vec<Entry> {
    let entry =
        |from, to, cause, failed_probes| Entry { at: clock::now(), name: "redis.read", from, to, cause, failed_probes };
    vec![
        entry(State::HalfOpen, State::Closed, Cause::ProbesPassed, 0),
        entry(State::HalfOpen, State::Open, Cause::ProbeFailed, 7),
        entry(State::Closed, State::Open, Cause::Stall, 0),
    ]
}

#[test]
fn a_healthy_service_says_so_in_word_and_shape() {
    let page = page(facts());
    assert!(page.contains("Healthy"));
    assert!(page.contains("href=\"#sign-pass\"") && !page.contains("href=\"#sign-warn\""));
    assert_eq!(page.matches("card breaker pass closed\"").count(), 2);
    assert!(page.contains("3 of 10\u{202f}000") && page.contains("at most 16 MiB"));
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
    assert!(page.contains("card breaker warn half_open\"") && page.contains("420 ms"));
    assert!(page.contains("no answer"));
    let mut everything = facts();
    everything.breakers.iter_mut().for_each(|breaker| breaker.state = "open");
    assert!(self::page(everything).contains("Degraded, refusing calls"));
}

#[test]
fn what_happened_is_told_newest_first_and_empty_places_are_hidden() {
    let page = page(facts());
    let told = ["closed: probes passed", "probed 7 times in vain", "open: Redis fell silent"];
    let places: Vec<_> = told.iter().map(|told| page.find(told).expect(told)).collect();
    assert!(places.is_sorted());
    assert_eq!(page.matches("<li class=\"empty\"").count(), 5 + 1, "five places, and the remark that nothing happened");
    let quiet = render(&Values::of(&StatusDocument::assess(facts()), &History::default(), &[], Moment::default()));
    assert!(quiet.contains("<li class=\"quiet\" data-live=\"class:no_entries_class\">"));
}

#[test]
fn an_outage_lasts_since_its_beginning_however_often_it_is_probed() {
    let mut outage = facts();
    let now = clock::now();
    outage.wall_millis = clock::wall_millis();
    outage.breakers[0].state = "open";
    outage.breakers[0].since_millis = outage.wall_millis; // the last probe failed just now
    let opened = Entry {
        at: now,
        name: "redis.read",
        from: State::Closed,
        to: State::Open,
        cause: Cause::Connect,
        failed_probes: 0,
    };
    let later = now + Duration::from_secs(75);
    let document = StatusDocument::assess(outage);
    let values = Values::of(&document, &History::default(), &[opened], later);
    let age = values.breakers[0].iter().find(|(name, _)| *name == "age").map(|(_, age)| age.as_str());
    assert!(matches!(age, Some("1 min 15 s" | "1 min 14 s")), "{age:?}");
}

#[test]
fn refusing_is_drawn_taller_than_passing() {
    let values = values(facts());
    let of = |name: &str| {
        let row = values.breakers[0].iter().find(|(known, _)| *known == name);
        row.map(|(_, value)| value.clone()).expect("a value of the strip")
    };
    assert_eq!(of("passes"), "M297 10H298V14H297Z");
    assert_eq!(of("refuses"), "M298 1H300V23H298Z", "a second is as bad as its worst moment");
    assert_eq!(of("refused_for"), "refused 2 s");
}

#[test]
fn every_place_of_the_page_is_told_and_everything_told_has_a_place() {
    let values = values(facts());
    let told: std::collections::BTreeMap<String, String> = serde_json::from_str(&values.json()).expect("JSON");
    let page = render(&values);
    let bindings = page.split("data-live=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut placed = std::collections::BTreeSet::new();
    for binding in bindings.flat_map(str::split_whitespace) {
        let (_, name) = binding.split_once(':').expect("attribute:name");
        assert!(told.contains_key(name), "{name} has a place and is never told");
        placed.insert(name.to_owned());
    }
    assert!(placed.len() > 60, "{placed:?}");
}

#[test]
fn another_set_of_breakers_is_another_page() {
    let document = StatusDocument::assess(facts());
    let mut other = document.clone();
    other.breakers[0].name = "shard1.read".to_owned();
    assert_ne!(id(&document), id(&other));
    other.breakers[0].name = document.breakers[0].name.clone();
    other.breakers[0].state = "open";
    assert_eq!(id(&document), id(&other), "a state is no reason to load the page anew");
}

#[test]
fn every_state_has_a_shape_of_its_own() {
    for state in ["open", "half_open", "forced_open", "disabled"] {
        assert!(STYLE.contains(&format!(".{state} .")), "{state}");
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
    hostile.breakers[0].state = "open"; // so that the name reaches the headline, too
    hostile.limits.insert(ATTACK, Limit { used: Some(1), max: 2 });
    let page = page(hostile);
    assert_eq!(page.matches("<script").count(), 1, "our own");
    assert!(!page.contains("alert(1)</"));
    assert!(page.matches("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#39;&amp;").count() >= 6);
}

#[test]
fn nothing_is_inline_but_the_one_script_and_nothing_comes_from_elsewhere() {
    let page = page(facts());
    for banned in ["<style", " style=", " onclick", " onload", "src=", "href=\"http", "@import"] {
        assert!(!page.contains(banned), "{banned}");
    }
    for banned in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "createElement"] {
        assert!(!SCRIPT.contains(banned), "{banned}");
    }
    assert!(!SCRIPT.contains("</"), "the end of a tag would end the script");
    assert!(!STYLE.contains("@import") && !STYLE.contains("url("));
    assert!(STYLE.contains("prefers-color-scheme: dark") && STYLE.contains("prefers-reduced-motion: reduce"));
    assert!(page.contains(&format!("<link rel=\"stylesheet\" href=\"{}\">", style_path())));
}

#[test]
fn markup_is_balanced() {
    let page = page(facts());
    let page = page.replace(SCRIPT, "");
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
