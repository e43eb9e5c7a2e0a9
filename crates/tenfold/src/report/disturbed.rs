//! What reports say of a study whose probes other work disturbed.

use super::{Purpose, html, metrics_json, recommend, summary_markdown, summary_table};
use crate::metric::synthetic::{self, World};
use crate::metric::{Findings, METRICS};
use crate::record::Probed;

/// The made-up study with one probe changed, as if the reading of its machine had been another.
fn world(method: &str, change: impl Fn(&mut Probed)) -> World {
    let mut world = World::new();
    for record in world.records.iter_mut().filter(|record| record.trial.method == method) {
        if let Some(probed) = &mut record.measured.probe {
            change(probed);
        }
    }
    world
}

#[test]
fn a_disturbed_figure_is_marked_everywhere_and_decides_nothing() {
    let quiet = World::findings();
    let winner = recommend(quiet, Purpose::Speed).method.unwrap();
    let other = world(&winner, |probed| {
        probed.rounds[0].training.speed.disturbance = Some(synthetic::disturbed());
        probed.rounds[0].loads.iter_mut().for_each(|load| load.disturbance = Some(synthetic::disturbed()));
    });
    let evidence = other.evidence();
    let findings = Findings::of(&evidence);
    let advice = recommend(&findings, Purpose::Speed);

    assert_ne!(advice.method.as_deref(), Some(winner.as_str()), "{}", advice.sentence);
    assert!(findings.deciding_estimate(&winner, "speed", "train_examples_per_second").is_none());
    assert!(findings.estimate(&winner, "speed", "train_examples_per_second").is_some());
    let title = super::title(&findings, &winner);
    let told = |text: &String| text.contains(title) && text.contains("other processes took 48 %");
    assert!(advice.caveats.iter().any(told), "{:?}", advice.caveats);

    let cause = "other processes took 48 % of the processors";
    let table = summary_table(&findings, 80);
    let flat = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("†: disturbed by other work") && flat.contains(cause), "{table}");
    let line = table.lines().filter(|line| line.starts_with(&winner)).collect::<Vec<_>>().join("\n");
    assert!(line.matches('†').count() >= 2, "{line}");

    let markdown = summary_markdown(&findings, &advice);
    let line = markdown.lines().find(|line| line.starts_with('|') && line.contains('†')).unwrap();
    assert!(line.matches('†').count() >= 2 && markdown.contains(cause), "{line}");

    let page = html(&findings, &advice);
    assert!(page.contains("class=\"mark\"") && page.contains(cause), "the page has no mark");
    assert!(page.contains("not alone on the machine: other work disturbed"));

    let json: serde_json::Value = serde_json::from_str(&metrics_json(&findings)).unwrap();
    let metrics = json["metrics"].as_array().unwrap();
    let speed = metrics.iter().find(|metric| metric["name"] == "speed").unwrap();
    let methods = speed["methods"].as_array().unwrap();
    let of = methods.iter().find(|of| of["method"] == winner.as_str()).unwrap();
    let figures = of["figures"].as_array().unwrap();
    let figure = figures.iter().find(|figure| figure["key"] == "train_examples_per_second").unwrap();
    assert!(figure["disturbed"].as_str().unwrap().contains(cause), "{figure}");
}

#[test]
fn a_quiet_machine_leaves_no_mark() {
    let findings = World::findings();
    let advice = recommend(findings, Purpose::Balanced);
    let marked = METRICS.iter().flat_map(|metric| {
        findings.methods().iter().flat_map(|method| findings.figures(metric, &method.name))
    });
    assert_eq!(marked.filter(|figure| figure.mark().is_some()).count(), 0);
    let page = html(findings, &advice);
    assert!(!page.contains('†') && page.contains("In none of the"));
    assert!(!summary_table(findings, 80).contains('†'));
}
