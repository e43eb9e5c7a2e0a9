//! Every pair of methods: how they differ on the same test rows, how surely, and how much.

use super::Evidence;
use super::findings::Standing;
use crate::record::{Test, Trained};
use crate::score::Scoring;
use crate::statistics::{
    Basis, Discordance, Estimate, NonInferiority, Permuted, cliffs_delta, cohens_d, cohens_h, discordance,
    holm, non_inferiority,
};
use serde::Serialize;

/// Two methods against one another: by how much the first is better than the second, whatever way the score is better.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contrast {
    /// The one's name.
    pub first: String,
    /// The other's name.
    pub second: String,
    /// Difference of the mean scores, with Student's t interval, which is not corrected for many looks.
    pub difference: Estimate,
    /// The same difference with the paired bootstrap's interval (BCa; seeds and rows both drawn anew), not corrected
    /// either. `None` where draws leave a score undefined; without ends where none can move it, or for one row.
    pub bootstrap: Option<Estimate>,
    /// Probability of such a difference if there were none (paired by test row), after Holm's correction over all pairs.
    pub p: f64,
    /// Permutation tests over rows and over seeds, which assume no distribution; the p of both is after Holm's
    /// correction over all pairs that have one. Rows exchange what they are worth where the score is the mean of that,
    /// else their whole answers, and the score is worked out anew.
    pub permuted: Option<Permuted>,
    /// Cohen's d of the differences of the seeds that both have, corrected for few (Hedges' J).
    pub cohens_d: Option<Estimate>,
    /// Cohen's h of the two shares, where the score is one.
    pub cohens_h: Option<f64>,
    /// Cliff's delta of the seeds' scores, −1 to 1.
    pub cliffs_delta: Option<f64>,
    /// Rows that tell the two apart, in the first seed that both have, with McNemar's test; where rows are right or wrong.
    pub discordance: Option<Discordance>,
    /// What so many seeds can carry.
    pub basis: Basis,
}

/// Every pair of methods that have a score.
pub(super) fn contrasts(evidence: &Evidence, standing: &Standing) -> Vec<Contrast> {
    let scoring = evidence.scoring();
    let permuted = |first: &str, second: &str| {
        let (a, b) = (evidence.outcomes(first, None)?, evidence.outcomes(second, None)?);
        a.permuted(&b)
    };
    let of = |pair: &crate::statistics::Pair| {
        let (first, second) = (&standing.methods[pair.first], &standing.methods[pair.second]);
        let shared = shared(evidence, first, second);
        let by = |(a, b): &(&Test, &Test)| Some(scoring.shortfall(a.score.value?, b.score.value?));
        let differences: Vec<f64> = shared.iter().filter_map(by).collect();
        // Scores of which less is better are turned round, so that every figure points the same way.
        let towards = |value: f64| -scoring.to_perfect(value);
        let scores = |method: &str| -> Vec<f64> {
            let found = evidence.outcomes(method, None);
            found.map_or_else(Vec::new, |found| found.values().iter().map(|value| towards(*value)).collect())
        };
        let is_share = scoring.range == (0.0, 1.0);
        let h = || cohens_h(standing.means[pair.first], standing.means[pair.second]);
        let split = |(a, b): &(&Test, &Test)| discordance(&right(scoring, a)?, &right(scoring, b)?);
        Contrast {
            first: first.clone(),
            second: second.clone(),
            difference: pair.difference,
            bootstrap: ahead(evidence, first, second),
            p: pair.p,
            permuted: permuted(first, second),
            cohens_d: cohens_d(&differences).filter(Estimate::is_finite),
            cohens_h: is_share.then(h).flatten(),
            cliffs_delta: cliffs_delta(&scores(first), &scores(second)),
            discordance: shared.first().and_then(split),
            basis: Basis::of(pair.difference.n),
        }
    };
    let mut contrasts: Vec<Contrast> = standing.comparison.pairs.iter().map(of).collect();
    let found = || contrasts.iter().filter_map(|pair| pair.permuted.map(|both| both.p));
    let corrected = holm(&found().collect::<Vec<_>>());
    contrasts
        .iter_mut()
        .filter_map(|pair| pair.permuted.as_mut())
        .zip(corrected)
        .for_each(|(both, p)| both.p = p);
    contrasts
}

/// A method against full fine-tuning: is it worse by more than the study's margin? `None` for the yardstick itself, or
/// where either has no score.
pub(super) fn against_full(evidence: &Evidence, method: &str) -> Option<NonInferiority> {
    let full = evidence.full().filter(|full| full.name != method)?;
    non_inferiority(ahead(evidence, method, &full.name)?, evidence.study.margin)
}

/// By how much the first is better than the second, by the paired bootstrap. The study's order decides whose draws of
/// luck come first, so that a pair has one interval whichever way it is read.
pub(super) fn ahead(evidence: &Evidence, first: &str, second: &str) -> Option<Estimate> {
    let place = |name: &str| evidence.study.methods.iter().position(|method| method.name == name);
    if place(first) > place(second) {
        return Some(ahead(evidence, second, first)?.map(|x| -x));
    }
    let (a, b) = (evidence.outcomes(first, None)?, evidence.outcomes(second, None)?);
    a.ahead_of(&b).filter(Estimate::is_finite)
}

/// The tests of every seed that both have, by rising seed.
fn shared<'a>(evidence: &Evidence<'a>, first: &str, second: &str) -> Vec<(&'a Test, &'a Test)> {
    let others = evidence.main(second);
    let pair = |(seed, run): (u64, &'a Trained)| {
        let (_, other) = others.iter().find(|(other, _)| *other == seed)?;
        Some((run.tests.first()?, other.tests.first()?))
    };
    evidence.main(first).into_iter().filter_map(pair).collect()
}

/// Which rows are right, where each is right or wrong.
fn right(scoring: &Scoring, test: &Test) -> Option<Vec<bool>> {
    let worths = scoring.worths(&test.answers)?;
    worths.into_iter().map(|worth| (worth == 0.0 || worth == 1.0).then_some(worth == 1.0)).collect()
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
        // The paired bootstrap and Student's t are two roads to one interval.
        let (drawn, t) = (far.bootstrap.unwrap(), far.difference);
        assert!((drawn.value - t.value).abs() < 1e-12 && drawn.low.unwrap() > 0.05, "{drawn:?}");
        assert!((drawn.margin().unwrap() / t.margin().unwrap() - 1.0).abs() < 0.1, "{drawn:?} {t:?}");
        assert!(pairs.iter().all(|pair| pair.bootstrap.is_some() && pair.permuted.is_some()));
        let yardstick = against_full(findings.evidence, "prompt_tuning").unwrap().difference;
        assert_eq!((yardstick.low.map(|x| -x), yardstick.high.map(|x| -x)), (drawn.high, drawn.low));
        let split = far.discordance.unwrap();
        assert!(split.first_only > split.second_only && split.p < 0.05, "{split:?}");
        assert_eq!(far.basis, Basis::Few(3));
        // Three seeds of each are regrouped in 20 ways, and Holm takes the least p of so many pairs to 1.
        let both = far.permuted.unwrap();
        assert!(both.rows.p < 0.001 && both.seeds.exact && both.seeds.p == 0.1, "{both:?}");
        assert_eq!((both.smallest(), both.p), (0.1, 1.0));
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
