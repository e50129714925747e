//! What the deployment files promise each other, read from their lines.
//!
//! A pod that is killed while it drains loses requests, and nobody notices until a Friday, so the numbers that must fit stand in
//! one test. The rendered manifests are judged by `tests/e2e/kubernetes/pod_security.py` once more; this runs everywhere.
//! Limits: a reader of lines, not of YAML; a number it cannot find is a failure.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::source::rust_files;

/// What the end of the process may take when all of its own waiting is over.
const END: Duration = Duration::from_secs(3);

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
    flush: Duration,
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
            flush: seconds(value(settings, "COLLECTIVE_DRAIN__FLUSH=")),
            grace: seconds(value(deployment, "terminationGracePeriodSeconds:")),
            notice: seconds(value(readiness, "periodSeconds:")) * failures,
        }
    }

    fn ends_before_it_is_killed(&self) -> bool {
        self.delay + self.finish + self.flush + END < self.grace
    }

    fn is_left_before_it_closes(&self) -> bool {
        self.notice <= self.delay
    }
}

#[test]
fn a_pod_is_left_before_it_closes_and_ends_before_it_is_killed() {
    let (delay, finish, flush) = (seconds("5s"), seconds("25s"), seconds("2s"));
    let bad = Stop { delay, finish, flush, grace: seconds("35"), notice: seconds("6") };
    assert!(!bad.ends_before_it_is_killed() && !bad.is_left_before_it_closes());
    let without_flush = Stop { flush: Duration::ZERO, ..bad };
    assert!(without_flush.ends_before_it_is_killed(), "the flush counts");

    let stop =
        Stop::read(&read("deploy/kubernetes/base/deployment.yaml"), &read("deploy/kubernetes/base/collective.env"));
    assert!(
        stop.ends_before_it_is_killed(),
        "drain.delay + drain.finish + drain.flush + {END:?} must be below terminationGracePeriodSeconds"
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
    let default = |key: &str| seconds(value(&defaults, key).trim_matches('"'));
    assert!(
        !service.contains("COLLECTIVE_DRAIN")
            && default("finish = ") + default("flush = ") + END < seconds(value(service, "stop_grace_period:")),
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

/// The texts behind every line that begins with this word, in their order.
fn values<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(word)).map(str::trim).collect()
}

/// The rules of one network policy, by its name.
fn policy<'t>(policies: &'t str, name: &str) -> &'t str {
    let named = |part: &&str| part.contains(&format!("\n  name: {name}\n"));
    policies.split("\n---\n").find(named).unwrap_or_else(|| panic!("no network policy {name}"))
}

#[test]
fn redis_hears_the_gateway_alone_and_the_operators_port_prometheus_alone() {
    let policies = read("deploy/kubernetes/base/network.yaml");
    let nobody = policy(&policies, "default-deny");
    assert!(nobody.contains("podSelector: {}") && !nobody.contains("\n  ingress:") && !nobody.contains("\n  egress:"));
    assert!(nobody.contains("    - Ingress\n    - Egress"), "both ways");
    let redis = policy(&policies, "redis");
    let (_, ingress) = redis.split_once("\n  ingress:\n").expect("who may come in");
    assert_eq!(value(ingress, "app.kubernetes.io/name:"), "collective", "one source");
    assert_eq!(value(ingress, "port:"), "6379");
    assert!(!redis.contains("\n  egress:"), "Redis calls nobody");
    let gateway = policy(&policies, "collective");
    let (ingress, egress) =
        gateway.split_once("\n  ingress:\n").and_then(|(_, both)| both.split_once("\n  egress:\n")).expect("both ways");
    let (_, operators) = ingress.split_once("- from:").expect("one port is not for everybody");
    assert_eq!(value(operators, "app.kubernetes.io/name:"), "prometheus");
    assert_eq!(value(operators, "port:"), "8081");
    assert_eq!(values(egress, "- to:").len(), 2, "Redis and DNS, nowhere else");
    assert_eq!(values(egress, "app.kubernetes.io/name:"), ["redis"]);
    assert_eq!(values(egress, "kubernetes.io/metadata.name:"), ["kube-system"]);
    assert_eq!(values(egress, "k8s-app:"), ["kube-dns"]);
    assert_eq!(values(egress, "port:"), ["6379", "53", "53"]);
    assert!(!policies.contains("ipBlock") && policies.matches("\nkind: NetworkPolicy\n").count() == 3);
}

#[test]
fn the_dashboard_and_the_rules_are_mounted_where_they_are_looked_for() {
    let compose = read("deploy/compose.yaml");
    let provider = read("deploy/grafana/provisioning/dashboards/collective.yml");
    assert!(compose.contains(&format!("- ./grafana/dashboards:{}:ro\n", value(&provider, "path:"))));
    let prometheus = read("deploy/prometheus/prometheus.yml");
    assert_eq!(value(&prometheus, "- rules/"), "*.yml", "beside prometheus.yml");
    assert!(compose.contains("- ./prometheus/prometheus.yml:/etc/prometheus/prometheus.yml:ro\n"));
    assert!(compose.contains("- ./prometheus/rules:/etc/prometheus/rules:ro\n"));
    assert_eq!(value(&prometheus, "- job_name:"), "collective", "rules, alerts and dashboard select by it");
    let monitor = read("deploy/kubernetes/overlays/prod/podmonitor.yaml");
    let label = value(&monitor, "jobLabel:");
    let deployment = read("deploy/kubernetes/base/deployment.yaml");
    let (_, pod) = deployment.split_once("  template:\n").expect("a template");
    let labels = pod.split("    spec:\n").next().unwrap_or_default();
    assert_eq!(value(labels, &format!("{label}:")), "collective", "the same job in a cluster");
}

/// What a source file takes into the program from outside of `src`: first folder of each path that leads there.
fn taken_from_outside(path: &str, text: &str) -> Vec<String> {
    let ups = path.matches('/').count();
    let literals = text.split("include_str!(").skip(1).filter_map(|behind| behind.split('"').nth(1));
    literals
        .filter(|literal| literal.matches("../").count() >= ups)
        .filter_map(|literal| literal.trim_start_matches("../").split('/').next().map(str::to_owned))
        .collect()
}

#[test]
fn an_image_is_built_from_everything_the_sources_take_in() {
    let macro_call = "include_str!(concat!(\"../../../migrations/\", $id))";
    assert_eq!(taken_from_outside("src/a/b/c.rs", macro_call), ["migrations"]);
    assert!(taken_from_outside("src/a/b/c.rs", "include_str!(\"../d.css\")").is_empty());
    let (dockerfile, let_in) = (read("Dockerfile"), read(".dockerignore"));
    let sources = rust_files().into_iter().filter(|source| source.path.starts_with("src/"));
    let taken: BTreeSet<String> = sources.flat_map(|source| taken_from_outside(&source.path, &source.text)).collect();
    assert!(taken.len() >= 2, "{taken:?}");
    for folder in taken {
        assert!(dockerfile.contains(&format!("\nCOPY {folder}")), "the Dockerfile copies no {folder}");
        assert!(let_in.contains(&format!("\n!{folder}")), ".dockerignore keeps {folder} out");
    }
}
