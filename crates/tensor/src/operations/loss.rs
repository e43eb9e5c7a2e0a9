//! Losses.

use super::elementwise::check_cap;
use super::linear::sum_onto;
use crate::autograd::recording;
use crate::buffer::{Buffer, IndexBuffer};
use crate::error::{Result, check};
use crate::host::{Host, Kernels, indices, kernel, read, read_number};
use crate::indices::{Indices, ToIndices, check_indices};
use crate::linear_loss::linear_loss;
use crate::tensor::Tensor;

/// A linear map of hidden states to the logits of a vocabulary, and the label of each row.
#[derive(Clone, Copy)]
pub struct LinearLoss<'a> {
    /// Hidden states \[rows, hidden\].
    pub x: &'a Buffer,
    /// \[classes, hidden\], of any format.
    pub weight: &'a Buffer,
    /// Added to the logits: \[classes\].
    pub bias: Option<&'a Buffer>,
    /// Logits become c · tanh(logit / c).
    pub softcap: Option<f32>,
    /// One class a row: \[rows\].
    pub labels: &'a IndexBuffer,
    /// How many classes there are.
    pub classes: usize,
}

/// Gradients of a [`LinearLoss`], those that were asked for, in the shapes of their operands.
#[derive(Default)]
pub struct LinearLossGradients {
    /// Of the hidden states.
    pub x: Option<Buffer>,
    /// Of the weight.
    pub weight: Option<Buffer>,
    /// Of the bias.
    pub bias: Option<Buffer>,
}

/// What a device does for losses. Means are buffers of one number, in nats.
pub trait LossOps {
    /// Mean cross-entropy of rows of `classes` logits, labels smoothed, and the log-sum-exp of each row \[rows\].
    fn cross_entropy(
        &self,
        logits: &Buffer,
        classes: usize,
        labels: &IndexBuffer,
        smoothing: f32,
    ) -> Result<(Buffer, Buffer)>;
    /// Gradient of that mean with respect to the logits, times the one number of `dy`.
    fn cross_entropy_gradient(
        &self,
        logits: &Buffer,
        classes: usize,
        labels: &IndexBuffer,
        smoothing: f32,
        lse: &Buffer,
        dy: &Buffer,
    ) -> Result<Buffer>;
    /// Mean cross-entropy of a linear map's logits, and its gradients with respect to input, weight and bias as far as
    /// `wanted`. Of the logits only some megabytes exist at a time.
    fn linear_cross_entropy(
        &self,
        loss: &LinearLoss,
        wanted: [bool; 3],
    ) -> Result<(Buffer, LinearLossGradients)>;
    /// `ln p(label)` of each row, the same way: \[rows\].
    fn linear_log_probabilities(&self, loss: &LinearLoss) -> Result<Buffer>;
}

impl<K: Kernels> LossOps for Host<K> {
    fn cross_entropy(
        &self,
        logits: &Buffer,
        classes: usize,
        labels: &IndexBuffer,
        smoothing: f32,
    ) -> Result<(Buffer, Buffer)> {
        let mut lse = self.fresh(logits.len() / classes);
        let mean = self.number(|| {
            let (logits, labels) = (read(logits), indices(labels));
            let sum = kernel!(K, cross_entropy::forward)(logits, labels, smoothing, &mut lse);
            (sum / labels.len() as f64) as f32
        });
        Ok((mean, self.result(lse)))
    }

    fn cross_entropy_gradient(
        &self,
        logits: &Buffer,
        _classes: usize,
        labels: &IndexBuffer,
        smoothing: f32,
        lse: &Buffer,
        dy: &Buffer,
    ) -> Result<Buffer> {
        Ok(self.filled(logits.len(), |d| {
            let (logits, labels) = (read(logits), indices(labels));
            let scale = read_number(dy) / labels.len() as f32;
            kernel!(K, cross_entropy::backward)(logits, labels, smoothing, read(lse), scale, d);
        }))
    }

