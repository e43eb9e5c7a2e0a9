//! The seam: everything that a device must be able to do.
//!
//! Operations are coarse and work on whole buffers. Shapes and indices are checked above the seam;
//! an implementation may rely on them. A new device implements this one trait.

use crate::buffer::{Buffer, Dtype, Mapped};
use crate::error::{Result, check};
use crate::memory::{Class, Ledger};
use std::sync::Arc;
use tenfold_kernels::activation::Activation;
use tenfold_kernels::adamw::AdamW;
use tenfold_kernels::attention::Spans;
use tenfold_kernels::dropout::Dropout;
use tenfold_kernels::rotary::Turn;

/// Where sequences lie in a batch without padding: sequence `i` is the `lengths[i]` rows from `starts[i]` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged {
    starts: Arc<[usize]>,
    lengths: Arc<[usize]>,
    rows: usize,
}

impl Ragged {
    /// Sequences of the given lengths, one after the other.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Ragged {
        let lengths: Arc<[usize]> = lengths.into_iter().collect();
        let mut rows = 0;
        let starts = lengths.iter().map(|length| {
            rows += length;
            rows - length
        });
        Ragged { starts: starts.collect(), lengths, rows }
    }

    /// Sequences that may each grow to `room` rows: sequence `i` starts at row `i · room`. For the keys in a cache.
    pub fn with_room(lengths: impl IntoIterator<Item = usize>, room: usize) -> Ragged {
        let lengths: Arc<[usize]> = lengths.into_iter().collect();
        let starts = (0..lengths.len()).map(|sequence| sequence * room).collect();
        Ragged { starts, rows: lengths.len() * room, lengths }
    }

    /// How many sequences there are.
    pub fn sequences(&self) -> usize {
        self.lengths.len()
    }

    /// How many rows all sequences take together, with their room.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of each sequence.
    pub fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.lengths.iter().copied()
    }

    /// First row of each sequence.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    pub(crate) fn spans(&self) -> Spans<'_> {
        Spans { starts: &self.starts, lengths: &self.lengths }
    }
}

/// `alpha · a · b + bias`, or the same added onto something.
#[derive(Clone, Copy)]
pub struct MatMul<'a> {
    /// Left operand: [m, k], or [k, m] if transposed.
    pub a: &'a Buffer,
    /// Whether `a` is stored transposed.
    pub a_transposed: bool,
    /// Right operand: [k, n], or [n, k] if transposed. May be a frozen weight of any format.
    pub b: &'a Buffer,
    /// Whether `b` is stored transposed.
    pub b_transposed: bool,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// The dimension that is summed over.
    pub k: usize,
    /// Factor of the product.
    pub alpha: f32,
    /// Added to each row: \[n\].
    pub bias: Option<&'a Buffer>,
}

/// The geometry of an attention.
#[derive(Clone)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Whether a query sees only keys up to its own place.
    pub causal: bool,
    /// How many keys of its sequence a query sees at most, its own and those before it; only with `causal`.
    pub window: Option<usize>,
    /// Scaled scores become c · tanh(score / c).
    pub softcap: Option<f32>,
    /// The distance that the first row of the bias table belongs to.
    pub bias_first: isize,
    /// Where each sequence's queries lie. Where it has fewer than keys, they are its last if `causal`.
    pub queries: Ragged,
    /// Where each sequence's keys and values lie; they may have room.
    pub keys: Ragged,
    /// Keys and values that every query sees besides its sequence.
    pub prefix_len: usize,
    /// Dropout on the probabilities.
    pub dropout: Option<Dropout>,
}

/// Operands of an attention: query \[queries, heads · head_dim\], key and value
/// \[keys, kv_heads · head_dim\], and the prefix \[prefix_len, kv_heads · head_dim\].
#[derive(Clone, Copy)]
pub struct AttentionInputs<'a> {
    /// Queries.
    pub query: &'a Buffer,
    /// Keys.
    pub key: &'a Buffer,
    /// Values.
    pub value: &'a Buffer,
    /// Keys and values of the prefix, if there is one.
    pub prefix: Option<(&'a Buffer, &'a Buffer)>,
    /// What is added to capped scores by distance and head, \[distances, heads\], if anything is.
    pub bias: Option<&'a Buffer>,
}

/// Gradients of an attention, in the shapes of its inputs.
pub struct AttentionGradients {
    /// Of the queries.
    pub query: Buffer,
    /// Of the keys.
    pub key: Buffer,
    /// Of the values.
    pub value: Buffer,
    /// Of the prefix's keys and values, if there is one.
    pub prefix: Option<(Buffer, Buffer)>,
    /// Of the bias, if it was asked for.
    pub bias: Option<Buffer>,
}

/// Gradients of a layer norm.
pub struct NormGradients {
    /// Of the input.
    pub input: Buffer,
    /// Of the weight, if it was asked for.
    pub weight: Option<Buffer>,
    /// Of the bias, if it was asked for.
    pub bias: Option<Buffer>,
}

