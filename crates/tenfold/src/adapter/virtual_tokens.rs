//! What methods with virtual tokens share: a table of them, trained itself or made by a small network.

use super::{Context, Method, NamedTensor, refuse, take};
use crate::error::Result;
use crate::model::Model;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tenfold_tensor::{Activation, Backend, Param, Tensor, without_gradients};

/// The table's key in the adapter's file. PEFT stores what a network makes, not the network.
pub(super) const KEY: &str = "prompt_embeddings";

/// The embeddings that a network makes virtual tokens of.
const EMBEDDING: &str = "prompt_encoder.embedding.weight";

/// Whether a parameter of that name is a table of virtual tokens, or of what a network makes them of.
pub(super) fn is_table(name: &str) -> bool {
    name == KEY || name == EMBEDDING
}

/// Keys that PEFT writes for every method with virtual tokens.
pub(super) fn config_keys(model: &dyn Model) -> Map<String, Value> {
    let extents = model.extents();
    Map::from_iter([
        ("num_attention_heads".to_owned(), extents.num_attention_heads.into()),
        ("num_layers".to_owned(), extents.num_layers.into()),
        ("num_transformer_submodules".to_owned(), extents.num_submodules.into()),
        ("token_dim".to_owned(), extents.hidden_size.into()),
    ])
}

/// Refuses counts that leave no room in the model's positions.
pub(super) fn check_count(method: &Method, model: &dyn Model, tokens: usize) -> Result<usize> {
    let room = model.extents().max_positions;
    if tokens == 0 || tokens >= room {
        let expected = format!("1 to {}", room.saturating_sub(1));
        return Err(refuse(method, "num_virtual_tokens", &expected, tokens));
    }
    Ok(tokens)
}

/// The rows of virtual tokens: a table for an encoder-decoder holds as many again, which PEFT trains nothing with.
pub(super) fn first(table: Tensor, tokens: usize) -> Result<Tensor> {
    if table.rows() == tokens {
        return Ok(table);
    }
    Ok(table.select_rows(&(0..tokens as u32).collect::<Vec<u32>>())?)
}

/// Where the table \[num_virtual_tokens, width\] comes from.
pub(super) enum Table {
    /// It is trained itself.
    Direct(Param),
    /// Embeddings go through linear layers, weight and bias of each, with an activation between them.
    Network { embedding: Param, layers: Vec<(Param, Param)>, activation: Activation },
}

impl Table {
    /// A network of layers of the given widths, its linear layers at places 0, 2, 4 … of `module`, as torch.nn.Sequential
    /// counts them. Embeddings start normal, layers as torch.nn.Linear.
    pub(super) fn network(
        context: &Context,
        tokens: usize,
        widths: &[usize],
        module: &str,
        activation: Activation,
    ) -> Result<Table> {
        let embedding = context.normal(EMBEDDING, &[tokens, widths[0]], 1.0)?;
        let layer = |(number, pair): (usize, &[usize])| -> Result<(Param, Param)> {
            let name = |part| format!("prompt_encoder.{module}.{}.{part}", 2 * number);
            let weight = context.kaiming_uniform(&name("weight"), &[pair[1], pair[0]], pair[0])?;
            Ok((weight, context.kaiming_uniform(&name("bias"), &[pair[1]], pair[0])?))
        };
        let layers = widths.windows(2).enumerate().map(layer).collect::<Result<_>>()?;
        Ok(Table::Network { embedding, layers, activation })
    }

    /// Makes the table zero: its own numbers, or those of the network's last layer.
    pub(super) fn start_at_zero(&self) -> Result<()> {
        let zero = |parameter: &Param| parameter.set(vec![0.0; parameter.len()]);
        match self {
            Table::Direct(table) => zero(table)?,
            Table::Network { layers, .. } => {
                if let Some((weight, bias)) = layers.last() {
                    zero(weight)?;
                    zero(bias)?;
                }
            }
        }
        Ok(())
    }

    /// The table \[num_virtual_tokens, width\].
    pub(super) fn encode(&self) -> Result<Tensor> {
        match self {
            Table::Direct(table) => Ok(table.tensor()),
            Table::Network { embedding, layers, activation } => {
                let mut x = embedding.tensor();
                for (number, (weight, bias)) in layers.iter().enumerate() {
                    if number > 0 {
                        x = x.activation(*activation)?;
                    }
                    x = x.linear(&weight.tensor(), Some(&bias.tensor()))?;
                }
                Ok(x)
            }
        }
    }

    pub(super) fn parameters(&self) -> Vec<Param> {
        match self {
            Table::Direct(table) => vec![table.clone()],
            Table::Network { embedding, layers, .. } => {
                let layers = layers.iter().flat_map(|(weight, bias)| [weight.clone(), bias.clone()]);
                [embedding.clone()].into_iter().chain(layers).collect()
            }
        }
    }

    /// What stands in the adapter's file.
    pub(super) fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let table = without_gradients(|| self.encode())?;
        let (shape, numbers) = (table.shape().to_vec(), table.numbers()?);
        Ok(vec![NamedTensor { name: KEY.into(), shape, numbers }])
    }

    /// Takes over the table of a file; a network that made it is gone.
    pub(super) fn restore(
        &mut self,
        tensors: &mut BTreeMap<String, NamedTensor>,
        backend: &Arc<dyn Backend>,
    ) -> Result<()> {
        let shape = without_gradients(|| self.encode())?.shape().to_vec();
        *self = Table::Direct(Param::new(backend, KEY, &shape, take(tensors, KEY, &shape)?)?);
        Ok(())
    }
}
