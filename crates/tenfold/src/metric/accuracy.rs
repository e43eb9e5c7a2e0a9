//! Metric 1: the task's own score in the domain that was trained on.

use super::contrast::against_full;
use super::{Direction, Evidence, Figure, Metric, Reading, Unit};
use crate::score::scoring;
use crate::statistics::Verdict;

pub(super) static METRIC: Metric = Metric {
    number: 1,
    name: "accuracy",
    title: "Accuracy",
    unit: "the task's own score: accuracy, F1, a correlation or perplexity",
    direction: Direction::Higher,
    source: "Mean over seeds on the test split of the trained domain. The interval (95 %) is a bootstrap over \
             seeds and test rows, with the score itself; where all rows are alike, which no draw can doubt, the exact binomial \
             bound of what they may hide, if the score is a mean of rows; one row has none. Groups: methods that share a letter cannot be told apart (paired by test \
             row, scores that are no means by their jackknife; Holm's correction over all pairs, 5 %). Perplexity alone is better \
             the lower it is. Before tuning: what a language model answers to the same rows by itself. As good: the paired bootstrap's interval of the difference to full fine-tuning ends above minus the study's margin; \
             worse: it ends below.",
    compute,
};

fn compute(evidence: &Evidence, method: &str) -> Vec<Figure> {
    let own = evidence.scoring();
    let why = evidence.why_no_main(method);
    let undefined = if evidence.main(method).is_empty() { &why } else { "not defined on these answers" };
    let score = |by| evidence.outcomes_by(by, method, None).map(|outcomes| outcomes.estimate());
    let value = Reading::measured(score(own), undefined);
    let mut figures = vec![Figure::new("accuracy", own.title, own.unit, own.direction, value)];
    for part in own.parts.iter().filter_map(|name| scoring(name).ok()) {
        let reading = Reading::measured(score(part), undefined);
        figures.push(Figure::new(
            format!("part_{}", part.name),
            part.title,
            part.unit,
            part.direction,
            reading,
        ));
    }
    figures.extend(gain(evidence, method, undefined));
    figures.push(Figure::new(
        "group",
        "Group",
        Unit::Number,
        Direction::Neither,
        group(evidence, method, undefined),
    ));
    figures.push(Figure::new(
        "share_of_full",
        "Share of full fine-tuning",
        Unit::Share,
        Direction::Higher,
        share_of_full(evidence, method, undefined),
    ));
    figures.push(Figure::new(
        "non_inferiority",
        "As good as full, but for the margin",
        Unit::Number,
        Direction::Neither,
        as_good(evidence, method, undefined),
    ));
    figures
}

/// The base model's own score, and by how much tuning is better on the same rows; nothing where it cannot answer.
fn gain(evidence: &Evidence, method: &str, why: &str) -> Vec<Figure> {
    let Some(before) = evidence.untuned() else { return Vec::new() };
    let own = evidence.scoring();
    let gain = evidence.outcomes(method, None).and_then(|tuned| tuned.ahead_of(&before));
    let untuned = Reading::measured(Some(before.estimate()), why);
    let gain = Reading::measured(gain, why);
    vec![
        Figure::new("untuned", "Before tuning", own.unit, own.direction, untuned),
        Figure::new("gain", "Gain by tuning", own.unit.of_difference(), Direction::Higher, gain),
    ]
}

fn group(evidence: &Evidence, method: &str, why: &str) -> Reading {
    match evidence.standing().letters(method) {
        Some(letters) => Reading::Judged {
            verdict: letters.to_owned(),
            good: letters.starts_with('a').then_some(true),
            because: "methods that share a letter cannot be told apart".to_owned(),
        },
        None => Reading::unavailable(why),
    }
}

