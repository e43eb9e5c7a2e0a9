//! Which tensor is written how.

use super::super::{Change, Kept};
use super::Original;
use crate::error::{Error, Result};
use crate::model::checkpoint::{Dtype, Entry, View, bitsandbytes};
use crate::model::source::{Random, Source};
use crate::model::weights::{Loader, out_of_range};
use crate::model::{TaskType, family};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use tenfold_tensor::{Dtype as Format, Meta, first_unfit, quantize};

/// A format in which every number stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plain {
    format: Format,
    dtype: Dtype,
    /// PyTorch's name, as configurations have it.
    pub torch: &'static str,
}

const F32: Plain = Plain { format: Format::F32, dtype: Dtype::F32, torch: "float32" };
const F16: Plain = Plain { format: Format::F16, dtype: Dtype::F16, torch: "float16" };
const BF16: Plain = Plain { format: Format::Bf16, dtype: Dtype::BF16, torch: "bfloat16" };

/// Heads of Hugging Face's task classes: loaded for another task a model has one that is in no file.
const HEADS: [&str; 7] =
    ["classification_head", "classifier", "embed_out", "lm_head", "pre_classifier", "qa_outputs", "score"];

/// Modules that Transformers never has in 4 bits: T5's, which leave the range of half precision.
const KEPT: &str = "wo";

/// What is written.
pub(super) struct Plan {
    /// In the order of their names.
    pub tensors: Vec<Planned>,
    /// The format of all that is not in 4 bits.
    pub rest: Plain,
    /// In 4 bits, the modules that are not.
    pub skipped: Option<Vec<String>>,
}

/// One tensor of the source.
pub(super) struct Planned {
    pub name: String,
    view: View,
    form: Form,
    /// Whether rows become columns: a Conv1D is a linear map in bitsandbytes' files, and nowhere else.
    turned: bool,
    /// What the format asked for has to do with it.
    pub change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Whole numbers.
    AsItIs,
    Plain(Plain),
    /// With the format that bitsandbytes rounds widened numbers to.
    Nf4(Plain),
}

impl Plan {
    pub fn new(original: &Original, format: Format) -> Result<Plan> {
        let rest = match format {
            Format::F32 => F32,
            Format::F16 => F16,
            Format::Bf16 => BF16,
            Format::Nf4 => common(original.checkpoint.views().map(|(_, view)| view)),
            other => {
                return Err(Error::Unsupported {
                    what: format!("a folder with weights in {}", other.name()),
                    why: "safetensors has no blocks of ggml; name a file that ends in .gguf".into(),
                });
            }
        };
        let (linears, nf4) = (linears(original)?, format == Format::Nf4);
        let plan = |(name, view): (&str, &View)| {
            let linear = linears.get(name);
            let conv1d = linear == Some(&true);
            // A row of the linear map's, however it lies here.
            let inputs = view.shape.get(usize::from(!conv1d || view.is_linear_map()));
            let matrix = view.shape.len() == 2;
            let whole = matrix && inputs.is_some_and(|n| n.is_multiple_of(format.block_len()));
            let kept = name.strip_suffix(".weight").is_none_or(|module| module.ends_with(KEPT));
            let left = match nf4 {
                _ if !matrix || view.is_empty() => Some(Kept::Vector),
                true if linear.is_none() => Some(Kept::NotLinear),
                true if kept => Some(Kept::Sensitive),
                true if !whole => Some(Kept::Narrow),
                _ => None,
            };
            let form = match nf4 && left.is_none() {
                _ if !is_floating(view.dtype) => Form::AsItIs,
                true => Form::Nf4(rest),
                false => Form::Plain(rest),
            };
            let before = if nf4 { Dtype::Blocks(Format::Nf4) } else { rest.dtype };
            let change = match left {
                // Without blocks everything is brought into the format, vectors too.
                Some(why) if nf4 => Change::Kept(why),
                _ if view.dtype == before => Change::Already,
                _ => Change::Changed,
            };
            let turned = conv1d && matrix && view.is_linear_map() != matches!(form, Form::Nf4(_));
            Planned { name: name.to_owned(), view: view.clone(), form, turned, change }
        };
        let tensors: Vec<Planned> = original.checkpoint.views().map(plan).collect();
        let skipped = nf4.then(|| skipped(&tensors));
        Ok(Plan { tensors, rest, skipped })
    }
}

impl Planned {
    /// The tensors of the file, whose bytes are the [`contents`](Planned::contents).
    pub fn entries(&self) -> Vec<Entry> {
        let shape = self.shape();
        let dtype = match self.form {
            Form::AsItIs => self.view.dtype,
            Form::Plain(plain) => plain.dtype,
            Form::Nf4(rounded) => return bitsandbytes::entries(&self.name, &shape, rounded.torch),
        };
        vec![Entry { name: self.name.clone(), dtype, shape }]
    }

