//! What happens to all parameters at once: the norm of their gradients, and a step of the optimizer.

use crate::backend::AdamW;
use crate::buffer::Buffer;
use crate::error::Result;
use crate::host::{Host, Kernels, kernel, read, read_number, write};

/// One parameter in a step of AdamW. All four buffers have the parameter's length.
pub struct AdamWUpdate<'a> {
    /// The hyperparameters of its group.
    pub settings: AdamW,
    /// Changed in place.
    pub parameter: &'a mut Buffer,
    /// The gradient, before clipping.
    pub gradient: &'a Buffer,
    /// Mean of the gradients, changed in place.
    pub first_moment: &'a mut Buffer,
    /// Mean of their squares, changed in place.
    pub second_moment: &'a mut Buffer,
}

/// What a device does for optimizers.
pub trait OptimizerOps {
    /// The 2-norm of the numbers of all buffers together: \[1\]. Sums run in f64 on the host backends.
    fn global_norm(&self, buffers: &[&Buffer]) -> Result<Buffer>;
    /// The factor that brings gradients of this `norm` \[1\] down to `max_norm`, min(max_norm / (norm + 1e-6), 1), and 1
    /// where the norm is no number: \[1\].
    fn clip_factor(&self, norm: &Buffer, max_norm: f32) -> Result<Buffer>;
    /// One step of AdamW for all parameters in place, as torch.optim.AdamW computes it; `step` counts from 1. Gradients
    /// are first multiplied by the one number of `gradient_scale`, if there is one.
    fn adamw(&self, step: u64, gradient_scale: Option<&Buffer>, updates: &mut [AdamWUpdate]) -> Result<()>;
}

impl<K: Kernels> OptimizerOps for Host<K> {
    fn global_norm(&self, buffers: &[&Buffer]) -> Result<Buffer> {
        Ok(self.number(|| {
            let squares = |buffer: &&Buffer| kernel!(K, elementwise::sum_of_squares)(read(buffer));
            buffers.iter().map(squares).fold(0.0f64, |sum, squares| sum + squares).sqrt() as f32
        }))
    }

    fn clip_factor(&self, norm: &Buffer, max_norm: f32) -> Result<Buffer> {
        Ok(self.number(|| (max_norm / (read_number(norm) + 1e-6)).min(1.0)))
    }

    fn adamw(&self, step: u64, gradient_scale: Option<&Buffer>, updates: &mut [AdamWUpdate]) -> Result<()> {
        if !Self::COMPUTES {
            return Ok(());
        }
        let scale = gradient_scale.map_or(1.0, read_number);
        for update in updates {
            let AdamWUpdate { settings, parameter, gradient, first_moment, second_moment } = update;
            let (m, v) = (write(first_moment), write(second_moment));
            kernel!(K, adamw::step)(settings, step, write(parameter), read(gradient), scale, m, v);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Backend, Class, download_one};
    use crate::{Cpu, Param, Reference};
    use std::sync::Arc;

    const SETTINGS: AdamW =
        AdamW { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };

    /// Three parameters, the middle one without gradient; the others' are softmax less the label.
    fn params(backend: &Arc<dyn Backend>) -> Result<Vec<Param>> {
        let make = |name: &str| Param::new(backend, name, &[1, 2], vec![0.5, 0.5]);
        let params = vec![make("a")?, make("b")?, make("c")?];
        for (param, weight) in [(&params[0], 6.0), (&params[2], 8.0)] {
            param.tensor().cross_entropy(&[1], 0.0)?.backward(weight)?;
        }
        Ok(params)
    }

    #[test]
    fn all_gradients_have_one_norm_and_all_parameters_one_step() -> Result<()> {
        for backend in [Cpu::new(), Reference::new()] {
            let params = params(&backend)?;
            // ±3 and ±4.
            let norm = Param::gradient_norm(&params)?.expect("two have gradients");
            let near = |a: f32, b: f32| (a - b).abs() < 1e-5;
            assert!(near(download_one(&*backend, &norm)?[0], 50f32.sqrt()));
            let factor = backend.clip_factor(&norm, 1.0)?;
            assert!(near(download_one(&*backend, &factor)?[0], 1.0 / 50f32.sqrt()));
            let loose = backend.clip_factor(&norm, 100.0)?;
            assert_eq!(download_one(&*backend, &loose)?, [1.0]);

            let held = params[0].tensor();
            let zeros = || backend.zeros(Class::Optimizer, 2);
            let mut moments = [(zeros()?, zeros()?), (zeros()?, zeros()?), (zeros()?, zeros()?)];
            Param::update(&params, |backend, changing| {
                assert_eq!(changing.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
                let pairs = changing.into_iter().zip(&mut moments);
                let updates = pairs.filter_map(|(changing, (first_moment, second_moment))| {
                    let (parameter, gradient) = changing?;
                    let settings = SETTINGS;
                    Some(AdamWUpdate { settings, parameter, gradient, first_moment, second_moment })
                });
                backend.adamw(1, Some(&factor), &mut updates.collect::<Vec<_>>())
            })?;
            // The first step goes as far as the learning rate says, against the gradient.
            let [a, b, c] = &Param::numbers_of(&params)?[..] else { unreachable!("three parameters") };
            for stepped in [a, c] {
                assert!(near(stepped[0], 0.3995) && near(stepped[1], 0.5995), "{stepped:?}");
            }
            assert_eq!(b, &[0.5, 0.5]);
            assert_eq!(held.numbers()?, [0.5, 0.5], "a computation keeps the value it holds");
            assert!(params.iter().all(|param| param.gradient().is_ok_and(|gradient| gradient.is_none())));
            assert!(Param::gradient_norm(&params)?.is_none());
        }
        Ok(())
    }
}
