//! All that one trial trains: a method's own parameters, and copies of base weights that it unfreezes.

use super::{Adapter, Context, Method, NamedTensor, ParameterGroup, full, groups};
use crate::error::{Error, Result};
use crate::model::{Forward, Head, Hooks, Linear, Model, Site, TaskType, Weight};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tenfold_tensor::{Backend, Dtype, Param, Tensor};

/// A method at work on a model, with a head of its own where the task asks for one. Clones are the same tuning.
#[derive(Clone)]
pub struct Tuning {
    method: &'static Method,
    task: TaskType,
    adapter: Arc<dyn Adapter>,
    trained: Arc<BTreeMap<String, Param>>,
    /// Which of them belong to norms.
    norms: Arc<BTreeSet<String>>,
    head: Arc<Head>,
}

impl Hooks for Tuning {
    fn trained(&self, weight: &str) -> Option<Tensor> {
        self.trained.get(weight).map(Param::tensor)
    }

    fn before(&self, forward: &Forward, site: &Site, x: &Tensor) -> Result<Option<Tensor>> {
        self.adapter.before(forward, site, x)
    }

    fn after(&self, forward: &Forward, site: &Site, x: &Tensor, y: Tensor) -> Result<Tensor> {
        self.adapter.after(forward, site, x, y)
    }

    fn prompt(&self, forward: &Forward) -> Result<Option<Tensor>> {
        self.adapter.prompt(forward)
    }

    fn prefix(&self, forward: &Forward, layer: usize) -> Result<Option<(Tensor, Tensor)>> {
        self.adapter.prefix(forward, layer)
    }

    fn prefix_len(&self) -> usize {
        self.adapter.prefix_len()
    }

    fn embed(&self, forward: &Forward, ids: &[u32], x: Tensor) -> Result<Tensor> {
        self.adapter.embed(forward, ids, x)
    }

    fn vocabulary(&self, weight: &Weight) -> Result<Option<Tensor>> {
        self.adapter.vocabulary(weight)
    }

    fn leaves_features_alone(&self) -> bool {
        self.adapter.leaves_features_alone()
    }
}

impl Tuning {
    /// The method as it starts, with a head for so many labels.
    pub fn new(
        method: &'static Method,
        settings: &Value,
        context: &Context,
        labels: usize,
    ) -> Result<Tuning> {
        let adapter: Arc<dyn Adapter> = (method.build)(settings, context)?.into();
        let mut trained = BTreeMap::new();
        for weight in context.model.weights().into_iter().filter(|weight| adapter.unfreezes(&weight.name)) {
            let numbers = weight.tensor.numbers()?;
            let copy = Param::new(context.backend, weight.name.clone(), weight.tensor.shape(), numbers)?;
            trained.insert(weight.name.clone(), copy);
        }
        for part in context.model.head().weights(labels) {
            let parameter = match part.stored {
                Some(numbers) => Param::new(context.backend, part.name.clone(), &part.shape, numbers)?,
                None => context.normal(&part.name, &part.shape, part.deviation)?,
            };
            trained.insert(part.name, parameter);
        }
        let norms: BTreeSet<&str> = context.model.norms().into_iter().collect();
        let of_norm = |name: &&String| name.rsplit_once('.').is_some_and(|(path, _)| norms.contains(path));
        let norms: BTreeSet<String> = trained.keys().filter(of_norm).cloned().collect();
        let tuning = Tuning {
            method,
            task: context.model.task(),
            adapter,
            trained: trained.into(),
            norms: norms.into(),
            head: Arc::new(context.model.head().clone()),
        };
        if tuning.is_empty() {
            return Err(Error::malformed(
                "study",
                method.name,
                "something to train in this model",
                "nothing",
            ));
        }
        Ok(tuning)
    }

    /// The base model as it is, with nothing to train and no head.
    pub fn untouched(model: &dyn Model) -> Tuning {
        Tuning {
            method: &full::METHOD,
            task: model.task(),
            adapter: full::untouched().into(),
            trained: Arc::default(),
            norms: Arc::default(),
            head: Arc::default(),
        }
    }

    /// What the model is asked for.
    pub fn task(&self) -> TaskType {
        self.task
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The line of the registry.
    pub fn method(&self) -> &'static Method {
        self.method
    }

    /// The method's hooks.
    pub fn adapter(&self) -> &dyn Adapter {
        &*self.adapter
    }

    /// Whether every weight of the model is trained, so that its own numbers are needed no more.
    pub fn trains_all_of(&self, model: &dyn Model) -> bool {
        model.weights().iter().all(|weight| self.trained.contains_key(&weight.name))
    }

    /// The format of the base's own weights that are trained, if it is not f32: training has widened them.
    pub fn widened_from(&self, model: &dyn Model) -> Option<Dtype> {
        let trained = model.weights().into_iter().filter(|weight| self.trained.contains_key(&weight.name));
        trained.map(|weight| weight.tensor.dtype()).find(|dtype| *dtype != Dtype::F32)
    }

