//! Which method to take, for a stated purpose, and why: a pure function of the findings.
//!
//! A method whose deciding figures are missing is never recommended, and is named with what is missing.

use super::account::Account;
use super::candidates::{self, Candidate, Cause, Excluded, Field};
use super::purpose::Purpose;
use super::reasons::{brief, caveats, reasons, sentence};
use crate::metric::{Contrast, Findings};
use crate::words::list;
use serde::Serialize;

/// Version of `recommendation.json`.
pub const SCHEMA: u32 = 2;
/// Methods named after the first.
const RUNNERS_UP: usize = 3;

/// The advice, and what it rests on. Written to `recommendation.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The study's name.
    pub study: String,
    /// The purpose it is for.
    pub purpose: Purpose,
    /// How the purpose chooses, in a sentence.
    pub rule: String,
    /// The method's name in the study; `None` if the evidence carries no recommendation.
    pub method: Option<String>,
    /// The advice in one sentence, with figures.
    pub sentence: String,
    /// The costs that decided; none where the score alone did.
    pub decided_by: Vec<&'static str>,
    /// Its adapter, below the run's folder: of the seed that did best on the validation rows.
    pub adapter: Option<String>,
    /// The folder below the run's that holds the adapter as Python loads it, with the tokenizer and load.py.
    pub exported: Option<String>,
    /// What speaks for it, with figures.
    pub reasons: Vec<String>,
    /// The next ones, best first.
    pub runners_up: Vec<RunnerUp>,
    /// Methods that were not considered, and why.
    pub excluded: Vec<Excluded>,
    /// What to know before following it.
    pub caveats: Vec<String>,
    /// What to know of the figures before relying on them.
    pub cautions: Vec<String>,
    /// Every method, in the study's order.
    pub methods: Vec<Account>,
    /// Every pair of methods that have a score.
    pub pairs: Vec<Contrast>,
}

/// A method that was considered and came after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunnerUp {
    /// Its name in the study.
    pub method: String,
    /// What it offers, with figures.
    pub why: String,
}

/// Chooses by the purpose's rule.
pub fn recommend(findings: &Findings, purpose: Purpose) -> Recommendation {
    let field = Field::of(findings, purpose);
    let allowed = findings.standing.scoring.unit.of_difference().write(field.allowed);
    let first = field.candidates.first().map(|candidate| candidate.facts);
    let runner_up =
        |c: &Candidate| RunnerUp { method: c.facts.name.clone(), why: brief(findings, purpose, c.facts) };
    let mut before: Vec<String> = findings.few_seeds().into_iter().collect();
    before.extend(findings.evidence.study.doubts.iter().map(|doubt| format!("{doubt}.")));
    before.extend(field.notes.iter().cloned());
    before.extend(first.map_or_else(Vec::new, |facts| caveats(findings, purpose, &field, facts)));
    before.extend(candidates::sentences(findings, &field));
    Recommendation {
        schema: SCHEMA,
        study: findings.evidence.study.name.clone(),
        purpose,
        rule: purpose.rule(&allowed),
        method: first.map(|facts| facts.name.clone()),
        sentence: first.map_or_else(|| nothing(&field, purpose), |facts| sentence(findings, purpose, facts)),
        decided_by: first.map_or_else(Vec::new, |_| field.costs.iter().map(|cost| cost.words()).collect()),
        exported: None,
        adapter: first.and_then(|facts| facts.adapter.clone()),
        reasons: first.map_or_else(Vec::new, |facts| reasons(findings, purpose, facts)),
        runners_up: field.candidates.iter().skip(1).take(RUNNERS_UP).map(runner_up).collect(),
        caveats: before,
        cautions: findings.cautions(),
        methods: findings.methods().iter().map(|facts| Account::of(findings, facts)).collect(),
        pairs: findings.contrasts.clone(),
        excluded: field.excluded,
    }
}

