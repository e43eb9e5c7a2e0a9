//! AdaLoRA: low-rank updates in the form of singular values, of which those of little importance are pruned on the way.
//!
//! `y = W x + b + alpha / (r + 1e-5) · P (λ ⊙ Q dropout(x))`, Q \[r, in\] (`lora_A`), λ \[r\] (`lora_E`), P \[out, r\]
//! (`lora_B`), r = `init_r`; the loss has `orth_reg_weight` · mean of ‖Q Qᵀ − I‖ and ‖Pᵀ P − I‖ over all targets added.
//! Paper: Zhang et al. 2023, arXiv:2303.10512.
//! Parameters: r · (in + out + 1) for each target. P and Q start normal with deviation 0.02, λ at zero: the identity at step
//! 0. Mergeable. Convertible to LoRA of rank r.
//!
//! Importance of an entry: |w ∂loss/∂w|, smoothed over steps (`beta1`), times its smoothed deviation (`beta2`); of a triplet:
//! λ's and the means of P's column and of Q's row. After `tinit` steps the budget of all ranks falls from `init_r` to `target_r` a
//! target, with the cube of the steps left; every `deltaT` steps the λ of the triplets beyond it are set to zero, and may come
//! back. `tfinal` steps before the end the choice is final. As in PEFT w is taken after the step and its gradient before (the
//! paper takes both before), and with `tfinal` = 0 the last choice stays. `total_step` is that of the run if it is not set. A file
//! of PEFT's leaves out triplets whose λ came back since the last choice, and with them a part of what the model did; here they
//! stand in it.

mod importance;

use super::settings::{ANY, Allowed};
use super::targets::{Selection, Targets};
use super::{Adapter, Context, Method, NamedTensor, Step, refuse, settings, take, to_map, to_value};
use crate::error::Result;
use crate::model::{Forward, Hooks, Linear, Role, Site};
use importance::{Importance, triplet_scores, within};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tenfold_tensor::{Backend, Buffer, Class, Param, Tensor, Vectors};

pub(super) const METHOD: Method = Method {
    name: "adalora",
    title: "AdaLoRA",
    summary: "low-rank updates whose ranks are pruned by importance",
    source: "Zhang et al. 2023, arXiv:2303.10512",
    peft_type: Some("ADALORA"),
    mergeable: true,
    learning_rates: &[1e-3, 3e-3, 1e-2, 3e-2],
    harmless: &[
        ("bias", "\"none\""),
        ("init_lora_weights", "true"),
        ("megatron_core", "\"megatron.core\""),
        ("qalora_group_size", "16"),
        // PEFT passes over it here.
        ("r", "8"),
    ],
    settings: &[
        ("init_r", Allowed::Whole(1, ANY)),
        ("target_r", Allowed::Whole(1, ANY)),
        ("lora_alpha", Allowed::Positive),
        ("lora_dropout", Allowed::Probability),
        ("target_modules", Allowed::Modules),
        ("exclude_modules", Allowed::Modules),
        ("tinit", Allowed::Whole(0, ANY)),
        ("tfinal", Allowed::Whole(0, ANY)),
        ("deltaT", Allowed::Whole(1, ANY)),
        ("beta1", Allowed::Share),
        ("beta2", Allowed::Share),
        ("orth_reg_weight", Allowed::NotNegative),
        ("total_step", Allowed::Whole(1, ANY)),
        ("rank_pattern", Allowed::ByModule(&Allowed::Flags)),
    ],
    defaults: || to_value(&AdaLora::default()),
    build: |settings, context| Ok(Box::new(Triplets::new(settings, context)?)),
};

