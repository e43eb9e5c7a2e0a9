//! Losses.

use super::linear::sum_onto;
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
}