/// A linear map of hidden states to the logits of a vocabulary, and the label of each row.
#[derive(Clone, Copy)]
pub struct LinearLoss<'a> {
    /// Hidden states \[rows, hidden\].
    pub x: &'a Buffer,
    /// \[classes, hidden\], of any format.
    pub weight: &'a Buffer,
    /// Added to the logits: \[classes\].
    pub bias: Option<&'a Buffer>,
    /// Logits become c · tanh(logit / c).
    pub softcap: Option<f32>,
    /// One class a row.
    pub labels: &'a [u32],
    /// How many classes there are.
    pub classes: usize,
}

/// Gradients of a [`LinearLoss`], those that were asked for.
#[derive(Default)]
pub struct LinearLossGradients {
    /// Of the hidden states.
    pub x: Option<Buffer>,
    /// Of the weight.
    pub weight: Option<Buffer>,
    /// Of the bias.
    pub bias: Option<Buffer>,
}

/// A device. All numbers that operations produce are f32.
pub trait Backend: Send + Sync {
    /// Name for records: "cpu", "reference", "dry".
    fn name(&self) -> &'static str;
    /// Whether its buffers hold numbers; if not ([`Dry`](crate::Dry)), nobody need read any for it.
    fn holds_numbers(&self) -> bool {
        true
    }
    /// The account of this backend's memory.
    fn ledger(&self) -> &Arc<Ledger>;

    /// Copies numbers in.
    fn upload(&self, class: Class, numbers: Vec<f32>) -> Result<Buffer>;
    /// Takes `len` frozen numbers in as bytes of any format; [`Tensor::frozen`](crate::Tensor::frozen) has checked that
    /// they are as many as the format wants.
    fn upload_frozen(&self, class: Class, dtype: Dtype, len: usize, bytes: Vec<u8>) -> Result<Buffer>;
    /// Takes `len` frozen numbers from a file, without a copy where the device can; checked likewise.
    fn map(&self, class: Class, len: usize, mapped: Mapped) -> Result<Buffer>;
    /// Copies numbers out; frozen formats are widened.
    fn download(&self, buffer: &Buffer) -> Result<Vec<f32>>;
    /// `len` zeros.
    fn zeros(&self, class: Class, len: usize) -> Result<Buffer>;

    /// The product, added onto `onto` where that is given.
    fn matmul(&self, product: &MatMul, onto: Option<Buffer>) -> Result<Buffer>;
    /// `a + b`.
    fn add(&self, a: &Buffer, b: &Buffer) -> Result<Buffer>;
    /// `a += b`.
    fn add_assign(&self, a: &mut Buffer, b: &Buffer) -> Result<()>;
    /// `alpha · x`.
    fn scale(&self, x: &Buffer, alpha: f32) -> Result<Buffer>;
    /// Sum over rows: \[rows, cols\] -> \[cols\].
    fn column_sums(&self, x: &Buffer, cols: usize) -> Result<Buffer>;
    /// Every row times `l`: \[rows, cols\], \[cols\] -> \[rows, cols\].
    fn scale_columns(&self, x: &Buffer, l: &Buffer) -> Result<Buffer>;
    /// Gradient of [`Backend::scale_columns`] with respect to `l`.
    fn scale_columns_gradient(&self, x: &Buffer, l: &Buffer, dy: &Buffer) -> Result<Buffer>;
    /// Columns `first..first + width` of rows of `cols`.
    fn columns(&self, x: &Buffer, cols: usize, first: usize, width: usize) -> Result<Buffer>;
    /// Its gradient: `dy` at its place among zeros, or added to its place in `onto`.
    fn columns_gradient(
        &self,
        dy: &Buffer,
        cols: usize,
        first: usize,
        width: usize,
        onto: Option<Buffer>,
    ) -> Result<Buffer>;

    /// The activation of every element.
    fn activation(&self, kind: Activation, x: &Buffer) -> Result<Buffer>;
    /// Its gradient, from the input.
    fn activation_gradient(&self, kind: Activation, x: &Buffer, dy: &Buffer) -> Result<Buffer>;
    /// `kind(gate) · up` of every element.
    fn gated(&self, kind: Activation, gate: &Buffer, up: &Buffer) -> Result<Buffer>;
    /// Its gradients with respect to `gate` and `up`, from both.
    fn gated_gradient(
        &self,
        kind: Activation,
        gate: &Buffer,
        up: &Buffer,
        dy: &Buffer,
    ) -> Result<(Buffer, Buffer)>;
    /// `c · tanh(x / c)` of every element.
    fn softcap(&self, x: &Buffer, c: f32) -> Result<Buffer>;
    /// Its gradient, from the result.
    fn softcap_gradient(&self, y: &Buffer, c: f32, dy: &Buffer) -> Result<Buffer>;
    /// Counter-based dropout of rows; applied to the gradient it is its own backward.
    fn dropout(&self, dropout: &Dropout, x: &Buffer) -> Result<Buffer>;

