//! An axis: its range, whether it is logarithmic, and its ticks.

/// Where values stand along one direction of a plot.
pub(super) struct Axis {
    /// What it shows, with the unit.
    pub(super) label: String,
    log: bool,
    low: f64,
    high: f64,
    /// Value and text of each tick.
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis over the values and a little more, with about `count` round ticks.
    pub(super) fn linear(
        label: &str,
        values: &[f64],
        count: usize,
        write: impl Fn(f64) -> String,
    ) -> Option<Axis> {
        let (mut low, mut high) = bounds(values)?;
        if high - low < 1e-9 * high.abs().max(1e-9) {
            (low, high) = (low - 0.05 * low.abs().max(1e-6), high + 0.05 * high.abs().max(1e-6));
        }
        let pad = 0.08 * (high - low);
        // A quantity that is never negative is not shown below zero.
        let low = if low >= 0.0 { (low - pad).max(0.0) } else { low - pad };
        let high = high + pad;
        let ticks = round_values(low, high, count).map(|v| (v, write(v))).collect();
        Some(Axis { label: label.to_owned(), log: false, low, high, ticks })
    }

    /// A logarithmic axis; values must be positive. Ticks at 1, 10, 100 or, over a short range, 1, 2, 5; over one so short
    /// that hardly any of these is in it, at round values as on a linear axis.
    pub(super) fn log(label: &str, values: &[f64], write: impl Fn(f64) -> String) -> Option<Axis> {
        let (low, high) = bounds(values).filter(|(low, _)| *low > 0.0)?;
        let pad = (0.08 * (high / low).log10()).max(0.06);
        let (low, high) = (low.log10() - pad, high.log10() + pad);
        let within: &[f64] = match high - low {
            span if span < 1.2 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            span if span < 2.2 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let decades = low.floor() as i32..=high.floor() as i32;
        let all = decades.flat_map(|d| within.iter().map(move |w| w * 10f64.powi(d)));
        let mut ticks: Vec<f64> = all.filter(|v| (low..=high).contains(&v.log10())).collect();
        if ticks.len() < 2 {
            ticks = round_values(10f64.powf(low), 10f64.powf(high), 4).collect();
        }
        let ticks = ticks.into_iter().map(|v| (v, write(v))).collect();
        Some(Axis { label: label.to_owned(), log: true, low, high, ticks })
    }

    /// The same axis with ticks at these values alone.
    pub(super) fn with_ticks(mut self, ticks: impl IntoIterator<Item = (f64, String)>) -> Axis {
        self.ticks = ticks.into_iter().collect();
        self
    }

    /// A value's place on the axis' own scale.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value }
    }

    pub(super) fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }

    /// Place and text of every tick.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (f64, &str)> {
        self.ticks.iter().map(|(value, text)| (self.place(*value), text.as_str()))
    }
}

/// A tick without idle zeros: "8", "8.5", "0.25".
pub(super) fn tidy(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn bounds(values: &[f64]) -> Option<(f64, f64)> {
    let finite = values.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    (low <= high).then_some((low, high))
}

/// About `count` round values from `low` to `high`.
fn round_values(low: f64, high: f64, count: usize) -> impl Iterator<Item = f64> {
    let step = round_step((high - low) / count as f64);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(move |k| k as f64 * step)
}

fn round_step(rough: f64) -> f64 {
    let size = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|s| s * size >= rough);
    step.unwrap_or(10.0) * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::linear("", &[0.771, 0.874], 5, |v| format!("{:.0}", v * 100.0)).unwrap();
        let written: Vec<&str> = axis.ticks.iter().map(|t| t.1.as_str()).collect();
        assert_eq!(written, ["78", "80", "82", "85", "88"]);
        assert!(axis.ticks().all(|(place, _)| axis.range().contains(&place)));
        let log = Axis::log("", &[770.0, 2.2e7], |v| v.to_string()).unwrap();
        let places: Vec<f64> = log.ticks().map(|t| t.0).collect();
        assert_eq!(places, [3.0, 4.0, 5.0, 6.0, 7.0]);
        let short = Axis::log("", &[117.0, 118.0], tidy).unwrap();
        let written: Vec<&str> = short.ticks().map(|tick| tick.1).collect();
        assert!(
            written.len() >= 2 && short.ticks().all(|(place, _)| short.range().contains(&place)),
            "{written:?}"
        );
        assert!(Axis::log("", &[0.0, 1.0], |_| String::new()).is_none());
        assert!(Axis::linear("", &[], 5, |_| String::new()).is_none());
    }

    #[test]
    fn a_single_value_still_has_a_range() {
        for value in [0.0, 1.0, 5e8] {
            let range = Axis::linear("", &[value], 5, |v| v.to_string()).unwrap().range();
            assert!(range.start < range.end);
        }
    }
}
