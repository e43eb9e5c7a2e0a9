//! Weights of safetensors files, memory-mapped: opened, checked and looked up by Hugging Face's full names.

pub(super) mod bitsandbytes;
mod header;
mod stream;
mod tensors;
mod view;

pub use header::Dtype;
pub(super) use stream::{Entry, TensorFile};
pub use tensors::{HostTensor, read_tensors, read_tensors_and_metadata, write_tensors};
pub use view::View;

use super::mapped;
use crate::plain_file;
use crate::{Error, Result, first_bytes};
use header::Header;
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The file that holds all weights of a model that is not sharded.
pub const WEIGHTS: &str = "model.safetensors";
/// The file that tells which shard holds which weight.
pub const INDEX: &str = "model.safetensors.index.json";

/// Bytes of a file that are looked at before its header is.
const LOOKED_AT: usize = 512;

/// The weights of a model's folder.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    file: PathBuf,
    views: BTreeMap<String, View>,
    /// The place of the first number of a tensor that is infinite or none, by the name that the file has for it.
    not_finite: OnceLock<BTreeMap<String, usize>>,
}

impl Checkpoint {
    /// Opens `model.safetensors` in `folder`, or the shards that `model.safetensors.index.json` lists.
    pub fn open(folder: &Path) -> Result<Checkpoint> {
        Checkpoint::open_shards(folder, || weight_map(&folder.join(INDEX)).map(Arc::new))
    }

    /// The same where `weight_map` says which shard holds which tensor; it is asked only of a model in several files.
    pub(super) fn open_shards(
        folder: &Path,
        weight_map: impl FnOnce() -> Result<Arc<BTreeMap<String, String>>>,
    ) -> Result<Checkpoint> {
        let (single, index) = (folder.join(WEIGHTS), folder.join(INDEX));
        if single.is_file() || !index.is_file() {
            return Checkpoint::open_file(&single);
        }
        let mut shards: BTreeMap<String, BTreeMap<String, View>> = BTreeMap::new();
        let mut views = BTreeMap::new();
        for (name, shard) in weight_map()?.iter() {
            if !shards.contains_key(shard) {
                shards.insert(shard.clone(), map_file(&folder.join(shard))?.1);
            }
            let view = shards.get(shard).and_then(|views| views.get(name)).cloned().ok_or_else(|| {
                Error::malformed(
                    &index,
                    format!("weight_map, {name}"),
                    format!("a tensor in {shard}"),
                    "none there",
                )
            })?;
            views.insert(name.clone(), view);
        }
        Ok(Checkpoint::of(&index, bitsandbytes::gather(&index, views)?))
    }

    /// Tensors by Hugging Face's names.
    pub(super) fn of(file: &Path, views: BTreeMap<String, View>) -> Checkpoint {
        Checkpoint { file: file.to_owned(), views, not_finite: OnceLock::new() }
    }

    /// Opens one safetensors file of any name.
    pub fn open_file(file: &Path) -> Result<Checkpoint> {
        let views = bitsandbytes::gather(file, map_file(file)?.1)?;
        Ok(Checkpoint::of(file, views))
    }

