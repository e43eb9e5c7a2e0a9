//! Losses.

use super::elementwise::check_cap;
use super::linear::sum_onto;
use crate::autograd::recording;
use crate::backend::LinearLoss;
use crate::error::{Result, check, check_indices};
use crate::memory::Class;
use crate::tensor::Tensor;

impl Tensor {
    /// Mean cross-entropy of logits \[rows, classes\] against `labels` \[rows\], in nats -> \[1\].
    /// `smoothing` spreads that share of each label evenly over all classes (Szegedy et al. 2016).
    pub fn cross_entropy(&self, labels: &[u32], smoothing: f32) -> Result<Tensor> {
        self.require_f32("cross_entropy")?;
        let (rows, classes) = (self.rows(), self.cols());
        let fits = labels.len() == rows && rows > 0;
        check("cross_entropy", fits, || format!("{rows} labels, at least one"), || labels.len().to_string())?;
        check_indices("cross_entropy", labels, classes)?;
        let backend = self.backend();
        let (sum, lse) = backend.cross_entropy(self.buffer(), classes, labels, smoothing)?;
        let mean = backend.upload(Class::Activations, vec![(sum / rows as f64) as f32])?;
        let (x, logits, labels) = (self.trace().clone(), self.buffer().clone(), labels.to_vec());
        Ok(Tensor::result(backend, &[&x.clone()], mean, vec![1], move |dy, gradients| {
            let weight = gradients.backend.download(&dy)?[0] / rows as f32;
            gradients.compute(&x, |backend, onto| {
                let gradient =
                    backend.cross_entropy_gradient(&logits, classes, &labels, smoothing, &lse, weight)?;
                sum_onto(backend, gradient, onto)
            })
        }))
    }

    /// Mean cross-entropy, in nats, of the logits self · weightᵀ + bias, then capped, against one label a row -> \[1\].
    ///
    /// self \[rows, hidden\], weight \[classes, hidden\] of any frozen format, bias \[classes\]. The logits never
    /// exist whole: while gradients are recorded, those of a chunk of rows are worked out while its logits are there.
    pub fn linear_cross_entropy(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        softcap: Option<f32>,
        labels: &[u32],
    ) -> Result<Tensor> {
        let loss = self.linear_loss(weight, bias, softcap, labels)?;
        check("linear_cross_entropy", !labels.is_empty(), || "at least one label".into(), || "none".into())?;
        let traces =
            [self.trace().clone(), weight.trace().clone(), bias.and_then(|bias| bias.trace().clone())];
        let wanted = traces.each_ref().map(|trace| recording() && trace.is_some());
        let backend = self.backend();
        let (mean, d) = backend.linear_cross_entropy(&loss, wanted)?;
        let mean = backend.upload(Class::Activations, vec![mean as f32])?;
        let inputs = traces.clone();
        Ok(Tensor::result(backend, &inputs.each_ref(), mean, vec![1], move |dy, gradients| {
            let factor = gradients.backend.download(&dy)?[0];
            for (trace, gradient) in traces.iter().zip([d.x, d.weight, d.bias]) {
                if let Some(gradient) = gradient {
                    let gradient =
                        if factor == 1.0 { gradient } else { gradients.backend.scale(&gradient, factor)? };
                    gradients.compute(trace, |backend, onto| sum_onto(backend, gradient, onto))?;
                }
            }
            Ok(())
        }))
    }

    /// ln p(label) of each row under the logits of [`Tensor::linear_cross_entropy`], computed the same way, without
    /// gradients.
    pub fn linear_log_probabilities(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        softcap: Option<f32>,
        labels: &[u32],
    ) -> Result<Vec<f32>> {
        let loss = self.linear_loss(weight, bias, softcap, labels)?;
        self.backend().linear_log_probabilities(&loss)
    }

    /// The loss in the words of a backend, checked.
    fn linear_loss<'a>(
        &'a self,
        weight: &'a Tensor,
        bias: Option<&'a Tensor>,
        softcap: Option<f32>,
        labels: &'a [u32],
    ) -> Result<LinearLoss<'a>> {
        let operation = "linear_cross_entropy";
        self.require_f32(operation)?;
        check_cap(operation, softcap)?;
        let (rows, hidden, classes) = (self.rows(), self.cols(), weight.rows());
        let fits = weight.shape().len() == 2 && weight.cols() == hidden && classes > 0 && hidden > 0;
        check(operation, fits, || format!("a weight of [_, {hidden}]"), || format!("{:?}", weight.shape()))?;
        check(operation, labels.len() == rows, || format!("{rows} labels"), || labels.len().to_string())?;
        check_indices(operation, labels, classes)?;
        if let Some(bias) = bias {
            bias.require_f32(operation)?;
            let fits = bias.len() == classes;
            check(operation, fits, || format!("a bias of {classes}"), || bias.len().to_string())?;
        }
        let (x, weight, bias) = (&**self.buffer(), &**weight.buffer(), bias.map(|bias| &**bias.buffer()));
        Ok(LinearLoss { x, weight, bias, softcap, labels, classes })
    }
}
