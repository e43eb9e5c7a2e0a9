//! Functions of single numbers.

use tenfold_tensor::backend::Activation;

/// A function's value and slope.
pub(crate) fn activation(kind: Activation, x: f32) -> (f64, f64) {
    let x = f64::from(x);
    match kind {
        Activation::Gelu => {
            let below = 0.5 * (1.0 + erf(x / 2f64.sqrt()));
            let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
            (x * below, below + x * density)
        }
        Activation::GeluTanh => {
            let slope = (2.0 / std::f64::consts::PI).sqrt();
            let t = (slope * (x + 0.044715 * x * x * x)).tanh();
            let inner = slope * (1.0 + 3.0 * 0.044715 * x * x);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
        }
        Activation::Relu => (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }),
        Activation::Tanh => (x.tanh(), 1.0 - x.tanh().powi(2)),
        Activation::Silu => {
            let s = 1.0 / (1.0 + (-x).exp());
            (x * s, s + x * s * (1.0 - s))
        }
    }
}

/// The error function, by its series e^-x² · Σ 2ⁿ x^(2n+1) / (1 · 3 · 5 … (2n+1)), whose terms all have one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

/// c · tanh(x / c).
pub(crate) fn capped(x: f64, cap: Option<f32>) -> f64 {
    cap.map_or(x, |c| f64::from(c) * (x / f64::from(c)).tanh())
}

/// Slope of the cap where its value is `y`.
pub(crate) fn cap_slope(y: f64, cap: Option<f32>) -> f64 {
    cap.map_or(1.0, |c| 1.0 - (y / f64::from(c)).powi(2))
}

/// Logarithm of the sum of exponentials.
pub(crate) fn log_sum_exp(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = x.clone().fold(f64::NEG_INFINITY, f64::max);
    top + x.map(|x| (x - top).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_values() {
        for kind in
            [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Tanh, Activation::Silu]
        {
            for x in [-7.5f32, -1.25, -0.5, 0.75, 2.0, 9.0] {
                let step = 2f32.powi(-10);
                let slope =
                    (activation(kind, x + step).0 - activation(kind, x - step).0) / f64::from(2.0 * step);
                assert!((slope - activation(kind, x).1).abs() < 1e-5, "{kind:?} {x}");
            }
        }
        assert!((erf(0.5) - 0.520_499_877_813_046_5).abs() < 1e-14);
    }
}
