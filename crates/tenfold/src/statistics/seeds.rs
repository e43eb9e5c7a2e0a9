//! How many seeds a figure rests on, and how many it would need.

use super::{Estimate, sample, t_quantile};

/// Fewer seeds than this are few: their interval is held by an assumption (that a method's scores over seeds are
/// about normal) more than by what was seen, and can be twice as wide as that of five.
pub const FEW: usize = 5;

/// No study has more seeds than this; who would need more should measure something else.
const MOST: f64 = 1e6;

/// How much the number of seeds behind a figure can carry. Reports say it beside the figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "basis", content = "seeds", rename_all = "snake_case")]
pub enum Basis {
    /// One seed: nobody knows what another training would have given.
    One,
    /// Two to four seeds.
    Few(usize),
    /// Five seeds or more.
    Enough(usize),
}

impl Basis {
    /// What so many seeds can carry; none is as little as one.
    pub fn of(seeds: usize) -> Basis {
        match seeds {
            0 | 1 => Basis::One,
            few if few < FEW => Basis::Few(few),
            enough => Basis::Enough(enough),
        }
    }

    /// The words that go with the figure; `None` where nothing need be said.
    pub fn words(self) -> Option<String> {
        match self {
            Basis::One => Some("one seed: the interval knows nothing of other trainings".to_owned()),
            // The lowest of the tables that `coverage.rs` and `coverage/verdicts.rs` print.
            Basis::Few(2) => Some(
                "only 2 seeds: the interval is wide, rests on few runs, and where it was simulated held the truth in 91 % \
                 of studies at the worst, not 95 %"
                    .to_owned(),
            ),
            Basis::Few(seeds) => {
                Some(format!("only {seeds} seeds: the interval is wide and rests on few runs"))
            }
            Basis::Enough(_) => None,
        }
    }
}

impl Estimate {
    /// What the observations behind it can carry, where these are seeds.
    pub fn basis(&self) -> Basis {
        Basis::of(self.n)
    }
}

/// Seeds in all, those of the pilot among them, after which the 95 % interval of the mean has at most this half-width
/// (in the scores' unit), whatever the true deviation: Stein's two-stage sample (*Annals of Mathematical Statistics*
/// 16, 1945), which keeps the pilot's degrees of freedom for good. Never fewer than the pilot's.
///
/// `None` for a pilot that shows no spread, of one seed or of seeds that are all alike, for a half-width that is not
/// above 0, or beyond a million.
pub fn seeds_for(half_width: f64, pilot: &[f64]) -> Option<usize> {
    let deviation = sample::standard_deviation(pilot).filter(|deviation| *deviation > 0.0)?;
    let needed = (t_quantile(pilot.len() as f64 - 1.0) * deviation / half_width).powi(2);
    let possible = half_width > 0.0 && needed <= MOST;
    possible.then(|| pilot.len().max(needed.floor() as usize + 1))
}

#[cfg(test)]
mod tests {
    use super::super::SplitMix;
    use super::*;

    #[test]
    fn few_seeds_say_so() {
        assert_eq!(
            [0, 1, 2, 4, 5].map(Basis::of),
            [Basis::One, Basis::One, Basis::Few(2), Basis::Few(4), Basis::Enough(5)]
        );
        assert!(Estimate::exact(0.5).basis().words().unwrap().starts_with("one seed"));
        assert!(Basis::Few(2).words().unwrap().contains("91 %"));
        assert!(Basis::Few(3).words().unwrap().contains("3 seeds") && Basis::Enough(9).words().is_none());
    }

    #[test]
    fn steins_sample_covers_the_mean_with_the_width_it_promised() {
        // Three seeds, deviation 1: t is 4.303, so a half-width of 1 takes 18.5 and one more.
        assert_eq!(seeds_for(1.0, &[1.0, 2.0, 3.0]), Some(19));
        assert_eq!(seeds_for(9.0, &[1.0, 2.0, 3.0]), Some(3));
        assert_eq!([seeds_for(0.1, &[1.0]), seeds_for(0.1, &[0.1, 0.1])], [None, None]);
        assert_eq!(seeds_for(0.0, &[1.0, 2.0]), None);
        let studies = 1000;
        let covered = (0..studies)
            .filter(|study| {
                let mut random = SplitMix::stream(2, *study);
                let mut scores: Vec<f64> = (0..5).map(|_| random.normal()).collect();
                let n = seeds_for(0.8, &scores).unwrap();
                scores.extend((scores.len()..n).map(|_| random.normal()));
                (scores.iter().sum::<f64>() / n as f64).abs() <= 0.8
            })
            .count();
        assert!(covered >= 935, "{covered} of {studies}");
    }
}
