//! The summary for the terminal, which fits the width given, and the same as Markdown.

use super::appendix::appendix;
use super::format::{short, shortened};
use super::markdown::{cell, text as plain};
use super::recommendation::Recommendation;
use crate::metric::conditions::{MARK_MEANS, fitted};
use crate::metric::{Findings, Unit};
use crate::statistics::Estimate;
use crate::words::{printable, wrapped};
use std::ops::Range;
use unicode_width::UnicodeWidthStr;

/// The narrowest that a method's name is cut to where columns need the room.
const NARROWEST_NAME: usize = 12;
const GAP: usize = 2;
/// The widest that a line of a sentence is, in columns.
const SENTENCE: usize = 80;

/// A column: heading, metric, key.
struct Column {
    heading: &'static str,
    metric: &'static str,
    key: &'static str,
}

const COLUMNS: [Column; 8] = [
    Column { heading: "accuracy", metric: "accuracy", key: "accuracy" },
    Column { heading: "group", metric: "accuracy", key: "group" },
    Column { heading: "worst dom.", metric: "cross_domain", key: "worst" },
    Column { heading: "train ex/s", metric: "speed", key: "train_examples_per_second" },
    Column { heading: "train mem.", metric: "memory", key: "train_peak_bytes" },
    Column { heading: "trained", metric: "parameters", key: "trainable" },
    Column { heading: "p95 unmerged", metric: "response_time", key: "p95" },
    Column { heading: "J/1k ex", metric: "energy", key: "train_joules" },
];

/// What stands in the columns whose headings do not say it all.
const COLUMNS_SAY: &str = "train mem.: peak of the process in training, as the operating system counts it. p95 unmerged: \
                           response time that 95 % of single requests keep to, the adapter kept beside the base. J/1k ex: \
                           joules for 1,000 training examples.";

/// One line a method, no wider than `width` columns of a terminal (at least 40), failures below. Columns that do not fit
/// beside the others follow in further tables: none is left out.
pub fn summary_table(findings: &Findings, width: usize) -> String {
    let width = width.max(40);
    let columns: Vec<&Column> = COLUMNS.iter().collect();
    let rows = rows(findings, &columns);
    let widths = widths(findings, &columns, &rows);
    let longest = findings.methods().iter().map(|m| m.name.width()).max().unwrap_or(0).max("method".len());
    let name_width = longest.min(NARROWEST_NAME.max(width / 5));
    let mut text = String::new();
    let mut first = 0;
    while first < columns.len() {
        let mut taken = name_width;
        let fits = |column: &usize| {
            taken += widths[*column] + GAP;
            taken <= width
        };
        let last = first + (first..columns.len()).take_while(fits).count().max(1);
        let taken = widths[first..last].iter().map(|width| width + GAP).sum::<usize>();
        let name_width = width.saturating_sub(taken).clamp(1, longest);
        text.push_str(&draw(findings, &columns, &rows, &widths, first..last, name_width));
        text.push('\n');
        first = last;
    }
    // Below the table stands the advice, which tells of few seeds.
    let told: Vec<String> = findings.few_seeds().into_iter().collect();
    for note in notes(findings, &told).into_iter().chain(failures(findings)) {
        text.push_str(&format!("{}\n", sentences(&note, width)));
    }
    text
}

/// The summary as Markdown: the recommendation, every column, and what failed.
pub fn summary_markdown(findings: &Findings, advice: &Recommendation) -> String {
    let columns: Vec<&Column> = COLUMNS.iter().collect();
    let study = &findings.evidence.study;
    let mut text = format!("# {}\n\n**{}**\n\n", plain(&study.name), plain(&advice.sentence));
    for reason in &advice.reasons {
        text.push_str(&format!("- {}\n", plain(reason)));
    }
    if let Some(adapter) = &advice.adapter {
        text.push_str(&format!(
            "\nIts adapter, of the seed that did best on the validation rows: `{adapter}`.\n"
        ));
    }
    if let Some(exported) = &advice.exported {
        text.push_str(&format!(
            "\nReady for Python, with tokenizer and load.py: `{exported}/` (`python {exported}/load.py \"some text\"`).\n"
        ));
    }
    if !advice.caveats.is_empty() {
        text.push_str("\nBefore you follow it:\n\n");
    }
    for caveat in &advice.caveats {
        text.push_str(&format!("- {}\n", plain(caveat)));
    }
    text.push_str(&format!("\nRule: {}\n\n", plain(&advice.rule)));
    let headings: Vec<&str> = columns.iter().map(|c| heading(findings, c)).collect();
    text.push_str(&format!(
        "| method | {} |\n|---|{}\n",
        headings.join(" | "),
        "---:|".repeat(columns.len())
    ));
    for (method, row) in findings.methods().iter().zip(rows(findings, &columns)) {
        let cells: Vec<String> = row.iter().map(|c| cell(c)).collect();
        text.push_str(&format!("| {} | {} |\n", cell(&method.name), cells.join(" | ")));
    }
    let told = [advice.caveats.clone(), findings.search_cautions()].concat();
    let notes = notes(findings, &told).into_iter().chain(fitted(findings.evidence));
    let notes: Vec<String> = notes.map(|note| plain(&note)).collect();
    text.push_str(&format!("\n{}\n", notes.join("\n\n")));
    for line in failures(findings) {
        text.push_str(&format!("\n- {}", plain(&line)));
    }
    text.push_str("\n\nWhat loads the adapters:\n");
    for (method, account) in findings.methods().iter().zip(&advice.methods) {
        text.push_str(&format!("\n- {}: {}", cell(&method.name), plain(account.loads)));
    }
    text.push_str("\n\n");
    text.push_str(&appendix(findings, advice.method.as_deref()));
    text.push_str(&format!(
        "\n{}\n\n{}\n\n{}\n",
        plain(&study.model),
        plain(&study.data),
        plain(&study.machine)
    ));
    printable(&text).into_owned()
}

