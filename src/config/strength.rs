//! Is a secret too easy to guess?
//!
//! Why not a dictionary: nobody audits one. The rule catches what is found in the wild, the placeholder copied
//! from an example (`changeme`), the short one, and the long one made of little (`aaaa…`, `abcabcabc…`), and passes
//! whatever a generator prints: 32 random hex digits have fewer than 8 distinct ones once in 20 million.
//! Limits: it cannot know that a strong text was published.

use std::collections::BTreeSet;

/// Words that carry no secret. What is left of a secret without them must still be half the wanted length.
const KNOWN_WEAK: [&str; 22] = [
    "0123456789",
    "1234567890",
    "123456",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdef",
    "qwertyuiop",
    "qwerty",
    "asdfgh",
    "changeme",
    "change-me",
    "change_me",
    "replace-me",
    "replaceme",
    "password",
    "passw0rd",
    "secret",
    "default",
    "example",
    "foobared",
    "collective",
    "redis",
    "token",
];

/// Why `text` is weak for a secret of at least `wanted` characters; `None` when it will do.
pub(super) fn weakness(text: &str, wanted: usize) -> Option<String> {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() < wanted {
        return Some(format!("has fewer than {wanted} characters"));
    }
    let distinct = characters.iter().collect::<BTreeSet<_>>().len();
    if distinct < wanted / 4 {
        return Some(format!("is made of fewer than {} different characters", wanted / 4));
    }
    if repeats(&characters) {
        return Some("repeats one short piece".to_owned());
    }
    let left = without_known(text).chars().count();
    (left < wanted / 2).then(|| "is made of well-known words".to_owned())
}

/// True when the text is a piece of at most half its length, said again and again.
fn repeats(characters: &[char]) -> bool {
    (1..=characters.len() / 2).any(|period| characters.iter().zip(&characters[period..]).all(|(a, b)| a == b))
}

fn without_known(text: &str) -> String {
    KNOWN_WEAK.iter().fold(text.to_lowercase(), |left, word| left.replace(word, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_secrets_pass() {
        for text in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "k7Jm2xQvT0aLw9ZsBn4rEy8uHc3fGd6p",
            "redis-9f86d081884c7d659a2feaa0c55ad015",
        ] {
            assert_eq!(weakness(text, 32), None, "{text}");
        }
        assert_eq!(weakness("x8Kd03ms9Qpw7Lz1", 16), None);
    }

    #[test]
    fn short_repeated_and_well_known_ones_do_not() {
        assert!(weakness("9f86d081884c7d659a2feaa0c55ad01", 32).unwrap().contains("fewer than 32"));
        assert!(weakness(&"a".repeat(40), 32).unwrap().contains("different"));
        assert!(weakness("9f86d0c19f86d0c19f86d0c19f86d0c1", 32).unwrap().contains("repeats"));
        assert!(weakness("changeme-changeme-PASSWORD-secret", 32).unwrap().contains("well-known"));
        assert!(weakness("foobared12345678", 16).unwrap().contains("well-known"));
    }
}
