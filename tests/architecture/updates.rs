//! What the update bot is told to look at: every folder in which something is locked, and every image that is named.
//!
//! A lock that nobody moves is the opposite of what it is for, and the list is forgotten whenever a folder is added. Limits:
//! whether the bot does what it is told is seen where it runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::source::root;

/// Files that lock something, as the end of a name, and who moves them.
const LOCKS: [(&str, &str); 3] = [("Cargo.lock", "cargo"), ("package-lock.json", "npm"), ("requirements.txt", "pip")];

fn locked(folder: &Path, found: &mut BTreeSet<(String, String)>) {
    const NOT_OURS: [&str; 5] = [".git", "target", ".collective", "node_modules", "corpus"];
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{} cannot be read: {error}", folder.display()));
    for path in entries.map(|entry| entry.expect("an entry of a folder just opened can be read").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !NOT_OURS.contains(&name.as_str()) {
            locked(&path, found);
        } else if let Some((_, kind)) = LOCKS.iter().find(|(lock, _)| *lock == name) {
            let place = folder.strip_prefix(root()).expect("found below the root").to_string_lossy().replace('\\', "/");
            found.insert(((*kind).to_owned(), format!("/{place}")));
        } else {
            assert!(!(name.starts_with("requirements") && name.ends_with(".txt")), "{name}: who moves it?");
        }
    }
}

/// The folders named for each kind.
fn looked_at(bot: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for entry in bot.split("\n  - package-ecosystem: ").skip(1) {
        let (kind, rest) = entry.split_once('\n').unwrap_or((entry, ""));
        for line in rest.lines().map(str::trim) {
            if let Some(folder) = line.strip_prefix("directory: ") {
                found.insert((kind.to_owned(), folder.to_owned()));
            } else if let Some(list) = line.strip_prefix("directories: [").and_then(|list| list.strip_suffix(']')) {
                found.extend(list.split(", ").map(|folder| (kind.to_owned(), folder.trim_matches('"').to_owned())));
            }
        }
    }
    found
}

#[test]
fn the_update_bot_looks_at_every_lock_and_every_image() {
    let some = looked_at("updates:\n  - package-ecosystem: npm\n    directories: [\"/a\", \"/b\"]\n    schedule: x\n");
    assert_eq!(some, [("npm", "/a"), ("npm", "/b")].map(|(kind, at)| (kind.to_owned(), at.to_owned())).into());
    let mut wanted = BTreeSet::new();
    locked(&root(), &mut wanted);
    assert!(wanted.contains(&("cargo".to_owned(), "/".to_owned())) && wanted.len() > 8, "{wanted:?}");
    let images = [("docker", "/"), ("docker-compose", "/deploy"), ("github-actions", "/")];
    wanted.extend(images.map(|(kind, at)| (kind.to_owned(), at.to_owned())));
    let bot = fs::read_to_string(root().join(".github/dependabot.yml")).expect("the bot has its file");
    assert_eq!(looked_at(&bot), wanted, ".github/dependabot.yml names these folders and no others");
}

/// Bases whose names are put together, which the bot moves as little as it reads them.
fn put_together(dockerfile: &str) -> Vec<&str> {
    dockerfile.lines().filter(|line| line.starts_with("FROM ") && line.contains('$')).collect()
}

#[test]
fn the_bases_of_the_images_are_written_out() {
    assert_eq!(put_together("ARG V=1\nFROM rust:${V} AS build\nFROM scratch\n"), ["FROM rust:${V} AS build"]);
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).expect("there is a Dockerfile");
    assert_eq!(put_together(&dockerfile), Vec::<&str>::new());
}
