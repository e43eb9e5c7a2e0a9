//! DoRA: the length of each row of a weight and its direction are trained apart; an option of LoRA (`use_dora`).
//!
//! `y = m ⊙ (W + s · B A) x / n + b`, n the lengths of the rows of W + s · B A, s LoRA's factor.
//! Paper: Liu et al. 2024, arXiv:2402.09353. Parameters: LoRA's and out for each target. m starts at the lengths of W's rows:
//! the identity at step 0. Mergeable. Not convertible to LoRA: it scales W itself.
//!
//! As in section 4.3 of the paper n is taken for a constant: no gradient passes through it. The lengths come from
//! ‖wₒ + s bₒ A‖² = ‖wₒ‖² + 2 s bₒ · A wₒ + s² bₒ A Aᵀ bₒᵀ, so that W + s · B A is never there, whatever W's format. With
//! dropout PEFT computes the base's product again, of what dropout left of x; here dropout is in front of A alone, as
//! without DoRA.

use super::Context;
use super::lora::Update;
use crate::error::Result;
use crate::model::{Forward, Linear};
use tenfold_tensor::{Class, Param, Tensor, without_gradients};

/// The lengths of the rows of one linear map's weight.
pub(super) struct Magnitude {
    /// m: \[out\].
    pub lengths: Param,
    /// The base's own map.
    linear: Linear,
    /// ‖wₒ‖² of the base's weight.
    squares: Vec<f64>,
}

impl Magnitude {
    /// Starts at the lengths of W + s · B A.
    pub(super) fn new(linear: &Linear, update: &Update, context: &Context) -> Result<Magnitude> {
        let name = format!("base_model.model.{}.lora_magnitude_vector", linear.site.path);
        let (linear, squares) = (linear.clone(), squares(linear)?);
        let lengths = context.constant(&name, &[linear.site.outputs], 0.0)?;
        let magnitude = Magnitude { lengths, linear, squares };
        magnitude.lengths.set(magnitude.row_lengths(update, &magnitude.linear.weight.tensor)?)?;
        Ok(magnitude)
    }

    /// What becomes of `y`, the base's product and its bias; `x` is what A reads.
    pub(super) fn after(&self, forward: &Forward, update: &Update, x: &Tensor, y: Tensor) -> Result<Tensor> {
        let backend = y.backend().clone();
        let lengths = self.row_lengths(update, &forward.weight(&self.linear.weight))?;
        let row = |numbers: Vec<f32>| Tensor::new(&backend, Class::Activations, &[1, lengths.len()], numbers);
        let reciprocals = row(lengths.iter().map(|length| length.recip()).collect())?;
        let negative = row(lengths.iter().map(|length| -length).collect())?;
        // (m - n) / n, which is 0 to the bit where m is n.
        let excess = self.lengths.tensor().reshape(&[1, lengths.len()])?.add(&negative)?;
        let excess = excess.scale_columns(&reciprocals)?;
        let y = update.add_to(x, y)?.scale_columns(&excess.add(&row(vec![1.0; lengths.len()])?)?)?;
        let Some(bias) = &self.linear.bias else { return Ok(y) };
        // y holds m / n ⊙ b by now, where b belongs.
        let surplus = forward.weight(bias).reshape(&[1, lengths.len()])?.scale_columns(&excess)?;
        let surplus = surplus.reshape(&[lengths.len(), 1])?;
        let ones = Tensor::new(&backend, Class::Activations, &[y.rows(), 1], vec![1.0; y.rows()])?;
        Ok(y.add_linear(&ones, &surplus, -1.0)?)
    }

    /// The lengths of the rows of W + s · B A.
    fn row_lengths(&self, Update { a, b, scale, .. }: &Update, weight: &Tensor) -> Result<Vec<f32>> {
        let (a, b) = (a.tensor().detach(), b.tensor().detach());
        let (r, outputs) = (a.rows(), self.linear.site.outputs);
        let (along, grams) = without_gradients(|| -> Result<_> {
            let along = match self.linear.site.fan_in_fan_out {
                false => a.linear(weight, None)?,
                true => a.linear_transposed(weight, None)?,
            };
            Ok((along, b.linear(&a.linear(&a, None)?, None)?))
        })?;
        // A wₒ is column o of `along` [r, out], B A Aᵀ is `grams` [out, r].
        let (along, grams, b) = (along.numbers()?, grams.numbers()?, b.numbers()?);
        let scale = f64::from(*scale);
        let length = |row: usize| {
            let terms = (0..r).map(|k| {
                let cross = 2.0 * f64::from(along[k * outputs + row]) + scale * f64::from(grams[row * r + k]);
                scale * f64::from(b[row * r + k]) * cross
            });
            (self.squares[row] + terms.sum::<f64>()).max(0.0).sqrt() as f32
        };
        Ok((0..outputs).map(length).collect())
    }

    /// Turns W + s · B A, \[outputs, inputs\], into what it stands for.
    pub(super) fn merge(&self, weight: &mut [f32]) -> Result<()> {
        let lengths = self.lengths.numbers()?;
        for (row, wanted) in weight.chunks_exact_mut(self.linear.site.inputs).zip(lengths) {
            let square: f64 = row.iter().map(|w| f64::from(*w) * f64::from(*w)).sum();
            let factor = (f64::from(wanted) / square.sqrt()) as f32;
            row.iter_mut().for_each(|w| *w *= factor);
        }
        Ok(())
    }
}

/// Rows of a weight that are widened at a time.
const ROWS: usize = 64;

/// The squared lengths of the rows of a weight \[outputs, inputs\].
fn squares(linear: &Linear) -> Result<Vec<f64>> {
    let (weight, site) = (&linear.weight.tensor, &linear.site);
    let mut squares = vec![0.0; site.outputs];
    let rows: Vec<u32> = (0..weight.rows() as u32).collect();
    for rows in rows.chunks(ROWS) {
        let numbers = weight.select_rows(rows)?.numbers()?;
        for (row, numbers) in rows.iter().zip(numbers.chunks_exact(weight.cols())) {
            for (column, number) in numbers.iter().enumerate() {
                let output = if site.fan_in_fan_out { column } else { *row as usize };
                squares[output] += f64::from(*number) * f64::from(*number);
            }
        }
    }
    Ok(squares)
}
