//! The environment: `COLLECTIVE_` + path with `__`, and what Kubernetes puts beside it.
//!
//! Why service links are ignored: a Kubernetes Service named `collective` (or `collective-…`) makes the kubelet set
//! `COLLECTIVE_SERVICE_HOST`, `COLLECTIVE_PORT=tcp://…` and more in every pod; refusing them as unknown keys was a
//! crash loop. They are told by shape, and one warning names them, since an operator may have meant something.
//! Limits: everything else with the prefix must be a known key; other variables are not looked at.

use super::keys::{ENVIRONMENT_PREFIX, KEYS, Key};
use super::mistake::{Complaint, Mistake, Source};
use super::suggest::nearest;

/// What the environment says: known keys with their texts, mistakes, and perhaps the warning about service links.
#[derive(Default)]
pub(super) struct Found {
    pub(super) known: Vec<(&'static Key, String)>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warning: Option<String>,
}

/// Sorts the variables out.
pub(super) fn read(variables: Vec<(String, String)>) -> Found {
    let mut ours: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
    ours.sort();
    let (mut found, mut links) = (Found::default(), Vec::new());
    for (name, value) in ours {
        match KEYS.iter().find(|key| key.environment() == name) {
            Some(key) => found.known.push((key, value)),
            None if is_service_link(&name, &value) => links.push(name),
            None => found.mistakes.push(unknown(&name)),
        }
    }
    found.warning = warning(&links);
    found
}

/// Longest list of names in the warning: a Service with many ports sets dozens.
const NAMED_LINKS: usize = 3;

fn warning(links: &[String]) -> Option<String> {
    let shown = links.get(..NAMED_LINKS.min(links.len())).filter(|shown| !shown.is_empty())?.join(", ");
    let more =
        if links.len() > NAMED_LINKS { format!(" and {} more", links.len() - NAMED_LINKS) } else { String::new() };
    Some(format!(
        "ignored {shown}{more}: Kubernetes service links, not configuration; `enableServiceLinks: false` in the pod removes them"
    ))
}

/// Names a kubelet makes for a Service called `collective` or `collective-…`. No configuration key looks like them,
/// because a link never holds `__` after the prefix.
fn is_service_link(name: &str, value: &str) -> bool {
    let rest = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or_default();
    if rest.contains("__") {
        return false;
    }
    rest.starts_with("SERVICE_") || rest.starts_with("PORT") || is_link_of_a_longer_name(rest, value)
}

/// `OPS_SERVICE_HOST`, `OPS_SERVICE_PORT…`, `OPS_PORT=tcp://…`, `OPS_PORT_8081_TCP…`.
fn is_link_of_a_longer_name(rest: &str, value: &str) -> bool {
    let numbered_port = rest.split("_PORT_").skip(1).any(|tail| {
        let (number, protocol) = tail.split_once('_').unwrap_or((tail, ""));
        number.parse::<u16>().is_ok() && ["TCP", "UDP", "SCTP"].iter().any(|name| protocol.starts_with(name))
    });
    let port = rest.ends_with("_PORT") && ["tcp://", "udp://", "sctp://"].iter().any(|start| value.starts_with(start));
    numbered_port || port || rest.ends_with("_SERVICE_HOST") || rest.contains("_SERVICE_PORT")
}

fn unknown(name: &str) -> Mistake {
    let names: Vec<String> = KEYS.iter().map(Key::environment).collect();
    let way_out = match nearest(name, names.iter().map(String::as_str)) {
        Some(known) => format!("did you mean {known}?"),
        None => "unset it; names are COLLECTIVE_SECTION__KEY (collective docs configuration lists them)".to_owned(),
    };
    Complaint::new("is not a known variable", way_out).at(name, Source::Environment(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> Found {
        read(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn service_links_are_ignored_with_one_warning() {
        let found = read_pairs(&[
            ("COLLECTIVE_SERVICE_HOST", "10.0.0.1"),
            ("COLLECTIVE_SERVICE_PORT_HTTP", "8080"),
            ("COLLECTIVE_PORT", "tcp://10.0.0.1:8080"),
            ("COLLECTIVE_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("COLLECTIVE_OPS_SERVICE_HOST", "10.0.0.2"),
            ("COLLECTIVE_OPS_SERVICE_PORT", "8081"),
            ("COLLECTIVE_OPS_PORT", "tcp://10.0.0.2:8081"),
            ("COLLECTIVE_OPS_PORT_8081_TCP_PROTO", "tcp"),
        ]);
        assert!(found.mistakes.is_empty() && found.known.is_empty(), "{:?}", found.mistakes);
        assert!(found.warning.unwrap().contains("and 5 more"));
    }

    #[test]
    fn what_only_resembles_a_service_link_is_a_mistake() {
        for name in ["COLLECTIVE_SERVER_PORT", "COLLECTIVE_SERVICE__BIND", "COLLECTIVE_OPS_PORT_X_TCP"] {
            assert_eq!(read_pairs(&[(name, "8080")]).mistakes.len(), 1, "{name}");
        }
    }

    #[test]
    fn a_single_underscore_finds_its_double() {
        let found = read_pairs(&[("COLLECTIVE_SERVER_BIND", "canary")]);
        let text = found.mistakes[0].to_string();
        assert!(text.ends_with("did you mean COLLECTIVE_SERVER__BIND?"), "{text}");
        assert!(!text.contains("canary"));
        assert!(found.warning.is_none());
    }

    #[test]
    fn other_variables_are_not_looked_at() {
        let found = read_pairs(&[("PATH", "/bin"), ("collective_server__bind", "x"), ("COLLECTIVE", "x")]);
        assert!(found.mistakes.is_empty() && found.known.is_empty());
    }
}
