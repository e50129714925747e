//! Configuration: defaults, a file and the environment become one checked tree, or a list of every mistake.
//!
//! - `keys`: the one table of keys; everything else here is derived from it or checked against it
//! - `kind`, `units`, `origin`, `redis_url`, `strength`: how one value is read and bounded
//! - `file`, `environment`, `layers`: where values come from
//! - `rules`: what values owe each other · `tls`: whether the files it is made from can be used
//! - `settings`: the typed tree · `mistake`, `suggest`: the words · `reference`: the generated pages
//!
//! Why all mistakes at once: a service that is refused for one typing error after the other is started five times at
//! 3 a.m. So each leaf is read on its own, and the tree is built only when all are right. Limits: read once at start;
//! no room below knows where its settings came from; no message shows a secret.

mod environment;
mod file;
mod keys;
mod kind;
mod layers;
mod mistake;
mod origin;
mod otlp;
mod redis_url;
mod reference;
mod rules;
mod settings;
mod strength;
pub(crate) mod suggest;
mod tls;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ::config::{Config, ConfigError, ValueKind};

pub use keys::{ENVIRONMENT_PREFIX, KEYS, Key};
pub use kind::Kind;
pub use mistake::{Mistake, Source};
pub use origin::ANY as ANY_ORIGIN;
pub use redis_url::{Address, RedisUrl, SOCKET_PATH_BYTES};
pub use reference::{EXAMPLE, example, markdown};
pub use settings::{
    Announce, Attempt, Auth, Breaker, Cors, Drain, Limits, Log, LogFormat, Ops, Redis, RedisTls, Requests, Retry,
    Server, Settings, Stale, Streams, Topology,
};

use kind::Leaf;
use layers::{Layer, Layers};
use mistake::Complaint;
use rules::{RULES, Rule};

/// What the configuration is made from, as values: nothing here reads the process environment.
#[derive(Clone, Default)]
pub struct LoadInput {
    /// TOML file named on the command line.
    pub file: Option<PathBuf>,
    /// The environment; variables without our prefix are not looked at.
    pub env: Vec<(String, String)>,
}

/// A configuration that may be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked tree.
    pub settings: Settings,
    /// What the operator should know; one line each, for the log.
    pub warnings: Vec<String>,
    /// Where somebody can read the root token; `None` if none is configured.
    pub root_token: Option<SecretPlace>,
}

/// Where a configured secret can be read by whoever may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// In this environment variable.
    Variable(String),
    /// In this file, with nothing else in it.
    File(PathBuf),
    /// Within this configuration file.
    Configuration(PathBuf),
}

/// Reads, checks and merges everything.
///
/// # Errors
/// Every mistake found, in a stable order; at least one. None of them shows a secret.
pub fn load(input: LoadInput) -> Result<Loaded, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut warnings = Vec::new();
    let file = read_file(input.file, &mut mistakes);
    let file_is_readable = file.is_some();
    let environment = read_environment(input.env, &mut mistakes, &mut warnings);
    let layers = Layers::merge(file.unwrap_or_default(), environment)
        .and_then(|layers| layers.resolve_secret_files(&mut mistakes))
        .map_err(|_| vec![disagreement()])?;
    let tree = Tree::read(&layers, &mut mistakes);
    let mut settings = tree.settings().map_err(|_| vec![disagreement()])?;
    if layers.source("limits.bodies") == Source::Default {
        // Whoever only raised limits.body, before there was a bound on all, is not refused for it.
        settings.limits.bodies = settings.limits.bodies.max(settings.limits.body);
    }
    // Without the file the rules would speak about values that nobody wrote.
    if file_is_readable {
        mistakes.extend(tree.broken_rules(&settings, &layers));
        mistakes.extend(tree.unusable_tls(&settings, &layers));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    warnings.extend(rules::warnings(&settings));
    settle_credentials(&mut settings);
    Ok(Loaded { settings, warnings, root_token: layers.place("auth.root_token") })
}

/// `None` when a file was named and could not be read.
fn read_file(path: Option<PathBuf>, mistakes: &mut Vec<Mistake>) -> Option<Layer> {
    let Some(path) = path else {
        return Some(Layer::new());
    };
    match file::read(&path) {
        Ok(found) => {
            mistakes.extend(found.mistakes);
            let source = Source::File(path);
            Some(found.known.into_iter().map(|(key, value)| (key, value, source.clone())).collect())
        }
        Err(mistake) => {
            mistakes.push(mistake);
            None
        }
    }
}

fn read_environment(
    variables: Vec<(String, String)>,
    mistakes: &mut Vec<Mistake>,
    warnings: &mut Vec<String>,
) -> Layer {
    let found = environment::read(variables);
    mistakes.extend(found.mistakes);
    warnings.extend(found.warning);
    found.known.into_iter().map(|(key, text)| (key, text.into(), Source::Environment(key.environment()))).collect()
}

