//! Metric 6: what remains of the score in domains that were not trained on.

use super::evidence::test_of;
use super::{Direction, Evidence, Figure, Metric, Outcomes, Reading, TakenFrom, Unit};
use crate::record::{Forgetting, Trained};
use crate::score::Scoring;
use crate::statistics::{Rows, mean};
use std::sync::Arc;

pub(super) static METRIC: Metric = Metric {
    number: 6,
    name: "cross_domain",
    title: "Cross-domain",
    unit: "the task's own score in each other domain, without further training",
    direction: Direction::Higher,
    source: "Mean over seeds with a bootstrap interval over seeds and rows, as for accuracy. Drop: by how much the other domain is \
             worse than the trained one, in the same seeds. Retention: which part of its score is left there. Mixture: trained on as many rows of \
             several domains; gain: by how much its score is better than that of training on the one domain, on the same rows. \
             Forgetting: rise of a language model's loss on a general text, mean over seeds, Student's t interval.",
    taken_from: TakenFrom::Main,
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let domains = evidence.domains();
    let why = evidence.why_no_main(method);
    let home = evidence.outcomes(method, None);
    let others: Vec<(&str, Option<Arc<Outcomes>>)> =
        domains.iter().skip(1).map(|d| (*d, evidence.outcomes(method, Some(d)))).collect();
    let scoring = evidence.scoring();
    let mut figures = worst(scoring, &others, &why);
    for (domain, away) in &others {
        let tested = |(_, run): &(u64, &Trained)| test_of(run, Some(domain)).is_some();
        let why = match home {
            None => &why,
            Some(_) if evidence.main(method).iter().all(tested) => {
                "the score is not defined on these answers"
            }
            Some(_) => "not tested there",
        };
        figures.extend(other_domain(scoring, domain, home.as_deref().zip(away.as_deref()), why));
    }
    figures.extend(mixture(evidence, method, &domains));
    figures.push(Figure::new(
        "forgetting",
        "Forgetting, nats per token",
        Unit::Number,
        Direction::Lower,
        forgetting(evidence, method, &why),
    ));
    figures
}

/// Rise of the loss on general text, over seeds.
fn forgetting(evidence: &Evidence, method: &str, why: &str) -> Reading {
    let runs = evidence.main(method);
    let rise = |found: &Forgetting| found.after - found.before;
    let rises: Vec<f64> = runs.iter().filter_map(|(_, run)| run.forgetting.as_ref().map(rise)).collect();
    let unmeasured = &evidence.study.forgetting;
    Reading::measured(mean(&rises), if unmeasured.is_empty() { why } else { unmeasured })
}

/// What training on the mixture of domains gives in each domain, against training on the one alone.
fn mixture(evidence: &Evidence, method: &str, domains: &[&str]) -> Vec<Figure> {
    if evidence.study.mixture.is_empty() {
        return Vec::new();
    }
    let (why, scoring) = (evidence.why_no_mixture(method), evidence.scoring());
    let of_domain = |domain: &&str| {
        let mixed = evidence.mixed_outcomes(method, Some(domain));
        let single = evidence.outcomes(method, Some(domain));
        let gain = mixed.as_ref().zip(single.as_deref()).and_then(|(mixed, single)| mixed.ahead_of(single));
        let score = Reading::measured(mixed.as_ref().map(|mixed| mixed.estimate()), &why);
        let gain = Reading::measured(gain, &why);
        use Direction::Higher;
        [
            Figure::new(
                format!("mixed_{domain}"),
                format!("{domain}, mixture"),
                scoring.unit,
                scoring.direction,
                score,
            ),
            Figure::new(
                format!("gain_{domain}"),
                format!("{domain}: gain"),
                scoring.unit.of_difference(),
                Higher,
                gain,
            ),
        ]
    };
    domains.iter().flat_map(of_domain).collect()
}

