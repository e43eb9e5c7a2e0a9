//! model pull | inspect

use super::{print_json, say};
use crate::dashboard::Dashboard;
use anyhow::Result;
use serde_json::json;
use tenfold::model::{self, store};
use tenfold_tensor::{Cpu, Dtype};

pub fn pull(name: &str, dashboard: &Dashboard) -> Result<()> {
    let located = store::locate(name, dashboard)?;
    say!("{}\nmodel.safetensors has SHA-256 {}", located.dir.display(), located.sha256)
}

pub fn inspect(name: &str, json: bool, dashboard: &Dashboard) -> Result<()> {
    let located = store::locate(name, dashboard)?;
    let model = model::load(&located.dir, model::usual_task(&located.dir)?, &Cpu::new(), Dtype::F32)?;
    let parameters: usize = model.weights().iter().map(|weight| weight.tensor.len()).sum();
    let extents = model.extents();
    let sites: Vec<_> = (model.linears().iter())
        .map(|linear| json!({"path": linear.site.path, "inputs": linear.site.inputs, "outputs": linear.site.outputs}))
        .collect();
    if json {
        return print_json(&json!({
            "family": model.family(),
            "parameters": parameters,
            "hidden_size": extents.hidden_size,
            "num_hidden_layers": extents.num_layers,
            "num_attention_heads": extents.num_attention_heads,
            "vocab_size": extents.vocab_size,
            "max_position_embeddings": extents.max_positions,
            "linear": sites,
        }));
    }
    say!("{} in {}", model.family(), located.dir.display())?;
    say!("{parameters} parameters without a head")?;
    say!(
        "{} layers, {} wide, {} heads, {} words, {} positions",
        extents.num_layers,
        extents.hidden_size,
        extents.num_attention_heads,
        extents.vocab_size,
        extents.max_positions
    )?;
    say!("linear maps (target_modules takes paths, or suffixes of them):")?;
    for linear in model.linears() {
        say!("  {:52} {:>6} -> {}", linear.site.path, linear.site.inputs, linear.site.outputs)?;
    }
    Ok(())
}
