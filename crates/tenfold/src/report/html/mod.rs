//! The report: one HTML file that needs nothing else, for desktop, phone, dark mode and paper.

mod comparison;
mod heat_map;
mod labels;
mod loads;
mod overview;
mod provenance;
mod search;
mod section;

use super::plot;
use super::recommendation::Recommendation;
use crate::metric::{Findings, METRICS};
use crate::words::printable;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// The whole page. The same findings give the same bytes.
pub fn html(findings: &Findings, advice: &Recommendation) -> String {
    let study = &findings.evidence.study;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (study.name) " – Tenfold report" }
                style { (PreEscaped(STYLE)) (PreEscaped(dark_plots())) }
            }
            body {
                main {
                    (overview::masthead(findings))
                    (overview::advice(findings, advice))
                    (overview::contents())
                    (overview::main_table(findings, advice))
                    (overview::plots(findings))
                    (comparison::section(findings))
                    @for metric in METRICS { (section::section(findings, metric)) }
                    (search::section(findings))
                    (provenance::failures(findings))
                    (provenance::method(findings, advice))
                }
                footer { "Made by Tenfold " (env!("CARGO_PKG_VERSION")) "." }
            }
        }
    };
    // A name that turns the direction of writing would turn that of the words behind it.
    printable(&page.into_string()).into_owned()
}

/// Rules that turn the plots' colours in dark mode; on paper they stay as drawn.
fn dark_plots() -> String {
    let mut rules = String::from("@media screen and (prefers-color-scheme: dark) {\n");
    for (light, dark) in plot::DARK {
        rules.push_str(&format!(".plot [fill=\"{light}\"] {{ fill: {dark} }}\n"));
        rules.push_str(&format!(".plot [stroke=\"{light}\"] {{ stroke: {dark} }}\n"));
    }
    rules + "}\n"
}

/// A plot with its caption; a line of text where there is nothing to draw.
fn figure(drawing: plot::Drawing, caption: &str) -> Markup {
    html! {
        figure {
            @match drawing {
                Some(svg) => { (svg) figcaption { (caption) } }
                None => p.none { "No data to draw: " (caption) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Evidence, synthetic::World};
    use crate::report::{Purpose, recommend};

    fn page(evidence: &Evidence) -> String {
        let findings = Findings::of(evidence);
        html(&findings, &recommend(&findings, Purpose::Balanced))
    }

    /// Every opened element is closed in its turn.
    fn check_tags(page: &str) {
        const VOID: [&str; 4] = ["meta", "br", "hr", "!DOCTYPE"];
        let mut open: Vec<&str> = Vec::new();
        for part in page.split('<').skip(1) {
            let (tag, _) = part.split_once('>').expect("a tag ends");
            let name = tag.split(|c: char| c.is_whitespace() || c == '/').find(|s| !s.is_empty()).unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') && !VOID.contains(&name) {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "left open: {open:?}");
    }

    #[test]
    fn the_page_is_whole_and_says_everything() {
        let world = World::new();
        let evidence = world.evidence();
        let page = page(&evidence);
        check_tags(&page);
        for metric in METRICS {
            assert!(page.contains(&format!("id=\"{}\"", metric.name)), "{} is missing", metric.name);
        }
        for method in &evidence.study.methods {
            assert!(page.contains(&maud::html! { (method.title) }.into_string()), "{}", method.title);
        }
        assert!(page.contains("AdaLoRA, rank 8 &lt;from 12&gt;") && !page.contains("<from"));
        let text: String = page.split('<').filter_map(|p| p.split_once('>')).map(|p| p.1).collect();
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| *w != "NaN") {
            assert_ne!(word, "inf");
        }
        assert_eq!(text.matches("NaN").count(), text.matches("the loss became NaN").count());
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
    }

    #[test]
    fn the_same_evidence_gives_the_same_bytes() {
        let world = World::new();
        let evidence = world.evidence();
        let mut turned: Vec<_> = evidence.records.to_vec();
        turned.reverse();
        let other = Evidence::new(evidence.study.clone(), &turned);
        assert_eq!(page(&evidence), page(&other));
    }

    #[test]
    fn one_seed_or_no_record_still_gives_a_page() {
        let world = World::with_seeds(1);
        let evidence = world.evidence();
        check_tags(&page(&evidence));
        let nothing = Evidence::new(evidence.study.clone(), &[]);
        let empty = page(&nothing);
        check_tags(&empty);
        assert!(empty.contains("No method can be recommended"));
    }

    #[test]
    fn what_failed_for_one_reason_is_told_once() {
        let mut world = World::new();
        for record in &mut world.records {
            if record.trial.role == crate::record::Role::Main {
                record.outcome = crate::record::Outcome::Failed { reason: "no memory".into() };
            }
        }
        let page = page(&world.evidence());
        let failures = page.split("id=\"failures\"").nth(1).unwrap().split("</section>").next().unwrap();
        assert_eq!(failures.matches("no memory").count(), 1, "{failures}");
        assert!(failures.contains("and 17 trials more"), "{failures}");
    }

    #[test]
    fn labels_have_a_table_of_their_own() {
        let world = World::new();
        let mut evidence = world.evidence();
        evidence.study.labels = vec!["bad".into(), "<good>".into()];
        let page = page(&evidence);
        check_tags(&page);
        assert!(
            page.contains("Label by label") && page.contains("\"&lt;good&gt;\" answered as \"bad\"")
                || page.contains("&lt;good&gt;")
        );
        assert!(
            page.contains("Balanced accuracy") && page.contains("Always answering \"bad\"")
                || page.contains("Always answering &quot;bad&quot;")
        );
    }

    /// `TENFOLD_REPORT=file cargo test write_the_page` leaves the page there, to be looked at.
    #[test]
    fn write_the_page() {
        if let Some(file) = std::env::var_os("TENFOLD_REPORT") {
            let world = World::new();
            std::fs::write(file, page(&world.evidence())).unwrap();
        }
    }
}
