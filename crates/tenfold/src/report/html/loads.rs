//! Every load of every method: what was offered, what was done, and the quantiles of the requests.

use crate::histogram::Histogram;
use crate::metric::conditions::MARK;
use crate::metric::{Findings, Unit};
use crate::record::Load;
use maud::{Markup, html};

/// Quantiles of the table, and their headings.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// One line a load, out of sight until it is asked for; nothing without probes.
pub(super) fn loads(findings: &Findings) -> Markup {
    let probes = findings.methods().iter().filter_map(|m| Some((m, findings.evidence.probe(&m.name)?)));
    let rows: Vec<(&str, &Load)> =
        probes.flat_map(|(m, probe)| probe.loads.iter().map(|load| (m.title.as_str(), load))).collect();
    html! {
        @if let Some((_, first)) = rows.first() {
            details {
                summary { "All loads" }
                p.small {
                    "Requests worked on side by side: " (first.servers) ". Use: the share of the servers' time that the rate asks "
                    "for; from 100 % on the queue grows for ever. Service: without waiting."
                }
                div.scroll tabindex="0" {
                    table {
                        thead {
                            tr {
                                @for heading in ["Method", "Load", "n", "Done", "Use", "Service p50"] {
                                    th scope="col" { (heading) @if heading == "Done" { small { "requests/s" } } }
                                }
                                @for (heading, _) in QUANTILES { th scope="col" { (heading) } }
                                th scope="col" { "longest" }
                            }
                        }
                        tbody { @for (title, load) in &rows { (row(title, load)) } }
                    }
                }
            }
        }
    }
}

fn row(title: &str, load: &Load) -> Markup {
    let share = load.utilisation().map_or_else(|| "–".to_owned(), |share| Unit::Share.write(share));
    html! {
        tr {
            th scope="row" { (title) @if load.merged { ", merged" } }
            td.text {
                (load.words())
                @if let Some(words) = load.disturbance.and_then(|found| found.words()) { span.mark title=(words) { (MARK) } }
                @if !load.sustained() { strong { ", not sustained" } }
            }
            td { (load.latency.count()) }
            td { (Unit::RequestsPerSecond.write_bare(load.rate())) }
            td { (share) }
            td { (seconds(&load.service, 0.5)) }
            @for (_, q) in QUANTILES { td { (seconds(&load.latency, q)) } }
            td { (seconds(&load.latency, 1.0)) }
        }
    }
}

fn seconds(times: &Histogram, q: f64) -> String {
    times.quantile(q).map_or_else(|| "–".to_owned(), |seconds| Unit::Seconds.write(seconds))
}