    /// The names of all tensors as the file has them, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.views.keys().map(String::as_str)
    }

    /// All tensors by the names that the file has for them, in alphabetical order.
    pub(super) fn views(&self) -> impl Iterator<Item = (&str, &View)> {
        self.views.iter().map(|(name, view)| (name.as_str(), view))
    }

    /// The tensor of that name. A file may leave out the first component of a name (checkpoints of a bare encoder say
    /// `encoder.layer.0…` for `bert.encoder.layer.0…`), may have it where this task's class has none or another
    /// (`model.layers.0…` for `transformer.layers.0…`), may call the output embeddings `embed_out`, as GPT-NeoX's do, and
    /// may call a norm's weight and bias `gamma` and `beta`.
    pub fn get(&self, name: &str) -> Option<View> {
        self.find(name).map(|(_, view)| view.clone())
    }

    /// The same, with the name that the file has for it.
    pub(super) fn find(&self, name: &str) -> Option<(&str, &View)> {
        let short = name.split_once('.').map(|(_, rest)| rest);
        let other = short.map(|short| format!("model.{short}"));
        let older = name.strip_prefix("lm_head.").map(|part| format!("embed_out.{part}"));
        let names = [Some(name.to_owned()), short.map(str::to_owned), other, older].into_iter().flatten();
        let mut spelled = names.flat_map(|name| [old_norm_name(&name), Some(name)]).flatten();
        spelled.find_map(|name| self.views.get_key_value(&name)).map(|(name, view)| (name.as_str(), view))
    }

    /// The tensor of that name (found as by [`Checkpoint::get`]), which must have that shape.
    pub fn require(&self, name: &str, shape: &[usize]) -> Result<View> {
        let Some(view) = self.get(name) else {
            let near = crate::error::nearest(name, self.names());
            let found = near.map_or("none".to_owned(), |near| format!("none (the nearest is {near})"));
            return Err(Error::malformed(&self.file, name, format!("a tensor of shape {shape:?}"), found));
        };
        if view.shape != shape {
            let (expected, found) = (format!("shape {shape:?}"), format!("shape {:?}", view.shape));
            return Err(Error::malformed(&self.file, name, expected, found));
        }
        Ok(view)
    }

    /// Refuses a tensor (found as by [`Checkpoint::get`]) with a number that is infinite or none: it would make every result
    /// one that is none.
    pub(super) fn check_finite(&self, name: &str) -> Result<()> {
        let stored = self.find(name).map(|(stored, _)| stored);
        match stored.and_then(|stored| self.not_finite().get(stored)) {
            None => Ok(()),
            Some(place) => Err(view::not_finite(&self.file, name, *place)),
        }
    }

    /// The place of the first number that is infinite or none, of each tensor that has one, by the name that the file has for
    /// it. The first call reads all weights once, in their own format.
    pub(super) fn not_finite(&self) -> &BTreeMap<String, usize> {
        let look = |(name, view): (&String, &View)| Some((name.clone(), view.first_not_finite()?));
        self.not_finite.get_or_init(|| self.views.par_iter().filter_map(look).collect())
    }

    /// Takes it that all numbers are finite, as was found before of the same files.
    pub(super) fn trust(&self) {
        self.not_finite.get_or_init(BTreeMap::new);
    }

    /// The file the weights come from, for errors.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// Metadata and tensors of a file.
fn map_file(path: &Path) -> Result<(BTreeMap<String, String>, BTreeMap<String, View>)> {
    let length = path.metadata().map_err(Error::io("open", path))?.len();
    if length < 8 {
        return Err(Error::malformed(
            path,
            "byte 0",
            "a header's length in 8 bytes",
            format!("{length} bytes"),
        ));
    }
    let map = mapped::map(path)?;
    if let Some(found) = first_bytes::instead(&map[..map.len().min(LOOKED_AT)]) {
        return Err(Error::malformed(path, "whole file", "weights in the safetensors format", found));
    }
    let header = Header::parse(path, &map)?;
    let view = |(name, entry): (String, header::Entry)| {
        let view = View::mapped(entry.dtype, entry.shape, map.clone(), entry.range);
        (name, view)
    };
    Ok((header.metadata, header.entries.into_iter().map(view).collect()))
}

/// Which shard holds which tensor, as an index says: plain names of files in the index's own folder.
pub(super) fn weight_map(index: &Path) -> Result<BTreeMap<String, String>> {
    let content = first_bytes::read(index, "a JSON object", plain_file::INDEX)?;
    let whole: Map<String, Value> = serde_json::from_slice(&content)
        .map_err(|error| Error::malformed(index, "whole file", "a JSON object", error.to_string()))?;
    let map = whole.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| Error::malformed(index, "weight_map", "an object", "none"))?;
    let mut shards = BTreeMap::new();
    for (name, shard) in map {
        let shard = shard.as_str().filter(|shard| is_file_name(shard)).ok_or_else(|| {
            Error::malformed(
                index,
                format!("weight_map, {name}"),
                "the name of a file beside the index",
                shard.to_string(),
            )
        })?;
        shards.insert(name.clone(), shard.to_owned());
    }
    Ok(shards)
}

/// Whether a name from a file we did not write stays in the folder it is looked for in.
pub(crate) fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    plain && !name.contains(['/', '\\'])
}