fn worst(scoring: &Scoring, others: &[(&str, Option<Arc<Outcomes>>)], why: &str) -> Vec<Figure> {
    let tested = others.iter().filter_map(|(name, outcomes)| outcomes.as_ref().map(|found| (*name, found)));
    let lowest = tested.reduce(|worst, next| {
        let better = scoring.is_better(Some(worst.1.mean()), Some(next.1.mean()));
        if better { next } else { worst }
    });
    let why = if others.is_empty() { "the study has one domain" } else { why };
    let value = Reading::measured(lowest.map(|(_, outcomes)| outcomes.estimate()), why);
    let name = match lowest {
        Some((name, _)) => Reading::Judged {
            verdict: name.to_owned(),
            good: None,
            because: "the worst score of the other domains".to_owned(),
        },
        None => Reading::unavailable(why),
    };
    vec![
        Figure::new("worst", "Worst domain's score", scoring.unit, scoring.direction, value),
        Figure::new("worst_domain", "Worst domain", Unit::Number, Direction::Neither, name),
    ]
}

fn other_domain(
    scoring: &Scoring,
    domain: &str,
    pair: Option<(&Outcomes, &Outcomes)>,
    why: &str,
) -> [Figure; 3] {
    let read = |estimate| Reading::measured(estimate, why);
    let reached = read(pair.map(|(_, away)| away.estimate()));
    let drop =
        read(pair.and_then(|(home, away)| home.combined(away, Rows::Own, |h, a| scoring.shortfall(h, a))));
    let kept = match pair {
        Some((home, away)) => Reading::measured(
            home.combined(away, Rows::Own, |h, a| scoring.kept(a, h)),
            "the score at home is not above 0, of which there is no share",
        ),
        None => Reading::unavailable(why),
    };
    use Direction::{Higher, Lower};
    [
        Figure::new(format!("score_{domain}"), domain, scoring.unit, scoring.direction, reached),
        Figure::new(
            format!("drop_{domain}"),
            format!("{domain}: drop"),
            scoring.unit.of_difference(),
            Lower,
            drop,
        ),
        Figure::new(format!("kept_{domain}"), format!("{domain}: retention"), Unit::Share, Higher, kept),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use crate::record::{Answers, Outcome, Role};

    #[test]
    fn a_mixture_that_helps_shows_its_gain_in_every_domain() {
        let world = World::new();
        let mut evidence = world.evidence();
        evidence.study.mixture = "half and half".to_owned();
        let mut records = evidence.records.to_vec();
        for record in evidence.records.iter().filter(|record| record.trial.role == Role::Main) {
            let mut record = record.clone();
            record.trial.role = Role::Mixture;
            if let Outcome::Trained(run) = &mut record.outcome {
                let away = run.tests.last_mut().unwrap();
                if let Answers::Labels { labels, predictions } = &mut away.answers {
                    *predictions = labels.clone();
                }
            }
            records.push(record);
        }
        let evidence = Evidence::new(evidence.study.clone(), &records);
        let figures = compute(&evidence, "lora");
        let gain = |key: &str| *figures.iter().find(|f| f.key == key).unwrap().reading.estimate().unwrap();
        assert!(gain("gain_laptop").low.unwrap() > 0.05, "{:?}", gain("gain_laptop"));
        assert_eq!((gain("gain_tweets").value, gain("mixed_laptop").value), (0.0, 1.0));
    }

    #[test]
    fn forgetting_is_the_rise_over_seeds_or_the_reason_why_not() {
        let world = World::new();
        let mut evidence = world.evidence();
        evidence.study.forgetting = "no text".to_owned();
        let reason = Reading::Unavailable { reason: "no text".to_owned() };
        assert_eq!(forgetting(&evidence, "lora", ""), reason);
        let mut records = evidence.records.to_vec();
        for (record, after) in records.iter_mut().filter(|r| r.trial.method == "lora").zip([3.5, 3.0, 4.0]) {
            if let Outcome::Trained(run) = &mut record.outcome {
                run.forgetting = Some(Forgetting { before: 3.0, after });
            }
        }
        let evidence = Evidence::new(evidence.study.clone(), &records);
        let found = *forgetting(&evidence, "lora", "").estimate().unwrap();
        assert!((found.value - 0.5).abs() < 1e-12 && found.n == 3 && found.low.is_some());
    }
}
