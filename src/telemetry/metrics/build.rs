//! Which build this is, as a metric whose value is always 1.

use super::export::{Export, Samples};
use super::table::{BUILD_INFO, Family};

/// Version, source revision and compiler of a build.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The crate's version.
    pub version: &'static str,
    /// The commit it was built from, `unknown` outside a release build.
    pub revision: &'static str,
    /// The compiler, `unknown` outside a release build.
    pub rustc: &'static str,
}

impl Build {
    /// This build. The release build sets `COLLECTIVE_BUILD_REVISION` and `COLLECTIVE_BUILD_RUSTC` for the compiler.
    pub const fn current() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: known(option_env!("COLLECTIVE_BUILD_REVISION")),
            rustc: known(option_env!("COLLECTIVE_BUILD_RUSTC")),
        }
    }
}

impl Export for Build {
    fn families(&self) -> Vec<&'static Family> {
        vec![&BUILD_INFO]
    }

    fn read(&self) -> Vec<Samples> {
        let mut samples = Samples::of(&BUILD_INFO);
        samples.add(&[self.version, self.revision, self.rustc], 1.0);
        vec![samples]
    }
}

const fn known(value: Option<&'static str>) -> &'static str {
    match value {
        Some(value) => value,
        None => "unknown",
    }
}
