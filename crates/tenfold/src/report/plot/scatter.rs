//! What accuracy costs: one point a method, with its interval and its name beside it.

use super::Drawing;
use super::axis::{Axis, tidy};
use super::label::{Frame, near, short};
use super::sheet::{Drawn, INK, QUIET, Room, SCALE, Series, Sheet, draw};
use crate::bytes::MEBIBYTE;
use crate::metric::{Findings, Unit};
use crate::statistics::Estimate;
use plotters::style::text_anchor::{HPos, VPos};

struct Point {
    series: Series,
    name: String,
    cost: f64,
    accuracy: Estimate,
}

/// Accuracy against peak training memory.
pub(in super::super) fn accuracy_against_memory(findings: &Findings) -> Drawing {
    let mut points = points(findings, "memory", "train_peak_bytes");
    points.iter_mut().for_each(|point| point.cost /= MEBIBYTE);
    let costs: Vec<f64> = points.iter().map(|p| p.cost).collect();
    let x = Axis::log("Peak memory of the process in training (MiB, log scale)", &costs, tidy)?;
    scatter(findings, "peak memory in training", &points, &x)
}

/// Accuracy against the number of trained parameters.
pub(in super::super) fn accuracy_against_parameters(findings: &Findings) -> Drawing {
    let points = points(findings, "parameters", "trainable");
    let costs: Vec<f64> = points.iter().map(|p| p.cost).collect();
    let x = Axis::log("Trainable parameters (log scale)", &costs, tidy_count)?;
    scatter(findings, "trainable parameters", &points, &x)
}

/// 1,000 as "1 k", 10,000,000 as "10 M".
fn tidy_count(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{} G", v / 1e9),
        v if v >= 1e6 => format!("{} M", v / 1e6),
        v if v >= 1e3 => format!("{} k", v / 1e3),
        v => format!("{v}"),
    }
}

fn points(findings: &Findings, metric: &str, key: &str) -> Vec<Point> {
    let point = |(index, name): (usize, &str)| {
        let cost = findings.estimate(name, metric, key)?.value;
        let accuracy = findings.estimate(name, "accuracy", "accuracy")?;
        Some(Point { series: Series(index), name: name.to_owned(), cost, accuracy })
    };
    let named = findings.methods().iter().map(|m| m.name.as_str()).enumerate();
    named.filter_map(point).filter(|p| p.cost > 0.0).collect()
}

fn scatter(findings: &Findings, against: &str, points: &[Point], x: &Axis) -> Drawing {
    let title = format!("{} against {against}, one point a method", findings.standing.scoring.title);
    let ends = |p: &Point| [Some(p.accuracy.value), p.accuracy.low, p.accuracy.high];
    let heights: Vec<f64> = points.iter().flat_map(ends).flatten().collect();
    let y = score_axis(findings, "", ", bars: 95 % interval", &heights)?;
    let room = Room { height: 340, left: 38, right: 14 };
    draw(&title, room, x, &y, |sheet| {
        for p in points {
            if let (Some(low), Some(high)) = (p.accuracy.low, p.accuracy.high) {
                sheet.bar(sheet.at(p.cost, low), sheet.at(p.cost, high), p.series.colour())?;
            }
        }
        for p in points {
            sheet.marker(sheet.at(p.cost, p.accuracy.value), p.series, 5.0)?;
        }
        labels(sheet, points)
    })
}

fn labels(sheet: &Sheet, points: &[Point]) -> Drawn {
    let mut placed: Vec<(Frame, i64)> = Vec::new();
    for (index, p) in points.iter().enumerate() {
        let point = sheet.at(p.cost, p.accuracy.value);
        let text = short(&p.name);
        let mut taken = obstacles(sheet, points, index);
        taken.extend(&placed);
        let frame = near(point, &text, &taken, sheet.frame());
        placed.push((frame, 4));
        let middle = (frame.1 + frame.3) / 2;
        let foot = (point.0.clamp(frame.0, frame.2), middle);
        let far = (foot.0 - point.0).abs().max((foot.1 - point.1).abs()) > 10 * SCALE;
        if far {
            sheet.line(vec![point, foot], QUIET, 0.75)?;
        }
        sheet.text(&text, (frame.0, middle), INK, (HPos::Left, VPos::Center))?;
    }
    Ok(())
}

/// Markers and bars, with the weight of an overlap. A label must keep farther from other markers
/// than from its own, or it would seem to be theirs.
fn obstacles(sheet: &Sheet, points: &[Point], own: usize) -> Vec<(Frame, i64)> {
    let mut frames = Vec::new();
    for (index, p) in points.iter().enumerate() {
        let at = |accuracy: Option<f64>| sheet.at(p.cost, accuracy.unwrap_or(p.accuracy.value));
        let ((x, y), low, high) = (at(None), at(p.accuracy.low), at(p.accuracy.high));
        let half = if index == own { 7 } else { 11 } * SCALE;
        frames.push(((x - half, y - half, x + half, y + half), 4));
        frames.push(((x - 3 * SCALE, high.1, x + 3 * SCALE, low.1), 2));
    }
    frames
}

/// The axis of the task's own score.
pub(super) fn score_axis(findings: &Findings, before: &str, after: &str, values: &[f64]) -> Option<Axis> {
    let scoring = findings.standing.scoring;
    let name =
        if before.is_empty() { scoring.title.to_owned() } else { format!("{before} {}", scoring.noun) };
    match scoring.unit {
        Unit::Share => Axis::linear(&format!("{name} (%){after}"), values, 5, percent),
        _ => Axis::linear(&format!("{name}{after}"), values, 5, tidy),
    }
}

/// A tick of a share.
fn percent(value: f64) -> String {
    let text = Unit::Share.write(value);
    text.trim_end_matches(" %").trim_end_matches(".0").to_owned()
}