/// Settings, under PEFT's names and with PEFT's defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AdaLora {
    init_r: usize,
    target_r: usize,
    #[serde(serialize_with = "super::settings::as_written")]
    lora_alpha: f64,
    lora_dropout: f64,
    /// Default: queries and values.
    target_modules: Option<Targets>,
    exclude_modules: Option<Targets>,
    tinit: usize,
    tfinal: usize,
    #[serde(rename = "deltaT")]
    delta_t: usize,
    beta1: f64,
    beta2: f64,
    orth_reg_weight: f64,
    /// Default: the steps of the run.
    total_step: Option<usize>,
    /// Of a trained adapter: which of the `init_r` triplets were kept, by "<module>.lora_E".
    rank_pattern: Option<BTreeMap<String, Vec<bool>>>,
}

impl Default for AdaLora {
    fn default() -> AdaLora {
        AdaLora {
            init_r: 12,
            target_r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            target_modules: None,
            exclude_modules: None,
            tinit: 0,
            tfinal: 0,
            delta_t: 1,
            beta1: 0.85,
            beta2: 0.85,
            orth_reg_weight: 0.5,
            total_step: None,
            rank_pattern: None,
        }
    }
}

struct Triplets {
    settings: AdaLora,
    /// Whether weights are stored transposed, which PEFT wants to be told.
    fan_in_fan_out: bool,
    updates: BTreeMap<String, Update>,
    allocation: Mutex<Allocation>,
}

/// The triplets of one linear map.
struct Update {
    /// Q: \[r, in\].
    a: Param,
    /// P: \[out, r\].
    b: Param,
    /// λ: \[r, 1\].
    e: Param,
}

/// What is remembered between steps.
#[derive(Default)]
struct Allocation {
    /// Steps of the run.
    steps: Option<usize>,
    /// Gradients of the present step, in the order of the parameters.
    gradients: Vec<Tensor>,
    /// Of every parameter, in their order.
    importance: Vec<Importance>,
    /// Which triplets of each update are kept, once any were pruned.
    kept: Option<BTreeMap<String, Vec<bool>>>,
}

impl Triplets {
    fn new(value: &Value, context: &Context) -> Result<Triplets> {
        let mut settings: AdaLora = settings(&METHOD, value)?;
        if settings.target_r > settings.init_r {
            let expected = format!("init_r ({}) at the most", settings.init_r);
            return Err(refuse(&METHOD, "target_r", &expected, settings.target_r));
        }
        let usual = || Targets::roles(context.model, &[Role::Query, Role::Value, Role::QueryKeyValue]);
        let targets = settings.target_modules.get_or_insert_with(usual).clone();
        let exclude = settings.exclude_modules.as_ref();
        let selection = Selection { targets: &targets, exclude, layers: None, layers_pattern: &[] };
        let chosen = selection.linears(context.model)?;
        let mut updates = BTreeMap::new();
        for Linear { site, .. } in &chosen {
            let (name, r) = (|part: &str| parameter_name(&site.path, part), settings.init_r);
            let update = Update {
                a: context.normal(&name("A"), &[r, site.inputs], 0.02)?,
                b: context.normal(&name("B"), &[site.outputs, r], 0.02)?,
                e: context.constant(&name("E"), &[r, 1], 0.0)?,
            };
            updates.insert(site.path.clone(), update);
        }
        let fan_in_fan_out = chosen.iter().any(|linear| linear.site.fan_in_fan_out);
        Ok(Triplets { settings, fan_in_fan_out, updates, allocation: Mutex::default() })
    }

    fn scale(&self) -> f32 {
        (self.settings.lora_alpha / (self.settings.init_r as f64 + 1e-5)) as f32
    }

    fn allocation(&self) -> MutexGuard<'_, Allocation> {
        self.allocation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The step after which the choice is final: that of `total_step` less `tfinal`.
    fn last_choice(&self, step: &Step) -> Result<usize> {
        let (AdaLora { tinit, tfinal, .. }, total) =
            (&self.settings, self.settings.total_step.unwrap_or(step.steps));
        if tinit.saturating_add(*tfinal) >= total {
            let expected = format!("tinit + tfinal below the {total} steps of the run");
            return Err(refuse(&METHOD, "tinit", &expected, format!("{tinit} and {tfinal}")));
        }
        Ok(total - tfinal)
    }

