//! adapter inspect

use super::{print_json, say};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::path::Path;
use tenfold::adapter::file;
use tenfold::model::checkpoint::read_tensors;
use tenfold::plain_file;
use tenfold::words::{self, one_line};

pub fn inspect(folder: &Path, json: bool) -> Result<()> {
    let path = folder.join(file::CONFIG);
    let text = plain_file::read_text(&path, plain_file::SETTINGS)
        .with_context(|| format!("cannot read {}", path.display()))?;
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
    say!("{}, {count} numbers in {pieces}", one_line(kind.and_then(Value::as_str).unwrap_or("?")))?;
    for (key, value) in config.iter().filter(|(_, value)| !value.is_null()) {
        say!("  {} = {value}", one_line(key))?;
    }
    for (name, tensor) in &tensors {
        say!("  {} {:?}", one_line(name), tensor.shape)?;
    }
    Ok(())
}