    /// Layer norm over rows of `weight.len()`; returns the result, and means and reciprocal deviations.
    fn layer_norm(
        &self,
        x: &Buffer,
        weight: &Buffer,
        bias: &Buffer,
        eps: f32,
    ) -> Result<(Buffer, Buffer, Buffer)>;
    /// Its gradients; `affine` says whether weight and bias want theirs.
    fn layer_norm_gradient(
        &self,
        x: &Buffer,
        weight: &Buffer,
        statistics: (&Buffer, &Buffer),
        dy: &Buffer,
        affine: (bool, bool),
    ) -> Result<NormGradients>;

    /// RMS norm over rows of `weight.len()` numbers; returns the result and the reciprocal of each row's root mean
    /// square.
    fn rms_norm(&self, x: &Buffer, weight: &Buffer, eps: f32, offset: f32) -> Result<(Buffer, Buffer)>;
    /// Its gradients with respect to `x`, and to `weight` if `affine`.
    fn rms_norm_gradient(
        &self,
        x: &Buffer,
        weight: &Buffer,
        offset: f32,
        rrms: &Buffer,
        dy: &Buffer,
        affine: bool,
    ) -> Result<(Buffer, Option<Buffer>)>;
    /// Turns heads of `rows` rows by their angles; turning back is the gradient of turning forward.
    fn rotary(
        &self,
        x: &Buffer,
        cos: &Buffer,
        sin: &Buffer,
        rows: usize,
        head_dim: usize,
        turn: Turn,
    ) -> Result<Buffer>;

    /// Rows of a table: \[ids.len(), cols\].
    fn rows(&self, table: &Buffer, cols: usize, ids: &[u32]) -> Result<Buffer>;
    /// Copies rows of `x` over the rows `at` of `table`, which is written in place.
    fn write_rows(&self, x: &Buffer, cols: usize, at: &[u32], table: &mut Buffer) -> Result<()>;
    /// Adds each row of `dy` onto the row of `table` it came from.
    fn scatter_rows(&self, dy: &Buffer, cols: usize, ids: &[u32], table: &mut Buffer) -> Result<()>;

    /// Attention; returns the result \[tokens, heads · head_dim\] and the log-sum-exp \[tokens, heads\].
    fn attention(&self, shape: &AttentionShape, inputs: AttentionInputs) -> Result<(Buffer, Buffer)>;
    /// Its gradients; `saved` is what [`Backend::attention`] returned, `bias_wanted` whether the bias wants one.
    fn attention_gradient(
        &self,
        shape: &AttentionShape,
        inputs: AttentionInputs,
        saved: (&Buffer, &Buffer),
        dy: &Buffer,
        bias_wanted: bool,
    ) -> Result<AttentionGradients>;

    /// Sum of the cross-entropies of rows of `classes` logits, in nats, and the log-sum-exp of each row.
    fn cross_entropy(
        &self,
        logits: &Buffer,
        classes: usize,
        labels: &[u32],
        smoothing: f32,
    ) -> Result<(f64, Buffer)>;
    /// Its gradient, times `scale`.
    fn cross_entropy_gradient(
        &self,
        logits: &Buffer,
        classes: usize,
        labels: &[u32],
        smoothing: f32,
        lse: &Buffer,
        scale: f32,
    ) -> Result<Buffer>;

    /// Mean cross-entropy of a linear map's logits in nats, and its gradients with respect to input, weight and bias as
    /// far as `wanted`. Of the logits only some megabytes exist at a time.
    fn linear_cross_entropy(
        &self,
        loss: &LinearLoss,
        wanted: [bool; 3],
    ) -> Result<(f64, LinearLossGradients)>;
    /// `ln p(label)` of each row, the same way.
    fn linear_log_probabilities(&self, loss: &LinearLoss) -> Result<Vec<f32>>;

    /// Sum of squares, for clipping.
    fn sum_of_squares(&self, x: &Buffer) -> Result<f64>;
    /// One AdamW step in place; `step` counts from 1, `gradient_scale` is the factor of clipping.
    #[allow(clippy::too_many_arguments)]
    fn adamw(
        &self,
        settings: &AdamW,
        step: u64,
        parameter: &mut Buffer,
        gradient: &Buffer,
        gradient_scale: f32,
        first_moment: &mut Buffer,
        second_moment: &mut Buffer,
    ) -> Result<()>;
}

impl Ragged {
    /// Refuses unless the sequences have `rows` rows together and no room between them.
    pub(crate) fn check(&self, operation: &'static str, rows: usize) -> Result<()> {
        let dense = self.lengths().sum::<usize>() == self.rows;
        self.check_room(operation, if dense { rows } else { usize::MAX })
    }

    /// Refuses unless the sequences take `rows` rows together, none of them more than its room.
    pub(crate) fn check_room(&self, operation: &'static str, rows: usize) -> Result<()> {
        let ends = self.starts[..].iter().skip(1).copied().chain([self.rows]);
        let fits =
            self.starts.iter().zip(self.lengths()).zip(ends).all(|((start, len), end)| start + len <= end);
        let expected = || format!("{} rows for {} sequences", self.rows, self.sequences());
        check(operation, fits && self.rows == rows, expected, || {
            format!("{rows} rows for {:?}", self.lengths)
        })
    }
}
