//! The library of functions: its parts as they lie in `migrations/`, their checksums, and the code Redis is given.
//!
//! One library per contract version, loaded as a whole: each migration adds a part, so the library of a later release has every
//! function of an earlier one, and both releases can serve from it side by side (expand, then contract). Limits: the parts are
//! in the program; nothing is read from disk when it runs.

use sha2::{Digest, Sha256};

/// The library's name in Redis; every function's name begins with it.
pub(super) const NAME: &str = "collective_v1";

/// One file of `migrations/`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// The file's name without its ending: its place in the order.
    pub(super) id: &'static str,
    pub(super) source: &'static str,
}

macro_rules! parts {
    ($($id:literal),+ $(,)?) => {
        /// All parts in order.
        pub(super) const PARTS: &[Part] = &[
            $(Part { id: $id, source: include_str!(concat!("../../../migrations/", $id, ".lua")) }),+
        ];
    };
}

parts![
    "0001_prelude",
    "0002_counters",
    "0003_leases",
    "0004_operations",
    "0005_presence",
    "0006_keys",
    "0007_limiters"
];

/// What Redis is given.
pub(super) fn code(parts: &[Part]) -> String {
    let mut code = format!("#!lua name={NAME}\n");
    parts.iter().for_each(|part| code.push_str(part.source));
    code
}

/// The names of the functions the parts register.
pub(super) fn functions(parts: &[Part]) -> Vec<String> {
    const WAYS: [&str; 3] = ["define('", "define_read('", "define_fenced('"];
    let lines = parts.iter().flat_map(|part| part.source.lines());
    let named = lines.filter_map(|line| WAYS.iter().find_map(|way| line.strip_prefix(way)));
    named.filter_map(|rest| rest.split('\'').next()).map(|name| format!("{NAME}_{name}")).collect()
}

/// SHA-256 in hexadecimal.
pub(super) fn checksum(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_files_of_the_directory_in_their_order() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .expect("the directory of migrations")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        files.sort();
        let ids: Vec<String> = PARTS.iter().map(|part| format!("{}.lua", part.id)).collect();
        assert_eq!(ids, files);
        for (place, part) in PARTS.iter().enumerate() {
            assert!(part.id.starts_with(&format!("{:04}_", place + 1)), "{} leaves a gap", part.id);
            assert!(part.source.starts_with("-- ") && part.source.ends_with('\n'), "{} says what it is for", part.id);
        }
    }

    #[test]
    fn the_functions_are_found_in_the_source() {
        let names = functions(PARTS);
        for name in ["counter_increment", "key_put", "key_facts"] {
            assert!(names.contains(&format!("collective_v1_{name}")), "{name}: {names:?}");
        }
    }
}
