//! Metric 6: what remains of the score in domains that were not trained on.

use super::{Direction, Evidence, Figure, Metric, Reading, Unit};
use crate::record::Forgetting;
use crate::statistics::{Rows, Runs, combined, difference, mean, score};

pub(super) static METRIC: Metric = Metric {
    number: 6,
    name: "cross_domain",
    title: "Cross-domain",
    unit: "% of test rows right in each other domain, without further training",
    direction: Direction::Higher,
    source: "Mean over seeds with a bootstrap interval over seeds and rows, as for accuracy. Drop: trained domain minus \
             other domain, in points. Retention: other domain over trained domain. Mixture: trained on as many rows of several \
             domains; gain: its score minus that of training on the one domain, on the same rows. Forgetting: rise of a \
             language model's loss on a general text, mean over seeds, Student's t interval.",
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
    let why = evidence.why_no_mixture(method);
    let of_domain = |domain: &&str| {
        let mixed = evidence.mixed_outcomes(method, Some(domain));
        let single = evidence.outcomes(method, Some(domain));
        let gain = mixed.as_ref().zip(single.as_ref()).and_then(|(mixed, single)| difference(mixed, single));
        let score = Reading::measured(mixed.as_ref().map(score), &why);
        let gain = Reading::measured(gain, &why);
        use Direction::Higher;
        [
            Figure::new(format!("mixed_{domain}"), format!("{domain}, mixture"), Unit::Share, Higher, score),
            Figure::new(format!("gain_{domain}"), format!("{domain}: gain"), Unit::Points, Higher, gain),
        ]
    };
    domains.iter().flat_map(of_domain).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use crate::record::{Outcome, Role};

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
                away.predictions = away.labels.clone();
            }
            records.push(record);
        }
        let evidence = Evidence { records: &records, ..evidence };
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
        let evidence = Evidence { records: &records, ..evidence };
        let found = *forgetting(&evidence, "lora", "").estimate().unwrap();
        assert!((found.value - 0.5).abs() < 1e-12 && found.n == 3 && found.low.is_some());
    }
}