fn rows(findings: &Findings, columns: &[&Column]) -> Vec<Vec<String>> {
    let entry = |method: &str, column: &Column| match findings.figure(method, column.metric, column.key) {
        Some(figure) => match (column.key, figure.reading.estimate()) {
            ("accuracy", Some(e)) => with_margins(figure.unit, e),
            _ => short(figure).replace(&format!(" {}", Unit::ExamplesPerSecond.name()), ""),
        },
        None => "–".to_owned(),
    };
    findings.methods().iter().map(|m| columns.iter().map(|c| entry(&m.name, c)).collect()).collect()
}

/// A column's heading; that of the score is the score's own name.
fn heading(findings: &Findings, column: &Column) -> &'static str {
    if column.key == "accuracy" { findings.standing.scoring.name } else { column.heading }
}

/// "87.1 ± 1.2 %", "0.523 ± 0.041", "99.0 +0.8 −4.1 %": the unit once.
fn with_margins(unit: Unit, e: &Estimate) -> String {
    let (Some(low), Some(high)) = (e.low, e.high) else { return unit.write(e.value) };
    let (down, up) = ((e.value - low).max(0.0), (high - e.value).max(0.0));
    let number = |value: f64| match unit {
        Unit::Share => format!("{:.1}", value * 100.0),
        _ => unit.write(value),
    };
    let (up, down) = (number(up), number(down));
    let margins = if up == down { format!("± {up}") } else { format!("+{up} −{down}") };
    let sign = if unit == Unit::Share { " %" } else { "" };
    format!("{} {margins}{sign}", number(e.value))
}

fn widths(findings: &Findings, columns: &[&Column], rows: &[Vec<String>]) -> Vec<usize> {
    let widest = |k: usize| rows.iter().map(|row| row[k].width()).max().unwrap_or(0);
    columns.iter().enumerate().map(|(k, column)| heading(findings, column).width().max(widest(k))).collect()
}

/// A table of some of the columns.
fn draw(
    findings: &Findings,
    columns: &[&Column],
    rows: &[Vec<String>],
    widths: &[usize],
    shown: Range<usize>,
    name_width: usize,
) -> String {
    let widths = &widths[shown.clone()];
    let line = |name: &str, cells: &mut dyn Iterator<Item = &str>| {
        let name = shortened(name, name_width);
        let mut text = format!("{name}{}", " ".repeat(name_width - name.width()));
        for (cell, width) in cells.zip(widths) {
            text.push_str(&" ".repeat(GAP + width - cell.width()));
            text.push_str(cell);
        }
        text.push('\n');
        text
    };
    let mut text = line("method", &mut columns[shown.clone()].iter().map(|c| heading(findings, c)));
    let ruled = name_width + widths.iter().map(|w| w + GAP).sum::<usize>();
    text.push_str(&format!("{}\n", "─".repeat(ruled)));
    for (method, row) in findings.methods().iter().zip(rows) {
        text.push_str(&line(&method.name, &mut row[shown.clone()].iter().map(String::as_str)));
    }
    text
}

/// What the table's signs mean, and what to know of its figures, but for what is `told` elsewhere on the page.
fn notes(findings: &Findings, told: &[String]) -> Vec<String> {
    let seeds = findings.evidence.study.seeds.len();
    let over = if seeds == 1 { "test rows (one seed: its spread is unknown)" } else { "seeds and test rows" };
    let signs = format!(
        "± (or + and − where its sides are unequal): 95 % interval over {over}. Methods that share a group letter cannot be told apart. ~: an estimate. –: not to be \
         had, the report says why."
    );
    let constant = findings.evidence.baseline().map(|baseline| {
        let value = findings.standing.scoring.unit.write(baseline.value);
        format!("Always answering {}, the best constant answer, scores {value}.", baseline.answer)
    });
    let cautions = findings.cautions().into_iter().filter(|caution| !told.contains(caution));
    let disturbed = findings.any_disturbed().then(|| MARK_MEANS.to_owned());
    let signs = [signs, COLUMNS_SAY.to_owned()];
    signs.into_iter().chain(disturbed).chain(constant).chain(cautions).collect()
}

