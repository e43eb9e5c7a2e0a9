//! Parameter groups: which parameters an optimizer treats alike, and how (torch.optim's `param_groups`).

use super::virtual_tokens;
use tenfold_tensor::Param;

/// Parameters that an optimizer treats alike.
#[derive(Debug, Clone)]
pub struct ParameterGroup {
    /// The parameters.
    pub parameters: Vec<Param>,
    /// Their learning rate is that of the run times this.
    pub learning_rate_factor: f64,
    /// Whether the run's weight decay applies to them.
    pub decays: bool,
}

/// Parameters at the run's learning rate, those with weight decay first. `decays` is asked with each one's name.
pub fn by_decay(parameters: Vec<Param>, decays: impl Fn(&str) -> bool) -> Vec<ParameterGroup> {
    let (with, without): (Vec<Param>, Vec<Param>) =
        parameters.into_iter().partition(|parameter| decays(parameter.name()));
    [(with, true), (without, false)]
        .into_iter()
        .filter(|(parameters, _)| !parameters.is_empty())
        .map(|(parameters, decays)| ParameterGroup { parameters, learning_rate_factor: 1.0, decays })
        .collect()
}

/// Whether a parameter decays, by its name: biases do not, as in Transformers' `Trainer.get_decay_parameter_names`, which
/// also takes tables called "relative_attention_bias" for such; nor do virtual tokens, which stand in the place of word
/// embeddings and have no zero to go back to. Norms are known to the model alone ([`crate::model::Model::norms`]).
pub fn decays(name: &str) -> bool {
    !name.contains("bias") && !virtual_tokens::is_table(name)
}
