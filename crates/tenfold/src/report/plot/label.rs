//! Labels that keep clear of markers, of each other and of the edge.

use super::sheet::{SCALE, TEXT};
use unicode_width::UnicodeWidthStr;

/// Names longer than this are cut in plots; the tables have them whole.
const LONGEST: usize = 18;

/// A rectangle: left, top, right, bottom.
pub(super) type Frame = (i32, i32, i32, i32);

/// A name as it is written in a plot.
pub(super) fn short(name: &str) -> String {
    if name.width() <= LONGEST {
        return name.to_owned();
    }
    let mut short = String::new();
    for c in name.chars() {
        if format!("{short}{c}").width() >= LONGEST {
            break;
        }
        short.push(c);
    }
    short + "…"
}

/// Width of text in backend pixels, a little generous: the reader's font is not known here.
pub(super) fn width(text: &str) -> i32 {
    (text.width() as f64 * 0.57 * TEXT) as i32 * SCALE
}

/// Heights at which labels beside a plot do not overlap, as near as possible to the ones wished for.
pub(super) fn spread(wished: &[i32], top: i32, bottom: i32) -> Vec<i32> {
    let step = ((1.12 * TEXT) as i32 * SCALE).min((bottom - top) / wished.len().max(1) as i32);
    let mut order: Vec<usize> = (0..wished.len()).collect();
    order.sort_by_key(|i| (wished[*i], *i));
    // Groups of touching labels are centred on the mean of what their members wish for.
    let mut groups: Vec<(Vec<usize>, f64)> = Vec::new();
    for index in order {
        groups.push((vec![index], f64::from(wished[index])));
        while groups.len() > 1 {
            let (lower, upper) = (&groups[groups.len() - 1], &groups[groups.len() - 2]);
            let apart = f64::from(step) * (lower.0.len() + upper.0.len()) as f64 / 2.0;
            if lower.1 - upper.1 >= apart {
                break;
            }
            let (members, _) = groups.pop().unwrap_or_default();
            if let Some(group) = groups.last_mut() {
                group.0.extend(members);
                let half = f64::from(step) * group.0.len() as f64 / 2.0;
                let mean = group.0.iter().map(|i| f64::from(wished[*i])).sum::<f64>() / group.0.len() as f64;
                group.1 = mean.min(f64::from(bottom) - half).max(f64::from(top) + half);
            }
        }
    }
    let mut places = vec![0; wished.len()];
    for (members, centre) in groups {
        let first = centre - f64::from(step) * (members.len() as f64 - 1.0) / 2.0;
        for (k, index) in members.iter().enumerate() {
            places[*index] = (first + f64::from(step) * k as f64) as i32;
        }
    }
    places
}

/// A frame for a label near a point: of many, the one that overlaps least with what is taken (each
/// frame with the weight of an overlap), and the nearer of two that are alike.
pub(super) fn near(point: (i32, i32), text: &str, taken: &[(Frame, i64)], within: Frame) -> Frame {
    let (w, h) = (width(text), (1.1 * TEXT) as i32 * SCALE);
    let mut best: Option<(i64, Frame)> = None;
    for distance in [9, 13, 20, 30, 42, 56] {
        for (side, lift) in SIDES {
            let d = f64::from(distance * SCALE);
            let (cx, cy) = (f64::from(point.0) + side * d, f64::from(point.1) + lift * d);
            let left = cx as i32 - ((1.0 - side) / 2.0 * f64::from(w)) as i32;
            let top = cy as i32 - h / 2;
            let frame = (left, top, left + w, top + h);
            let covered: i64 = taken.iter().map(|(other, weight)| weight * overlap(frame, *other)).sum();
            let outside = area(frame) - overlap(frame, within);
            let cost = 3 * (covered + 6 * outside) + area(frame) * i64::from(distance - 9) / 40;
            if best.is_none_or(|(lowest, _)| cost < lowest) {
                best = Some((cost, frame));
            }
            if cost == 0 {
                return frame;
            }
        }
    }
    best.map_or((point.0, point.1, point.0 + w, point.1 + h), |(_, frame)| frame)
}

const SIDES: [(f64, f64); 8] =
    [(1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (0.8, -0.8), (0.8, 0.8), (-0.8, -0.8), (-0.8, 0.8)];

fn area(frame: Frame) -> i64 {
    i64::from(frame.2 - frame.0) * i64::from(frame.3 - frame.1)
}

fn overlap(a: Frame, b: Frame) -> i64 {
    let wide = i64::from(a.2.min(b.2) - a.0.max(b.0)).max(0);
    let high = i64::from(a.3.min(b.3) - a.1.max(b.1)).max(0);
    wide * high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_labels_keep_their_order_and_distance() {
        let step = (1.12 * TEXT) as i32 * SCALE;
        let places = spread(&[100, 110, 105, 5000], 0, 8000);
        assert!(places[0] < places[2] && places[2] < places[1] && places[3] == 5000);
        assert!(places[2] - places[0] >= step - 1 && places[1] - places[2] >= step - 1 && places[0] >= 0);
    }

    #[test]
    fn a_label_avoids_what_is_taken() {
        let within = (0, 0, 8000, 8000);
        let free = near((1000, 1000), "lora", &[], within);
        assert!(free.0 > 1000);
        let other = near((1000, 1000), "lora", &[(free, 4)], within);
        assert_eq!(overlap(free, other), 0);
    }
}