/// Every leaf, read on its own.
struct Tree {
    /// Valid values; a wrong one is replaced by its default so that the rules about others can still be asked.
    values: BTreeMap<&'static str, ValueKind>,
    /// Keys with a mistake of their own.
    wrong: BTreeSet<&'static str>,
    /// Open values as they were written.
    written: BTreeMap<&'static str, String>,
}

impl Tree {
    fn read(layers: &Layers, mistakes: &mut Vec<Mistake>) -> Self {
        let already_wrong: BTreeSet<_> = mistakes.iter().map(|mistake| mistake.key.clone()).collect();
        let mut tree = Self { values: BTreeMap::new(), wrong: BTreeSet::new(), written: BTreeMap::new() };
        for key in KEYS {
            if let Kind::SecretFile { gives } = key.kind {
                if already_wrong.contains(key.path) {
                    tree.wrong.insert(gives);
                }
                continue;
            }
            let value = tree.leaf(key, layers).unwrap_or_else(|complaint| {
                mistakes.push(complaint.at(key.path, layers.source(key.path)));
                tree.wrong.insert(key.path);
                default_of(key)
            });
            tree.values.insert(key.path, value);
        }
        tree
    }

    fn leaf(&mut self, key: &Key, layers: &Layers) -> Result<ValueKind, Complaint> {
        let Some((leaf, source)) = layers.leaf(key) else {
            return Ok(ValueKind::Nil);
        };
        if let Some(text) = shown(key, &leaf) {
            self.written.insert(key.path, text);
        }
        match (&leaf, source) {
            (Leaf::Text(text), Source::Default | Source::Environment(_) | Source::SecretFile(_)) => {
                key.kind.read_text(text)
            }
            _ => key.kind.read(&leaf),
        }
    }

    fn settings(&self) -> Result<Settings, ConfigError> {
        let mut builder = Config::builder();
        for (path, value) in &self.values {
            builder = builder.set_override(*path, value.clone())?;
        }
        builder.build()?.try_deserialize()
    }

    fn broken_rules(&self, settings: &Settings, layers: &Layers) -> Vec<Mistake> {
        let askable = RULES.iter().filter(|rule| !rule.keys.iter().any(|key| self.wrong.contains(key)));
        askable.filter(|rule| !(rule.holds)(settings)).map(|rule| self.broken(rule, layers)).collect()
    }

    /// Asked only when every file was named rightly, and the two that belong together are both there.
    fn unusable_tls(&self, settings: &Settings, layers: &Layers) -> Vec<Mistake> {
        let named = !self.wrong.iter().any(|key| key.starts_with("redis.tls.") || *key == "redis.url");
        let pair = settings.redis.tls.cert_file.is_some() == settings.redis.tls.key_file.is_some();
        if named && pair { tls::mistakes(settings, layers) } else { Vec::new() }
    }

    /// Reported at the first of its keys that somebody has set: that is the one to mend.
    fn broken(&self, rule: &Rule, layers: &Layers) -> Mistake {
        let set = |key: &&&str| layers.source(key) != Source::Default;
        let key = rule.keys.iter().find(set).or(rule.keys.first()).copied().unwrap_or_default();
        let here = rule.keys.iter().filter_map(|key| Some(format!("{key} = {}", self.written.get(key)?)));
        let here = here.collect::<Vec<_>>().join(", ");
        let here = if here.is_empty() { here } else { format!(" (here {here})") };
        Complaint::new(format!("{}{here}: {}", rule.text, rule.why), rule.way_out).at(key, layers.source(key))
    }
}

fn default_of(key: &Key) -> ValueKind {
    key.default.and_then(|default| key.kind.read_text(default).ok()).unwrap_or(ValueKind::Nil)
}

fn shown(key: &Key, leaf: &Leaf) -> Option<String> {
    if key.kind.is_secret() || matches!(key.kind, Kind::Username | Kind::File) {
        return None;
    }
    match leaf {
        Leaf::Flag(flag) => Some(flag.to_string()),
        Leaf::Integer(number) => Some(number.to_string()),
        Leaf::Decimal(number) => Some(number.to_string()),
        Leaf::Text(text) => Some(mistake::quoted(text).replace('`', "")),
        Leaf::List(_) | Leaf::Other(_) => None,
    }
}

/// User and password end up in one place, whichever of the two ways they came.
fn settle_credentials(settings: &mut Settings) {
    if let Some(url) = &mut settings.redis.url {
        settings.redis.username = settings.redis.username.take().or(url.username.take());
        settings.redis.password = settings.redis.password.take().or(url.password.take());
    }
}

/// A fault of this program, not of the operator; a test over the whole table keeps it from happening. The error
/// behind it is not shown because it may quote a value.
fn disagreement() -> Mistake {
    Complaint::new(
        "the table of keys and the settings tree disagree",
        "this is a defect of this version: use another and report it",
    )
    .at("configuration", Source::Default)
}

#[cfg(test)]
mod tests;
