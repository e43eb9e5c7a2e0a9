//! One line a method: learning, little data, memory and speed by the size of the batch; named at its right end.

use super::Drawing;
use super::axis::{Axis, tidy};
use super::label::{short, spread, width};
use super::scatter::score_axis;
use super::sheet::{Drawn, INK, Room, SCALE, Series, Sheet, draw};
use crate::bytes::MEBIBYTE;
use crate::metric::{Findings, better_form, searched, small_data_curve};
use crate::record::{Arrivals, Load, Point as ProbePoint, Trained};
use plotters::style::text_anchor::{HPos, VPos};
use std::collections::BTreeMap;

/// x, y, and the range of y.
type Point = (f64, f64, Option<(f64, f64)>);

/// A method's line.
struct Curve {
    series: Series,
    name: String,
    points: Vec<Point>,
}

#[derive(Clone, Copy, PartialEq)]
enum Spread {
    Band,
    Bars,
}

/// Validation score by step: mean over seeds, band from the lowest to the highest seed.
pub(in super::super) fn learning_curves(findings: &Findings) -> Drawing {
    let curves = over_seeds(findings, |run| {
        run.validation.iter().filter_map(|look| Some((look.step, look.score.value?))).collect()
    });
    let y = score_axis(findings, "Validation", "", &heights(&curves))?;
    let title =
        format!("Validation {} by training step, a line for each method", findings.standing.scoring.noun);
    by_step(&title, &curves, &y)
}

/// Training loss by step, smoothed: mean over seeds, band from the lowest to the highest seed.
pub(in super::super) fn loss_curves(findings: &Findings) -> Drawing {
    let curves = over_seeds(findings, |run| smoothed(&run.losses));
    let label = format!("Training loss ({}), smoothed", findings.standing.scoring.loss_unit());
    let y = Axis::linear(&label, &heights(&curves), 5, tidy)?;
    by_step("Training loss by step, a line for each method", &curves, &y)
}

/// Score by the number of training examples.
pub(in super::super) fn small_data_curves(findings: &Findings) -> Drawing {
    let point = |(n, e): (usize, crate::statistics::Estimate)| (n as f64, e.value, e.low.zip(e.high));
    let curves = by_method(findings, |name| {
        small_data_curve(findings.evidence, name).into_iter().filter(|(n, _)| *n > 0).map(point).collect()
    });
    let mut sizes: Vec<f64> = xs(&curves);
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let ticks: Vec<(f64, String)> = sizes.iter().map(|n| (*n, format!("{n:.0}"))).collect();
    let x = Axis::log("Training examples (log scale)", &sizes, |v| format!("{v:.0}"))?.with_ticks(ticks);
    let y = score_axis(findings, "", ", bars: 95 % interval", &heights(&curves))?;
    let title =
        format!("{} by number of training examples, a line for each method", findings.standing.scoring.title);
    lines(&title, &curves, &x, &y, Spread::Bars)
}

/// Peak training memory by tokens of the batch.
pub(in super::super) fn memory_curves(findings: &Findings) -> Drawing {
    let curves = by_tokens(findings, |point| Some(point.peak_bytes as f64 / MEBIBYTE));
    let y = Axis::linear("Engine's account of the peak in training (MiB)", &heights(&curves), 5, tidy)?;
    of_tokens(
        "Engine's account of training memory by tokens of the batch, a line for each method",
        &curves,
        &y,
    )
}

/// Training speed by tokens of the batch.
pub(in super::super) fn speed_curves(findings: &Findings) -> Drawing {
    let curves = by_tokens(findings, |point| {
        let mean = point.seconds.iter().sum::<f64>() / point.seconds.len() as f64;
        Some(point.tokens() as f64 / mean).filter(|rate| rate.is_finite())
    });
    let y = Axis::linear("Training, 1,000 tokens/s", &heights(&curves), 5, |v| tidy(v / 1e3))?;
    of_tokens("Training speed by tokens of the batch, a line for each method", &curves, &y)
}

