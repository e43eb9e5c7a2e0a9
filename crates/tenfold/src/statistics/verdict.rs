//! What the data say of one method against another: one interval, one verdict.
//!
//! Everything that a report says of a pair (groups, the list of pairs that differ, the comparison with full fine-tuning,
//! the recommendation) reads the pair's [`Verdict`], which follows from one interval of the difference, and from nothing
//! else. [`compare`](super::compare) computes that interval; it is simultaneous over all pairs of the study, so that all
//! verdicts together hold in 95 % of studies, and any pair may be picked after the data were seen.
//!
//! With the difference counted upwards where the first method is better, `[low, high]` its interval, and a margin by
//! which a method may be worse and still count as as good:
//!
//! | interval                          | verdict                     | told apart | within the margin |
//! |-----------------------------------|-----------------------------|------------|-------------------|
//! | `0 < low`                         | [`Verdict::Better`]         | yes        | yes               |
//! | holds 0, `-margin < low`          | [`Verdict::AsGood`]         | no         | yes               |
//! | holds 0, `low <= -margin`, or none| [`Verdict::Undecided`]      | no         | not shown         |
//! | `high < 0`, `-margin < low`       | [`Verdict::SlightlyWorse`]  | yes        | yes               |
//! | `high < 0`, holds `-margin`       | [`Verdict::Worse`]          | yes        | not shown         |
//! | `high < -margin`                  | [`Verdict::Inferior`]       | yes        | no                |
//!
//! Two methods share a group letter exactly where they are not told apart. So a method that is inferior to full
//! fine-tuning never shares a letter with it. A method can be worse than full fine-tuning and still within the margin: it
//! then has no letter in common with it, and both statements are true. "As good" is a claim that the data support;
//! "undecided" is the absence of any claim.

use super::Estimate;

/// What the data say of a method against another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is better.
    Better,
    /// The data do not tell the two apart, and show that it is not worse by the margin.
    AsGood,
    /// The data do not tell the two apart, and do not show that it is within the margin: more seeds or rows would be needed.
    Undecided,
    /// It is worse, but by less than the margin.
    SlightlyWorse,
    /// It is worse; the data do not show whether by more or by less than the margin.
    Worse,
    /// It is worse by more than the margin.
    Inferior,
}

impl Verdict {
    /// What an interval of a method's lead says, at a margin of 0 or more. This is the only place where a verdict is made.
    pub fn of(lead: &Estimate, margin: f64) -> Verdict {
        let within = lead.low.is_some_and(|low| low > -margin);
        if lead.low.is_some_and(|low| low > 0.0) {
            Verdict::Better
        } else if lead.high.is_some_and(|high| high < 0.0) {
            match (within, lead.high.is_some_and(|high| high < -margin)) {
                (true, _) => Verdict::SlightlyWorse,
                (false, true) => Verdict::Inferior,
                (false, false) => Verdict::Worse,
            }
        } else if within {
            Verdict::AsGood
        } else {
            Verdict::Undecided
        }
    }

    /// Whether the data tell the two apart.
    pub fn tells_apart(self) -> bool {
        !matches!(self, Verdict::AsGood | Verdict::Undecided)
    }

    /// Whether the data show that the method is not worse by the margin or more.
    pub fn is_within_margin(self) -> bool {
        matches!(self, Verdict::Better | Verdict::AsGood | Verdict::SlightlyWorse)
    }

    /// For people, of the method against the other.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::AsGood => "as good",
            Verdict::Undecided => "undecided",
            Verdict::SlightlyWorse => "worse, within the margin",
            Verdict::Worse => "worse",
            Verdict::Inferior => "worse beyond the margin",
        }
    }
}

/// A verdict with what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Judgement {
    /// What the data say.
    pub verdict: Verdict,
    /// By how much the method is better than the other, with the simultaneous 95 % interval.
    pub lead: Estimate,
    /// The adjusted p-value; below 0.05 exactly where the interval leaves out 0.
    pub p: f64,
    /// How much worse still counts as as good, in the unit of the score; it must be set before the data are seen.
    pub margin: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(low: f64, high: f64) -> Verdict {
        Verdict::of(&Estimate { value: (low + high) / 2.0, low: Some(low), high: Some(high), n: 3 }, 0.02)
    }

    #[test]
    fn every_place_of_the_interval_has_its_verdict() {
        let cases = [
            (0.001, 0.05, Verdict::Better),
            (-0.019, 0.05, Verdict::AsGood),
            (-0.021, 0.05, Verdict::Undecided),
            (-0.02, 0.0, Verdict::Undecided),
            (-0.019, -0.001, Verdict::SlightlyWorse),
            (-0.05, -0.001, Verdict::Worse),
            (-0.05, -0.021, Verdict::Inferior),
        ];
        for (low, high, verdict) in cases {
            assert_eq!(of(low, high), verdict, "{low} to {high}");
        }
        assert_eq!(Verdict::of(&Estimate::exact(-0.5), 0.02), Verdict::Undecided);
    }

    #[test]
    fn what_is_inferior_is_told_apart_and_without_a_margin_worse_is_inferior() {
        for step in 0..400 {
            let (low, width) = (f64::from(step % 20) / 100.0 - 0.1, f64::from(step / 20) / 100.0);
            let (one, other) = (of(low, low + width), of(-low - width, -low));
            assert_eq!(one.tells_apart(), other.tells_apart(), "{low} {width}");
            assert!(one != Verdict::Inferior || (other == Verdict::Better && !one.is_within_margin()));
        }
        let worse = Estimate { value: -0.1, low: Some(-0.2), high: Some(-0.01), n: 3 };
        assert_eq!(Verdict::of(&worse, 0.0), Verdict::Inferior);
    }
}
