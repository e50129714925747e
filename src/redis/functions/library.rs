//! The library of functions: its parts as they lie in `migrations/`, their checksums, and the code Redis is given.
//!
//! One library per contract version, loaded as a whole: each migration adds a part, so the library of a later release has every
//! function of an earlier one, and both releases can serve from it side by side (expand, then contract). The library carries the
//! checksum of its own code, so that whoever finds one can tell, by it alone, whether one of our programs made it: nothing kept
//! beside it can be out of step with it. Limits: the parts are in the program; nothing is read from disk when it runs. The
//! checksum tells an accident, not an attack.

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

/// What stands before the checksum, in the second line of the code.
const SEAL: &str = "-- sha256 ";

/// What Redis is given.
pub(super) fn code(parts: &[Part]) -> String {
    let body: String = parts.iter().map(|part| part.source).collect();
    format!("#!lua name={NAME}\n{SEAL}{}\n{body}", checksum(body.as_bytes()))
}

/// Whether this code is as one of our programs made it, of whatever version.
pub(super) fn is_sealed(code: &str) -> bool {
    let sealed = code.split_once('\n').and_then(|(_, rest)| rest.strip_prefix(SEAL)?.split_once('\n'));
    sealed.is_some_and(|(sum, body)| sum == checksum(body.as_bytes()))
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
    fn a_library_tells_by_itself_whether_it_was_changed() {
        let code = code(PARTS);
        assert!(is_sealed(&code));
        for changed in
            [code.replacen("return", "error", 1), format!("{code} "), code.replacen(SEAL, "-- ", 1), String::new()]
        {
            assert!(!is_sealed(&changed));
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
