//! How the next token is chosen: Transformers' logits processors, in its order and by its definitions.

use crate::error::{Error, Result};
use crate::score::argmax;
use crate::train::MOST;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Settings of a generation, under Transformers' names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Whether tokens are drawn; else each is the likeliest, the one with the lowest id where they tie.
    pub do_sample: bool,
    /// What logits are divided by before a token is drawn.
    pub temperature: f32,
    /// Tokens are drawn from so many of the highest logits, and those that tie with the last of them; 0: from all.
    pub top_k: usize,
    /// Tokens are drawn from the fewest whose probabilities add up to this, one at least (Holtzman et al. 2020).
    pub top_p: f64,
    /// What positive logits of tokens that are there already are divided by, and negative ones multiplied with
    /// (Keskar et al. 2019), drawn or not.
    pub repetition_penalty: f32,
    /// Tokens of an answer at the most, the end token included.
    pub max_new_tokens: usize,
    /// An answer ends before the first of these.
    pub stop_strings: Vec<String>,
    /// Decides every draw, together with the prompt: what else is in the batch does not matter.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            do_sample: false,
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            repetition_penalty: 1.0,
            max_new_tokens: 256,
            stop_strings: Vec::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    /// One line for each value that makes no sense.
    pub fn faults(&self) -> Vec<String> {
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let empty = self.stop_strings.iter().any(String::is_empty);
        [
            (
                "temperature",
                positive(self.temperature),
                "a number above 0; without do_sample the likeliest token is taken",
                self.temperature.to_string(),
            ),
            ("top_k", self.top_k <= MOST, "0 to 1,000,000,000", self.top_k.to_string()),
            ("top_p", (0.0..=1.0).contains(&self.top_p), "0 to 1", self.top_p.to_string()),
            (
                "repetition_penalty",
                positive(self.repetition_penalty),
                "a number above 0; 1 for none",
                self.repetition_penalty.to_string(),
            ),
            (
                "max_new_tokens",
                (1..=MOST).contains(&self.max_new_tokens),
                "1 to 1,000,000,000",
                self.max_new_tokens.to_string(),
            ),
            ("stop_strings", !empty, "none of them empty", "an empty one".into()),
        ]
        .into_iter()
        .filter(|(_, fine, ..)| !fine)
        .map(|(key, _, expected, found)| format!("{key}: expected {expected}, found {found}"))
        .collect()
    }

    /// Whether it matters which tokens are there already.
    pub(super) fn penalizes(&self) -> bool {
        self.repetition_penalty != 1.0
    }

    /// The id of the next token. `seen`: the ids before it; `draw`: where in 0 .. 1 a drawn token lies.
    pub(super) fn choose(&self, logits: &[f32], seen: &Seen, draw: impl FnOnce() -> f64) -> Result<u32> {
        let logits = &*self.penalized(logits, seen);
        let likeliest = argmax(logits);
        let best = likeliest.map_or(f32::NAN, |likeliest| logits[likeliest]);
        let Some(likeliest) = likeliest.filter(|_| best.is_finite()) else {
            let found = format!("{best} after {} tokens", seen.tokens);
            return Err(Error::malformed("generation", "logits", "numbers", found));
        };
        if !self.do_sample {
            return Ok(likeliest as u32);
        }
        Ok(pick(&self.candidates(logits), draw()))
    }

    /// The logits, those of tokens that are there already made less likely.
    fn penalized<'a>(&self, logits: &'a [f32], seen: &Seen) -> Cow<'a, [f32]> {
        if !self.penalizes() {
            return logits.into();
        }
        let mut logits = logits.to_vec();
        penalize(&mut logits, seen, self.repetition_penalty);
        logits.into()
    }

    /// The tokens that may be drawn, each with its share of the probability, up to a common factor.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let mut kept: Vec<(u32, f32)> =
            (0..).zip(logits).map(|(id, logit)| (id, logit / self.temperature)).collect();
        if (1..kept.len()).contains(&self.top_k) {
            let (_, last, _) = kept.select_nth_unstable_by(self.top_k - 1, |a, b| b.1.total_cmp(&a.1));
            let last = last.1;
            kept.retain(|(_, logit)| *logit >= last);
        }
        // Likeliest first; where they tie, by id: the same order however the selection left them.
        kept.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let best = kept[0].1;
        let shares: Vec<(u32, f64)> =
            kept.into_iter().map(|(id, logit)| (id, f64::from(logit - best).exp())).collect();
        if self.top_p >= 1.0 {
            return shares;
        }
        let enough = self.top_p * shares.iter().map(|(_, share)| share).sum::<f64>();
        let mut better = 0.0;
        let count = shares.iter().take_while(|(_, share)| {
            let short = better < enough;
            better += share;
            short
        });
        let count = count.count().max(1);
        shares[..count].to_vec()
    }
}

/// Makes tokens that are there already less likely, each once however often it is there.
fn penalize(logits: &mut [f32], seen: &Seen, penalty: f32) {
    for id in &seen.ids {
        if let Some(logit) = logits.get_mut(*id as usize) {
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
    }
}

/// What a sequence holds already: each id once, in the order of its first place, and a mark for each id that is there, so that
/// one more token costs the same however long the sequence is.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    tokens: usize,
    ids: Vec<u32>,
    is_there: Vec<bool>,
}

impl Seen {
    /// The sequence as it begins; which ids it holds is noted for a generation that penalizes them alone.
    pub(super) fn of(ids: &[u32], sampling: &Sampling) -> Seen {
        let mut seen = Seen::default();
        ids.iter().for_each(|id| seen.push(*id, sampling));
        seen
    }