/// Non-inferiority at the study's margin, in words.
fn as_good(evidence: &Evidence, method: &str, why: &str) -> Reading {
    let Some(found) = against_full(evidence, method) else {
        // Whatever keeps the share of full fine-tuning from being had keeps this.
        return match share_of_full(evidence, method, why) {
            Reading::Unavailable { reason } => Reading::Unavailable { reason },
            _ => Reading::unavailable("drawing the rows anew leaves a score undefined"),
        };
    };
    let (verdict, good) = match found.verdict {
        Verdict::NonInferior => ("as good", Some(true)),
        Verdict::Inferior => ("worse", Some(false)),
        Verdict::Undecided => ("undecided", None),
    };
    let unit = evidence.scoring().unit.of_difference();
    let ends = |end: Option<f64>| end.map_or_else(|| "–".to_owned(), |end| unit.write(end));
    let because = format!(
        "difference to full {}, interval {} to {}, margin {}",
        unit.write(found.difference.value),
        ends(found.difference.low),
        ends(found.difference.high),
        unit.write(found.margin)
    );
    Reading::Judged { verdict: verdict.to_owned(), good, because }
}

fn share_of_full(evidence: &Evidence, method: &str, why: &str) -> Reading {
    let Some(full) = evidence.full() else {
        return Reading::unavailable("the study has no full fine-tuning to compare with");
    };
    let Some(own) = evidence.outcomes(method, None) else {
        return Reading::unavailable(why);
    };
    if full.name == method {
        return Reading::unavailable("it is the yardstick itself");
    }
    match evidence.outcomes(&full.name, None) {
        Some(yardstick) if own.rows() != yardstick.rows() => {
            Reading::unavailable("not scored on the same rows as full fine-tuning")
        }
        Some(yardstick) => {
            let nothing = "full fine-tuning's score is not above 0, of which there is no share";
            Reading::measured(own.kept_of(&yardstick), nothing)
        }
        None => Reading::unavailable("full fine-tuning has no finished run"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use crate::record::{Answers, Outcome};

    #[test]
    fn of_a_yardstick_that_scores_nothing_there_is_no_share_but_a_difference() {
        let mut world = World::new();
        for record in world.records.iter_mut().filter(|record| record.trial.method == "full") {
            let Outcome::Trained(run) = &mut record.outcome else { continue };
            if let Answers::Labels { labels, predictions } = &mut run.tests[0].answers {
                *predictions = labels.iter().map(|label| 1 - label).collect();
            }
        }
        let evidence = world.evidence();
        let find = |key: &str| compute(&evidence, "lora").into_iter().find(|f| f.key == key).unwrap().reading;
        let Reading::Unavailable { reason } = find("share_of_full") else { panic!() };
        assert!(reason.contains("not above 0"), "{reason}");
        assert!(matches!(find("non_inferiority"), Reading::Judged { good: Some(true), .. }));
    }

    #[test]
    fn what_the_base_answers_by_itself_stands_beside_what_tuning_made_of_it() {
        let mut world = World::new();
        let find = |world: &World, key: &str| {
            let evidence = world.evidence();
            compute(&evidence, "full").into_iter().find(|figure| figure.key == key)
        };
        assert!(find(&world, "untuned").is_none());
        for record in &mut world.records {
            let Outcome::Trained(run) = &mut record.outcome else { continue };
            let Some(mut test) = run.tests.first().cloned() else { continue };
            // A model that says the first label to everything.
            if let Answers::Labels { predictions, .. } = &mut test.answers {
                predictions.fill(0);
            }
            run.untuned = Some(test);
        }
        let value = |key: &str| match find(&world, key).unwrap().reading {
            Reading::Measured { estimate } => estimate,
            other => panic!("{key}: {other:?}"),
        };
        let [before, after, gain] = [value("untuned"), value("accuracy"), value("gain")];
        assert!((after.value - before.value - gain.value).abs() < 1e-12);
        assert!(
            gain.low > Some(0.0) && gain.low < Some(gain.value) && Some(gain.value) < gain.high,
            "{gain:?}"
        );
    }
}
