//! What is said of a recommended method: the sentence, what speaks for it, and what to know before following it.

use super::candidates::{Field, against_best, targets};
use super::purpose::{Cost, Purpose};
use crate::metric::{Findings, Kept, MethodFacts, Reading, Unit, by_label, small_data_curve};
use crate::record::Role;
use crate::words::{count, list, thousands};

/// What a method must lose in another domain to be named for it.
const LOSS_TO_NAME: f64 = 0.1;
/// Costs that differ by less than this part are about the same.
const ABOUT: f64 = 0.05;
/// What a reader may want to know the price of, whatever the purpose.
const PRICES: [Cost; 4] = [Cost::TrainMemory, Cost::TrainTime, Cost::Latency, Cost::TrainEnergy];

/// The advice in one sentence, with figures.
pub(super) fn sentence(findings: &Findings, purpose: Purpose, facts: &MethodFacts) -> String {
    let name = &facts.name;
    let best = findings.standing.best().map(|i| findings.standing.methods[i].as_str());
    let place = match best.zip(against_best(findings, name, 0.0)) {
        Some((best, against)) => {
            let (title, lead) =
                (super::title(findings, best), super::value(findings, best, "accuracy", "accuracy"));
            match against.verdict.tells_apart() {
                false => format!("which this data cannot tell from the best ({title}, {lead})"),
                true => format!("against {lead} for the best ({title})"),
            }
        }
        None => "the best of the study".to_owned(),
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

/// What speaks for it, with figures.
pub(super) fn reasons(findings: &Findings, purpose: Purpose, facts: &MethodFacts) -> Vec<String> {
    let name = &facts.name;
    let mut reasons = Vec::new();
    if let Some(e) = findings.estimate(name, "accuracy", "accuracy") {
        let runs = if e.n == 1 { "one seed".to_owned() } else { format!("{} seeds", e.n) };
        let scoring = findings.standing.scoring;
        let written = super::format::with_interval(scoring.unit, &e);
        let beside = findings.evidence.baseline().map_or_else(String::new, |baseline| {
            let constant = scoring.unit.write(baseline.value);
            format!("; always answering {} scores {constant}", baseline.answer)
        });
        reasons.push(format!("{} {written} over {runs}{beside}.", scoring.title));
    }
    if let Some(e) = findings.estimate(name, "accuracy", "share_of_full") {
        let written = super::format::with_interval(Unit::Share, &e);
        reasons.push(format!("It keeps {written} of full fine-tuning's score."));
    }
    reasons.extend(shown(purpose).iter().filter_map(|cost| priced(findings, *cost, name)));
    reasons
}

/// What a method offers, in short.
pub(super) fn brief(findings: &Findings, purpose: Purpose, facts: &MethodFacts) -> String {
    let mut parts = vec![scored(findings, &facts.name)];
    parts.extend(shown(purpose).iter().filter_map(|cost| cost.write(findings, &facts.name)));
    parts.join(", ")
}

fn shown(purpose: Purpose) -> &'static [Cost] {
    if purpose.costs().is_empty() { Purpose::Balanced.costs() } else { purpose.costs() }
}

/// "It takes 137 MB of memory in training: 32 % of what full fine-tuning takes (431 MB)."
fn priced(findings: &Findings, cost: Cost, name: &str) -> Option<String> {
    let own = cost.write(findings, name)?;
    if cost == Cost::SmallDataLoss {
        return Some(format!("It reaches {own}."));
    }
    let merged = merged(findings, cost, name).unwrap_or_default();
    Some(match against_full(findings, cost, name) {
        Some(against) => format!("It takes {own}: {against}{merged}."),
        None => format!("It takes {own}{merged}."),
    })
}

/// The other number of a response time, said to be that.
fn merged(findings: &Findings, cost: Cost, name: &str) -> Option<String> {
    let figure = findings.figure(name, "response_time", "merged_p95").filter(|_| cost == Cost::Latency)?;
    let takes = Unit::Seconds.write(figure.reading.estimate()?.value);
    let disturbed = figure.mark().map_or("", |_| " (measured on a disturbed machine)");
    Some(format!("; merged into the base it takes {takes}{disturbed}"))
}

/// "twice as slow as full fine-tuning (4.10 s)"; `None` for full fine-tuning itself, or where a figure is missing or was
/// measured on a disturbed machine.
fn against_full(findings: &Findings, cost: Cost, name: &str) -> Option<String> {
    let full = findings.evidence.full().filter(|full| full.name != name)?;
    let ratio = cost.deciding(findings, name)? / cost.deciding(findings, &full.name)?;
    let words = compared(cost, ratio)?;
    Some(format!("{words} ({})", cost.amount(findings, &full.name)?))
}

/// A cost as a multiple of full fine-tuning's, in words that say which way it is.
fn compared(cost: Cost, ratio: f64) -> Option<String> {
    if !(ratio.is_finite() && ratio > 0.0) {
        return None;
    }
    let about = (1.0 - ABOUT..1.0 + ABOUT).contains(&ratio);
    Some(match (cost.is_time(), about) {
        (true, true) => "about as fast as full fine-tuning".to_owned(),
        (false, true) => "about as much as full fine-tuning".to_owned(),
        (true, false) if ratio > 1.0 => format!("{} as slow as full fine-tuning", times(ratio)),
        (true, false) => format!("{} as fast as full fine-tuning", times(1.0 / ratio)),
        (false, false) if ratio > 1.0 => format!("{} as much as full fine-tuning", times(ratio)),
        (false, false) if (ratio - 0.5).abs() < ABOUT / 2.0 => "half as much as full fine-tuning".to_owned(),
        (false, false) if ratio >= 0.01 => format!("{:.0} % of what full fine-tuning takes", 100.0 * ratio),
        (false, false) => {
            format!("one part in {} of what full fine-tuning takes", thousands((1.0 / ratio).round() as u64))
        }
    })
}

/// "twice", "3.3 times", "41 times".
fn times(ratio: f64) -> String {
    match ratio {
        r if (r / 2.0 - 1.0).abs() < ABOUT => "twice".to_owned(),
        r if r < 9.95 => format!("{r:.1} times"),
        r => format!("{} times", thousands(r.round() as u64)),
    }
}

/// "87.1 % accuracy", "0.52 Matthews' correlation".
fn scored(findings: &Findings, method: &str) -> String {
    let value = super::value(findings, method, "accuracy", "accuracy");
    format!("{value} {}", findings.standing.scoring.noun)
}

/// What to know of a recommended method before following the advice.
pub(super) fn caveats(
    findings: &Findings,
    purpose: Purpose,
    field: &Field,
    facts: &MethodFacts,
) -> Vec<String> {
    let name = facts.name.as_str();
    let mut caveats = Vec::new();
    caveats.extend(unfinished(findings, name));
    caveats.extend(not_shown(findings, purpose, field, facts));
    caveats.extend(useless(findings, name));
    caveats.extend(never_found(findings, name));
    caveats.extend(better_with_fewer_rows(findings, name));
    let alike: Vec<&str> = findings
        .standing
        .methods
        .iter()
        .filter(|other| {
            findings.standing.judged(name, other, 0.0).is_some_and(|judged| !judged.verdict.tells_apart())
        })
        .map(|other| super::title(findings, other))
        .collect();
    if !alike.is_empty() {
        caveats.push(format!("In the score the data cannot tell it from {}.", list(&alike)));
    }
    caveats.extend(dearer(findings, purpose, name));
    caveats.extend(targets(findings, name).iter().filter_map(missed));
    caveats.extend(elsewhere(findings, name));
    if purpose.costs().contains(&Cost::TrainEnergy) {
        let figure = findings.figure(name, "energy", "train_joules").map(|f| &f.reading);
        if let Some(Reading::Estimated { how, .. }) = figure {
            caveats.push(format!("Energy is an estimate: {how}."));
        }
    }
    caveats
}

/// Labels that no seed of the method ever answers rightly: most often rare ones.
fn never_found(findings: &Findings, name: &str) -> Option<String> {
    let labels = by_label(findings.evidence, name)?.labels.into_iter();
    let lost = labels.filter(|label| label.support > 0 && label.recall <= 0.0);
    let lost: Vec<String> =
        lost.map(|of| format!("\"{}\" ({})", of.label, count(of.support as usize, "test row"))).collect();
    (!lost.is_empty()).then(|| format!("It never finds {}.", list(&lost)))
}

/// A score with few rows that is above all that the interval of the score with all rows allows: most often, training on
/// all rows had fewer steps.
fn better_with_fewer_rows(findings: &Findings, name: &str) -> Option<String> {
    let scoring = findings.standing.scoring;
    let whole = findings.estimate(name, "accuracy", "accuracy")?;
    let best = if scoring.is_better(whole.high, whole.low) { whole.high } else { whole.low };
    let sizes = small_data_curve(findings.evidence, name).into_iter();
    let better = sizes.filter(|(_, with)| scoring.is_better(Some(with.value), best));
    let better = better.map(|(n, with)| format!("{} (n = {n})", scoring.unit.write(with.value)));
    let better: Vec<String> = better.collect();
    (!better.is_empty()).then(|| {
        format!(
            "With fewer training rows it scores better, {}, than with all of them, {}: training on all is too short, or its \
             settings do not suit it.",
            list(&better),
            scoring.unit.write(whole.value)
        )
    })
}

/// Seeds of the method that came to nothing.
fn unfinished(findings: &Findings, name: &str) -> Option<String> {
    let (finished, seeds) = (findings.evidence.main(name).len(), findings.evidence.study.seeds.len());
    let failed = findings.evidence.failures().into_iter();
    let why = failed
        .filter(|failure| failure.method == name && *failure.role == Role::Main)
        .map(|f| f.reason)
        .next();
    let why = why.map_or_else(String::new, |reason| format!(" ({reason})"));
    (finished < seeds).then(|| format!("Only {finished} of its {seeds} seeds finished{why}."))
}

/// That it may be worse than is allowed, as nothing shows that it is not; and who is shown not to be.
fn not_shown(findings: &Findings, purpose: Purpose, field: &Field, facts: &MethodFacts) -> Option<String> {
    if !purpose.asks_for_a_good_score() {
        return None;
    }
    let within = |name: &str| {
        against_best(findings, name, field.allowed).is_none_or(|judged| judged.verdict.is_within_margin())
    };
    let judged = against_best(findings, &facts.name, field.allowed).filter(|_| !within(&facts.name))?;
    let unit = findings.standing.scoring.unit.of_difference();
    let loss = judged.lead.low.map_or_else(
        || "nothing bounds what it loses".to_owned(),
        |low| format!("it may lose up to {}", unit.write(-low)),
    );
    let safe = field.candidates.iter().map(|candidate| candidate.facts).find(|facts| within(&facts.name));
    let safe =
        safe.map_or_else(String::new, |safe| format!(" The first that is shown to be: {}.", safe.title));
    Some(format!(
        "The data do not show that its score is within {} of the best: {loss}.{safe}",
        unit.write(field.allowed)
    ))
}

/// That nothing in the study is shown to have learnt anything.
fn useless(findings: &Findings, name: &str) -> Option<String> {
    let baseline = findings.evidence.baseline().filter(|baseline| !baseline.is_beaten_by(name))?;
    let any = findings.methods().iter().any(|facts| baseline.is_beaten_by(&facts.name));
    let who = if any { "Its score is not" } else { "No method's score is" };
    Some(format!("{who} shown to be better than {}.", baseline.words(findings.evidence)))
}

/// What it takes more of than full fine-tuning, beside what the reasons say.
fn dearer(findings: &Findings, purpose: Purpose, name: &str) -> Vec<String> {
    let full = findings.evidence.full().filter(|full| full.name != name);
    let unsaid = PRICES.iter().filter(|cost| !shown(purpose).contains(cost));
    let dearer = unsaid.filter_map(|cost| {
        let ratio = cost.deciding(findings, name)? / cost.deciding(findings, &full?.name)?;
        let own = cost.write(findings, name).filter(|_| ratio >= 1.0 + ABOUT)?;
        Some(format!("It takes {own}: {}.", against_full(findings, *cost, name)?))
    });
    dearer.collect()
}

/// How it keeps to a response-time target of the study's own, where it does not do so everywhere.
fn missed(target: &super::candidates::Target) -> Option<String> {
    let (words, disturbed) = (target.application.words(), target.disturbed);
    let marked = if disturbed { " (measured on a disturbed machine)" } else { "" };
    match &target.kept {
        Kept::Everywhere if disturbed => Some(format!("It keeps to {words}{marked}.")),
        Kept::Everywhere => None,
        Kept::UpTo(load) => Some(format!("It keeps to {words} only up to {load}{marked}.")),
        Kept::Perhaps => Some(format!("It may miss {words}: the interval holds the target{marked}.")),
        Kept::Never => Some(format!("It misses {words}{marked}.")),
        Kept::Unknown => Some(format!("Whether it keeps to {words} was not measured.")),
    }
}

/// What it loses in the worst of the other domains.
fn elsewhere(findings: &Findings, name: &str) -> Option<String> {
    let scoring = findings.standing.scoring;
    let home = findings.estimate(name, "accuracy", "accuracy")?.value;
    let worst = findings.estimate(name, "cross_domain", "worst")?.value;
    let lost = scoring.shortfall(home, worst);
    let written = scoring.unit.of_difference().write(lost);
    (lost >= LOSS_TO_NAME).then(|| format!("In the worst of the other domains it loses {written}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;

    #[test]
    fn a_label_that_is_never_found_is_told() {
        let mut world = World::new();
        world.answer(|labels, _| labels[..5].fill(7));
        let evidence = world.evidence();
        let findings = Findings::of(&evidence);
        assert_eq!(never_found(&findings, "lora").unwrap(), "It never finds \"7\" (5 test rows).");
        assert_eq!(never_found(World::findings(), "lora"), None);
    }

    #[test]
    fn a_score_that_fewer_rows_beat_is_told() {
        assert_eq!(better_with_fewer_rows(World::findings(), "lora"), None);
        let mut world = World::new();
        world.answer_main("lora", |labels, predictions| {
            predictions.iter_mut().zip(labels).skip(100).for_each(|(said, label)| *said = 1 - *label);
        });
        let evidence = world.evidence();
        let told = better_with_fewer_rows(&Findings::of(&evidence), "lora").unwrap();
        assert!(
            told.starts_with("With fewer training rows it scores better, ") && told.contains("(n = "),
            "{told}"
        );
    }

    #[test]
    fn costs_are_compared_in_words_that_say_which_way_it_is() {
        let cases = [
            (Cost::TrainTime, 2.0, "twice as slow as full fine-tuning"),
            (Cost::TrainTime, 0.3, "3.3 times as fast as full fine-tuning"),
            (Cost::Latency, 1.6, "1.6 times as slow as full fine-tuning"),
            (Cost::Latency, 1.01, "about as fast as full fine-tuning"),
            (Cost::TrainMemory, 0.5, "half as much as full fine-tuning"),
            (Cost::TrainMemory, 0.32, "32 % of what full fine-tuning takes"),
            (Cost::TrainMemory, 2.04, "twice as much as full fine-tuning"),
            (Cost::TrainEnergy, 12.3, "12 times as much as full fine-tuning"),
            (Cost::AdapterSize, 0.0012, "one part in 833 of what full fine-tuning takes"),
            (Cost::AdapterSize, 1.0, "about as much as full fine-tuning"),
        ];
        for (cost, ratio, words) in cases {
            assert_eq!(compared(cost, ratio).unwrap(), words);
        }
        assert_eq!(compared(Cost::TrainTime, f64::INFINITY), None);
    }
}
