//! What summary.md says after its main table: the search, the yardstick, and the pairs that differ. 80 columns hold it.

use super::format::{bare_interval, interval, probability, shortened};
use super::{labels, markdown};
use crate::metric::{Findings, Unit, digits, searched};
use crate::words::count;

/// A name's width in these tables.
const NAME: usize = 16;

/// The sections, each with its heading; empty where there is nothing to say. `recommended` is the method whose labels are
/// listed one by one.
pub(super) fn appendix(findings: &Findings, recommended: Option<&str>) -> String {
    let labels = labels::markdown(findings, recommended);
    [labels, search(findings), yardstick(findings), pairs(findings), mixture(findings)].concat()
}

fn search(findings: &Findings) -> String {
    let own = findings.standing.scoring.unit;
    let row = |method: &crate::metric::MethodFacts| {
        let found = searched(findings.evidence, &method.name)?;
        let best = found.tried.iter().find(|tried| tried.chosen);
        let score = best.and_then(|tried| tried.score).map_or_else(|| "–".to_owned(), |x| own.write(x));
        let took = method.chosen.as_ref().map_or_else(|| "–".to_owned(), ToString::to_string);
        Some(vec![
            shortened(&method.name, NAME),
            shortened(&took, 22),
            score,
            found.tried.len().to_string(),
            digits(found.steps as f64),
            Unit::Seconds.write(found.seconds),
        ])
    };
    let rows: Vec<Vec<String>> = findings.methods().iter().filter_map(row).collect();
    let headings = ["method", "took", "validation", "tried", "steps", "time"];
    let note = [vec![findings.evidence.study.learning_rates.clone()], findings.search_cautions()].concat();
    table("Search", &note.join(" "), &headings, rows)
}

fn yardstick(findings: &Findings) -> String {
    let unit = difference(findings);
    let row = |method: &crate::metric::MethodFacts| {
        let found = findings.against_full(&method.name)?;
        let ends = bare_interval(unit, &found.lead).unwrap_or_else(|| "–".to_owned());
        Some(vec![
            shortened(&method.name, NAME),
            unit.write_bare(found.lead.value),
            ends,
            found.verdict.words().to_owned(),
        ])
    };
    let rows: Vec<Vec<String>> = findings.methods().iter().filter_map(row).collect();
    let margin = unit.write(findings.evidence.study.margin);
    let note = format!(
        "By how much it is better on the same test rows, with the 95 % interval, simultaneous over all pairs. Margin: {margin}. \
         As good: the interval holds 0 and ends above minus the margin. Undecided: it holds 0 and ends below. Better, worse: it \
         leaves out 0; within or beyond the margin: it ends above, or lies below, minus the margin."
    );
    table("Against full fine-tuning", &note, &["method", "difference", "interval", "verdict"], rows)
}

fn pairs(findings: &Findings) -> String {
    let unit = difference(findings);
    let all = count(findings.contrasts.len(), "pair");
    let row = |pair: &crate::metric::Contrast| {
        // The better one stands first, so that no figure needs a sign.
        let turned = pair.judgement.lead.value < 0.0;
        let [better, worse] = if turned { [&pair.second, &pair.first] } else { [&pair.first, &pair.second] };
        let lead = pair.judgement.lead.map(|x| if turned { -x } else { x });
        vec![
            shortened(better, NAME),
            shortened(worse, NAME),
            unit.write_bare(lead.value),
            bare_interval(unit, &lead).unwrap_or_else(|| "–".to_owned()),
            probability(pair.judgement.p),
        ]
    };
    let told = findings.contrasts.iter().filter(|pair| pair.judgement.verdict.tells_apart());
    let rows: Vec<Vec<String>> = told.map(row).collect();
    if rows.is_empty() && !findings.contrasts.is_empty() {
        return format!("\n## Pairs that differ\n\nNone of {all}, at 5 % over all pairs together.\n");
    }
    let note = format!(
        "{} of {all}, at 5 % over all pairs together: the 95 % interval of the difference, simultaneous over all pairs \
         (Student's t, paired by test row), leaves out 0; p says the same. Other tests and effect sizes stand in report.html and \
         recommendation.json, for reference.",
        rows.len(),
    );
    table("Pairs that differ", &note, &["the better", "the other", "by", "interval", "p"], rows)
}

fn mixture(findings: &Findings) -> String {
    let (own, unit) = (findings.standing.scoring.unit, difference(findings));
    let mut rows = Vec::new();
    for method in findings.methods() {
        for domain in findings.evidence.domains() {
            let figure =
                |key: &str| findings.estimate(&method.name, "cross_domain", &format!("{key}_{domain}"));
            let (Some(score), Some(gain)) = (figure("mixed"), figure("gain")) else { continue };
            let ends = interval(unit, &gain).unwrap_or_else(|| "–".to_owned());
            rows.push(vec![
                shortened(&method.name, NAME),
                shortened(domain, NAME),
                own.write(score.value),
                unit.write_bare(gain.value),
                ends.replace(" points", ""),
            ]);
        }
    }
    let note = format!(
        "Trained on {}; gain over training on the one domain, with its 95 % interval.",
        findings.evidence.study.mixture
    );
    table("Mixture of domains", &note, &["method", "domain", "score", "gain", "interval"], rows)
}

/// What differences of scores are counted in.
fn difference(findings: &Findings) -> Unit {
    findings.standing.scoring.unit.of_difference()
}

pub(super) fn table(title: &str, note: &str, headings: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|text| markdown::cell(text)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let rule = format!("|---|{}\n", "---:|".repeat(headings.len() - 1));
    let body: String = rows.iter().map(|cells| row(cells)).collect();
    format!("\n## {title}\n\n{}\n\n{}{rule}{body}", markdown::text(note), row(&headings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn every_table_fits_eighty_columns_and_keeps_its_own() {
        let text = appendix(World::findings(), Some("lora"));
        assert!(
            text.contains("## Against full fine-tuning") && text.contains("## Pairs that differ"),
            "{text}"
        );
        for block in text.split("\n\n").filter(|block| block.starts_with('|')) {
            let bars: Vec<usize> = block.lines().map(|line| line.matches('|').count()).collect();
            assert!(bars.iter().all(|count| *count == bars[0]), "{block}");
            assert!(block.lines().all(|line| line.width() <= 80), "{block}");
        }
        // "full" is better than what stands below it by the difference of the two means.
        let pair = text.lines().find(|line| line.starts_with("| full | prompt_tuning |")).unwrap();
        let numbers: Vec<f64> = pair.split(['|', '–', ' ']).filter_map(|word| word.parse().ok()).collect();
        let [by, low, high] = numbers[..3] else { panic!("{pair}") };
        assert!(0.0 < low && low < by && by < high, "{pair}");
    }
}
