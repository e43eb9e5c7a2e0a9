//! AdamW over all parameters of a tuning, with clipping of the whole gradient.

use super::settings::TrainSettings;
use crate::adapter::ParameterGroup;
use crate::error::Result;
use std::sync::Arc;
use tenfold_tensor::{AdamW, Backend, Buffer, Class, Param};

/// AdamW (Loshchilov & Hutter 2019) as torch.optim.AdamW computes it.
pub struct Optimizer {
    max_grad_norm: f32,
    /// Each with its settings, the learning rate as a factor of the step's.
    parameters: Vec<(Param, AdamW)>,
    moments: Vec<(Buffer, Buffer)>,
    step: u64,
}

impl Optimizer {
    /// An optimizer that has seen nothing.
    pub fn new(
        backend: &Arc<dyn Backend>,
        groups: Vec<ParameterGroup>,
        settings: &TrainSettings,
    ) -> Result<Optimizer> {
        let of_group = |group: ParameterGroup| {
            let adamw = AdamW {
                learning_rate: group.learning_rate_factor,
                beta1: settings.adam_beta1,
                beta2: settings.adam_beta2,
                eps: settings.adam_epsilon,
                weight_decay: if group.decays { settings.weight_decay } else { 0.0 },
            };
            group.parameters.into_iter().map(move |parameter| (parameter, adamw))
        };
        let parameters: Vec<(Param, AdamW)> = groups.into_iter().flat_map(of_group).collect();
        let moments = (parameters.iter())
            .map(|(parameter, _)| {
                let zeros = || backend.zeros(Class::Optimizer, parameter.len());
                Ok((zeros()?, zeros()?))
            })
            .collect::<Result<_>>()?;
        Ok(Optimizer { max_grad_norm: 0.0, parameters, moments, step: 0 })
    }

    /// Clips the gradient of each step to this norm; 0: not.
    pub fn clip(mut self, max_grad_norm: f32) -> Optimizer {
        self.max_grad_norm = max_grad_norm;
        self
    }

    /// Changes all parameters by their gradients, which it forgets; returns what it multiplied these with, to clip them.
    pub fn step(&mut self, learning_rate: f64) -> Result<f32> {
        let scale = self.clip_factor()?;
        self.step += 1;
        for ((parameter, own), (first, second)) in self.parameters.iter().zip(&mut self.moments) {
            let settings = AdamW { learning_rate: learning_rate * own.learning_rate, ..*own };
            parameter.update(|backend, value, gradient| {
                backend.adamw(&settings, self.step, value, gradient, scale, first, second)
            })?;
        }
        Ok(scale)
    }

    /// What gradients are multiplied with so that their common norm is at most the one wanted
    /// (Pascanu et al. 2013), as torch.nn.utils.clip_grad_norm_ has it.
    fn clip_factor(&self) -> Result<f32> {
        if self.max_grad_norm == 0.0 {
            return Ok(1.0);
        }
        let mut sum = 0.0;
        for (parameter, _) in &self.parameters {
            sum += parameter.gradient_sum_of_squares()?.unwrap_or(0.0);
        }
        Ok((self.max_grad_norm / (sum.sqrt() as f32 + 1e-6)).min(1.0))
    }

    /// Copies the moments out, in the order of the parameters.
    pub fn moments(&self, backend: &dyn Backend) -> Result<Vec<(Vec<f32>, Vec<f32>)>> {
        (self.moments.iter()).map(|(m, v)| Ok((backend.download(m)?, backend.download(v)?))).collect()
    }

    /// Goes on from copied moments after `step` steps.
    pub fn resume(
        &mut self,
        backend: &Arc<dyn Backend>,
        step: u64,
        moments: Vec<(Vec<f32>, Vec<f32>)>,
    ) -> Result<()> {
        self.step = step;
        self.moments = (moments.into_iter())
            .map(|(m, v)| Ok((backend.upload(Class::Optimizer, m)?, backend.upload(Class::Optimizer, v)?)))
            .collect::<Result<_>>()?;
        Ok(())
    }
}
