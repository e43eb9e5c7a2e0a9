//! Metric 1: the task's own score in the domain that was trained on.

use super::contrast::against_full;
use super::{Direction, Evidence, Figure, Metric, Reading, TakenFrom, Unit};
use crate::score::scoring;
use crate::statistics::Estimate;

/// Scores of labels that are shown beside the task's own.
const BY_LABEL: [&str; 2] = ["f1_macro", "balanced_accuracy"];

pub(super) static METRIC: Metric = Metric {
    number: 1,
    name: "accuracy",
    title: "Accuracy",
    unit: "the task's own score: accuracy, F1, a correlation or perplexity",
    direction: Direction::Higher,
    source: "Mean over seeds on the test split of the trained domain. The interval (95 %) is a bootstrap over \
             seeds and test rows, with the score itself; where all rows are alike, which no draw can doubt, the exact binomial \
             bound of what they may hide, if the score is a mean of rows; one row has none. Perplexity alone is better \
             the lower it is. Before tuning: what a language model answers to the same rows by itself. Every pair of methods \
             has one interval of its difference (Student's t, paired by test row, scores that are no means by their jackknife; \
             95 %, simultaneous over all pairs), and one verdict. Groups: methods that share a letter cannot be told apart, as \
             the interval holds 0. Against full: as good, where the interval holds 0 and ends above minus the study's margin; \
             undecided, where it holds 0 and does not; better or worse, where it leaves out 0; within or beyond the margin, where \
             it ends above or below minus the margin. Share of full: the same interval as a share of full fine-tuning's score. \
             Always answering one label: the best score that a constant answer reaches on the test rows; better than that: the \
             same test, simultaneous over all methods. Macro F1: mean F1 of the labels that stand or are answered; balanced \
             accuracy: mean recall of the labels that stand; both, and the figures of each label, as scikit-learn has them with \
             zero_division = 0, mean over seeds, without an interval.",
    taken_from: TakenFrom::Main,
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
    figures.extend(of_labels(evidence, method, undefined));
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
        "Against full",
        Unit::Number,
        Direction::Neither,
        as_good(evidence, method, undefined),
    ));
    figures
}

/// What scores of labels are read beside: the best constant answer, and figures in which rare labels weigh as much as
/// frequent ones. Nothing where answers are no labels.
fn of_labels(evidence: &Evidence, method: &str, why: &str) -> Vec<Figure> {
    let Some(baseline) = evidence.baseline() else { return Vec::new() };
    let own = evidence.scoring();
    let shown = |name: &str| name == own.name || own.parts.contains(&name);
    let mut figures = Vec::new();
    for by in BY_LABEL.iter().filter(|name| !shown(name)).filter_map(|name| scoring(name).ok()) {
        // Drawing rows anew for every one of these would take longer than all else together.
        let found = evidence.outcomes_by(by, method, None);
        let bare = found.map(|found| Estimate { n: found.values().len(), ..Estimate::exact(found.mean()) });
        let reading = Reading::measured(bare, why);
        figures.push(Figure::new(by.name, by.title, by.unit, by.direction, reading));
    }
    let constant = Reading::measured(Some(Estimate::exact(baseline.value)), why);
    let label = format!("Always answering {}", baseline.answer);
    figures.push(Figure::new("constant", label, own.unit, own.direction, constant));
    let beaten = baseline.lead(method).map_or_else(
        || Reading::unavailable(why),
        |judged| {
            let unit = own.unit.of_difference();
            let end = |end: Option<f64>| end.map_or_else(|| "–".to_owned(), |end| unit.write(end));
            let (is, lead) = (baseline.is_beaten_by(method), judged.lead);
            Reading::Judged {
                verdict: if is { "yes" } else { "not shown" }.to_owned(),
                good: Some(is),
                because: format!(
                    "better by {}, interval {} to {}, simultaneous over all methods",
                    unit.write(lead.value),
                    end(lead.low),
                    end(lead.high)
                ),
            }
        },
    );
    figures.push(Figure::new("beats_constant", "Better than that", Unit::Number, Direction::Neither, beaten));
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
            verdict: letters,
            good: evidence.standing().is_in_best_group(method).then_some(true),
            because: "methods that share a letter cannot be told apart".to_owned(),
        },
        None => Reading::unavailable(why),
    }
}

/// The verdict against full fine-tuning at the study's margin, in words.
fn as_good(evidence: &Evidence, method: &str, why: &str) -> Reading {
    let Some(found) = against_full(evidence, method) else {
        // Whatever keeps the share of full fine-tuning from being had keeps this.
        return match share_of_full(evidence, method, why) {
            Reading::Unavailable { reason } => Reading::Unavailable { reason },
            _ => Reading::unavailable("leaving out rows leaves a score undefined"),
        };
    };
    let good = match found.verdict {
        verdict if verdict.is_within_margin() => Some(true),
        verdict => verdict.tells_apart().then_some(false),
    };
    let unit = evidence.scoring().unit.of_difference();
    let ends = |end: Option<f64>| end.map_or_else(|| "–".to_owned(), |end| unit.write(end));
    let because = format!(
        "difference to full {}, interval {} to {}, margin {}",
        unit.write(found.lead.value),
        ends(found.lead.low),
        ends(found.lead.high),
        unit.write(found.margin)
    );
    Reading::Judged { verdict: found.verdict.words().to_owned(), good, because }
}

/// What part of full fine-tuning's score is kept, with the ends of the pair's own interval: they leave out 100 % exactly
/// where the two are told apart.
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
            let (scoring, best) = (evidence.scoring(), yardstick.mean());
            let nothing = "full fine-tuning's score is not above 0, of which there is no share";
            let whole = scoring.kept(own.mean(), best);
            let lead = against_full(evidence, method).map(|found| found.lead);
            let end = |lead: f64| {
                let value = scoring.behind(best, -lead);
                Some(scoring.kept(value, best)).filter(|share| share.is_finite())
            };
            let share = Estimate {
                value: whole,
                low: lead.and_then(|lead| end(lead.low?)),
                high: lead.and_then(|lead| end(lead.high?)),
                n: own.values().len().min(yardstick.values().len()),
            };
            Reading::measured(Some(share), nothing)
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
        let Reading::Judged { verdict, good, .. } = find("non_inferiority") else { panic!() };
        assert_eq!((verdict.as_str(), good), ("better", Some(true)));
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
