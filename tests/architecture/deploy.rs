//! What the deployment files promise each other, read from their lines.
//!
//! A pod that is killed while it drains loses requests, and nobody notices until a Friday, so the numbers that must fit stand in
//! one test. The rendered manifests are judged by `tests/e2e/kubernetes/pod_security.py` once more; this runs everywhere.
//! Limits: a reader of lines, not of YAML; a number it cannot find is a failure.

use std::path::Path;
use std::time::Duration;

/// What a stop may take after `drain.finish`: the background's end and the exporters' last words.
const FLUSH: Duration = Duration::from_secs(5);

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// The text behind the only line that begins with this word.
fn value<'t>(text: &'t str, word: &str) -> &'t str {
    let mut values = text.lines().filter_map(|line| line.trim_start().strip_prefix(word));
    let value = values.next().unwrap_or_else(|| panic!("no line with {word}"));
    assert_eq!(values.next(), None, "{word} stands there twice");
    value.trim()
}

fn seconds(text: &str) -> Duration {
    let number = text.strip_suffix('s').unwrap_or(text);
    Duration::from_secs(number.parse().unwrap_or_else(|_| panic!("`{text}` is no number of seconds")))
}

/// A stop as a cluster sees it.
struct Stop {
    delay: Duration,
    finish: Duration,
    grace: Duration,
    /// What the readiness probe needs to notice.
    notice: Duration,
}

impl Stop {
    /// From a deployment's lines and its settings'.
    fn read(deployment: &str, settings: &str) -> Self {
        let (_, readiness) = deployment.split_once("readinessProbe:").expect("a readiness probe");
        let (readiness, _) = readiness.split_once("resources:").expect("what comes behind it");
        let failures: u32 = value(readiness, "failureThreshold:").parse().expect("a number");
        Self {
            delay: seconds(value(settings, "COLLECTIVE_DRAIN__DELAY=")),
            finish: seconds(value(settings, "COLLECTIVE_DRAIN__FINISH=")),
            grace: seconds(value(deployment, "terminationGracePeriodSeconds:")),
            notice: seconds(value(readiness, "periodSeconds:")) * failures,
        }
    }

    fn ends_before_it_is_killed(&self) -> bool {
        self.delay + self.finish + FLUSH < self.grace
    }

    fn is_left_before_it_closes(&self) -> bool {
        self.notice <= self.delay
    }
}

#[test]
fn a_pod_is_left_before_it_closes_and_ends_before_it_is_killed() {
    let bad = Stop { delay: seconds("5s"), finish: seconds("25s"), grace: seconds("35"), notice: seconds("6") };
    assert!(!bad.ends_before_it_is_killed() && !bad.is_left_before_it_closes());

    let stop =
        Stop::read(&read("deploy/kubernetes/base/deployment.yaml"), &read("deploy/kubernetes/base/collective.env"));
    assert!(
        stop.ends_before_it_is_killed(),
        "drain.delay + drain.finish + flush must be below terminationGracePeriodSeconds"
    );
    assert!(stop.is_left_before_it_closes(), "drain.delay must cover period x failures of the readiness probe");
}

#[test]
fn compose_waits_for_the_drain_and_shows_redis_to_nobody() {
    let compose = read("deploy/compose.yaml");
    let (_, service) = compose.split_once("\n  collective:\n").expect("the service");
    let (service, rest) = service.split_once("\n  redis:\n").expect("Redis behind it");
    let (redis, _) = rest.split_once("\n  prometheus:\n").expect("Prometheus behind it");
    // The service's own default, since compose sets none.
    let defaults = read("deploy/config.example.toml");
    let finish = value(&defaults, "finish = ").trim_matches('"');
    assert!(
        !service.contains("COLLECTIVE_DRAIN")
            && seconds(finish) + FLUSH <= seconds(value(service, "stop_grace_period:")),
        "the drain is cut short"
    );
    assert!(!redis.contains("ports:"), "Redis publishes a port");
    assert_eq!(value(redis, "networks:"), "[back]");
    assert!(compose.contains("\n  back:\n    internal: true\n"), "the network of Redis has a way out");
}

#[test]
fn only_the_images_listen_beyond_loopback_and_the_operators_port_is_never_exposed() {
    let dockerfile = read("Dockerfile");
    let defaults = read("deploy/config.example.toml");
    for (variable, port) in [("COLLECTIVE_SERVER__BIND", "8080"), ("COLLECTIVE_OPS__BIND", "8081")] {
        let default = format!("{variable}\nbind = \"127.0.0.1:{port}\"\n");
        assert!(defaults.contains(&default), "the program itself stays on loopback");
        assert!(dockerfile.contains(&format!("{variable}=0.0.0.0:{port}")), "the image says where it listens");
    }
    assert_eq!(value(&dockerfile, "EXPOSE "), "8080");
    assert!(dockerfile.contains("USER 65532:65532\n"));
}
