//! Which method to take, for a stated purpose, and why: a pure function of the findings.
//!
//! A method whose deciding figures are missing is never recommended, and is named with what is missing.

use super::account::Account;
use super::purpose::{Cost, Purpose};
use crate::metric::{Contrast, Findings, MethodFacts};
use crate::record::Role;
use crate::words::list;
use serde::Serialize;

/// Version of `recommendation.json`.
pub const SCHEMA: u32 = 1;
/// A method that the data cannot tell from the best may still fall short by no more than so many of the study's margins.
const WIDEST_SHORTFALL: f64 = 2.0;
/// What a method must keep of the best accuracy where accuracy is not the purpose.
const FLOOR: f64 = 0.95;
/// What a method must lose in another domain to be named for it.
const LOSS_TO_NAME: f64 = 0.1;
/// A cost counts at most this many times the lowest.
const HIGHEST_RATIO: f64 = 10.0;
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
    /// Its adapter, below the run's folder: of the seed that did best on the validation rows.
    pub adapter: Option<String>,
    /// What speaks for it, with figures.
    pub reasons: Vec<String>,
    /// The next ones, best first.
    pub runners_up: Vec<RunnerUp>,
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

/// A method that may be recommended: lower `penalty` is better.
struct Candidate<'a> {
    facts: &'a MethodFacts,
    accuracy: f64,
    penalty: f64,
}

/// Chooses by the purpose's rule.
pub fn recommend(findings: &Findings, purpose: Purpose) -> Recommendation {
    let mut caveats = Vec::new();
    let mut candidates = candidates(findings, purpose, &mut caveats);
    let scoring = findings.standing.scoring;
    let written = |times: f64| scoring.unit.of_difference().write(times * findings.evidence.study.margin);
    candidates.sort_by(|a, b| {
        a.penalty.total_cmp(&b.penalty).then(scoring.shortfall(a.accuracy, b.accuracy).total_cmp(&0.0))
    });
    let mut advice = Recommendation {
        schema: SCHEMA,
        study: findings.evidence.study.name.clone(),
        purpose,
        rule: purpose.rule([1.0, WIDEST_SHORTFALL].map(written).each_ref().map(String::as_str)),
        method: None,
        adapter: None,
        sentence: String::new(),
        reasons: Vec::new(),
        runners_up: Vec::new(),
        caveats: Vec::new(),
        cautions: findings.cautions(),
        methods: findings.methods().iter().map(|facts| Account::of(findings, facts)).collect(),
        pairs: findings.contrasts.clone(),
    };
    match candidates.split_first() {
        Some((first, rest)) => {
            advice.method = Some(first.facts.name.clone());
            advice.adapter = first.facts.adapter.clone();
            advice.reasons = reasons(findings, purpose, first.facts);
            advice.sentence = sentence(findings, purpose, first.facts);
            let runner_up = |c: &Candidate| RunnerUp {
                method: c.facts.name.clone(),
                why: brief(findings, purpose, c.facts),
            };
            advice.runners_up = rest.iter().take(RUNNERS_UP).map(runner_up).collect();
            advice.caveats = specific_caveats(findings, purpose, first.facts);
        }
        None => {
            let why =
                match findings.methods().iter().any(|facts| needed(findings, purpose, &facts.name).is_ok()) {
                    true => "none that has all the figures that it needs is near enough to the best score",
                    false => "no method has all the figures that it needs",
                };
            advice.sentence =
                format!("No method can be recommended for the purpose \"{}\": {why}.", purpose.name());
        }
    }
    advice.caveats.append(&mut caveats);
    advice
}

fn candidates<'a>(findings: &'a Findings, purpose: Purpose, caveats: &mut Vec<String>) -> Vec<Candidate<'a>> {
    let mut complete = Vec::new();
    for facts in findings.methods() {
        match needed(findings, purpose, &facts.name) {
            Ok((accuracy, costs)) => complete.push((facts, accuracy, costs)),
            Err(missing) => caveats.push(format!("{} is not considered: {missing}.", facts.title)),
        }
    }
    let scoring = findings.standing.scoring;
    let best = findings.standing.best().map_or(f64::NAN, |place| findings.standing.means[place]);
    let admitted: Vec<_> = complete
        .into_iter()
        .filter(|(facts, accuracy, _)| admitted(findings, purpose, facts, *accuracy, best))
        .collect();
    let lowest: Vec<f64> = (0..purpose.costs().len())
        .map(|k| admitted.iter().map(|(_, _, costs)| costs[k]).fold(f64::INFINITY, f64::min))
        .collect();
    let penalty = |accuracy: f64, costs: &[f64]| match purpose {
        Purpose::Accuracy => scoring.shortfall(best, accuracy),
        Purpose::Balanced => geometric_mean_ratio(costs, &lowest),
        _ => costs[0],
    };
    admitted
        .into_iter()
        .map(|(facts, accuracy, costs)| Candidate { facts, accuracy, penalty: penalty(accuracy, &costs) })
        .collect()
}