    /// How many triplets may stay after a step, and whether they are chosen now.
    fn budget(&self, step: usize, last_choice: usize) -> (usize, bool) {
        let all: usize = self.updates.values().map(|update| update.e.len()).sum();
        let target = (self.settings.target_r * self.updates.len()).min(all);
        if step <= self.settings.tinit {
            return (all, false);
        }
        if step >= last_choice {
            return (target, true);
        }
        let left = 1.0 - (step - self.settings.tinit) as f64 / (last_choice - self.settings.tinit) as f64;
        let budget = ((all - target) as f64 * left.powi(3) + target as f64) as usize;
        (budget, step.is_multiple_of(self.settings.delta_t))
    }

    /// Smooths the importance of every entry, of its value now and its gradient before the step.
    fn weigh(&self, allocation: &mut Allocation, gradient_scale: Option<&Buffer>) -> Result<()> {
        let gradients = std::mem::take(&mut allocation.gradients);
        let betas = [self.settings.beta1, self.settings.beta2];
        let read = |scale: &Buffer| -> Result<Option<f32>> {
            let Some(gradient) = gradients.first() else { return Ok(None) };
            Ok(gradient.backend().download(&[scale])?.iter().flatten().next().copied())
        };
        let gradient_scale = gradient_scale.map(read).transpose()?.flatten().unwrap_or(1.0);
        for (number, (parameter, gradient)) in self.parameters().iter().zip(gradients).enumerate() {
            let before = allocation.importance.get(number);
            let now = Importance::next(before, parameter, (&gradient, gradient_scale), betas)?;
            match allocation.importance.get_mut(number) {
                Some(importance) => *importance = now,
                None => allocation.importance.push(now),
            }
        }
        Ok(())
    }

    /// Keeps the triplets that the budget leaves.
    fn choose(&self, allocation: &mut Allocation, budget: usize) -> Result<()> {
        let importance = self.updates.keys().zip(allocation.importance.chunks_exact(3));
        let scores = importance.map(|(path, of)| -> Result<(String, Vec<f32>)> {
            Ok((path.clone(), triplet_scores(&of[0], &of[1], &of[2])?))
        });
        allocation.kept = Some(within(budget, scores.collect::<Result<_>>()?));
        self.prune(allocation)
    }

    /// Which triplets of each update stand in the file, once any were pruned: those that are kept, and those that came back since.
    fn written(&self, allocation: &Allocation) -> Result<Option<BTreeMap<String, Vec<bool>>>> {
        let Some(mut written) = allocation.kept.clone() else { return Ok(None) };
        for (path, kept) in &mut written {
            let Some(Update { e, .. }) = self.updates.get(path) else { continue };
            kept.iter_mut().zip(e.numbers()?).for_each(|(kept, e)| *kept |= e != 0.0);
        }
        Ok(Some(written))
    }

    /// Sets λ of the triplets that are not kept to zero.
    fn prune(&self, allocation: &Allocation) -> Result<()> {
        for (path, kept) in allocation.kept.iter().flatten() {
            let Some(Update { e, .. }) = self.updates.get(path) else { continue };
            let numbers = e.numbers()?.into_iter().zip(kept);
            e.set(numbers.map(|(number, kept)| if *kept { number } else { 0.0 }).collect())?;
        }
        Ok(())
    }
}

fn parameter_name(path: &str, part: &str) -> String {
    format!("base_model.model.{path}.lora_{part}")
}

impl Hooks for Triplets {
    fn after(&self, forward: &Forward, site: &Site, x: &Tensor, y: Tensor) -> Result<Tensor> {
        let Some(Update { a, b, e }) = self.updates.get(&site.path).filter(|update| !update.e.is_empty())
        else {
            return Ok(y);
        };
        let x = forward.dropout(x.clone(), self.settings.lora_dropout as f32)?;
        let inner = x.linear(&a.tensor(), None)?.scale_columns(&e.tensor())?;
        Ok(y.add_linear(&inner, &b.tensor(), self.scale())?)
    }
}

