//! Multiple choice by log-likelihood, as lm-evaluation-harness scores `output_type: multiple_choice`.
//!
//! One row at a time: 1 if the choice with the highest figure is (one of) the gold, else 0; higher is better. A score
//! is `None` where there are no choices, numbers do not fit or are not numbers, or no gold is among the choices.

use super::argmax;

/// `acc`: by the log-likelihood of the whole choice, in nats.
pub fn acc(log_likelihoods: &[f64], golds: &[usize]) -> Option<f64> {
    let known = golds.iter().any(|gold| *gold < log_likelihoods.len());
    let best = argmax(log_likelihoods).filter(|_| known)?;
    Some(f64::from(u8::from(golds.contains(&best))))
}

/// `acc_norm`: by the log-likelihood for each character (code point) of the choice. An empty choice is the least likely, as in
/// lm-evaluation-harness, which divides by its length of 0.
pub fn acc_norm(log_likelihoods: &[f64], choices: &[&str], golds: &[usize]) -> Option<f64> {
    by_length(log_likelihoods, choices, golds, |choice| choice.chars().count())
}

/// `acc_bytes`: by the log-likelihood for each byte of the choice in UTF-8. An empty choice is the least likely.
pub fn acc_bytes(log_likelihoods: &[f64], choices: &[&str], golds: &[usize]) -> Option<f64> {
    by_length(log_likelihoods, choices, golds, str::len)
}

/// `acc_mutual_info`: by what the question adds to the choice's log-likelihood without it.
pub fn acc_mutual_info(log_likelihoods: &[f64], unconditional: &[f64], golds: &[usize]) -> Option<f64> {
    if log_likelihoods.len() != unconditional.len() {
        return None;
    }
    let gains: Vec<f64> =
        log_likelihoods.iter().zip(unconditional).map(|(with, without)| with - without).collect();
    acc(&gains, golds)
}

fn by_length(
    log_likelihoods: &[f64],
    choices: &[&str],
    golds: &[usize],
    length: fn(&str) -> usize,
) -> Option<f64> {
    if log_likelihoods.len() != choices.len() {
        return None;
    }
    let each = log_likelihoods.iter().zip(choices).map(|(nats, choice)| match length(choice) {
        0 => f64::NEG_INFINITY,
        length => nats / length as f64,
    });
    acc(&each.collect::<Vec<_>>(), golds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_characters_or_in_bytes() {
        // Characters: −4/4 against −3.3/3; bytes: −4/8 against −3.3/3.
        let (nats, choices) = ([-4.0, -2.7], ["ééé", "abc"]);
        assert_eq!(acc(&nats, &[1]), Some(1.0));
        assert_eq!(acc_norm(&nats, &choices, &[1]), Some(1.0));
        assert_eq!(acc_bytes(&nats, &choices, &[0]), Some(1.0));
        assert_eq!(acc_mutual_info(&nats, &[-9.0, -3.0], &[0]), Some(1.0));
    }

    #[test]
    fn ties_go_to_the_first_and_nonsense_to_none() {
        assert_eq!(acc(&[-1.0, -1.0], &[0]), Some(1.0));
        assert_eq!(acc(&[-1.0, -2.0], &[1, 0]), Some(1.0));
        for nothing in [acc(&[], &[0]), acc(&[-1.0], &[1]), acc(&[-1.0, f64::NAN], &[0]), acc(&[-1.0], &[])] {
            assert_eq!(nothing, None);
        }
        assert_eq!(
            acc_norm(&[-2.0, -1.0], &["a", ""], &[0]),
            Some(1.0),
            "an empty choice is the least likely"
        );
        assert_eq!(acc_norm(&[-2.0, -1.0], &["", ""], &[0]), Some(1.0), "of empty choices the first wins");
        assert_eq!(acc_norm(&[-1.0], &["a", "b"], &[0]), None);
        assert_eq!(acc_mutual_info(&[-1.0], &[], &[0]), None);
    }
}
