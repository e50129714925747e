//! Defaults below the file below the environment, and which of them a value came from.
//!
//! Why the origin is kept beside the values: a mistake must name the place to mend, and a text is a fine way to
//! write a number in the environment but a wrong type in a file. Limits: nothing is checked here but that a secret is
//! not given twice and its file can be read; the rest is `kind.rs` and `rules.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use ::config::{Config, ConfigError, Map, Value};

use super::SecretPlace;
use super::keys::{KEYS, Key};
use super::kind::{Kind, LONGEST_VALUE, Leaf};
use super::mistake::{Complaint, Mistake, Source};

/// All layers merged.
pub(super) struct Layers {
    config: Config,
    sources: BTreeMap<&'static str, Source>,
}

/// One layer with its origins, lowest first.
pub(super) type Layer = Vec<(&'static Key, Value, Source)>;

impl Layers {
    /// Merges the layers above the defaults.
    pub(super) fn merge(file: Layer, environment: Layer) -> Result<Self, ConfigError> {
        let mut sources = BTreeMap::new();
        let mut builder = Config::builder();
        for (key, default) in KEYS.iter().filter_map(|key| Some((key, key.default?))) {
            sources.insert(key.path, Source::Default);
            builder = builder.set_default(key.path, default)?;
        }
        for layer in [file, environment] {
            sources.extend(layer.iter().map(|(key, _, source)| (key.path, source.clone())));
            builder = builder
                .add_source(Pairs(layer.into_iter().map(|(key, value, _)| (key.path.to_owned(), value)).collect()));
        }
        Ok(Self { config: builder.build()?, sources })
    }

    /// Puts the contents of secret files in the places of the keys they give.
    pub(super) fn resolve_secret_files(mut self, mistakes: &mut Vec<Mistake>) -> Result<Self, ConfigError> {
        let mut contents = Map::new();
        for key in KEYS {
            let (Kind::SecretFile { gives }, Some(source)) = (key.kind, self.sources.get(key.path).cloned()) else {
                continue;
            };
            match self.read_secret_file(key, gives) {
                Ok(content) => {
                    contents.insert(gives.to_owned(), Value::from(content));
                    self.sources.insert(gives, Source::SecretFile(key.path));
                }
                Err(complaint) => mistakes.push(complaint.at(key.path, source)),
            }
        }
        self.config = Config::builder().add_source(self.config).add_source(Pairs(contents)).build()?;
        Ok(self)
    }

    /// The value of a key as it was written, and where; `None` when no layer sets it.
    pub(super) fn leaf(&self, key: &Key) -> Option<(Leaf, &Source)> {
        let source = self.sources.get(key.path)?;
        Some((self.config.get::<Leaf>(key.path).ok()?, source))
    }

    /// Where the value of a key came from; an unset key counts as default.
    pub(super) fn source(&self, path: &str) -> Source {
        self.sources.get(path).cloned().unwrap_or(Source::Default)
    }

    /// Where the value of a secret stands; `None` when no layer sets it.
    pub(super) fn place(&self, path: &str) -> Option<SecretPlace> {
        match self.source(path) {
            Source::Default => None,
            Source::Environment(name) => Some(SecretPlace::Variable(name)),
            Source::File(path) => Some(SecretPlace::Configuration(path)),
            Source::SecretFile(key) => match self.config.get::<Leaf>(key).ok()? {
                Leaf::Text(path) => Some(SecretPlace::File(path.into())),
                _ => None,
            },
        }
    }

    fn read_secret_file(&self, key: &Key, gives: &str) -> Result<String, Complaint> {
        if let Some(other) = self.sources.get(gives) {
            return Err(Complaint::new(
                format!("{gives} is given, too (in {other})"),
                format!("keep one of {gives} and {}", key.path),
            ));
        }
        let complaint = || Complaint::new("is not a path", "write the path of the secret's file as a text");
        match self.leaf(key).ok_or_else(complaint)? {
            (Leaf::Text(path), _) => read_secret(&path),
            _ => Err(complaint()),
        }
    }
}

/// The path is not repeated in the message: who mistakes `…_file` for the key itself has written the secret there.
fn read_secret(path: &str) -> Result<String, Complaint> {
    let cannot = |error: std::io::Error| {
        Complaint::new(
            format!("the file it names cannot be read ({})", error.kind()),
            "check that the path exists and this user may read it",
        )
    };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(LONGEST_VALUE as u64 + 2).read_to_end(&mut content).map_err(cannot)?;
    let mut text = String::from_utf8(content)
        .map_err(|_| Complaint::new("the file it names is not UTF-8 text", "store the secret as plain text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// A ready map as a source. No derived `Debug`: it may hold secrets.
#[derive(Clone)]
struct Pairs(Map<String, Value>);

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pairs({} keys)", self.0.len())
    }
}

impl ::config::Source for Pairs {
    fn clone_into_box(&self) -> Box<dyn ::config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}