impl Adapter for Triplets {
    fn parameters(&self) -> Vec<Param> {
        self.updates.values().flat_map(|Update { a, b, e }| [a.clone(), b.clone(), e.clone()]).collect()
    }

    fn penalty(&self) -> Result<Option<Tensor>> {
        let mut sum: Option<Tensor> = None;
        let updates = self.updates.values().filter(|update| !update.e.is_empty());
        for (matrix, vectors) in
            updates.flat_map(|update| [(&update.a, Vectors::Rows), (&update.b, Vectors::Columns)])
        {
            let error = matrix.tensor().orthonormality_error(vectors)?;
            sum = Some(match sum {
                Some(sum) => sum.add(&error)?,
                None => error,
            });
        }
        let weight = self.settings.orth_reg_weight / (2 * self.updates.len()) as f64;
        sum.filter(|_| weight > 0.0).map(|sum| Ok(sum.scale(weight as f32)?)).transpose()
    }

    fn on_gradients(&self, step: &Step) -> Result<()> {
        let last_choice = self.last_choice(step)?;
        let mut allocation = self.allocation();
        allocation.steps = Some(step.steps);
        if step.number >= last_choice {
            return Ok(());
        }
        let gradient = |parameter: Param| -> Result<Tensor> {
            let numbers = parameter.gradient()?.unwrap_or_else(|| vec![0.0; parameter.len()]);
            let backend = parameter.tensor().backend().clone();
            Ok(Tensor::new(&backend, Class::Gradients, parameter.shape(), numbers)?)
        };
        allocation.gradients = self.parameters().into_iter().map(gradient).collect::<Result<_>>()?;
        Ok(())
    }

    fn after_step(&self, step: &Step, gradient_scale: Option<&Buffer>) -> Result<()> {
        let last_choice = self.last_choice(step)?;
        let mut allocation = self.allocation();
        if step.number > last_choice {
            return self.prune(&allocation);
        }
        if step.number < last_choice {
            self.weigh(&mut allocation, gradient_scale)?;
        }
        let (budget, is_time) = self.budget(step.number, last_choice);
        if is_time && !allocation.importance.is_empty() {
            self.choose(&mut allocation, budget)?;
        }
        if step.number == last_choice {
            allocation.importance.clear();
        }
        Ok(())
    }

    fn state(&self) -> Result<Vec<NamedTensor>> {
        let allocation = self.allocation();
        let numbers =
            |name: String, numbers: Vec<f32>| NamedTensor { name, shape: vec![numbers.len()], numbers };
        let mut state = Vec::new();
        state.extend(allocation.steps.map(|steps| numbers("steps".into(), vec![steps as f32])));
        for (number, importance) in allocation.importance.iter().enumerate() {
            for (kind, found) in ["mean", "deviation"].iter().zip(importance.numbers()?) {
                state.push(numbers(format!("importance.{number}.{kind}"), found));
            }
        }
        for (path, kept) in allocation.kept.iter().flatten() {
            let kept = kept.iter().map(|kept| f32::from(u8::from(*kept))).collect();
            state.push(numbers(format!("kept.{path}"), kept));
        }
        Ok(state)
    }

    fn set_state(&self, mut state: BTreeMap<String, NamedTensor>, backend: &Arc<dyn Backend>) -> Result<()> {
        let mut allocation = self.allocation();
        *allocation = Allocation::default();
        allocation.steps = state.remove("steps").and_then(|steps| Some(*steps.numbers.first()? as usize));
        for (number, parameter) in self.parameters().iter().enumerate() {
            let mut numbers =
                |kind: &str| Some(state.remove(&format!("importance.{number}.{kind}"))?.numbers);
            if let (Some(mean), Some(deviation)) = (numbers("mean"), numbers("deviation")) {
                allocation.importance.push(Importance::of(backend, parameter.shape(), [mean, deviation])?);
            }
        }
        let kept: BTreeMap<String, Vec<bool>> = (state.into_iter())
            .filter_map(|(name, tensor)| {
                let kept = tensor.numbers.iter().map(|number| *number != 0.0).collect();
                Some((name.strip_prefix("kept.")?.to_owned(), kept))
            })
            .collect();
        allocation.kept = (!kept.is_empty()).then_some(kept);
        Ok(())
    }