    /// `file` is the source, for errors.
    pub fn contents(&self, file: &Path) -> Result<Vec<Cow<'_, [u8]>>> {
        match self.form {
            Form::AsItIs => Ok(vec![self.view.bytes()]),
            Form::Plain(plain) => Ok(vec![self.numbers(file, plain.format, plain.dtype)?]),
            Form::Nf4(rounded) => {
                let ours = self.numbers(file, Format::Nf4, Dtype::Blocks(Format::Nf4))?;
                let parts = bitsandbytes::contents(&self.shape(), rounded.torch, &ours);
                Ok(parts.into_iter().map(Cow::Owned).collect())
            }
        }
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.entries().iter().filter_map(Entry::bytes).sum()
    }

    /// As the source has them.
    pub fn bytes_before(&self) -> usize {
        match self.view.dtype {
            Dtype::Blocks(format) => format.bytes(self.view.len()).unwrap_or_default(),
            dtype => self.view.len() * dtype.block().1,
        }
    }

    /// The format's name in the file.
    pub fn format(&self) -> String {
        match self.form {
            Form::AsItIs => format!("{:?}", self.view.dtype),
            Form::Plain(plain) => format!("{:?}", plain.dtype),
            Form::Nf4(_) => Format::Nf4.name().to_owned(),
        }
    }

    fn shape(&self) -> Vec<usize> {
        let mut shape = self.view.shape.clone();
        if self.turned {
            shape.reverse();
        }
        shape
    }

    /// The numbers in a format, as they are where they are in it.
    fn numbers(&self, file: &Path, format: Format, dtype: Dtype) -> Result<Cow<'_, [u8]>> {
        self.view.check_finite(file, &self.name)?;
        if self.view.dtype == dtype && !self.turned {
            return Ok(self.view.bytes());
        }
        let mut numbers = self.view.to_f32();
        if self.turned {
            numbers = turn(&numbers, self.view.shape[1]);
        }
        let bytes = quantize(format, &numbers).ok_or_else(|| {
            let number = first_unfit(format, &numbers).map_or(f32::NAN, |(_, number)| number);
            out_of_range(file, &self.name, format, number)
        })?;
        Ok(Cow::Owned(bytes))
    }
}

/// Rows become columns.
fn turn(numbers: &[f32], cols: usize) -> Vec<f32> {
    let rows = numbers.len() / cols.max(1);
    (0..cols).flat_map(|col| (0..rows).map(move |row| numbers[row * cols + col])).collect()
}

/// The format of all numbers that are not in 4 bits, if it is one; else f32.
fn common<'a>(views: impl Iterator<Item = &'a View>) -> Plain {
    let known = |dtype: Dtype| is_floating(dtype) && dtype != Dtype::Blocks(Format::Nf4);
    let mut dtypes: Vec<Dtype> = views.map(|view| view.dtype).filter(|dtype| known(*dtype)).collect();
    dtypes.dedup();
    match dtypes.as_slice() {
        [only] => [F16, BF16].into_iter().find(|plain| plain.dtype == *only).unwrap_or(F32),
        _ => F32,
    }
}

fn is_floating(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::Blocks(_))
}

/// The weights of linear maps inside of the model, by their names in the file, and which are Conv1D: what the
/// configuration's model has of them, for whatever task.
fn linears(original: &Original) -> Result<BTreeMap<String, bool>> {
    let (config, backend) = (&original.config, Meta::new());
    let source = Source::Random(Random::new(config, 0)?);
    let (family, loader) = (family(config)?, Loader::new(&source, &backend, None));
    // What the model is usually for it must be able to do.
    let usual = (family.load)(config, family.task, &loader)?;
    let others = TaskType::ALL.into_iter().filter_map(|task| (family.load)(config, task, &loader).ok());
    let mut found = BTreeMap::new();
    for model in [usual].into_iter().chain(others) {
        for linear in model.linears() {
            if let Some((name, _)) = original.checkpoint.find(&linear.weight.name) {
                found.insert(name.to_owned(), linear.site.fan_in_fan_out);
            }
        }
    }
    Ok(found)
}

/// Modules that Transformers must leave as they are.
fn skipped(tensors: &[Planned]) -> Vec<String> {
    let plain =
        tensors.iter().filter(|tensor| !matches!(tensor.form, Form::Nf4(_)) && tensor.view.shape.len() > 1);
    let modules = plain.filter_map(|tensor| tensor.name.strip_suffix(".weight"));
    let mut modules: Vec<String> = modules.chain(HEADS).map(str::to_owned).collect();
    modules.sort();
    modules.dedup();
    modules
}
