//! Metric 6: what remains of the score in domains that were not trained on.

use super::{Direction, Evidence, Figure, Metric, Outcomes, Reading, Unit};
use crate::score::Scoring;
use crate::statistics::Rows;
use std::sync::Arc;

pub(super) static METRIC: Metric = Metric {
    number: 6,
    name: "cross_domain",
    title: "Cross-domain",
    unit: "the task's own score in each other domain, without further training",
    direction: Direction::Higher,
    source: "Mean over seeds with a bootstrap interval over seeds and rows, as for accuracy. Drop: by how much the other domain is \
             worse than the trained one. Retention: which part of its score is left there.",
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
        let why = if home.is_some() { "not tested there" } else { &why };
        figures.extend(other_domain(scoring, domain, home.as_deref().zip(away.as_deref()), why));
    }
    let reason = "an encoder with a classification head has no language-model loss that could rise";
    let forgetting = Reading::unavailable(reason);
    figures.push(Figure::new("forgetting", "Forgetting", Unit::Number, Direction::Lower, forgetting));
    figures
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
    let kept = read(pair.and_then(|(home, away)| home.combined(away, Rows::Own, |h, a| scoring.kept(a, h))));
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