    fn merge(&self, site: &Site, weight: &mut [f32], _bias: Option<&mut [f32]>) -> Result<()> {
        let Some(Update { a, b, e }) = self.updates.get(&site.path).filter(|update| !update.e.is_empty())
        else {
            return Ok(());
        };
        let (a, b, e, scale) = (a.numbers()?, b.numbers()?, e.numbers()?, self.scale());
        for (row, b) in weight.chunks_exact_mut(site.inputs).zip(b.chunks_exact(e.len())) {
            for ((a, b), e) in a.chunks_exact(site.inputs).zip(b).zip(&e) {
                row.iter_mut().zip(a).for_each(|(w, a)| *w += scale * b * e * a);
            }
        }
        Ok(())
    }

    fn config(&self) -> Result<Map<String, Value>> {
        let allocation = self.allocation();
        let mut settings = self.settings.clone();
        if let Some(kept) = self.written(&allocation)? {
            let kept = kept.into_iter().map(|(path, kept)| (format!("{path}.lora_E"), kept));
            settings.rank_pattern = Some(kept.collect());
        }
        // PEFT wants a number with room for a choice, also where nothing was trained.
        let least = settings.tinit.saturating_add(settings.tfinal).saturating_add(1);
        settings.total_step = settings.total_step.or(allocation.steps).or(Some(least));
        let mut config = to_map(&settings);
        config.insert("fan_in_fan_out".into(), self.fan_in_fan_out.into());
        Ok(config)
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let written = self.written(&self.allocation())?;
        let mut tensors = Vec::new();
        for (path, update) in &self.updates {
            let kept = written.as_ref().and_then(|kept| kept.get(path));
            for parameter in [&update.a, &update.b, &update.e] {
                tensors.push(cut(NamedTensor::of(parameter)?, kept, std::ptr::eq(parameter, &update.b)));
            }
        }
        Ok(tensors)
    }

    fn restore(
        &mut self,
        tensors: &mut BTreeMap<String, NamedTensor>,
        backend: &Arc<dyn Backend>,
    ) -> Result<()> {
        for (path, update) in &mut self.updates {
            let name = |part: &str| parameter_name(path, part);
            let stored = tensors.get(&name("E")).map(|tensor| tensor.numbers.len());
            let r = stored.unwrap_or(self.settings.init_r).min(self.settings.init_r);
            let (inputs, outputs) = (update.a.shape()[1], update.b.shape()[0]);
            let mut parameter = |part: &str, shape: [usize; 2]| -> Result<Param> {
                Ok(Param::new(backend, name(part), &shape, take(tensors, &name(part), &shape)?)?)
            };
            *update = Update {
                a: parameter("A", [r, inputs])?,
                b: parameter("B", [outputs, r])?,
                e: parameter("E", [r, 1])?,
            };
        }
        Ok(())
    }
}

/// The part of a tensor that is of kept triplets: rows, or columns.
fn cut(tensor: NamedTensor, kept: Option<&Vec<bool>>, columns: bool) -> NamedTensor {
    let Some(kept) = kept else { return tensor };
    let NamedTensor { name, mut shape, numbers } = tensor;
    let r = kept.len();
    let width = if columns { 1 } else { shape[1] };
    let pick = |(number, group): (usize, &[f32])| kept[number % r].then(|| group.to_vec());
    let numbers = numbers.chunks_exact(width).enumerate().filter_map(pick).flatten().collect();
    shape[usize::from(columns)] = kept.iter().filter(|kept| **kept).count();
    NamedTensor { name, shape, numbers }
}
