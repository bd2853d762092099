//! The known word that somebody meant.

/// The word of `known` nearest to `word`, unless none is near.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let distance = |other: &str| strsim::damerau_levenshtein(word, other);
    let nearest = known.into_iter().min_by_key(|other| distance(other))?;
    // Beyond a third of the word a suggestion would mislead.
    (distance(nearest) <= (word.len() / 3).max(2)).then_some(nearest)
}