/// One point for each number of tokens that was probed, by rising tokens: of several batches of as many, their mean.
fn by_tokens(findings: &Findings, value: impl Fn(&ProbePoint) -> Option<f64>) -> Vec<Curve> {
    by_method(findings, |name| {
        let points = findings.evidence.probe(name).map_or(&[][..], |probe| &probe.points);
        let mut drawn: Vec<Point> =
            points.iter().filter_map(|point| Some((point.tokens() as f64, value(point)?, None))).collect();
        drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mean = |alike: &[Point]| alike.iter().map(|point| point.1).sum::<f64>() / alike.len() as f64;
        drawn.chunk_by(|a, b| a.0 == b.0).map(|alike| (alike[0].0, mean(alike), None)).collect()
    })
}

fn of_tokens(title: &str, curves: &[Curve], y: &Axis) -> Drawing {
    let x = Axis::log("Tokens in a batch (log scale)", &xs(curves), |v| format!("{v:.0}"))?;
    lines(title, curves, &x, y, Spread::Bars)
}

/// Validation score by learning rate, of every candidate of the search.
pub(in super::super) fn search_curves(findings: &Findings) -> Drawing {
    let curves = by_method(findings, |name| {
        let tried = searched(findings.evidence, name).map_or_else(Vec::new, |search| search.tried);
        tried.iter().filter_map(|t| Some((t.candidate.learning_rate, t.score?, None))).collect()
    });
    let x = Axis::log("Learning rate (log scale)", &xs(&curves), |v| format!("{v:e}"))?;
    let y = score_axis(findings, "Validation", "", &heights(&curves))?;
    lines("Validation score by learning rate, a line for each method", &curves, &x, &y, Spread::Bars)
}

/// p95 of the response time by the rate at which requests come, with the range from p50 to p99, in the form that is
/// quicker one at a time; loads that cannot be sustained are left out.
pub(in super::super) fn load_curves(findings: &Findings) -> Drawing {
    let curves = by_method(findings, |name| {
        let loads = findings.evidence.probe(name).map_or(&[][..], |probe| &probe.loads);
        better_form(loads).filter_map(by_rate).collect()
    });
    let x = Axis::linear("Requests a second (Poisson arrivals)", &xs(&curves), 5, tidy)?;
    let y = Axis::log("Response time (ms, log scale): p95, bars: p50 to p99", &heights(&curves), tidy)?;
    lines("Response time by the rate of requests, a line for each method", &curves, &x, &y, Spread::Bars)
}

/// An open load's rate and p95, p50 and p99 in milliseconds.
fn by_rate(load: &Load) -> Option<Point> {
    let Arrivals::Open { rate, .. } = load.arrivals else { return None };
    let ms = |q: f64| Some(load.latency.quantile(q)? * 1e3);
    Some((rate, ms(0.95)?, Some((ms(0.5)?, ms(0.99)?)))).filter(|_| load.sustained())
}

fn by_method(findings: &Findings, points: impl Fn(&str) -> Vec<Point>) -> Vec<Curve> {
    let named = findings.methods().iter().enumerate();
    let curve = |(index, method): (usize, &crate::metric::MethodFacts)| Curve {
        series: Series(index),
        name: method.name.clone(),
        points: points(&method.name),
    };
    named.map(curve).filter(|curve| !curve.points.is_empty()).collect()
}

fn over_seeds(findings: &Findings, values: impl Fn(&Trained) -> Vec<(usize, f64)>) -> Vec<Curve> {
    by_method(findings, |name| {
        let mut by_step: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for (_, run) in findings.evidence.main(name) {
            for (step, value) in values(run).into_iter().filter(|(_, v)| v.is_finite()) {
                by_step.entry(step).or_default().push(value);
            }
        }
        let point = |(step, values): (usize, Vec<f64>)| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (step as f64, mean, (values.len() > 1).then_some((low, high)))
        };
        by_step.into_iter().map(point).collect()
    })
}

