//! Where llama.cpp stores a tensor otherwise than Hugging Face does.

use crate::model::checkpoint::{Dtype, View};

/// How llama.cpp stores a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Layout {
    /// As Hugging Face does.
    Same,
    /// The numbers of each of so many heads that turn together are neighbours: first, second, first, second … Hugging Face
    /// has one of the first half turn with one of the second: all firsts, then all seconds.
    Neighbours { heads: usize },
    /// The rows of all queries, of all keys, of all values. Hugging Face has the query, the key and the value of one of so
    /// many heads, then those of the next one.
    ByPart { heads: usize },
    /// A norm's weight, plus one.
    PlusOne,
    /// \[outputs, inputs\], where Hugging Face has a Conv1D's \[inputs, outputs\].
    LinearMap,
}

impl Layout {
    /// How an architecture's tensor is stored; `heads` are those of queries and of keys.
    pub fn of(architecture: &str, tensor: &str, heads: [usize; 2]) -> Layout {
        let module = tensor.strip_suffix(".weight").or(tensor.strip_suffix(".bias")).unwrap_or(tensor);
        let module =
            module.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map_or(module, |(_, m)| m);
        let weight = tensor.ends_with(".weight");
        match (architecture, module) {
            ("llama" | "smollm3", "attn_q") => Layout::Neighbours { heads: heads[0] },
            ("llama" | "smollm3", "attn_k") => Layout::Neighbours { heads: heads[1] },
            ("gptneox", "attn_qkv") => Layout::ByPart { heads: heads[0] },
            ("gemma" | "gemma2" | "gemma3", norm) if norm.ends_with("norm") && weight => Layout::PlusOne,
            ("gpt2", "attn_qkv" | "attn_output" | "ffn_up" | "ffn_down") if weight => Layout::LinearMap,
            _ => Layout::Same,
        }
    }

    /// A tensor of a GGUF file as Hugging Face has it; none if its rows are not those of so many heads.
    pub fn restored(self, view: &View) -> Option<View> {
        match self {
            Layout::Same => Some(view.clone()),
            Layout::Neighbours { heads } => permuted(view, heads, 2, |head, place| {
                let (first, within) = (place / head * head, place % head);
                first + 2 * (within % (head / 2)) + within / (head / 2)
            }),
            Layout::ByPart { heads } => permuted(view, 3 * heads, 1, |head, place| {
                let (slot, within) = (place / head, place % head);
                (slot % 3 * heads + slot / 3) * head + within
            }),
            Layout::PlusOne => Some(shifted(view, -1.0)),
            Layout::LinearMap => Some(view.clone().into_linear_map()),
        }
    }

    /// The way back.
    pub fn stored(self, view: &View) -> Option<View> {
        match self {
            Layout::Same => Some(view.clone()),
            Layout::Neighbours { heads } => permuted(view, heads, 2, |head, place| {
                let (first, within) = (place / head * head, place % head);
                first + within % 2 * (head / 2) + within / 2
            }),
            Layout::ByPart { heads } => permuted(view, 3 * heads, 1, |head, place| {
                let (slot, within) = (place / head, place % head);
                (slot % heads * 3 + slot / heads) * head + within
            }),
            Layout::PlusOne => Some(shifted(view, 1.0)),
            Layout::LinearMap if view.is_linear_map() => Some(view.clone()),
            Layout::LinearMap => transposed(view),
        }
    }
}

/// The tensor with the row at each place coming from the place that `from` tells of it and the rows of a slot; none if the
/// rows are not so many slots of a multiple of `unit` rows.
fn permuted(view: &View, slots: usize, unit: usize, from: impl Fn(usize, usize) -> usize) -> Option<View> {
    let rows = *view.shape.first()?;
    let slot = rows.checked_div(slots).filter(|slot| slot * slots == rows && slot.is_multiple_of(unit))?;
    let view = if view.is_cuttable() { view.clone() } else { view.widened() };
    let whole = view.bytes();
    let row = whole.len().checked_div(rows)?;
    let bytes = (0..rows).flat_map(|place| &whole[from(slot, place) * row..][..row]).copied().collect();
    Some(view.with_bytes(bytes))
}

fn shifted(view: &View, by: f32) -> View {
    let bytes = view.to_f32().iter().flat_map(|number| (number + by).to_le_bytes()).collect();
    View::of(Dtype::F32, view.shape.clone(), bytes)
}

/// Rows become columns.
fn transposed(view: &View) -> Option<View> {
    let [rows, cols] = view.shape.as_slice() else { return None };
    let numbers = view.to_f32();
    let turned = (0..*cols).flat_map(|col| (0..*rows).map(move |row| (row, col)));
    let bytes = turned.flat_map(|(row, col)| numbers[row * cols + col].to_le_bytes()).collect();
    Some(View::of(Dtype::F32, vec![*cols, *rows], bytes))
}
