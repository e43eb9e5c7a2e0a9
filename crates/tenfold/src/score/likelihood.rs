//! Scores of texts by their log-likelihood, as lm-evaluation-harness aggregates `loglikelihood` and
//! `loglikelihood_rolling`. Log-likelihoods are in nats, of whole texts.

use super::python;

/// exp of the mean negative log-likelihood of the rows; 1 or more, lower is better. `None` for no rows.
pub fn perplexity(log_likelihoods: &[f64]) -> Option<f64> {
    super::mean(log_likelihoods.iter().copied()).map(|mean| (-mean).exp())
}

/// exp of the negative log-likelihood of all texts for each unit of them: of words `word_perplexity`, of bytes
/// `byte_perplexity`; lower is better. `texts` are (log-likelihood, [`count_words`] or [`count_bytes`]). `None` for no
/// units.
pub fn weighted_perplexity(texts: &[(f64, usize)]) -> Option<f64> {
    nats_per_unit(texts).map(f64::exp)
}

/// Bits that a byte of the texts takes, 0 or more, lower is better. `texts` are (log-likelihood, [`count_bytes`]).
/// `None` for no bytes.
pub fn bits_per_byte(texts: &[(f64, usize)]) -> Option<f64> {
    nats_per_unit(texts).map(|nats| nats / std::f64::consts::LN_2)
}

/// Pieces of the text between runs of white space. One more where the text begins or ends with it, and 1 for an
/// empty text: so the harness counts.
pub fn count_words(text: &str) -> usize {
    let inner = python::split(text).count();
    let edges = [text.chars().next(), text.chars().next_back()].map(|c| c.is_some_and(python::is_space));
    match inner {
        0 if text.is_empty() => 1,
        0 => 2,
        _ => inner + edges.into_iter().filter(|edge| *edge).count(),
    }
}

/// Bytes of the text in UTF-8.
pub fn count_bytes(text: &str) -> usize {
    text.len()
}

fn nats_per_unit(texts: &[(f64, usize)]) -> Option<f64> {
    let units: usize = texts.iter().map(|(_, units)| units).sum();
    (units > 0).then(|| -texts.iter().map(|(nats, _)| nats).sum::<f64>() / units as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_weigh_by_their_length() {
        let texts = [(-2.0 * std::f64::consts::LN_2, 1), (-std::f64::consts::LN_2, 2)];
        assert!((bits_per_byte(&texts).unwrap() - 1.0).abs() < 1e-12);
        assert!((weighted_perplexity(&texts).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(
            (bits_per_byte(&[]), weighted_perplexity(&[(-1.0, 0)]), perplexity(&[])),
            (None, None, None)
        );
    }
}
