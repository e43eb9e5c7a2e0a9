//! Every pair of methods: what the data say of it, and for reference what other tests and effect sizes say.

use super::findings::Standing;
use super::{Evidence, Outcomes};
use crate::record::{Test, Trained};
use crate::score::Scoring;
use crate::statistics::{
    Basis, Discordance, Estimate, Judgement, Pair, Permuted, cliffs_delta, cohens_d, cohens_h, discordance,
    holm,
};
use rayon::prelude::*;
use serde::Serialize;
use std::sync::Arc;

/// Two methods against one another: by how much the first is better than the second, whatever way the score is better.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contrast {
    /// The one's name.
    pub first: String,
    /// The other's name.
    pub second: String,
    /// What the data say of the first against the second, at the study's margin: the one statement that groups, the list
    /// of pairs that differ, the comparison with full fine-tuning and the recommendation are made of.
    pub judgement: Judgement,
    /// For reference: other tests and effect sizes. They decide nothing.
    pub reference: Reference,
    /// What so many seeds can carry.
    pub basis: Basis,
}

/// What other tests say of a pair, and how large the difference is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reference {
    /// The difference with the paired bootstrap's interval (BCa; seeds and rows both drawn anew), of this pair alone.
    /// `None` where draws leave a score undefined; without ends where none can move it, or for one row.
    pub bootstrap: Option<Estimate>,
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
}

/// Every pair of methods that have a score.
pub(super) fn contrasts(evidence: &Evidence, standing: &Standing) -> Vec<Contrast> {
    let outcomes: Vec<Arc<Outcomes>> =
        standing.methods.iter().filter_map(|method| evidence.outcomes(method, None)).collect();
    let scored: Vec<&Outcomes> = outcomes.iter().map(AsRef::as_ref).collect();
    let pairs = &standing.comparison.pairs;
    let places: Vec<(usize, usize)> = pairs.iter().map(|pair| (pair.first, pair.second)).collect();
    let mut permuted = Outcomes::permuted_pairs(&scored, &places);
    let found: Vec<f64> = permuted.iter().flatten().map(|both| both.p).collect();
    permuted.iter_mut().flatten().zip(holm(&found)).for_each(|(both, p)| both.p = p);
    // Pairs are worked out side by side: what they share must be there before, or one would wait for another.
    Outcomes::draw_together(&scored);
    let of = |(pair, permuted): (&Pair, Option<Permuted>)| {
        let (a, b) = (pair.first, pair.second);
        Contrast {
            first: standing.methods[a].clone(),
            second: standing.methods[b].clone(),
            judgement: pair.judged(evidence.study.margin),
            reference: Reference {
                permuted,
                ..reference(evidence, standing, [scored[a], scored[b]], (a, b))
            },
            basis: Basis::of(pair.difference.n),
        }
    };
    pairs.par_iter().zip(permuted).map(of).collect()
}

/// All but the permutation tests.
fn reference(
    evidence: &Evidence,
    standing: &Standing,
    [own, other]: [&Outcomes; 2],
    (a, b): (usize, usize),
) -> Reference {
    let (first, second) = (standing.methods[a].as_str(), standing.methods[b].as_str());
    let (scoring, shared) = (evidence.scoring(), shared(evidence, first, second));
    let by = |(a, b): &(&Test, &Test)| Some(scoring.shortfall(a.score.value?, b.score.value?));
    let differences: Vec<f64> = shared.iter().filter_map(by).collect();
    // Scores of which less is better are turned round, so that every figure points the same way.
    let towards = |value: f64| -scoring.to_perfect(value);
    let scores = |of: &Outcomes| -> Vec<f64> { of.values().iter().map(|value| towards(*value)).collect() };
    let is_share = scoring.range == (0.0, 1.0);
    let h = || cohens_h(standing.means[a], standing.means[b]);
    let split = |(a, b): &(&Test, &Test)| discordance(&right(scoring, a)?, &right(scoring, b)?);
    Reference {
        bootstrap: own.ahead_of(other).filter(Estimate::is_finite),
        permuted: None,
        cohens_d: cohens_d(&differences).filter(Estimate::is_finite),
        cohens_h: is_share.then(h).flatten(),
        cliffs_delta: cliffs_delta(&scores(own), &scores(other)),
        discordance: shared.first().and_then(split),
    }
}

/// What the data say of a method against full fine-tuning at the study's margin. `None` for the yardstick itself, or
/// where either has no score.
pub(super) fn against_full(evidence: &Evidence, method: &str) -> Option<Judgement> {
    let full = evidence.full().filter(|full| full.name != method)?;
    evidence.standing().judged(method, &full.name, evidence.study.margin)
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
        let (judged, other) = (far.judgement, &far.reference);
        assert!(judged.lead.value > 0.05 && judged.p < 0.05 && other.cohens_h.unwrap() > 0.1, "{far:?}");
        assert_eq!(judged.verdict, Verdict::Better);
        assert!(other.cohens_d.unwrap().value > 1.0 && other.cliffs_delta == Some(1.0));
        // The bootstrap's interval is of one pair, the other of all 28: 1.6 times as wide where rows are many.
        let (drawn, all) = (other.bootstrap.unwrap(), judged.lead);
        assert!((drawn.value - all.value).abs() < 1e-12 && drawn.low.unwrap() > 0.05, "{drawn:?}");
        let wider = all.margin().unwrap() / drawn.margin().unwrap();
        assert!((1.5..2.5).contains(&wider), "{drawn:?} {all:?}");
        assert!(
            pairs.iter().all(|pair| pair.reference.bootstrap.is_some() && pair.reference.permuted.is_some())
        );
        let split = other.discordance.unwrap();
        assert!(split.first_only > split.second_only && split.p < 0.05, "{split:?}");
        assert_eq!(far.basis, Basis::Few(3));
        // Three seeds of each are regrouped in 20 ways, and Holm takes the least p of so many pairs to 1.
        let both = other.permuted.unwrap();
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
        assert_eq!(verdict(&evidence, "prompt_tuning"), Some(Verdict::SlightlyWorse));
    }
}
