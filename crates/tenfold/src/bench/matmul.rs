//! The matrix products of a training step, each alone: what the machine itself does on these shapes.

use super::train::{TrainRequest, foresee};
use crate::device::Device;
use crate::error::Result;
use crate::meter::disturbance::Watch;
use crate::record::Disturbance;
use serde::Serialize;
use std::time::{Duration, Instant};
use tenfold_tensor::{Dtype, Product};

/// How long a product is repeated, after which at least [`LEAST`] times.
const LONG: Duration = Duration::from_millis(150);
/// Repetitions at the least.
const LEAST: usize = 3;

/// A product's best time.
#[derive(Debug, Clone, Serialize)]
pub struct Timed {
    /// Rows, columns and the dimension that is summed over.
    pub extents: [usize; 3],
    /// Whether the operands are stored transposed.
    pub transposed: [bool; 2],
    /// How the right operand is stored.
    pub format: &'static str,
    /// How often a step computes it.
    pub count: u64,
    /// Seconds of the fastest repetition.
    pub seconds: f64,
    /// Operations a second.
    pub operations_per_second: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct MatmulReport {
    /// The products of a step with all operands in f32, most work first.
    pub f32: Vec<Timed>,
    /// Those whose right operand is stored in another format, in that format.
    pub stored: Vec<Timed>,
    /// Operations a second over a whole step's products in f32.
    pub operations_per_second: f64,
    /// Threads that computed.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub simd: &'static str,
    /// What disturbed the products.
    pub disturbance: Disturbance,
}

/// Times the products of a training step as it is requested.
pub fn matmul(request: &TrainRequest) -> Result<MatmulReport> {
    let products = foresee(request)?.products;
    let watch = Watch::start(rayon::current_num_threads());
    let device = request.tuned.device;
    let mut f32 = time(device, &products)?;
    f32.sort_by(|a, b| work(b).total_cmp(&work(a)));
    let narrow = products.iter().filter(|(product, _)| product.format != Dtype::F32);
    let mut stored =
        narrow.map(|(product, count)| timed(device, product, *count)).collect::<Result<Vec<Timed>>>()?;
    stored.sort_by(|a, b| work(b).total_cmp(&work(a)));
    let disturbance = watch.stop();
    Ok(MatmulReport {
        operations_per_second: Timed::operations(&f32) / Timed::seconds(&f32),
        f32,
        stored,
        threads: rayon::current_num_threads(),
        simd: tenfold_tensor::simd_level(),
        disturbance,
    })
}

/// The products with all operands in f32; those that differ in nothing else are one.
pub(super) fn time(device: &Device, products: &[(Product, u64)]) -> Result<Vec<Timed>> {
    let mut widened: Vec<(Product, u64)> = Vec::new();
    for (product, count) in products {
        let product = Product { format: Dtype::F32, ..*product };
        match widened.iter_mut().find(|(known, _)| *known == product) {
            Some((_, known)) => *known += count,
            None => widened.push((product, *count)),
        }
    }
    widened.iter().map(|(product, count)| timed(device, product, *count)).collect()
}

impl Timed {
    /// Operations of all products of a step.
    pub(super) fn operations(all: &[Timed]) -> f64 {
        all.iter().map(|timed| timed.count as f64 * timed.seconds * timed.operations_per_second).sum()
    }

    /// Seconds of all products of a step.
    pub(super) fn seconds(all: &[Timed]) -> f64 {
        all.iter().map(|timed| timed.count as f64 * timed.seconds).sum()
    }
}

fn work(timed: &Timed) -> f64 {
    timed.count as f64 * timed.seconds
}

fn timed(device: &Device, product: &Product, count: u64) -> Result<Timed> {
    let Product { m, n, k, transposed, format } = *product;
    let prepared = product.prepare(&device.backend())?;
    let (started, mut seconds, mut repetitions) = (Instant::now(), f64::INFINITY, 0);
    while repetitions < LEAST || started.elapsed() < LONG {
        let began = Instant::now();
        prepared.run()?;
        seconds = seconds.min(began.elapsed().as_secs_f64());
        repetitions += 1;
    }
    Ok(Timed {
        extents: [m, n, k],
        transposed,
        format: format.name(),
        count,
        seconds,
        operations_per_second: product.operations() / seconds,
    })
}
