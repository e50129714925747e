//! "Did you mean": the known name nearest to a mistyped one.
//!
//! Why: most unknown keys are typing mistakes, and the right name beats a list of sixty. The measure is the
//! optimal string alignment distance (insert, delete, replace, swap neighbours; Damerau 1964). Limits: a word
//! further away than a third of its length gets no suggestion, because a wrong one costs more than none.

/// The nearest of `known` to `word`, or `None` when nothing is near.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(LONGEST).collect();
    let allowed = (word.len() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Names longer than this are cut before comparing: no known name is as long, and the table stays small.
const LONGEST: usize = 80;

fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word() {
        let known = ["serve", "check-config", "version"];
        assert_eq!(nearest("sevre", known), Some("serve"));
        assert_eq!(nearest("checkconfig", known), Some("check-config"));
    }

    #[test]
    fn a_word_that_is_far_from_all_gets_no_suggestion() {
        assert_eq!(nearest("banana", ["serve", "version"]), None);
        assert_eq!(nearest("", ["serve"]), None);
    }
}
