//! Conditions on what is stored (RFC 9110 §13): lists of entity tags, compared here for reads and in Redis for writes.
//!
//! Only tags that the content of a key can have are kept, because no other can match. Limits: nothing has a date here, so
//! conditions on dates are not known.

use super::keys::ETag;

/// What a call asks of the content before it does anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The content must be one of these.
    pub if_match: Option<Tags>,
    /// The content must be none of these.
    pub if_none_match: Option<Tags>,
}

/// A set of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`: whatever there is.
    Any,
    /// Those with one of these tags.
    Listed(Vec<ETag>),
}

impl Conditions {
    /// True if nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }
}

impl Tags {
    /// Whether content with this tag is in the set.
    pub fn names(&self, tag: &ETag) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.contains(tag),
        }
    }
}

/// As the functions of `migrations/0006_keys.lua` read a condition.
pub(super) fn words(tags: Option<&Tags>) -> String {
    match tags {
        None => String::new(),
        Some(Tags::Any) => "*".to_owned(),
        Some(Tags::Listed(tags)) if tags.is_empty() => "-".to_owned(),
        Some(Tags::Listed(tags)) => tags.iter().map(ETag::digits).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_handed_to_redis_in_its_own_words() {
        let (a, b) = (ETag::of(b"a"), ETag::of(b"b"));
        assert_eq!(words(None), "");
        assert_eq!(words(Some(&Tags::Any)), "*");
        assert_eq!(words(Some(&Tags::Listed(vec![]))), "-");
        let both = Tags::Listed(vec![a.clone(), b.clone()]);
        assert_eq!(words(Some(&both)), format!("{},{}", a.digits(), b.digits()));
        assert!(both.names(&a) && !both.names(&ETag::of(b"c")) && Tags::Any.names(&a));
    }
}
