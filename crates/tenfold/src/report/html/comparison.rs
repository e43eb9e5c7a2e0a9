//! Methods against one another: full fine-tuning as the yardstick, then every pair.

use super::super::format::{bare_interval, probability};
use super::super::title;
use crate::metric::{Contrast, Findings, MethodFacts, Unit, digits};
use crate::statistics::{CONFIDENCE, NonInferiority, Verdict};
use crate::words::count;
use maud::{Markup, html};

/// The section; nothing where there are no two methods with a score.
pub(super) fn section(findings: &Findings) -> Markup {
    let (pairs, unit) = (&findings.contrasts, findings.standing.scoring.unit.of_difference());
    if pairs.is_empty() {
        return html! {};
    }
    html! {
        section id="comparison" {
            h2 { "Methods against one another" }
            p.small {
                "All on the same test rows; above 0 the first is better. Below the difference stands its 95 % interval by the paired "
                "bootstrap (BCa; seeds and rows both drawn anew; none where no draw can move it); below p that of Student's t. "
                "Neither interval is corrected for many looks. p: Student's t paired by row, after Holm's correction over "
                "all of " (count(pairs.len(), "pair")) ". Permuted: the same of permutation tests, which assume no distribution: the larger p "
                "of rows exchanged" (whole_answers(findings)) " and of runs regrouped, each below it without correction. " (least(pairs)) "Cohen's d: differences of the seeds over their deviation, corrected for few. Cohen's h: of "
                "the two shares (0.2 small, 0.5 medium, 0.8 large). Cliff's δ: of the seeds' scores, −1 to 1. Rows "
                "told apart: right by the one alone and by the other alone in the first seed, with McNemar's exact p."
            }
            @if let Some(caution) = findings.few_seeds() { p.small { strong { "Mind: " } (caution) } }
            (yardstick(findings))
            details {
                summary { "All of " (count(pairs.len(), "pair")) }
                div.scroll tabindex="0" {
                    table {
                        thead { tr { @for heading in headings("Pair") { th scope="col" { (heading) } } } }
                        tbody {
                            @for pair in pairs {
                                tr {
                                    th scope="row" { (title(findings, &pair.first)) " – " (title(findings, &pair.second)) }
                                    (cells(pair, false, unit))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What is exchanged where rows have no worth of their own, and how often.
fn whole_answers(findings: &Findings) -> String {
    let drawn = findings.contrasts.iter().filter_map(|pair| pair.permuted).map(|both| both.rows);
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
    let smallest: Vec<f64> = pairs.iter().filter_map(|pair| Some(pair.permuted?.smallest())).collect();
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
    let found: Vec<(&MethodFacts, NonInferiority)> = findings
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
        div.scroll tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "Method" }
                        th scope="col" { "Within the margin?" }
                        @for heading in headings("Method").into_iter().skip(1) { th scope="col" { (heading) } }
                    }
                }
                tbody {
                    @for (method, test) in &found {
                        tr {
                            th scope="row" { (method.title) }
                            td.word.bad[test.verdict == Verdict::Inferior] { (words(test.verdict)) }
                            @match pair(findings, &method.name, &full.name) {
                                Some((pair, turned)) => (cells(pair, turned, unit)),
                                None => td.none colspan="7" { "–" },
                            }
                        }
                    }
                }
            }
        }
    }
}

fn headings(first: &str) -> [String; 8] {
    [
        "",
        "Difference (bootstrap)",
        "p (Holm)",
        "Permuted (Holm)",
        "Cohen's d",
        "Cohen's h",
        "Cliff's δ",
        "Rows told apart",
    ]
    .map(|heading| if heading.is_empty() { first.to_owned() } else { heading.to_owned() })
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NonInferior => "yes",
        Verdict::Inferior => "no: worse",
        Verdict::Undecided => "undecided",
    }
}

/// The pair of two methods, and whether it is the other way round.
fn pair<'a>(findings: &'a Findings, first: &str, second: &str) -> Option<(&'a Contrast, bool)> {
    findings.contrasts.iter().find_map(|pair| match (pair.first.as_str(), pair.second.as_str()) {
        (a, b) if (a, b) == (first, second) => Some((pair, false)),
        (a, b) if (a, b) == (second, first) => Some((pair, true)),
        _ => None,
    })
}

fn cells(pair: &Contrast, turned: bool, unit: Unit) -> Markup {
    let sign = if turned { -1.0 } else { 1.0 };
    let difference = pair.difference.map(|x| sign * x);
    let bootstrap = pair.bootstrap.map(|found| found.map(|x| sign * x));
    let d = pair.cohens_d.map(|d| d.map(|x| sign * x));
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| digits(sign * value));
    html! {
        td { (unit.write_bare(difference.value)) @if let Some(i) = bootstrap.and_then(|e| bare_interval(unit, &e)) { small { (i) } } }
        td { (probability(pair.p)) @if let Some(i) = bare_interval(unit, &difference) { small { "t " (i) } } }
        td {
            @match &pair.permuted {
                Some(both) => { (probability(both.p)) small { "rows " (probability(both.rows.p)) ", runs " (probability(both.seeds.p)) } }
                None => "–",
            }
        }
        td { (d.map_or_else(|| "–".to_owned(), |d| digits(d.value))) @if let Some(i) = d.and_then(|d| bare_interval(Unit::Number, &d)) { small { (i) } } }
        td { (number(pair.cohens_h)) }
        td { (number(pair.cliffs_delta)) }
        td {
            @match &pair.discordance {
                Some(split) => {
                    @let (a, b) = if turned { (split.second_only, split.first_only) } else { (split.first_only, split.second_only) };
                    (a) " : " (b) small { "p " (probability(split.p)) }
                }
                None => "–",
            }
        }
    }
}
