//! Every pair of methods: how they differ on the same test rows, how surely, and how much.

use super::Evidence;
use super::evidence::right_or_wrong;
use super::findings::Standing;
use crate::statistics::{
    Basis, Discordance, Estimate, NonInferiority, cliffs_delta, cohens_d, cohens_h, discordance,
    non_inferiority,
};
use serde::Serialize;

/// Two methods against one another; figures of the first minus the second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contrast {
    /// The one's name.
    pub first: String,
    /// The other's name.
    pub second: String,
    /// Mean score of the first minus that of the second, with an interval that is not corrected for many looks.
    pub difference: Estimate,
    /// Probability of such a difference if there were none (paired by test row), after Holm's correction over all pairs.
    pub p: f64,
    /// Cohen's d of the differences of the seeds that both have, corrected for few (Hedges' J).
    pub cohens_d: Option<Estimate>,
    /// Cohen's h of the two shares of right rows.
    pub cohens_h: Option<f64>,
    /// Cliff's delta of the seeds' scores, −1 to 1.
    pub cliffs_delta: Option<f64>,
    /// Rows that tell the two apart, in the first seed that both have, with McNemar's test.
    pub discordance: Option<Discordance>,
    /// What so many seeds can carry.
    pub basis: Basis,
}

/// Every pair of methods that have a score.
pub(super) fn contrasts(evidence: &Evidence, standing: &Standing) -> Vec<Contrast> {
    let of = |pair: &crate::statistics::Pair| {
        let (first, second) = (&standing.methods[pair.first], &standing.methods[pair.second]);
        let seeds = paired(evidence, first, second);
        let scores = |method: &str| -> Vec<f64> {
            evidence.outcomes(method, None).map_or_else(Vec::new, |runs| runs.seeds().to_vec())
        };
        let differences: Vec<f64> = seeds.iter().map(|(a, b)| share(a) - share(b)).collect();
        Contrast {
            first: first.clone(),
            second: second.clone(),
            difference: pair.difference,
            p: pair.p,
            cohens_d: cohens_d(&differences).filter(Estimate::is_finite),
            cohens_h: cohens_h(standing.means[pair.first], standing.means[pair.second]),
            cliffs_delta: cliffs_delta(&scores(first), &scores(second)),
            discordance: seeds.first().and_then(|(a, b)| discordance(a, b)),
            basis: Basis::of(pair.difference.n),
        }
    };
    standing.comparison.pairs.iter().map(of).collect()
}

/// A method against full fine-tuning: is it worse by more than the study's margin? `None` for the yardstick itself, or
/// where either has no score.
pub(super) fn against_full(evidence: &Evidence, method: &str) -> Option<NonInferiority> {
    let full = evidence.full().filter(|full| full.name != method)?;
    let (own, yardstick) = (evidence.outcomes(method, None)?, evidence.outcomes(&full.name, None)?);
    non_inferiority(&own, &yardstick, evidence.study.margin)
}

/// Which rows each has right, for every seed that both have.
fn paired(evidence: &Evidence, first: &str, second: &str) -> Vec<(Vec<bool>, Vec<bool>)> {
    let right = |run: &crate::record::Trained| -> Option<Vec<bool>> {
        Some(right_or_wrong(run.tests.first()?).into_iter().map(|worth| worth == 1.0).collect())
    };
    let others = evidence.main(second);
    let pair = |(seed, run): (u64, &crate::record::Trained)| {
        let (_, other) = others.iter().find(|(other, _)| *other == seed)?;
        Some((right(run)?, right(other)?))
    };
    evidence.main(first).into_iter().filter_map(pair).collect()
}

fn share(right: &[bool]) -> f64 {
    right.iter().filter(|right| **right).count() as f64 / right.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use crate::statistics::Verdict;

    #[test]
    fn every_pair_is_there_and_its_figures_point_the_same_way() {
        let findings = World::findings();
        let pairs = &findings.contrasts;
        let scored = findings.standing.methods.len();
        assert_eq!(pairs.len(), scored * (scored - 1) / 2);
        let far = pairs.iter().find(|pair| pair.first == "full" && pair.second == "prompt_tuning").unwrap();
        assert!(far.difference.value > 0.05 && far.p < 0.05 && far.cohens_h.unwrap() > 0.1, "{far:?}");
        assert!(far.cohens_d.unwrap().value > 1.0 && far.cliffs_delta == Some(1.0));
        let split = far.discordance.unwrap();
        assert!(split.first_only > split.second_only && split.p < 0.05, "{split:?}");
        assert_eq!(far.basis, Basis::Few(3));
    }

    #[test]
    fn the_margin_of_the_study_decides_what_is_as_good_as_full() {
        let world = World::new();
        let mut evidence = world.evidence();
        let verdict = |evidence: &Evidence, method| against_full(evidence, method).map(|found| found.verdict);
        assert_eq!(verdict(&evidence, "prompt_tuning"), Some(Verdict::Inferior));
        assert_eq!(verdict(&evidence, "full"), None);
        assert_eq!(verdict(&evidence, "adalora"), None);
        evidence.study.margin = 0.2;
        assert_eq!(verdict(&evidence, "prompt_tuning"), Some(Verdict::NonInferior));
    }
}