/// Means of at most sixty stretches of equal length, at their middle.
fn smoothed(losses: &[f32]) -> Vec<(usize, f64)> {
    let stretch = losses.len().div_ceil(60).max(losses.len() / 24).max(1);
    let mean = |part: &[f32]| part.iter().map(|x| f64::from(*x)).sum::<f64>() / part.len() as f64;
    losses.chunks(stretch).enumerate().map(|(k, part)| (k * stretch + part.len() / 2, mean(part))).collect()
}

fn xs(curves: &[Curve]) -> Vec<f64> {
    curves.iter().flat_map(|c| c.points.iter().map(|p| p.0)).collect()
}

fn heights(curves: &[Curve]) -> Vec<f64> {
    let all = curves.iter().flat_map(|c| &c.points);
    all.flat_map(|(_, y, range)| [*y].into_iter().chain(range.iter().flat_map(|r| [r.0, r.1]))).collect()
}

fn by_step(title: &str, curves: &[Curve], y: &Axis) -> Drawing {
    let x = Axis::linear("Training step", &xs(curves), 5, |v| format!("{v:.0}"))?;
    lines(title, curves, &x, y, Spread::Band)
}

fn lines(title: &str, curves: &[Curve], x: &Axis, y: &Axis, spread: Spread) -> Drawing {
    let widest = curves.iter().map(|c| width(&short(&c.name))).max()?;
    let height = if spread == Spread::Bars { 400 } else { 340 };
    let room = Room { height, left: 38, right: widest / SCALE + 24 };
    draw(title, room, x, y, |sheet| {
        if spread == Spread::Band {
            curves.iter().try_for_each(|curve| band(sheet, curve))?;
        }
        for (index, curve) in curves.iter().enumerate() {
            let points: Vec<(i32, i32)> = curve.points.iter().map(|p| sheet.at(p.0, p.1)).collect();
            sheet.line(points.clone(), curve.series.colour(), 2.0)?;
            if spread == Spread::Bars {
                // Side by side, so that bars of neighbours do not hide one another.
                let aside = (2 * index as i32 - curves.len() as i32 + 1) * SCALE;
                bars(sheet, curve, aside)?;
                points.iter().try_for_each(|point| sheet.marker(*point, curve.series, 3.5))?;
            }
        }
        end_labels(sheet, curves)
    })
}

fn band(sheet: &Sheet, curve: &Curve) -> Drawn {
    let edge = |pick: fn((f64, f64)) -> f64| curve.points.iter().map(move |p| (p.0, p.2.map_or(p.1, pick)));
    let upper = edge(|r| r.1).map(|(x, y)| sheet.at(x, y));
    let lower: Vec<(i32, i32)> = edge(|r| r.0).map(|(x, y)| sheet.at(x, y)).collect();
    sheet.area(upper.chain(lower.into_iter().rev()).collect(), curve.series.colour(), 0.13)
}

fn bars(sheet: &Sheet, curve: &Curve, aside: i32) -> Drawn {
    for (x, _, range) in &curve.points {
        if let Some((low, high)) = range {
            let (low, high) = (sheet.at(*x, *low), sheet.at(*x, *high));
            sheet.line(
                vec![(low.0 + aside, low.1), (high.0 + aside, high.1)],
                curve.series.colour(),
                0.75,
            )?;
        }
    }
    Ok(())
}

fn end_labels(sheet: &Sheet, curves: &[Curve]) -> Drawn {
    let (_, top, right, bottom) = sheet.frame();
    let ends: Vec<(i32, i32)> =
        curves.iter().filter_map(|c| c.points.last()).map(|p| sheet.at(p.0, p.1)).collect();
    let heights: Vec<i32> = ends.iter().map(|end| end.1).collect();
    let places = spread(&heights, top, bottom + 8 * SCALE);
    for ((curve, end), place) in curves.iter().zip(ends).zip(places) {
        let mark = (right + 8 * SCALE, place);
        sheet.line(vec![end, (mark.0 - 5 * SCALE, place)], curve.series.colour(), 0.75)?;
        sheet.marker(mark, curve.series, 3.5)?;
        let text = (mark.0 + 8 * SCALE, place);
        sheet.text(&short(&curve.name), text, INK, (HPos::Left, VPos::Center))?;
    }
    Ok(())
}
