//! adapter inspect

use super::{print_json, say};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::path::Path;
use tenfold::adapter::file;
use tenfold::model::checkpoint::read_tensors;
use tenfold::words;

pub fn inspect(folder: &Path, json: bool) -> Result<()> {
    let path = folder.join(file::CONFIG);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: Map<String, Value> = serde_json::from_str(&text)
        .with_context(|| format!("{}: expected an adapter's configuration", path.display()))?;
    let tensors = read_tensors(&folder.join(file::TENSORS))?;
    let count: usize = tensors.values().map(|tensor| tensor.data.len()).sum();
    if json {
        let shapes: Value =
            tensors.iter().map(|(name, tensor)| (name.clone(), json!(tensor.shape))).collect();
        return print_json(&json!({"config": config, "parameters": count, "tensors": shapes}));
    }
    let kind = config.get("peft_type").or(config.get("tenfold_method"));
    let pieces = words::count(tensors.len(), "tensor");
    say!("{}, {count} numbers in {pieces}", kind.and_then(Value::as_str).unwrap_or("?"))?;
    for (key, value) in config.iter().filter(|(_, value)| !value.is_null()) {
        say!("  {key} = {value}")?;
    }
    for (name, tensor) in &tensors {
        say!("  {name} {:?}", tensor.shape)?;
    }
    Ok(())
}