    fn linear_cross_entropy(
        &self,
        loss: &LinearLoss,
        wanted: [bool; 3],
    ) -> Result<(Buffer, LinearLossGradients)> {
        let (log_probabilities, gradients) = linear_loss(self, loss, wanted);
        let mean = self.number(|| {
            let sum: f64 = log_probabilities.iter().map(|l| f64::from(*l)).sum();
            (-sum / loss.labels.len() as f64) as f32
        });
        Ok((mean, gradients))
    }

    fn linear_log_probabilities(&self, loss: &LinearLoss) -> Result<Buffer> {
        Ok(self.result(linear_loss(self, loss, [false; 3]).0))
    }
}

impl Tensor {
    /// Mean cross-entropy of logits \[rows, classes\] against `labels` \[rows\], in nats -> \[1\].
    /// `smoothing` spreads that share of each label evenly over all classes (Szegedy et al. 2016).
    pub fn cross_entropy(&self, labels: &(impl ToIndices + ?Sized), smoothing: f32) -> Result<Tensor> {
        self.require_f32("cross_entropy")?;
        let (rows, classes, backend) = (self.rows(), self.cols(), self.backend());
        let labels = labels.to_indices(backend)?;
        let fits = labels.len() == rows && rows > 0;
        check("cross_entropy", fits, || format!("{rows} labels, at least one"), || labels.len().to_string())?;
        check_indices("cross_entropy", &labels, classes)?;
        let (mean, lse) = backend.cross_entropy(self.buffer(), classes, labels.buffer(), smoothing)?;
        let (x, logits) = (self.trace().clone(), self.buffer().clone());
        Ok(Tensor::result(backend, &[&x.clone()], mean, vec![1], move |dy, gradients| {
            gradients.compute(&x, |backend, onto| {
                let labels = labels.buffer();
                let gradient =
                    backend.cross_entropy_gradient(&logits, classes, labels, smoothing, &lse, &dy)?;
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
        labels: &(impl ToIndices + ?Sized),
    ) -> Result<Tensor> {
        let (backend, labels) = (self.backend(), labels.to_indices(self.backend())?);
        let loss = self.linear_loss(weight, bias, softcap, &labels)?;
        check("linear_cross_entropy", !labels.is_empty(), || "at least one label".into(), || "none".into())?;
        let traces =
            [self.trace().clone(), weight.trace().clone(), bias.and_then(|bias| bias.trace().clone())];
        let wanted = traces.each_ref().map(|trace| recording() && trace.is_some());
        let (mean, d) = backend.linear_cross_entropy(&loss, wanted)?;
        let inputs = traces.clone();
        Ok(Tensor::result(backend, &inputs.each_ref(), mean, vec![1], move |dy, gradients| {
            for (trace, gradient) in traces.iter().zip([d.x, d.weight, d.bias]) {
                if let Some(gradient) = gradient {
                    let gradient = gradients.backend.scale_by(gradient, &dy)?;
                    gradients.compute(trace, |backend, onto| sum_onto(backend, gradient, onto))?;
                }
            }
            Ok(())
        }))
    }

    /// ln p(label) of each row under the logits of [`Tensor::linear_cross_entropy`], computed the same way, without
    /// gradients: \[rows\].
    pub fn linear_log_probabilities(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        softcap: Option<f32>,
        labels: &(impl ToIndices + ?Sized),
    ) -> Result<Tensor> {
        let (backend, labels) = (self.backend(), labels.to_indices(self.backend())?);
        let loss = self.linear_loss(weight, bias, softcap, &labels)?;
        let each = backend.linear_log_probabilities(&loss)?;
        Ok(Tensor::assemble(backend.clone(), each.into(), vec![labels.len()], None))
    }

    /// The loss in the words of a backend, checked.
    fn linear_loss<'a>(
        &'a self,
        weight: &'a Tensor,
        bias: Option<&'a Tensor>,
        softcap: Option<f32>,
        labels: &'a Indices,
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
        Ok(LinearLoss { x, weight, bias, softcap, labels: labels.buffer(), classes })
    }
}
