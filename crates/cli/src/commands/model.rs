//! model pull | inspect | quantize

use super::{print_json, say};
use crate::dashboard::Dashboard;
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tenfold::Error;
use tenfold::bytes::Bytes;
use tenfold::device;
use tenfold::model::gguf::Gguf;
use tenfold::model::quantize::Kept;
use tenfold::model::{self, store};
use tenfold::progress::told_if_slow;
use tenfold::words::{count, one_line};
use tenfold_tensor::Dtype;

/// How many tensors of a kind are named.
const SHOWN: usize = 5;

pub fn pull(name: &str, json: bool, dashboard: &Dashboard) -> Result<()> {
    let located = store::locate(name, dashboard)?;
    if json {
        return print_json(&json!({"name": name, "folder": located.dir(), "sha256": located.weights_sha256}));
    }
    say!("{}\nits weights have SHA-256 {}", located.dir().display(), located.weights_sha256)
}

pub fn inspect(name: &str, json: bool, dashboard: &Dashboard) -> Result<()> {
    let located = store::locate(name, dashboard)?;
    let file = located.files.gguf()?;
    // Before the model, which may be of a family that is not known.
    if let Some(file) = file.as_ref().filter(|_| !json) {
        describe(file)?;
    }
    let task = located.files.usual_task()?;
    let reading = format!("reading {name}");
    let model =
        told_if_slow(dashboard, &reading, || located.files.load(task, &device::usual().backend(), None))?
            .model;
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
            "gguf": file.as_deref().map(described),
        }));
    }
    say!("{} in {}", model.family(), located.dir().display())?;
    say!("{parameters} parameters without a head")?;
    say!(
        "{}, {} wide, {}, {} words, {} positions",
        count(extents.num_layers, "layer"),
        extents.hidden_size,
        count(extents.num_attention_heads, "head"),
        extents.vocab_size,
        extents.max_positions
    )?;
    say!("linear maps (target_modules takes paths, or suffixes of them):")?;
    for linear in model.linears() {
        say!("  {:52} {:>6} -> {}", linear.site.path, linear.site.inputs, linear.site.outputs)?;
    }
    Ok(())
}

pub fn quantize(name: &str, weights: &str, out: &Path, json: bool, dashboard: &Dashboard) -> Result<()> {
    let format = Dtype::from_name(weights).filter(|format| format.can_quantize()).ok_or_else(|| {
        let written = Dtype::ALL.into_iter().filter(|format| format.can_quantize());
        Error::unknown("format of weights", weights, written.map(Dtype::name))
    })?;
    let located = store::locate(name, dashboard)?;
    let written = model::quantize::quantize(&located.files, format, out, dashboard)?;
    let after: usize = written.formats.values().map(|[_, bytes]| bytes).sum();
    if json {
        let formats = named(written.formats.iter().map(|(format, counts)| (format.as_str(), *counts)));
        let kept = written.kept.iter().map(|(why, names)| json!({"why": why.words(), "tensors": names}));
        return print_json(&json!({"out": out, "formats": formats, "bytes_before": written.bytes_before,
            "bytes": after, "changed": written.changed, "already": written.already, "kept": kept.collect::<Vec<_>>()}));
    }
    say!("{}", out.display())?;
    for (format, [tensors, bytes]) in &written.formats {
        say!("  {format:6} {tensors:>5} tensors {:>10}", Bytes(*bytes as u64).words())?;
    }
    match (written.changed, written.already) {
        (0, already) => say!("  no number changed: {} in {weights} already", count(already, "tensor"))?,
        (changed, 0) => say!("  {} brought into {weights}", count(changed, "tensor"))?,
        (changed, already) => {
            say!("  {} brought into {weights}, {already} in it already", count(changed, "tensor"))?
        }
    }
    for (why, names) in &written.kept {
        say!("  {} left: {}", count(names.len(), "tensor"), why.words())?;
        // Everybody expects that norms stay; matrices are named.
        if *why != Kept::Vector {
            names.iter().take(SHOWN).try_for_each(|name| say!("    {name}"))?;
            if names.len() > SHOWN {
                say!("    and {} more", names.len() - SHOWN)?;
            }
        }
    }
    let [before, now] = [written.bytes_before, after].map(|bytes| Bytes(bytes as u64).words());
    say!("  {before} of tensors before, {now} now")
}

fn describe(file: &Gguf) -> Result<()> {
    say!("{}: metadata", file.file().display())?;
    for (key, value) in file.metadata().iter() {
        say!("  {:44} {}", one_line(key), one_line(&value.to_string()))?;
    }
    say!("tensors:")?;
    for (format, [tensors, bytes]) in formats(file) {
        say!("  {format:6} {tensors:>5}, {bytes} bytes")?;
    }
    Ok(())
}

fn described(file: &Gguf) -> Value {
    let metadata: Map<_, _> =
        file.metadata().iter().map(|(key, value)| (key.to_owned(), json!(value.to_string()))).collect();
    json!({"metadata": metadata, "formats": named(formats(file))})
}

/// Tensors and bytes by the name of their format.
fn named<'a>(formats: impl IntoIterator<Item = (&'a str, [usize; 2])>) -> Map<String, Value> {
    let entry = |(format, [tensors, bytes]): (&str, [usize; 2])| {
        (format.to_owned(), json!({"tensors": tensors, "bytes": bytes}))
    };
    formats.into_iter().map(entry).collect()
}

/// How many tensors are in each format, and in how many bytes.
fn formats(file: &Gguf) -> BTreeMap<&'static str, [usize; 2]> {
    let mut formats: BTreeMap<_, [usize; 2]> = BTreeMap::new();
    for view in file.names().filter_map(|name| file.get(name)) {
        let entry = formats.entry(view.dtype.name()).or_default();
        entry[0] += 1;
        entry[1] += view.range.len();
    }
    formats
}
