//! Branch-free exp, tanh and the normal distribution in f32, written so that loops over them vectorise.
#![allow(clippy::excessive_precision)]

/// Lanes that sums and maxima over a slice run in.
const LANES: usize = 32;

/// `e^x` within 2 ULP; 0 below about -104, infinity above 88.7, NaN for NaN.
///
/// Reduction by multiples of ln 2 and the degree-5 polynomial of Cephes' `expf` (Moshier 1989).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to an integer, whose bits then stand at the foot of the sum.
    const MAGIC: f32 = 12_582_912.0;
    // Comparisons, not `clamp`: they pass NaN on and become single min/max instructions.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = x - n * 0.693_359_375 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_15e-4;
    p = p * r + 1.398_199_95e-3;
    p = p * r + 8.333_451_91e-3;
    p = p * r + 4.166_579_59e-2;
    p = p * r + 1.666_666_55e-1;
    p = p * r + 5.000_000_12e-1;
    let e = p * (r * r) + r + 1.0;
    // Two factors, so that results below the normal range or just under overflow come out right.
    let n = shifted.to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
    let half = n >> 1;
    e * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// Hyperbolic tangent within a few ULP: Cephes' polynomial near zero, the exponential elsewhere.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_73e-3;
    p = p * z + 2.063_908_88e-2;
    p = p * z - 5.373_971_56e-2;
    p = p * z + 1.333_144_22e-1;
    p = p * z - 3.333_328_19e-1;
    let near = p * z * x + x;
    let a = x.abs();
    let far = (1.0 - 2.0 / (exp(2.0 * a) + 1.0)).copysign(x);
    if a < 0.625 { near } else { far }
}

/// `1 / (1 + e^-x)`, accurate relative to its size on both sides.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The standard normal's distribution function and density at `x`: `(1 + erf(x / sqrt 2)) / 2` and its derivative.
///
/// The tail is `exp(-x²/2) * g(|x|)`; `g(x) * (1 + 0.4 x)` is a polynomial in `(x - 4) / (x + 4)`, fitted for this
/// file by Chebyshev interpolation to 2.4e-8 relative on [0, 13.5], where the tail leaves the normal range.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    let a = x.abs();
    let a = if a > 15.0 { 15.0 } else { a };
    // The rounding error of a² would be multiplied by the exponential: take it along in `low`.
    let square = a * a;
    let high = f32::from_bits(a.to_bits() & 0xFFFF_F000);
    let rest = a - high;
    let low = (high * high - square) + 2.0 * high * rest + rest * rest;
    let e = exp(-0.5 * square) * (1.0 - 0.5 * low);
    let u = (a - 4.0) / (a + 4.0);
    let mut p = 1.984_559_65e-4;
    p = p * u + 2.376_530_49e-4;
    p = p * u - 1.721_648_66e-3;
    p = p * u + 2.083_421_25e-3;
    p = p * u + 5.645_146_58e-3;
    p = p * u - 3.158_438_78e-2;
    p = p * u + 8.022_703_61e-2;
    p = p * u - 1.409_200_28e-1;
    p = p * u + 2.454_676_71e-1;
    let tail = e * p / (1.0 + 0.4 * a);
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    (if x.is_nan() { x } else { below }, e * 0.398_942_28)
}

/// Sum of `f(x)` over a slice, in fixed lanes.
#[inline(always)]
pub(crate) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += f(*v);
        }
    }
    for (lane, v) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += f(*v);
    }
    fold(lanes)
}

/// Sum of `f(a, b)` over two slices of one length, in fixed lanes.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in (&mut left).zip(&mut right) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(left.remainder()).zip(right.remainder()) {
        *lane += f(*a, *b);
    }
    fold(lanes)
}

/// The largest element, negative infinity for an empty slice.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = if *v > *lane { *v } else { *lane };
        }
    }
    for (lane, v) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = if *v > *lane { *v } else { *lane };
    }
    lanes.iter().fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(got: f32, want: f64) -> f64 {
        let nearest = want as f32;
        let size = (f32::from_bits(nearest.abs().to_bits() + 1) - nearest.abs()) as f64;
        (got as f64 - want).abs() / size
    }

    fn range(low: f32, high: f32) -> impl Iterator<Item = f32> {
        (0..=200_000).map(move |i| low + (high - low) * (i as f32 / 200_000.0))
    }

    #[test]
    fn exp_is_within_two_ulp() {
        let worst = range(-86.0, 88.7).map(|x| ulps(exp(x), (x as f64).exp())).fold(0.0, f64::max);
        assert!(worst < 2.0, "{worst}");
        assert_eq!((exp(f32::NEG_INFINITY), exp(f32::INFINITY)), (0.0, f32::INFINITY));
        assert_eq!((exp(0.0), exp(-200.0), exp(89.0)), (1.0, 0.0, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_is_within_three_ulp() {
        let worst = range(-12.0, 12.0).map(|x| ulps(tanh(x), (x as f64).tanh())).fold(0.0, f64::max);
        assert!(worst < 3.0, "{worst}");
        assert_eq!((tanh(f32::NEG_INFINITY), tanh(1e30), tanh(-0.0)), (-1.0, 1.0, 0.0));
        assert!(tanh(f32::NAN).is_nan());
    }

    #[test]
    fn normal_is_accurate_far_into_the_tail() {
        // The oracle: series near zero, continued fraction in the tail, both in f64.
        fn oracle(x: f64) -> f64 {
            let a = x.abs();
            let density = (-0.5 * a * a).exp() / std::f64::consts::TAU.sqrt();
            if a < 4.0 {
                let (mut term, mut sum, mut k) = (a, a, 1.0);
                while term > 1e-20 {
                    term *= a * a / (2.0 * k + 1.0);
                    sum += term;
                    k += 1.0;
                }
                if a < 2.5 || x > 0.0 {
                    return 0.5 + x.signum() * sum * density;
                }
            }
            let fraction = (1..400).rev().fold(a, |f, k| a + k as f64 / f);
            if x < 0.0 { density / fraction } else { 1.0 - density / fraction }
        }
        let worst = range(-12.5, 12.5)
            .map(|x| (normal(x).0 as f64 / oracle(x as f64) - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(worst < 4e-7, "{worst}");
        assert_eq!((normal(0.0).0, normal(-40.0).0, normal(40.0).0), (0.5, 0.0, 1.0));
        assert!(normal(f32::NAN).0.is_nan());
    }
}
