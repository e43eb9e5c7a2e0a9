//! GGUF files as checkpoints: ggml's keys and names in Hugging Face's words.
//!
//! ```text
//! ggml.rs ─┬─ architectures.rs  which are known, and what their tensors are called
//!          ├─ keys.rs           metadata below an architecture's name; what nothing reads is refused or named
//!          ├─ config.rs         these keys as a config.json
//!          └─ layout.rs         tensors that llama.cpp stores in another order, or with another offset
//! ```
//!
//! Weights stay the blocks that they are in the file. Where llama.cpp has rows in another order than Hugging Face, whole
//! rows are moved back, so that an adapter trained here fits the published model.

mod architectures;
mod config;
mod keys;
mod layout;
#[cfg(test)]
mod tests;

pub(super) use architectures::{Architecture, FACTORS, tensors};
pub(super) use layout::Layout;

use super::checkpoint::{Checkpoint, Dtype, View};
use super::config::Config;
use super::gguf::{GgmlType, Gguf};
use crate::error::{Error, Result};
use keys::Keys;
use std::collections::BTreeMap;

/// The configuration and the weights of a file.
pub(super) fn open(gguf: &Gguf) -> Result<(Config, Checkpoint)> {
    let (architecture, keys) = keys_of(gguf)?;
    let config = config::of(architecture, &keys, gguf)?;
    keys.check_unread()?;
    let blocks = keys.number("block_count")? as usize;
    let heads = [keys.number("attention.head_count")?, keys.key_heads()?].map(|heads| heads as usize);
    let mut views = BTreeMap::new();
    for name in gguf.names().filter(|name| !architectures::is_divisors(name)) {
        let (Some(ours), Some(view)) = (architecture.our_name(name, blocks), gguf.get(name)) else {
            let expected =
                format!("a tensor that an {} model of {blocks} blocks (block_count) has", architecture.name);
            return Err(Error::malformed(gguf.file(), name, expected, "a tensor that nothing would use"));
        };
        let view = View::mapped(dtype(view.dtype), view.shape, view.map, view.range);
        let layout = Layout::of(architecture.name, name, heads);
        let view = layout.restored(&view).ok_or_else(|| {
            let expected = format!("the rows of {heads:?} heads (queries, keys) of an even width");
            Error::malformed(gguf.file(), name, expected, format!("shape {:?}", view.shape))
        })?;
        views.insert(ours, view);
    }
    Ok((Config::new(gguf.file(), config), Checkpoint::of(gguf.file(), views)))
}

/// What a person should know about a file that is read all the same: one sentence each.
pub(super) fn remarks(gguf: &Gguf) -> Result<Vec<String>> {
    let (architecture, keys) = keys_of(gguf)?;
    config::of(architecture, &keys, gguf)?;
    Ok(keys.unknown())
}

fn keys_of(gguf: &Gguf) -> Result<(&'static Architecture, Keys<'_>)> {
    let metadata = gguf.metadata();
    match metadata.optional("general.type", super::gguf::Metadata::string)? {
        None | Some("model") => {}
        Some(other) => return Err(metadata.fault("general.type", "\"model\"", format!("{other:?}"))),
    }
    let name = metadata.string("general.architecture")?;
    let architecture = Architecture::named(name).ok_or_else(|| Error::Unsupported {
        what: format!("{}: the architecture {name:?}", gguf.file().display()),
        why: format!("known are {}", Architecture::known()),
    })?;
    Ok((architecture, Keys::new(metadata, architecture.name)))
}

/// ggml's format as a checkpoint's.
pub(super) fn dtype(theirs: GgmlType) -> Dtype {
    match theirs {
        GgmlType::F32 => Dtype::F32,
        GgmlType::F16 => Dtype::F16,
        GgmlType::BF16 => Dtype::BF16,
        blocks => Dtype::Blocks(blocks.dtype()),
    }
}
