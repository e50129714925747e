//! A text that must not be printed: token, password, key.
//!
//! Why a type: a rule in a review guide is forgotten, a missing `Display` does not compile. `Debug` says that a
//! value is there and nothing about it, not even its length, so that any struct holding one can derive `Debug`.
//! Limits: it does not wipe memory and offers no comparison (`==` on secrets leaks time; compare through `subtle`).

use std::fmt;

/// A secret text. [`Secret::expose`] is the only way to its content, so that every use is one grep.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The content. Hand it to the thing that needs it, never to a log, an error or a label.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(set)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_says_that_it_is_set_and_nothing_else() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(set)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