/// The figures that the purpose decides by, or what is missing of them.
fn needed(findings: &Findings, purpose: Purpose, method: &str) -> Result<(f64, Vec<f64>), String> {
    let accuracy = findings
        .estimate(method, "accuracy", "accuracy")
        .ok_or_else(|| format!("no score ({})", findings.why_missing(method, "accuracy", "accuracy")))?;
    let mut costs = Vec::new();
    for cost in purpose.costs() {
        let value = cost.of(findings, method).ok_or_else(|| {
            let (metric, key) = cost.figure();
            format!("no figure for {} ({})", cost.words(), findings.why_missing(method, metric, key))
        })?;
        costs.push(value);
    }
    Ok((accuracy.value, costs))
}

fn admitted(findings: &Findings, purpose: Purpose, facts: &MethodFacts, accuracy: f64, best: f64) -> bool {
    let scoring = findings.standing.scoring;
    match purpose {
        Purpose::Accuracy | Purpose::SmallData => true,
        Purpose::Balanced => as_good_as_best(findings, &facts.name, scoring.shortfall(best, accuracy)),
        // Of a best score that is not above 0 there is no part to keep.
        _ if scoring.kept(best, best).is_nan() => {
            as_good_as_best(findings, &facts.name, scoring.shortfall(best, accuracy))
        }
        _ => scoring.kept(accuracy, best) >= FLOOR,
    }
}

/// Not distinguishably worse and not far below, or shown to be within the study's margin.
fn as_good_as_best(findings: &Findings, method: &str, shortfall: f64) -> bool {
    let (standing, margin) = (&findings.standing, findings.evidence.study.margin);
    let (Some(best), Some(own)) = (standing.best(), standing.place(method)) else {
        return false;
    };
    if best == own {
        return true;
    }
    let tied = !standing.comparison.differ(best, own) && shortfall <= WIDEST_SHORTFALL * margin;
    let lost = findings.ahead(&standing.methods[best], method).and_then(|lead| lead.high);
    tied || lost.is_some_and(|most| most <= margin)
}

fn geometric_mean_ratio(costs: &[f64], lowest: &[f64]) -> f64 {
    let logs = costs
        .iter()
        .zip(lowest)
        .map(|(cost, low)| if *low <= 0.0 { 0.0 } else { (cost / low).clamp(1.0, HIGHEST_RATIO).ln() });
    (logs.sum::<f64>() / costs.len() as f64).exp()
}

fn sentence(findings: &Findings, purpose: Purpose, facts: &MethodFacts) -> String {
    let name = &facts.name;
    let best = findings.standing.best().map(|i| findings.standing.methods[i].as_str());
    let place = match best {
        Some(best) if best != name => {
            let (title, lead) =
                (super::title(findings, best), super::value(findings, best, "accuracy", "accuracy"));
            if tied(findings, best, name) {
                format!("which this data cannot tell from the best ({title}, {lead})")
            } else {
                format!("against {lead} for the best ({title})")
            }
        }
        _ => "the best of the study".to_owned(),
    };
    let costs: &[Cost] = match purpose {
        Purpose::Accuracy => &[Cost::TrainMemory, Cost::TrainTime],
        _ => purpose.costs(),
    };
    let costs: Vec<String> = costs.iter().filter_map(|cost| cost.write(findings, name)).collect();
    let with = if costs.is_empty() { String::new() } else { format!(", with {}", list(&costs)) };
    format!(
        "For {}, take {}: it reaches {}, {place}{with}.",
        purpose.words(),
        facts.title,
        scored(findings, name)
    )
}

fn reasons(findings: &Findings, purpose: Purpose, facts: &MethodFacts) -> Vec<String> {
    let name = &facts.name;
    let mut reasons = Vec::new();
    if let Some(e) = findings.estimate(name, "accuracy", "accuracy") {
        let runs = if e.n == 1 { "one seed".to_owned() } else { format!("{} seeds", e.n) };
        let scoring = findings.standing.scoring;
        let written = super::format::with_interval(scoring.unit, &e);
        reasons.push(format!("{} {written} over {runs}.", scoring.title));
    }
    if let Some(e) = findings.estimate(name, "accuracy", "share_of_full") {
        let written = super::format::with_interval(crate::metric::Unit::Share, &e);
        reasons.push(format!("It keeps {written} of full fine-tuning's score."));
    }
    let full = findings.evidence.full().filter(|full| full.name != *name);
    let shown = if purpose.costs().is_empty() { Purpose::Balanced.costs() } else { purpose.costs() };
    reasons.extend(shown.iter().filter_map(|cost| against_full(findings, *cost, name, full)));
    reasons
}