    /// One more token.
    pub(super) fn push(&mut self, id: u32, sampling: &Sampling) {
        self.tokens += 1;
        if !sampling.penalizes() {
            return;
        }
        let place = id as usize;
        if self.is_there.len() <= place {
            self.is_there.resize(place + 1, false);
        }
        if !std::mem::replace(&mut self.is_there[place], true) {
            self.ids.push(id);
        }
    }
}

/// The token in whose share of the whole the draw falls.
fn pick(candidates: &[(u32, f64)], draw: f64) -> u32 {
    let whole: f64 = candidates.iter().map(|(_, share)| share).sum();
    let mut rest = draw * whole;
    for (id, share) in candidates {
        if rest < *share {
            return *id;
        }
        rest -= share;
    }
    // Rounding alone leads here; shares fall, so that the last may be none at all.
    candidates[0].0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(sampling: &Sampling, logits: &[f32]) -> Vec<u32> {
        sampling.candidates(logits).into_iter().map(|(id, _)| id).collect()
    }

    fn logs(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    fn sampling() -> Sampling {
        Sampling { do_sample: true, top_k: 0, ..Sampling::default() }
    }

    #[test]
    fn top_k_keeps_the_highest_and_what_ties_with_the_last() {
        let top = |top_k| ids(&Sampling { top_k, ..sampling() }, &[1.0, 3.0, 2.0, 2.0, -1.0]);
        assert_eq!((top(1), top(2), top(3)), (vec![1], vec![1, 2, 3], vec![1, 2, 3]));
        assert_eq!((top(0).len(), top(4).len(), top(9).len()), (5, 4, 5));
    }

    #[test]
    fn top_p_keeps_the_fewest_that_reach_it_and_one_at_least() {
        let top = |top_p| ids(&Sampling { top_p, ..sampling() }, &logs(&[0.15, 0.45, 0.3, 0.1]));
        assert_eq!((top(0.0), top(0.4), top(0.5)), (vec![1], vec![1], vec![1, 2]));
        assert_eq!((top(0.8), top(0.95), top(1.0)), (vec![1, 2, 0], vec![1, 2, 0, 3], vec![1, 2, 0, 3]));
        // What top_k leaves is the whole that top_p takes its part of: 0.45 of 0.75 is 0.6.
        let both = Sampling { top_k: 2, top_p: 0.55, ..sampling() };
        assert_eq!(ids(&both, &logs(&[0.15, 0.45, 0.3, 0.1])), [1]);
    }

    #[test]
    fn temperature_comes_before_top_p() {
        let logits = logs(&[0.6, 0.4]);
        let top = |temperature| ids(&Sampling { temperature, top_p: 0.7, ..sampling() }, &logits).len();
        assert_eq!((top(1.0), top(0.25)), (2, 1));
    }

    #[test]
    fn what_was_said_is_penalized_once_towards_less_likely() {
        let mut logits = [2.0, -2.0, 1.0, 0.5];
        let greedy = Sampling { repetition_penalty: 3.0, ..Sampling::default() };
        let mut seen = Seen::of(&[1, 0, 0], &greedy);
        seen.push(77, &greedy);
        penalize(&mut logits, &seen, 2.0);
        assert_eq!(logits, [1.0, -4.0, 1.0, 0.5]);
        assert_eq!((seen.tokens, seen.ids), (4, vec![1, 0, 77]));
        let logits = [2.0, -2.0, 1.0, 0.5];
        assert_eq!(greedy.choose(&logits, &Seen::of(&[0], &greedy), || 0.0).unwrap(), 2);
        // Without a penalty nothing is kept of a sequence but its length.
        let seen = Seen::of(&[5, 6], &Sampling::default());
        assert_eq!((seen.tokens, seen.ids.len(), seen.is_there.len()), (2, 0, 0));
    }

    #[test]
    fn greedy_takes_the_lowest_of_ties_and_refuses_what_is_no_number() {
        let greedy = Sampling::default();
        assert_eq!(greedy.choose(&[0.0, 5.0, 5.0], &Seen::default(), || unreachable!()).unwrap(), 1);
        for bad in [[f32::NAN, 1.0], [1.0, f32::NAN], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
            assert!(greedy.choose(&bad, &Seen::default(), || 0.0).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn draws_fall_as_often_as_the_softmax_says() {
        let (expected, draws) = ([0.1, 0.2, 0.3, 0.4], 20_000);
        let logits = logs(&expected);
        for temperature in [1.0, 0.5] {
            let sampling = Sampling { temperature, ..sampling() };
            let mut counts = [0usize; 4];
            for number in 0..draws {
                let draw = super::super::draw(7, number);
                counts[sampling.choose(&logits, &Seen::default(), || draw).unwrap() as usize] += 1;
            }
            let powers = expected.map(|p: f32| f64::from(p).powf(1.0 / f64::from(temperature)));
            let whole: f64 = powers.iter().sum();
            for (count, power) in counts.iter().zip(powers) {
                let (p, n) = (power / whole, draws as f64);
                // Five standard deviations of a binomial count.
                let bound = 5.0 * (n * p * (1.0 - p)).sqrt();
                assert!((*count as f64 - n * p).abs() < bound, "{counts:?} at {temperature}");
            }
        }
    }

    #[test]
    fn faults_are_listed_by_key() {
        let bad = Sampling {
            temperature: 0.0,
            top_p: 1.5,
            repetition_penalty: f32::NAN,
            max_new_tokens: 0,
            stop_strings: vec![String::new()],
            ..Sampling::default()
        };
        let keys: Vec<String> =
            bad.faults().iter().map(|fault| fault.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(keys, ["temperature", "top_p", "repetition_penalty", "max_new_tokens", "stop_strings"]);
        assert!(Sampling::default().faults().is_empty());
    }
}
