//! Response times of requests one at a time: for each method the middle half, p5 to p95, and p99; unmerged and merged.

use super::Drawing;
use super::axis::{Axis, tidy};
use super::label::{short, width};
use super::sheet::{Drawn, INK, Room, SCALE, Series, Sheet, draw};
use crate::histogram::Histogram;
use crate::metric::Findings;
use plotters::style::text_anchor::{HPos, VPos};

/// One box: p5, p25, p50, p75, p95, p99 in milliseconds.
struct Spread {
    series: Series,
    label: String,
    merged: bool,
    at: [f64; 6],
}

/// Quantiles of the response time, a box for each method and form.
pub(in super::super) fn latency(findings: &Findings) -> Drawing {
    let rows = rows(findings);
    let times: Vec<f64> = rows.iter().flat_map(|row| row.at).collect();
    let lowest = times.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = times.iter().copied().fold(0.0, f64::max);
    let x = if lowest > 0.0 && highest > 8.0 * lowest {
        Axis::log("Response time (ms, log scale)", &times, tidy)?
    } else {
        Axis::linear("Response time (ms)", &times, 6, tidy)?
    };
    let slots: Vec<f64> = (0..rows.len()).map(|k| -(k as f64)).collect();
    let edges = [0.5, 0.5 - rows.len() as f64];
    let y = Axis::linear("Box: middle half · line: p5 to p95 · mark: p99", &edges, 5, |_| String::new())?
        .with_ticks(Vec::new());
    let left = rows.iter().map(|row| width(&row.label)).max()? / SCALE + 14;
    let room = Room { height: 90 + 24 * rows.len() as i32, left, right: 14 };
    draw("Response time of a whole request by method", room, &x, &y, |sheet| {
        rows.iter().zip(&slots).try_for_each(|(row, slot)| one(sheet, row, *slot))
    })
}

fn rows(findings: &Findings) -> Vec<Spread> {
    let mut rows = Vec::new();
    for (index, method) in findings.methods().iter().enumerate() {
        let Some(probe) = findings.evidence.probe(&method.name) else { continue };
        for merged in [false, true] {
            let alone = probe.loads.iter().find(|load| load.merged == merged);
            if let Some(at) = alone.and_then(|load| quantiles(&load.latency)) {
                let name = short(&method.name);
                let label = if merged { "merged".to_owned() } else { name };
                rows.push(Spread { series: Series(index), label, merged, at });
            }
        }
    }
    rows
}

fn quantiles(times: &Histogram) -> Option<[f64; 6]> {
    let mut at = [0.0; 6];
    for (place, q) in at.iter_mut().zip([0.05, 0.25, 0.5, 0.75, 0.95, 0.99]) {
        *place = times.quantile(q)? * 1000.0;
    }
    Some(at)
}

fn one(sheet: &Sheet, row: &Spread, slot: f64) -> Drawn {
    let colour = row.series.colour();
    let [p5, p25, p50, p75, p95, p99] = row.at.map(|ms| sheet.at(ms, slot));
    let half = 6 * SCALE;
    sheet.line(vec![p5, p95], colour, 1.5)?;
    let corners =
        vec![(p25.0, p25.1 - half), (p75.0, p25.1 - half), (p75.0, p25.1 + half), (p25.0, p25.1 + half)];
    sheet.area(corners.clone(), super::sheet::PAPER, 1.0)?;
    sheet.area(corners.clone(), colour, if row.merged { 0.2 } else { 0.55 })?;
    let closed = corners.iter().chain(&corners[..1]).copied().collect();
    sheet.line(closed, colour, 1.0)?;
    sheet.line(vec![(p50.0, p50.1 - half), (p50.0, p50.1 + half)], INK, 2.0)?;
    sheet.marker(p99, row.series, 2.5)?;
    let (left, ..) = sheet.frame();
    let ink = if row.merged { super::sheet::QUIET } else { INK };
    sheet.text(&row.label, (left - 8 * SCALE, p50.1), ink, (HPos::Right, VPos::Center))
}