/// "It takes 137 MB of memory in training; full fine-tuning takes 3.3 times as much."
fn against_full(findings: &Findings, cost: Cost, name: &str, full: Option<&MethodFacts>) -> Option<String> {
    let own = cost.write(findings, name)?;
    if cost == Cost::SmallDataLoss {
        return Some(format!("It reaches {own}."));
    }
    let ratio = full.and_then(|full| Some(cost.of(findings, &full.name)? / cost.of(findings, name)?));
    Some(match ratio {
        Some(r) if r.is_finite() && !(0.95..1.05).contains(&r) => {
            let digits = if r < 9.95 { format!("{r:.1}") } else { crate::metric::digits(r.round()) };
            format!("It takes {own}; full fine-tuning takes {digits} times as much.")
        }
        Some(r) if r.is_finite() => format!("It takes {own}, about as much as full fine-tuning."),
        _ => format!("It takes {own}."),
    })
}

fn brief(findings: &Findings, purpose: Purpose, facts: &MethodFacts) -> String {
    let mut parts = vec![scored(findings, &facts.name)];
    let shown = if purpose.costs().is_empty() { Purpose::Balanced.costs() } else { purpose.costs() };
    parts.extend(shown.iter().filter_map(|cost| cost.write(findings, &facts.name)));
    parts.join(", ")
}

/// "87.1 % accuracy", "0.52 Matthews' correlation".
fn scored(findings: &Findings, method: &str) -> String {
    let value = super::value(findings, method, "accuracy", "accuracy");
    format!("{value} {}", findings.standing.scoring.noun)
}

fn tied(findings: &Findings, a: &str, b: &str) -> bool {
    match (findings.standing.place(a), findings.standing.place(b)) {
        (Some(a), Some(b)) => !findings.standing.comparison.differ(a, b),
        _ => false,
    }
}

fn specific_caveats(findings: &Findings, purpose: Purpose, facts: &MethodFacts) -> Vec<String> {
    let name = facts.name.as_str();
    let mut caveats = Vec::new();
    let (finished, seeds) = (findings.evidence.main(name).len(), findings.evidence.study.seeds.len());
    if finished == 1 {
        caveats.push("It rests on one seed: how another seed would come out is unknown.".to_owned());
    }
    if finished < seeds {
        let failed = findings.evidence.failures().into_iter();
        let why = failed
            .filter(|failure| failure.method == name && *failure.role == Role::Main)
            .map(|f| f.reason)
            .next();
        let why = why.map_or_else(String::new, |reason| format!(" ({reason})"));
        caveats.push(format!("Only {finished} of its {seeds} seeds finished{why}."));
    }
    let alike: Vec<&str> = findings
        .standing
        .methods
        .iter()
        .filter(|other| *other != name && tied(findings, name, other))
        .map(|other| super::title(findings, other))
        .collect();
    if !alike.is_empty() {
        caveats.push(format!("In the score the data cannot tell it from {}.", list(&alike)));
    }
    let home = findings.estimate(name, "accuracy", "accuracy").map(|e| e.value);
    let worst = findings.estimate(name, "cross_domain", "worst").map(|e| e.value);
    if let (Some(home), Some(worst)) = (home, worst)
        && findings.standing.scoring.shortfall(home, worst) >= LOSS_TO_NAME
    {
        let scoring = findings.standing.scoring;
        let points = scoring.unit.of_difference().write(scoring.shortfall(home, worst));
        caveats.push(format!("In the worst of the other domains it loses {points}."));
    }
    if purpose.costs().contains(&Cost::TrainEnergy) {
        let figure = findings.figure(name, "energy", "train_joules").map(|f| &f.reading);
        if let Some(crate::metric::Reading::Estimated { how, .. }) = figure {
            caveats.push(format!("Energy is an estimate: {how}."));
        }
    }
    caveats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Evidence, synthetic::World};
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
            assert!(serde_json::to_string(&advice).unwrap().contains("\"schema\":1"));
        }
    }

    #[test]
    fn the_studys_margin_decides_what_is_as_good_as_the_best() {
        let world = World::new();
        let mut evidence = world.evidence();
        evidence.study.margin = 0.2;
        let advice = recommend(&Findings::of(&evidence), Purpose::Balanced);
        assert!(
            advice.rule.contains("at most 40.0 points") && advice.rule.contains("within 20.0 points"),
            "{}",
            advice.rule
        );
        assert_eq!(advice.method.as_deref(), Some("linear_probe"));
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
        assert!(advice.caveats.iter().any(|c| c.contains("one seed")));
    }
}