fn nothing(field: &Field, purpose: Purpose) -> String {
    let all = |causes: &[Cause]| field.excluded.iter().all(|excluded| causes.contains(&excluded.cause));
    let costs = || list(&field.costs.iter().map(|cost| cost.words()).collect::<Vec<_>>());
    let why = match () {
        () if all(&[Cause::NoScore]) => "no method has a score".to_owned(),
        () if all(&[Cause::NoScore, Cause::NoFigure]) => {
            format!("no method has a figure for {} that may decide", costs())
        }
        () => "every method is ruled out".to_owned(),
    };
    format!("No method can be recommended for the purpose \"{}\": {why}.", purpose.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Application, Evidence, synthetic::World};
    use crate::record::{Answers, Outcome};

    #[test]
    fn each_purpose_chooses_by_its_own_figure() {
        let findings = World::findings();
        let choose = |purpose| recommend(findings, purpose).method.unwrap();
        assert_eq!(choose(Purpose::Memory), "bitfit");
        assert_eq!(choose(Purpose::Storage), "ia3");
        assert_ne!(choose(Purpose::Balanced), "linear_probe");
        for purpose in Purpose::ALL {
            let advice = recommend(findings, purpose);
            assert!(advice.sentence.contains(" take "), "{}", advice.sentence);
            let named = |c: &String| c.contains("AdaLoRA");
            assert!(advice.caveats.iter().any(named), "the failed method is named: {:?}", advice.caveats);
            assert!(serde_json::to_string(&advice).unwrap().contains("\"schema\":2"));
        }
    }

    #[test]
    fn the_studys_margin_decides_what_is_as_good_as_the_best() {
        let world = World::new();
        let mut evidence = world.evidence();
        evidence.study.margin = 0.2;
        let advice = recommend(&Findings::of(&evidence), Purpose::Balanced);
        assert!(advice.rule.contains("by more than 20.0 points"), "{}", advice.rule);
        assert_eq!(advice.method.as_deref(), Some("linear_probe"));
        assert!(advice.excluded.iter().all(|excluded| excluded.cause != Cause::Worse));
    }

    #[test]
    fn only_what_the_data_show_to_be_worse_is_excluded_and_told_with_its_interval() {
        let findings = World::findings();
        let advice = recommend(findings, Purpose::Speed);
        let worse: Vec<&str> = advice
            .excluded
            .iter()
            .filter(|excluded| excluded.cause == Cause::Worse)
            .map(|excluded| excluded.method.as_str())
            .collect();
        assert_eq!(worse, ["prompt_tuning", "linear_probe"]);
        let told = advice.caveats.iter().find(|caveat| caveat.contains("the 4.4 points allowed")).unwrap();
        assert!(told.contains("Prompt tuning, 20 tokens (") && told.contains(" points)"), "{told}");
        // On an eighth of the rows nothing shows the linear probe to be so much worse, and it is by far the fastest.
        let mut world = World::new();
        world.answer(|labels, predictions| {
            labels.truncate(60);
            predictions.truncate(60);
        });
        let advice = recommend(&Findings::of(&world.evidence()), Purpose::Speed);
        assert_eq!(advice.method.as_deref(), Some("linear_probe"), "{}", advice.sentence);
        let unsure =
            advice.caveats.iter().find(|caveat| caveat.contains("do not show that its score is within"));
        assert!(unsure.unwrap().contains("it may lose up to"), "{:?}", advice.caveats);
    }

    #[test]
    fn figures_of_a_disturbed_machine_decide_nothing() {
        let mut findings = Findings::of(World::findings().evidence);
        let mut mark = |methods: &[&str]| {
            for method in methods {
                findings.disturb(
                    method,
                    "speed",
                    "train_examples_per_second",
                    "others took 31 % of the processors",
                );
            }
            recommend(&findings, Purpose::Speed)
        };
        let advice = mark(&["bitfit"]);
        assert_eq!(advice.method.as_deref(), Some("ia3"), "{}", advice.sentence);
        let cause = advice.excluded.iter().find(|excluded| excluded.method == "bitfit").unwrap();
        assert!(cause.cause == Cause::NoFigure && cause.why.contains("others took 31 %"), "{cause:?}");
        let all: Vec<&str> = findings_methods();
        let advice = mark(&all);
        assert_eq!(advice.decided_by, [""; 0]);
        let told = "no method has a figure for training speed that may decide";
        assert!(advice.method.is_none() && advice.sentence.contains(told), "{}", advice.sentence);
        let caused = |caveat: &String| caveat.contains("no figure for training speed (");
        assert!(advice.caveats.iter().any(caused), "{:?}", advice.caveats);
    }

    #[test]
    fn a_cost_that_was_disturbed_for_some_methods_decides_nothing_beside_others() {
        let mut findings = Findings::of(World::findings().evidence);
        for method in ["lora", "ia3"] {
            findings.disturb(
                method,
                "speed",
                "train_examples_per_second",
                "others took 31 % of the processors",
            );
        }
        let advice = recommend(&findings, Purpose::Balanced);
        assert_eq!(advice.decided_by, ["training memory", "adapter size", "response time"]);
        let told = "training speed (other work disturbed it for LoRA, rank 8 and (IA)³)";
        assert!(advice.caveats.iter().any(|caveat| caveat.contains(told)), "{:?}", advice.caveats);
        assert!(advice.excluded.iter().all(|excluded| !["lora", "ia3"].contains(&excluded.method.as_str())));
    }

    fn findings_methods() -> Vec<&'static str> {
        World::findings().methods().iter().map(|facts| facts.name.as_str()).collect()
    }

    #[test]
    fn a_target_of_the_studys_own_that_is_missed_excludes() {
        let world = World::new();
        let mut evidence = world.evidence();
        let target = |name: &str, target_seconds| Application {
            name: name.into(),
            target_seconds,
            good_seconds: None,
            quantile: 0.95,
        };
        evidence.study.applications.push(target("keyboard", 0.0105));
        let advice = recommend(&Findings::of(&evidence), Purpose::Storage);
        let missing: Vec<&str> = advice
            .excluded
            .iter()
            .filter(|excluded| excluded.cause == Cause::MissesTarget)
            .map(|excluded| excluded.method.as_str())
            .collect();
        assert_eq!(missing, ["prefix_tuning"]);
        let told = "Prefix tuning, 20 tokens is not considered: it misses keyboard (p95 within 10.5 ms).";
        assert!(advice.caveats.iter().any(|caveat| caveat == told), "{:?}", advice.caveats);
        // The winner keeps to it with one client alone, and that is told.
        let told = advice
            .caveats
            .iter()
            .any(|caveat| caveat.contains("keeps to keyboard (p95 within 10.5 ms) only up to 1 client"));
        assert!(told, "{:?}", advice.caveats);
        evidence.study.applications.push(target("wire", 1e-5));
        let findings = Findings::of(&evidence);
        // What was not measured is not shown to miss it, but cannot be the quickest.
        let unknown = recommend(&findings, Purpose::Storage);
        assert_eq!(unknown.method.as_deref(), Some("dora"));
        let told = "Whether it keeps to wire (p95 within 10.0 µs) was not measured.";
        assert!(unknown.caveats.iter().any(|caveat| caveat == told), "{:?}", unknown.caveats);
        let advice = recommend(&findings, Purpose::Latency);
        assert_eq!(advice.method, None);
        assert!(advice.sentence.ends_with("every method is ruled out."), "{}", advice.sentence);
    }

    #[test]
    fn where_a_method_costs_more_than_full_it_is_told() {
        let mut world = World::new();
        for record in &mut world.records {
            if record.trial.method == "ia3"
                && let Some(probed) = &mut record.measured.probe
            {
                probed.rounds[0].training.speed.batch_seconds.iter_mut().for_each(|seconds| *seconds *= 4.0);
            }
        }
        let advice = recommend(&Findings::of(&world.evidence()), Purpose::Storage);
        assert_eq!(advice.method.as_deref(), Some("ia3"));
        let slower = |words: &String| {
            words.contains("for 1,000 training examples: twice as slow as full fine-tuning (")
        };
        assert!(advice.caveats.iter().any(slower), "{:?}", advice.caveats);
        let own = recommend(&Findings::of(&world.evidence()), Purpose::Latency);
        let labelled = |words: &String| {
            words.contains("(p95, not merged)") && words.contains("; merged into the base it takes")
        };
        assert!(own.method.as_deref() != Some("lora") || own.reasons.iter().any(labelled));
    }

    #[test]
    fn a_method_that_guesses_is_not_considered_beside_one_that_has_learnt() {
        let mut world = World::new();
        world.answer_main("linear_probe", |labels, predictions| {
            (0..labels.len()).for_each(|row| predictions[row] = (row / 2 % 2) as u32);
        });
        let advice = recommend(&Findings::of(&world.evidence()), Purpose::SmallData);
        let guesses = advice.excluded.iter().find(|excluded| excluded.method == "linear_probe").unwrap();
        assert_eq!(guesses.cause, Cause::NoBetterThanConstant);
        assert!(guesses.why.ends_with("better than always answering label 0 (50.0 %)"), "{guesses:?}");
    }

    #[test]
    fn where_all_score_nothing_costs_decide_and_seeds_that_failed_are_told() {
        let mut world = World::new();
        for record in &mut world.records {
            let Outcome::Trained(run) = &mut record.outcome else { continue };
            if let Answers::Labels { labels, predictions } = &mut run.tests[0].answers {
                *predictions = labels.iter().map(|label| 1 - label).collect();
            }
        }
        let lost = world.records.iter_mut().find(|record| record.trial.method == "linear_probe").unwrap();
        lost.outcome = Outcome::Failed { reason: "NaN".into() };
        let advice = recommend(&Findings::of(&world.evidence()), Purpose::Memory);
        assert_eq!(advice.method.as_deref(), Some("linear_probe"), "{}", advice.sentence);
        let told = "Only 2 of its 3 seeds finished (NaN).";
        assert!(advice.caveats.iter().any(|caveat| caveat == told), "{:?}", advice.caveats);
        let useless = "No method's score is shown to be better than always answering label 0 (50.0 %).";
        assert!(advice.caveats.iter().any(|caveat| caveat == useless), "{:?}", advice.caveats);
    }

    #[test]
    fn methods_that_are_left_out_for_one_reason_are_told_in_one_sentence() {
        let mut world = World::new();
        world.records.retain(|record| {
            !(record.trial.role == crate::record::Role::Probe
                && ["lora", "ia3"].contains(&record.trial.method.as_str()))
        });
        let advice = recommend(&Findings::of(&world.evidence()), Purpose::Memory);
        let told: Vec<&String> =
            advice.caveats.iter().filter(|words| words.contains("training memory")).collect();
        let [told] = told[..] else { panic!("{told:?}") };
        assert!(
            told.starts_with("LoRA, rank 8; DoRA, rank 8; (IA)³ are not considered: no figure for"),
            "{told}"
        );
    }

    #[test]
    fn a_method_without_probe_is_never_recommended_for_its_costs() {
        let findings = World::findings();
        let advice = recommend(findings, Purpose::Balanced);
        assert!(advice.caveats.iter().any(|c| c.contains("DoRA") && c.contains("not considered")));
        assert!(advice.runners_up.iter().all(|r| r.method != "dora"));
    }

    #[test]
    fn nothing_is_recommended_from_nothing_and_one_seed_says_so() {
        let world = World::with_seeds(1);
        let evidence = world.evidence();
        let nothing = Evidence::new(evidence.study.clone(), &[]);
        assert_eq!(recommend(&Findings::of(&nothing), Purpose::Accuracy).method, None);
        let advice = recommend(&Findings::of(&evidence), Purpose::Accuracy);
        assert!(advice.caveats[0].contains("one seed"), "{:?}", advice.caveats);
    }
}
