//! AdamW over all parameters of a tuning, with clipping of the whole gradient.

use super::settings::TrainSettings;
use crate::adapter::ParameterGroup;
use crate::error::Result;
use std::sync::Arc;
use tenfold_tensor::{AdamW, AdamWUpdate, Backend, Buffer, Class, Param};

/// AdamW (Loshchilov & Hutter 2019) as torch.optim.AdamW computes it.
pub struct Optimizer {
    max_grad_norm: f32,
    parameters: Vec<Param>,
    /// Those of each parameter, the learning rate as a factor of the step's.
    settings: Vec<AdamW>,
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
        let (parameters, settings): (Vec<Param>, Vec<AdamW>) = groups.into_iter().flat_map(of_group).unzip();
        let moments = (parameters.iter())
            .map(|parameter| {
                let zeros = || backend.zeros(Class::Optimizer, parameter.len());
                Ok((zeros()?, zeros()?))
            })
            .collect::<Result<_>>()?;
        Ok(Optimizer { max_grad_norm: 0.0, parameters, settings, moments, step: 0 })
    }

    /// Clips the gradient of each step to this norm; 0: not.
    pub fn clip(mut self, max_grad_norm: f32) -> Optimizer {
        self.max_grad_norm = max_grad_norm;
        self
    }

    /// Changes all parameters by their gradients, which it forgets; returns what it multiplied these with, to clip them: one
    /// number, on the device.
    pub fn step(&mut self, learning_rate: f64) -> Result<Option<Buffer>> {
        // Norm and factor stay on the device (Pascanu et al. 2013, as torch.nn.utils.clip_grad_norm_ has it).
        let norm = if self.max_grad_norm > 0.0 { Param::gradient_norm(&self.parameters)? } else { None };
        self.step += 1;
        let (step, max_grad_norm, moments) = (self.step, self.max_grad_norm, &mut self.moments);
        let (settings, mut scale) = (&self.settings, None);
        Param::update(&self.parameters, |backend, changing| {
            scale = norm.map(|norm| backend.clip_factor(&norm, max_grad_norm)).transpose()?;
            let pairs = changing.into_iter().zip(settings).zip(moments);
            let updates = pairs.filter_map(|((changing, own), (first_moment, second_moment))| {
                let (parameter, gradient) = changing?;
                let settings = AdamW { learning_rate: learning_rate * own.learning_rate, ..*own };
                Some(AdamWUpdate { settings, parameter, gradient, first_moment, second_moment })
            });
            let mut updates: Vec<_> = updates.collect();
            backend.adamw(step, scale.as_ref(), &mut updates)
        })?;
        Ok(scale)
    }

    /// Copies the moments out, in the order of the parameters.
    pub fn moments(&self, backend: &dyn Backend) -> Result<Vec<(Vec<f32>, Vec<f32>)>> {
        let buffers: Vec<&Buffer> = self.moments.iter().flat_map(|(first, second)| [first, second]).collect();
        let mut numbers = backend.download(&buffers)?.into_iter();
        Ok(std::iter::from_fn(|| Some((numbers.next()?, numbers.next()?))).collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use tenfold_tensor::Cpu;

    #[test]
    fn a_group_has_a_learning_rate_and_a_decay_of_its_own() {
        let backend = Cpu::new();
        let parameter = |name: &str| Param::new(&backend, name, &[1, 2], vec![2.0, 2.0]).unwrap();
        let group = |name: &str, learning_rate_factor, decays| ParameterGroup {
            parameters: vec![parameter(name)],
            learning_rate_factor,
            decays,
        };
        let groups = vec![group("a", 1.0, false), group("b", 4.0, false), group("c", 4.0, true)];
        let parameters: Vec<Param> = groups.iter().flat_map(|group| group.parameters.clone()).collect();
        let settings = TrainSettings { weight_decay: 0.5, ..TrainSettings::default() };
        let mut optimizer = Optimizer::new(&backend, groups, &settings).unwrap();
        for parameter in &parameters {
            parameter.tensor().cross_entropy(&[1], 0.0).unwrap().backward(1.0).unwrap();
        }
        optimizer.step(0.01).unwrap();
        // The first step of AdamW goes as far as the learning rate says; decay first takes its share of the value.
        let expected = [[1.99, 2.01], [1.96, 2.04], [1.92, 2.0]];
        for (parameter, expected) in parameters.iter().zip(expected) {
            let found = parameter.numbers().unwrap();
            let is_near = |(found, expected): (&f32, f32)| (found - expected).abs() < 1e-5;
            assert!(found.iter().zip(expected).all(is_near), "{}: {found:?}", parameter.name());
        }
    }
}