/// One line for all methods that failed for the same reason.
fn failures(findings: &Findings) -> Vec<String> {
    let mut lines: Vec<(String, Vec<(String, usize)>)> = Vec::new();
    for failure in findings.evidence.failures() {
        let place = lines.iter().position(|(reason, _)| reason == failure.reason);
        let methods = match place {
            Some(place) => &mut lines[place].1,
            // A method's further failures are counted with its first one.
            None => {
                match lines.iter().position(|(_, methods)| methods.iter().any(|(m, _)| m == failure.method)) {
                    Some(place) => &mut lines[place].1,
                    None => {
                        lines.push((failure.reason.to_owned(), Vec::new()));
                        match lines.last_mut() {
                            Some((_, methods)) => methods,
                            None => continue,
                        }
                    }
                }
            }
        };
        match methods.iter_mut().find(|(method, _)| method == failure.method) {
            Some((_, count)) => *count += 1,
            None => methods.push((failure.method.to_owned(), 1)),
        }
    }
    let named = |(method, count): &(String, usize)| match count {
        1 => method.clone(),
        n => format!("{method} (in {n} trials)"),
    };
    let line = |(reason, methods): (String, Vec<(String, usize)>)| {
        let names: Vec<String> = methods.iter().map(named).collect();
        let first = if methods.iter().any(|(_, count)| *count > 1) { ", first" } else { "" };
        format!("{} failed{first}: {reason}", crate::words::list(&names))
    };
    lines.into_iter().map(line).collect()
}

/// Sentences in lines that are read easily however wide the table is; a word that is too long is cut.
fn sentences(text: &str, width: usize) -> String {
    let width = width.min(SENTENCE);
    let words: Vec<String> = text.split_whitespace().map(|word| shortened(word, width)).collect();
    wrapped(&words.join(" "), width).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;

    #[test]
    fn the_table_fits_every_width_even_with_long_and_wide_names() {
        let world = World::new();
        let mut evidence = world.evidence();
        evidence.study.methods[1].name =
            "lora-with-a-very-long-name-that-somebody-gave-it-in-a-study".repeat(3);
        evidence.study.methods[2].name = "低秩适应方法的一个很长很长的名字在这里".to_owned();
        let findings = Findings::of(&evidence);
        for width in [40, 60, 80, 100, 120] {
            for line in summary_table(&findings, width).lines() {
                assert!(line.width() <= width, "{} > {width}: {line}", line.width());
            }
        }
    }

    #[test]
    fn an_interval_that_leans_has_both_of_its_sides_told() {
        let e = |low, value, high| Estimate { value, low: Some(low), high: Some(high), n: 3 };
        assert_eq!(with_margins(Unit::Share, &e(0.859, 0.871, 0.883)), "87.1 ± 1.2 %");
        assert_eq!(with_margins(Unit::Share, &e(0.884, 1.0, 1.0)), "100.0 +0.0 −11.6 %");
        assert_eq!(with_margins(Unit::Correlation, &e(0.482, 0.523, 0.564)), "0.523 ± 0.041");
        assert_eq!(with_margins(Unit::Share, &Estimate::exact(0.5)), "50.0 %");
    }

    #[test]
    fn every_column_is_shown_at_every_width() {
        let findings = World::findings();
        let tables = |text: &str| text.lines().filter(|line| line.starts_with("method ")).count();
        for (width, expected) in [(120, 1), (80, 2), (40, 4)] {
            let text = summary_table(findings, width);
            for column in &COLUMNS {
                let headings: Vec<&str> = text.lines().filter(|line| line.starts_with("method ")).collect();
                assert!(headings.concat().contains(column.heading), "{width}: {}\n{text}", column.heading);
            }
            assert!(tables(&text) <= expected, "{width}:\n{text}");
            assert_eq!(text.matches("\nlora ").count(), tables(&text), "{text}");
            assert!(text.contains("adalora failed"), "{text}");
        }
        assert_eq!(tables(&summary_table(findings, 80)), 2);
    }

    #[test]
    fn markdown_keeps_its_columns() {
        let findings = World::findings();
        let advice = super::super::recommend(findings, super::super::Purpose::Balanced);
        let text = summary_markdown(findings, &advice);
        let bars = |line: &&str| line.starts_with('|');
        let main = text.split("\n## ").next().unwrap();
        assert!(main.lines().filter(bars).all(|line| line.matches('|').count() == COLUMNS.len() + 2));
        assert!(text.contains(&plain(&advice.sentence)));
        assert!(text.contains(r"\<from 12>") && !text.contains("&lt;"));
    }
}