fn old_norm_name(name: &str) -> Option<String> {
    let (norm, kind) = name.rsplit_once('.')?;
    let old = match kind {
        "weight" => "gamma",
        "bias" => "beta",
        _ => return None,
    };
    norm.to_lowercase().ends_with("norm").then(|| format!("{norm}.{old}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn host(shape: &[usize]) -> HostTensor {
        let count = shape.iter().product();
        HostTensor { shape: shape.to_vec(), data: (0..count).map(|i| i as f32).collect() }
    }

    fn folder(name: &str, tensors: &[(&str, &[usize])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name, tensors);
        folder
    }

    fn write(folder: &Path, name: &str, tensors: &[(&str, &[usize])]) {
        let tensors = tensors.iter().map(|(name, shape)| (name.to_string(), host(shape))).collect();
        write_tensors(&folder.join(name), &tensors, &BTreeMap::new()).unwrap();
    }

    #[test]
    fn full_names_find_bare_and_old_spellings() {
        let folder = folder(
            WEIGHTS,
            &[
                ("encoder.layer.0.attention.self.query.weight", &[2, 3]),
                ("embeddings.LayerNorm.gamma", &[3]),
                ("bert.pooler.dense.bias", &[2]),
                ("classifier.weight", &[2, 2]),
            ],
        );
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(
            checkpoint.require("bert.encoder.layer.0.attention.self.query.weight", &[2, 3]).unwrap().to_f32(),
            [0., 1., 2., 3., 4., 5.]
        );
        assert!(checkpoint.get("bert.embeddings.LayerNorm.weight").is_some());
        assert!(checkpoint.get("bert.pooler.dense.bias").is_some());
        assert!(checkpoint.get("classifier.weight").is_some());
        assert!(checkpoint.get("classifier.bias").is_none());
        assert_eq!(checkpoint.names().count(), 4);
        let error = checkpoint.require("classifier.weight", &[2, 3]).unwrap_err().to_string();
        assert!(error.contains("classifier.weight: expected shape [2, 3], found shape [2, 2]"), "{error}");
        let error = checkpoint.require("classifier.weights", &[2, 2]).unwrap_err().to_string();
        assert!(error.contains("the nearest is classifier.weight"), "{error}");
    }

    #[test]
    fn shards_are_opened_as_one() {
        let folder = folder("a.safetensors", &[("x", &[2])]);
        write(folder.path(), "b.safetensors", &[("y", &[3])]);
        let index = |content: &str| fs::write(folder.path().join(INDEX), content).unwrap();
        index(r#"{"metadata": {}, "weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(checkpoint.get("y").unwrap().to_f32(), [0., 1., 2.]);
        for (content, expected) in [
            (r#"{"weight_map": {"x": "../a.safetensors"}}"#, "the name of a file beside the index"),
            (r#"{"weight_map": {"x": 1}}"#, "the name of a file beside the index"),
            (r#"{"weight_map": {"z": "a.safetensors"}}"#, "expected a tensor in a.safetensors"),
            (r#"{"weight_map": {"x": "c.safetensors"}}"#, "cannot open"),
            (r#"{}"#, "weight_map"),
            ("nonsense", "a JSON object"),
        ] {
            index(content);
            let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_folder_without_weights_is_an_error_with_the_path() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Checkpoint::open(folder.path()).unwrap_err().to_string().contains("model.safetensors"));
    }

    /// Against the real file, where it is at hand.
    #[test]
    fn all_minilm_opens_by_the_names_of_a_bert_model() {
        let Some(folder) = super::super::store::at_hand("all-minilm-l6-v2") else {
            eprintln!("not run: all-minilm-l6-v2 is neither in TENFOLD_MODEL nor in the cache");
            return;
        };
        let checkpoint = Checkpoint::open(&folder).unwrap();
        checkpoint.require("bert.embeddings.word_embeddings.weight", &[30522, 384]).unwrap();
        checkpoint.require("bert.encoder.layer.5.output.LayerNorm.bias", &[384]).unwrap();
        checkpoint.require("bert.pooler.dense.weight", &[384, 384]).unwrap();
    }
}