    /// Names of the trained weights of the base model and its head.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.trained.keys().map(String::as_str)
    }

    /// Everything trained as an optimizer treats it: the method's groups, then the base's weights and the head, of which
    /// norms and biases have no weight decay.
    pub fn parameter_groups(&self) -> Vec<ParameterGroup> {
        let decays = |name: &str| groups::decays(name) && !self.norms.contains(name);
        let own = groups::by_decay(self.trained.values().cloned().collect(), decays);
        self.adapter.parameter_groups().into_iter().chain(own).collect()
    }

    /// Everything trained, always in the same order: that of the groups.
    pub fn parameters(&self) -> Vec<Param> {
        self.parameter_groups().into_iter().flat_map(|group| group.parameters).collect()
    }

    /// What training adds to the loss of a step.
    pub fn penalty(&self) -> Result<Option<Tensor>> {
        self.adapter.penalty()
    }

    /// How many numbers are trained.
    pub fn len(&self) -> usize {
        self.parameters().iter().map(Param::len).sum()
    }

    /// True if nothing is trained; no tuning that is made is so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many numbers the head has.
    pub fn head_len(&self) -> usize {
        let names = self.head.weights(1).into_iter().map(|part| part.name);
        names.filter_map(|name| self.trained.get(&name)).map(Param::len).sum()
    }

    /// The same function without the method's own work on the way, where its effect can be folded
    /// into the base model's weights.
    pub fn merged(&self, model: &dyn Model, backend: &Arc<dyn Backend>) -> Result<Option<Tuning>> {
        if !self.method.mergeable {
            return Ok(None);
        }
        let mut trained = (*self.trained).clone();
        for linear in model.linears() {
            let before = self.numbers(linear)?;
            let (weight, bias) = self.folded(linear)?;
            if (&weight, &bias) == (&before.0, &before.1) {
                continue;
            }
            let mut put = |part: &Weight, numbers| -> Result<()> {
                let parameter = Param::new(backend, part.name.clone(), part.tensor.shape(), numbers)?;
                trained.insert(part.name.clone(), parameter);
                Ok(())
            };
            put(&linear.weight, weight)?;
            if let Some(part) = &linear.bias {
                put(part, bias)?;
            }
        }
        if let Some(numbers) = self.adapter.merged_embeddings()? {
            let table = model.word_embeddings();
            let parameter = Param::new(backend, table.name.clone(), table.tensor.shape(), numbers)?;
            trained.insert(table.name.clone(), parameter);
        }
        Ok(Some(Tuning { adapter: full::untouched().into(), trained: trained.into(), ..self.clone() }))
    }

    /// Weight and bias of a linear map, as the model stores them; no numbers for a bias that there is not.
    fn numbers(&self, linear: &Linear) -> Result<(Vec<f32>, Vec<f32>)> {
        let numbers = |part: &Weight| match self.trained.get(&part.name) {
            Some(own) => own.numbers(),
            None => part.tensor.numbers(),
        };
        let bias = linear.bias.as_ref().map(numbers).transpose()?;
        Ok((numbers(&linear.weight)?, bias.unwrap_or_default()))
    }

    /// The same with the method folded in, if it is [`Method::mergeable`].
    pub(super) fn folded(&self, linear: &Linear) -> Result<(Vec<f32>, Vec<f32>)> {
        let (mut weight, mut bias) = self.numbers(linear)?;
        let [inputs, outputs] = [linear.site.inputs, linear.site.outputs];
        if linear.site.fan_in_fan_out {
            weight = transposed(&weight, inputs, outputs);
        }
        let own = linear.bias.is_some().then_some(&mut bias[..]);
        self.adapter.merge(&linear.site, &mut weight, own)?;
        if linear.site.fan_in_fan_out {
            weight = transposed(&weight, outputs, inputs);
        }
        Ok((weight, bias))
    }

    /// All tensors of the adapter's file.
    pub fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let mut tensors = self.adapter.tensors()?;
        for parameter in self.trained.values() {
            let name = self.adapter.key(parameter.name());
            tensors.push(NamedTensor { name, ..NamedTensor::of(parameter)? });
        }
        Ok(tensors)
    }

    /// Takes over the tensors of an adapter's file.
    pub fn restore(
        &mut self,
        tensors: &mut BTreeMap<String, NamedTensor>,
        backend: &Arc<dyn Backend>,
    ) -> Result<()> {
        match Arc::get_mut(&mut self.adapter) {
            Some(adapter) => adapter.restore(tensors, backend)?,
            None => unreachable!("a tuning is restored before it is shared"),
        }
        for parameter in self.trained.values() {
            let key = self.adapter.key(parameter.name());
            parameter.set(super::take(tensors, &key, parameter.shape())?)?;
        }
        Ok(())
    }
}

/// \[rows, cols\] -> \[cols, rows\].
fn transposed(numbers: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|col| (0..rows).map(move |row| numbers[row * cols + col])).collect()
}
