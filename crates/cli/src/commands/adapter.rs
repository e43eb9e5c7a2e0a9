//! adapter inspect | export

use super::{print_json, say};
use crate::arguments::ExportOptions;
use crate::dashboard::Dashboard;
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;
use tenfold::adapter::Context;
use tenfold::adapter::export::{self, Export};
use tenfold::adapter::file::{self, Holds, LABELS, Stored};
use tenfold::device;
use tenfold::model::checkpoint::read_tensors;
use tenfold::model::store;
use tenfold::plain_file;
use tenfold::words::{self, one_line};

pub fn inspect(folder: &Path, json: bool) -> Result<()> {
    let stored = Stored::open(folder)?;
    let method = stored.method()?;
    let tensors = read_tensors(&stored.tensors_file)?;
    let count: usize = tensors.values().map(|tensor| tensor.data.len()).sum();
    let about = stored.about.as_ref().and_then(|about| serde_json::to_value(about).ok());
    // Settings that cannot be carried out are told as when the adapter is read, beside what the files hold.
    let faults = stored.settings(method).err().map(|error| error.to_string());
    if json {
        let shapes: Value =
            tensors.iter().map(|(name, tensor)| (name.clone(), json!(tensor.shape))).collect();
        return print_json(&json!({
            "method": method.name,
            "loads": method.loads(),
            "config": stored.config,
            "about": about,
            "labels": labels(folder),
            "parameters": count,
            "tensors": shapes,
            "fault": faults,
        }));
    }
    let pieces = words::count(tensors.len(), "tensor");
    say!("{}, {count} numbers in {pieces}", method.peft_type.unwrap_or(method.name))?;
    say!("  loads in: {}", method.loads())?;
    if let Some(fault) = faults {
        say!("  not supported: {fault}")?;
    }
    for (key, value) in stored.config.iter().filter(|(_, value)| !value.is_null()) {
        say!("  {} = {value}", one_line(key))?;
    }
    for (key, value) in about.iter().filter_map(Value::as_object).flatten() {
        say!("  {} {key} = {value}", file::ABOUT)?;
    }
    if let Some(labels) = labels(folder) {
        say!("  {LABELS} = {labels}")?;
    }
    for (name, tensor) in &tensors {
        say!("  {} {:?}", one_line(name), tensor.shape)?;
    }
    Ok(())
}

/// The labels' names, as they stand there.
fn labels(folder: &Path) -> Option<Value> {
    serde_json::from_slice(&plain_file::read(&folder.join(LABELS), plain_file::SETTINGS).ok()?).ok()
}

pub fn export(request: &ExportOptions, dashboard: &Dashboard) -> Result<()> {
    let located = match &request.model {
        Some(model) => store::locate(model, dashboard)?,
        None => export::base_model(&request.adapter, dashboard)?,
    };
    let backend = device::usual().backend();
    let task = file::task_type(&request.adapter, located.files.usual_task()?)?;
    let (model, tokenizer) = (located.files.load(task, &backend, None)?.model, located.files.tokenizer()?);
    let tokenize = |text: &str| tokenizer.words(text);
    let context = Context { model: &*model, backend: &backend, seed: 0, tokenize: &tokenize };
    let export = Export { adapter: &request.adapter, model_files: &located.files, merged: request.merged };
    let holds = export::export(&export, &context, &request.out, dashboard)?;
    let (what, how) = match holds {
        Holds::Model => ("model", "a whole model for Transformers"),
        _ => ("adapter", "an adapter for PEFT"),
    };
    let out = request.out.display();
    if request.json {
        return print_json(&json!({"out": out.to_string(), "holds": what, "base_model": located.dir()}));
    }
    say!("{out}: {how}, with tokenizer and load.py")?;
    say!("Try it: python {} \"some text\"", request.out.join("load.py").display())
}
