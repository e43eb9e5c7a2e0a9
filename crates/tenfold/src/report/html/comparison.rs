//! Methods against one another: full fine-tuning as the yardstick, then every pair.

use super::super::format::{bare_interval, probability};
use super::super::title;
use crate::metric::{Contrast, Findings, MethodFacts, Reference, Unit, digits};
use crate::statistics::{CONFIDENCE, Judgement, Verdict};
use crate::words::count;
use maud::{Markup, html};

/// The section; nothing where there are no two methods with a score.
pub(super) fn section(findings: &Findings) -> Markup {
    let (pairs, unit) = (&findings.contrasts, findings.standing.scoring.unit.of_difference());
    if pairs.is_empty() {
        return html! {};
    }
    let all = count(pairs.len(), "pair");
    let told = pairs.iter().filter(|pair| pair.judgement.verdict.tells_apart()).count();
    html! {
        section id="comparison" {
            h2 { "Methods against one another" }
            p.small {
                "All on the same test rows; above 0 the first is better. Below each difference stands its 95 % interval (Student's t, paired "
                "by row, with the spread over seeds; simultaneous over all of " (all) " by Bonferroni's correction). Two methods are told apart "
                "where the interval leaves out 0, which is where p is below 0.05. Groups, verdicts and the recommendation follow from "
                "this interval alone. " (told) " of " (all) " are told apart."
            }
            @if let Some(caution) = findings.few_seeds() { p.small { strong { "Mind: " } (caution) } }
            (yardstick(findings))
            details {
                summary { "All of " (all) }
                (table(&["Pair", "Difference", "p", "Told apart"], pairs.iter().map(|pair| html! {
                    tr {
                        th scope="row" { (names(findings, pair)) }
                        (judged(&pair.judgement, unit))
                        td.word { (apart(pair.judgement.verdict)) }
                    }
                })))
            }
            details {
                summary { "Other tests and effect sizes, for reference" }
                p.small {
                    "None of these decides anything above, and none is a second verdict: they ask other questions, or are corrected otherwise. "
                    "Bootstrap: 95 % interval of this pair alone (BCa; seeds and rows both drawn anew; none where no draw can move it). "
                    "Permutation: p of tests that assume no distribution, after Holm's correction: the larger p "
                    "of rows exchanged" (whole_answers(findings)) " and of runs regrouped, each below it without correction. " (least(pairs))
                    "Cohen's d: differences of the seeds over their deviation, corrected for few. Cohen's h: of "
                    "the two shares (0.2 small, 0.5 medium, 0.8 large). Cliff's δ: of the seeds' scores, −1 to 1. One right alone: rows that only "
                    "the one or only the other has right in the first seed, with McNemar's exact p."
                }
                (table(&["Pair", "Bootstrap", "Permutation", "Cohen's d", "Cohen's h", "Cliff's δ", "One right alone"], pairs.iter().map(|pair| html! {
                    tr {
                        th scope="row" { (names(findings, pair)) }
                        (reference(&pair.reference, unit))
                    }
                })))
            }
        }
    }
}

fn table(headings: &[&str], rows: impl Iterator<Item = Markup>) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr { @for heading in headings { th scope="col" { (heading) } } } }
                tbody { @for row in rows { (row) } }
            }
        }
    }
}

fn names(findings: &Findings, pair: &Contrast) -> String {
    format!("{} – {}", title(findings, &pair.first), title(findings, &pair.second))
}

fn apart(verdict: Verdict) -> &'static str {
    if verdict.tells_apart() { "yes" } else { "no" }
}

/// What is exchanged where rows have no worth of their own, and how often.
fn whole_answers(findings: &Findings) -> String {
    let drawn = findings.contrasts.iter().filter_map(|pair| pair.reference.permuted).map(|both| both.rows);
    let fewest = drawn.filter(|rows| !rows.exact).map(|rows| rows.arrangements).min();
    let drawn =
        fewest.map_or_else(String::new, |count| format!(", {} drawn arrangements", digits(count as f64)));
    if findings.standing.scoring.is_mean_of_rows() {
        return drawn;
    }
    format!(" (whole answers, in all seeds at once, and the score worked out anew{drawn})")
}

/// What the permutation tests could have shown at all, after Holm's correction over as many.
fn least(pairs: &[Contrast]) -> String {
    let smallest: Vec<f64> =
        pairs.iter().filter_map(|pair| Some(pair.reference.permuted?.smallest())).collect();
    let least = smallest.iter().copied().fold(f64::NAN, f64::min) * smallest.len() as f64;
    if least < 1.0 - CONFIDENCE || least.is_nan() {
        return String::new();
    }
    format!(
        "With so few seeds or rows none of these can fall below {}, so that they can support no claim, nor does a large one \
         speak for likeness. ",
        probability(least.min(1.0))
    )
}

/// Every method against full fine-tuning at the study's margin.
fn yardstick(findings: &Findings) -> Markup {
    let Some(full) = findings.evidence.full() else { return html! {} };
    let found: Vec<(&MethodFacts, Judgement)> = findings
        .methods()
        .iter()
        .filter_map(|method| Some((method, findings.against_full(&method.name)?)))
        .collect();
    if found.is_empty() {
        return html! {};
    }
    let unit = findings.standing.scoring.unit.of_difference();
    let margin = unit.write(findings.evidence.study.margin);
    html! {
        h3 { "Against " (full.title) ", margin " (margin) }
        (table(&["Method", "Difference", "p", "Verdict"], found.iter().map(|(method, judgement)| html! {
            tr {
                th scope="row" { (method.title) }
                (judged(judgement, unit))
                td.word.bad[judgement.verdict == Verdict::Inferior] { (judgement.verdict.words()) }
            }
        })))
        p.small {
            "As good: the interval holds 0 and ends above −" (margin) ". Undecided: it holds 0 and ends below: more seeds or rows would be needed. "
            "Better or worse: it leaves out 0; within the margin, where it ends above −" (margin) ", beyond it, where all of it lies below. A "
            "method can be worse and still within the margin: then it shares no group with " (full.title) ", and both are true."
        }
    }
}

fn judged(judgement: &Judgement, unit: Unit) -> Markup {
    html! {
        td { (unit.write_bare(judgement.lead.value)) @if let Some(i) = bare_interval(unit, &judgement.lead) { small { (i) } } }
        td { (probability(judgement.p)) }
    }
}

fn reference(pair: &Reference, unit: Unit) -> Markup {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), digits);
    html! {
        td { (pair.bootstrap.and_then(|e| bare_interval(unit, &e)).unwrap_or_else(|| "–".to_owned())) }
        td {
            @match &pair.permuted {
                Some(both) => { (probability(both.p)) small { "rows " (probability(both.rows.p)) ", runs " (probability(both.seeds.p)) } }
                None => "–",
            }
        }
        td { (number(pair.cohens_d.map(|d| d.value))) @if let Some(i) = pair.cohens_d.and_then(|d| bare_interval(Unit::Number, &d)) { small { (i) } } }
        td { (number(pair.cohens_h)) }
        td { (number(pair.cliffs_delta)) }
        td {
            @match &pair.discordance {
                Some(split) => { (split.first_only) " : " (split.second_only) small { "p " (probability(split.p)) } }
                None => "–",
            }
        }
    }
}
