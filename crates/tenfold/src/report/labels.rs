//! What summary.md says label by label: scores in which rare labels weigh as much as frequent ones, and who is confused.

use super::appendix::table;
use super::format::shortened;
use crate::metric::{ByLabel, Confused, Findings, Unit, by_label, digits};
use crate::words::count;

/// Labels that are listed; of more, those with the lowest F1.
const LISTED: usize = 20;
/// A name's width in these tables.
const NAME: usize = 24;
/// Scores of labels that stand beside the task's own.
const SCORES: [(&str, &str); 2] = [("f1_macro", "macro F1"), ("balanced_accuracy", "balanced accuracy")];

/// The section; empty where answers are no labels.
pub(super) fn markdown(findings: &Findings, recommended: Option<&str>) -> String {
    let Some(baseline) = findings.evidence.baseline() else { return String::new() };
    let own = findings.standing.scoring;
    // A score that is the task's own, or a part of it, has no second figure under its own key.
    let value = |method: &str, key: &str| {
        let part = format!("part_{key}");
        let keys = [if key == own.name { "accuracy" } else { key }, part.as_str()];
        let found = keys.iter().find(|key| findings.figure(method, "accuracy", key).is_some());
        super::value(findings, method, "accuracy", found.unwrap_or(&key))
    };
    let beside: Vec<(&str, &str)> = SCORES.into_iter().filter(|(key, _)| *key != own.name).collect();
    let row = |method: &crate::metric::MethodFacts| {
        findings.estimate(&method.name, "accuracy", "accuracy")?;
        let scores = beside.iter().map(|(key, _)| value(&method.name, key));
        Some(
            [shortened(&method.name, NAME), value(&method.name, "accuracy")]
                .into_iter()
                .chain(scores)
                .collect(),
        )
    };
    let rows: Vec<Vec<String>> = findings.methods().iter().filter_map(row).collect();
    let headings: Vec<&str> =
        ["method", own.noun].into_iter().chain(beside.iter().map(|(_, heading)| *heading)).collect();
    let note = format!(
        "Always answering {} scores {}. Macro F1: mean F1 of the labels that stand or are answered. Balanced accuracy: mean \
         recall of the labels that stand.",
        baseline.answer,
        own.unit.write(baseline.value)
    );
    let labels = recommended.and_then(|method| Some((method, by_label(findings.evidence, method)?)));
    let labels = labels.map_or_else(String::new, |(method, labels)| of_method(findings, method, &labels));
    table("Labels", &note, &headings, rows) + &labels
}

fn of_method(findings: &Findings, method: &str, of: &ByLabel) -> String {
    let mut labels: Vec<_> = of.labels.iter().collect();
    let which = if labels.len() > LISTED {
        labels.sort_by(|a, b| a.f1.total_cmp(&b.f1));
        labels.truncate(LISTED);
        format!("the {LISTED} of {} labels with the lowest F1", of.labels.len())
    } else {
        "label by label".to_owned()
    };
    let share = |x: f64| Unit::Share.write(x);
    let rows: Vec<Vec<String>> = labels
        .iter()
        .map(|label| {
            let name = shortened(&label.label, NAME);
            vec![
                name,
                label.support.to_string(),
                share(label.precision),
                share(label.recall),
                share(label.f1),
            ]
        })
        .collect();
    let note = format!(
        "{}, {which}: means over seeds, as scikit-learn defines them; precision of a label that is never answered, and recall of \
         one that never stands, are 0.{}",
        super::title(findings, method),
        confusions(&of.confused)
    );
    let title = format!("Labels of {method}");
    table(&title, &note, &["label", "rows", "precision", "recall", "F1"], rows)
}

/// " Most often confused: …", or nothing.
pub(super) fn confusions(confused: &[Confused]) -> String {
    if confused.is_empty() {
        return String::new();
    }
    let words: Vec<String> = confused.iter().map(confusion).collect();
    format!(" Most often confused (mean over seeds): {}.", words.join("; "))
}

fn confusion(pair: &Confused) -> String {
    let rows = match pair.rows.fract() == 0.0 {
        true => count(pair.rows as usize, "row"),
        false => format!("{} rows", digits(pair.rows)),
    };
    let share = Unit::Share.write(pair.share);
    format!("\"{}\" answered as \"{}\" ({rows}, {share} of its rows)", pair.label, pair.answered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;

    #[test]
    fn rare_labels_have_their_figures_and_the_confused_are_named() {
        let mut world = World::with_seeds(2);
        world.answer(|labels, predictions| {
            for row in 0..labels.len() {
                (labels[row], predictions[row]) = match row % 40 {
                    0 => (2, 0),
                    1 => (2, 2),
                    _ => (labels[row], predictions[row]),
                };
            }
        });
        let mut evidence = world.evidence();
        evidence.study.labels = vec!["bad".into(), "good".into(), "so | so".into()];
        let findings = Findings::of(&evidence);
        let text = markdown(&findings, Some("lora"));
        let rare = text.lines().find(|line| line.starts_with(r"| so \| so |")).unwrap();
        assert!(rare.contains("| 40 | 100.0 % | 50.0 % | 66.7 % |"), "{text}");
        assert!(text.contains("\"so | so\" answered as \"bad\" (20 rows, 50.0 % of its rows)"), "{text}");
        assert!(text.contains("Always answering \"bad\" scores 47.5 %."), "{text}");
        let macro_f1 = findings.estimate("lora", "accuracy", "f1_macro").unwrap();
        assert!(macro_f1.value < 0.9 && macro_f1.n == 2, "{macro_f1:?}");
        assert!(text.contains("| method | accuracy | macro F1 | balanced accuracy |"), "{text}");
    }
}
