//! Metric 6: what remains of the score in domains that were not trained on.

use super::{Direction, Evidence, Figure, Metric, Reading, Unit};
use crate::statistics::{Rows, Runs, combined, score};

pub(super) static METRIC: Metric = Metric {
    number: 6,
    name: "cross_domain",
    title: "Cross-domain",
    unit: "% of test rows right in each other domain, without further training",
    direction: Direction::Higher,
    source: "Mean over seeds with a bootstrap interval over seeds and rows, as for accuracy. Drop: trained domain minus \
             other domain, in points. Retention: other domain over trained domain.",
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let domains = evidence.domains();
    let why = evidence.why_no_main(method);
    let home = evidence.outcomes(method, None);
    let others: Vec<(&str, Option<Runs>)> =
        domains.iter().skip(1).map(|d| (*d, evidence.outcomes(method, Some(d)))).collect();
    let mut figures = worst(&others, &why);
    for (domain, away) in &others {
        let why = if home.is_some() { "not tested there" } else { &why };
        figures.extend(other_domain(domain, home.as_ref().zip(away.as_ref()), why));
    }
    let reason = "an encoder with a classification head has no language-model loss that could rise";
    let forgetting = Reading::unavailable(reason);
    figures.push(Figure::new("forgetting", "Forgetting", Unit::Number, Direction::Lower, forgetting));
    figures
}

fn worst(others: &[(&str, Option<Runs>)], why: &str) -> Vec<Figure> {
    let tested = others.iter().filter_map(|(name, runs)| runs.as_ref().map(|runs| (*name, runs)));
    let lowest = tested.min_by(|a, b| a.1.mean().total_cmp(&b.1.mean()));
    let why = if others.is_empty() { "the study has one domain" } else { why };
    let value = Reading::measured(lowest.map(|(_, runs)| score(runs)), why);
    let name = match lowest {
        Some((name, _)) => Reading::Judged {
            verdict: name.to_owned(),
            good: None,
            because: "the lowest score of the other domains".to_owned(),
        },
        None => Reading::unavailable(why),
    };
    vec![
        Figure::new("worst", "Worst domain's score", Unit::Share, Direction::Higher, value),
        Figure::new("worst_domain", "Worst domain", Unit::Number, Direction::Neither, name),
    ]
}

fn other_domain(domain: &str, pair: Option<(&Runs, &Runs)>, why: &str) -> [Figure; 3] {
    let read = |estimate| Reading::measured(estimate, why);
    let reached = read(pair.map(|(_, away)| score(away)));
    let drop = read(pair.and_then(|(home, away)| combined(home, away, Rows::Own, |h, a| h - a)));
    let kept = read(pair.and_then(|(home, away)| combined(home, away, Rows::Own, |h, a| a / h)));
    use Direction::{Higher, Lower};
    [
        Figure::new(format!("score_{domain}"), domain, Unit::Share, Higher, reached),
        Figure::new(format!("drop_{domain}"), format!("{domain}: drop"), Unit::Points, Lower, drop),
        Figure::new(format!("kept_{domain}"), format!("{domain}: retention"), Unit::Share, Higher, kept),
    ]
}
