//! Metric 1, label by label: precision, recall, F1 and support of every label, and which labels are confused.

use super::super::labels::confusions;
use crate::metric::{ByLabel, Findings, MethodFacts, Unit, by_label};
use crate::words::count;
use maud::{Markup, html};

/// One folded table for each method; nothing where answers are no labels.
pub(super) fn labels(findings: &Findings) -> Markup {
    let found: Vec<(&MethodFacts, ByLabel)> = findings
        .methods()
        .iter()
        .filter_map(|method| Some((method, by_label(findings.evidence, &method.name)?)))
        .collect();
    if found.is_empty() {
        return html! {};
    }
    html! {
        h3 { "Label by label" }
        p.small {
            "Means over seeds of precision, recall and F1 as scikit-learn has them: precision of a label that is never answered, and recall "
            "of one that never stands, are 0."
        }
        @for (method, labels) in &found { (of_method(method, labels)) }
    }
}

fn of_method(method: &MethodFacts, of: &ByLabel) -> Markup {
    let share = |x: f64| Unit::Share.write(x);
    html! {
        details {
            summary { (method.title) ", " (count(of.labels.len(), "label")) }
            div.scroll tabindex="0" {
                table {
                    thead { tr { @for heading in ["Label", "Rows", "Precision", "Recall", "F1"] { th scope="col" { (heading) } } } }
                    tbody {
                        @for label in &of.labels {
                            tr {
                                th scope="row" { (label.label) }
                                td { (label.support) }
                                td { (share(label.precision)) }
                                td { (share(label.recall)) }
                                td { (share(label.f1)) }
                            }
                        }
                    }
                }
            }
            p.small { (confusions(&of.confused).trim()) }
        }
    }
}
