//! The backend without numbers: it books what [`Cpu`](crate::Cpu) would book, and computes nothing.
//!
//! Every operation takes and gives memory in the order in which the host backends do, recycling included; the tests of
//! training hold the two ledgers to be equal.

use crate::backend::{
    AttentionGradients, AttentionInputs, AttentionShape, Backend, LinearLoss, LinearLossGradients, MatMul,
    NormGradients,
};
use crate::buffer::{Buffer, Dtype, Mapped};
use crate::error::Result;
use crate::linear_loss::chunk_rows;
use crate::memory::{Class, Ledger, Reservation};
use crate::products::Tally;
use crate::recycle::{Absent, Floats, Lent, Recycler};
use std::sync::Arc;
use tenfold_kernels::activation::Activation;
use tenfold_kernels::adamw::AdamW;
use tenfold_kernels::dropout::Dropout;
use tenfold_kernels::rotary::Turn;

/// Buffers without storage, and the account of what they would take. What is read from them is 0, but for single
/// numbers that were uploaded.
pub struct Dry {
    ledger: Arc<Ledger>,
    recycler: Arc<Recycler<Absent>>,
    tally: Arc<Tally>,
}

/// What stands for a buffer's memory: its account, and a single number that was uploaded, which may be a gradient's
/// factor and decide what is done.
struct Stand {
    _memory: Option<Lent<Absent>>,
    number: f32,
}

impl Dry {
    /// A backend whose ledger is empty.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> Arc<dyn Backend> {
        Dry::tallying(&Arc::default())
    }

    /// The same, which also counts the matrix products that [`Cpu`](crate::Cpu) would compute.
    pub fn tallying(tally: &Arc<Tally>) -> Arc<dyn Backend> {
        Arc::new(Dry { ledger: Ledger::new(), recycler: Arc::default(), tally: tally.clone() })
    }

    /// Memory of a result, before it is booked.
    fn take(&self, len: usize) -> Lent<Absent> {
        self.recycler.take(len)
    }

    /// A buffer of the current phase over memory that was taken.
    fn result(&self, memory: Lent<Absent>) -> Buffer {
        self.book(None, memory, 0.0)
    }

    /// A buffer of the current phase.
    fn filled(&self, len: usize) -> Buffer {
        self.result(self.take(len))
    }

    /// The same for memory that is not recycled.
    fn plain(&self, len: usize) -> Buffer {
        self.result(Absent::fresh(len).into())
    }

    fn book(&self, class: Option<Class>, memory: Lent<Absent>, number: f32) -> Buffer {
        let (len, bytes) = (memory.count(), memory.bytes() as u64);
        let stand = Stand { _memory: Some(memory), number };
        Buffer::new(stand, len, Dtype::F32, Reservation::new(&self.ledger, class, bytes))
    }

    fn frozen(&self, class: Class, dtype: Dtype, len: usize, bytes: usize) -> Buffer {
        let reservation = Reservation::new(&self.ledger, Some(class), bytes as u64);
        Buffer::new(Stand { _memory: None, number: 0.0 }, len, dtype, reservation)
    }
}

impl Backend for Dry {
    fn name(&self) -> &'static str {
        "dry"
    }

    fn holds_numbers(&self) -> bool {
        false
    }

    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn upload(&self, class: Class, numbers: Vec<f32>) -> Result<Buffer> {
        let number = if let [number] = numbers[..] { number } else { 0.0 };
        Ok(self.book(Some(class), Absent::fresh(numbers.len()).into(), number))
    }

    fn upload_frozen(&self, class: Class, dtype: Dtype, len: usize, bytes: Vec<u8>) -> Result<Buffer> {
        Ok(self.frozen(class, dtype, len, bytes.len()))
    }

    fn map(&self, class: Class, len: usize, mapped: Mapped) -> Result<Buffer> {
        Ok(self.frozen(class, mapped.dtype, len, mapped.range.len()))
    }

    fn download(&self, buffer: &Buffer) -> Result<Vec<f32>> {
        let number = buffer.storage::<Stand>().map_or(0.0, |stand| stand.number);
        Ok(vec![number; buffer.len()])
    }

    fn zeros(&self, class: Class, len: usize) -> Result<Buffer> {
        Ok(self.book(Some(class), Absent::fresh(len).into(), 0.0))
    }

    fn matmul(&self, product: &MatMul, onto: Option<Buffer>) -> Result<Buffer> {
        self.tally.matmul(product);
        Ok(onto.unwrap_or_else(|| self.filled(product.m * product.n)))
    }

    fn add(&self, a: &Buffer, _b: &Buffer) -> Result<Buffer> {
        Ok(self.filled(a.len()))
    }

    fn add_assign(&self, _a: &mut Buffer, _b: &Buffer) -> Result<()> {
        Ok(())
    }

    fn scale(&self, x: &Buffer, _alpha: f32) -> Result<Buffer> {
        Ok(self.filled(x.len()))
    }

    fn column_sums(&self, _x: &Buffer, cols: usize) -> Result<Buffer> {
        Ok(self.filled(cols))
    }

    fn scale_columns(&self, x: &Buffer, _l: &Buffer) -> Result<Buffer> {
        Ok(self.filled(x.len()))
    }

    fn scale_columns_gradient(&self, _x: &Buffer, l: &Buffer, _dy: &Buffer) -> Result<Buffer> {
        Ok(self.filled(l.len()))
    }

    fn columns(&self, x: &Buffer, cols: usize, _first: usize, width: usize) -> Result<Buffer> {
        Ok(self.filled(x.len() / cols * width))
    }

    fn columns_gradient(
        &self,
        dy: &Buffer,
        cols: usize,
        _first: usize,
        width: usize,
        onto: Option<Buffer>,
    ) -> Result<Buffer> {
        Ok(onto.unwrap_or_else(|| self.filled(dy.len() / width * cols)))
    }

    fn activation(&self, _kind: Activation, x: &Buffer) -> Result<Buffer> {
        Ok(self.filled(x.len()))
    }

    fn activation_gradient(&self, _kind: Activation, x: &Buffer, _dy: &Buffer) -> Result<Buffer> {
        Ok(self.filled(x.len()))
    }

    fn gated(&self, _kind: Activation, gate: &Buffer, _up: &Buffer) -> Result<Buffer> {
        Ok(self.filled(gate.len()))
    }

    fn gated_gradient(
        &self,
        _kind: Activation,
        gate: &Buffer,
        up: &Buffer,
        _dy: &Buffer,
    ) -> Result<(Buffer, Buffer)> {
        let dup = self.take(up.len());
        Ok((self.filled(gate.len()), self.result(dup)))
    }

    fn softcap(&self, x: &Buffer, _c: f32) -> Result<Buffer> {
        Ok(self.filled(x.len()))
    }

    fn softcap_gradient(&self, y: &Buffer, _c: f32, _dy: &Buffer) -> Result<Buffer> {
        Ok(self.filled(y.len()))
    }

    fn dropout(&self, _dropout: &Dropout, x: &Buffer) -> Result<Buffer> {
        Ok(self.filled(x.len()))
    }

    fn layer_norm(
        &self,
        x: &Buffer,
        weight: &Buffer,
        _bias: &Buffer,
        _eps: f32,
    ) -> Result<(Buffer, Buffer, Buffer)> {
        let rows = x.len() / weight.len();
        Ok((self.filled(x.len()), self.plain(rows), self.plain(rows)))
    }

    fn layer_norm_gradient(
        &self,
        x: &Buffer,
        weight: &Buffer,
        _statistics: (&Buffer, &Buffer),
        _dy: &Buffer,
        affine: (bool, bool),
    ) -> Result<NormGradients> {
        let input = self.filled(x.len());
        let [weight, bias] = [affine.0, affine.1].map(|wanted| wanted.then(|| self.plain(weight.len())));
        Ok(NormGradients { input, weight, bias })
    }

    fn rms_norm(&self, x: &Buffer, weight: &Buffer, _eps: f32, _offset: f32) -> Result<(Buffer, Buffer)> {
        let rrms = self.take(x.len() / weight.len());
        Ok((self.filled(x.len()), self.result(rrms)))
    }

    fn rms_norm_gradient(
        &self,
        x: &Buffer,
        weight: &Buffer,
        _offset: f32,
        _rrms: &Buffer,
        _dy: &Buffer,
        affine: bool,
    ) -> Result<(Buffer, Option<Buffer>)> {
        let dweight = affine.then(|| self.take(weight.len()));
        Ok((self.filled(x.len()), dweight.map(|dweight| self.result(dweight))))
    }

    fn rotary(
        &self,
        x: &Buffer,
        _cos: &Buffer,
        _sin: &Buffer,
        _rows: usize,
        _head_dim: usize,
        _turn: Turn,
    ) -> Result<Buffer> {
        Ok(self.filled(x.len()))
    }

    fn rows(&self, _table: &Buffer, cols: usize, ids: &[u32]) -> Result<Buffer> {
        Ok(self.filled(ids.len() * cols))
    }

    fn write_rows(&self, _x: &Buffer, _cols: usize, _at: &[u32], _table: &mut Buffer) -> Result<()> {
        Ok(())
    }

    fn scatter_rows(&self, _dy: &Buffer, _cols: usize, _ids: &[u32], _table: &mut Buffer) -> Result<()> {
        Ok(())
    }

    fn attention(&self, shape: &AttentionShape, inputs: AttentionInputs) -> Result<(Buffer, Buffer)> {
        let lse = self.take(shape.queries.rows() * shape.heads);
        Ok((self.filled(inputs.query.len()), self.result(lse)))
    }

    fn attention_gradient(
        &self,
        _shape: &AttentionShape,
        inputs: AttentionInputs,
        _saved: (&Buffer, &Buffer),
        _dy: &Buffer,
        bias_wanted: bool,
    ) -> Result<AttentionGradients> {
        let taken = [inputs.query, inputs.key, inputs.value].map(|input| self.take(input.len()));
        let prefix = inputs.prefix.map(|(key, value)| (self.take(key.len()), self.take(value.len())));
        let bias = inputs.bias.filter(|_| bias_wanted).map(|bias| self.take(bias.len()));
        let [query, key, value] = taken.map(|taken| self.result(taken));
        let prefix = prefix.map(|(key, value)| (self.result(key), self.result(value)));
        Ok(AttentionGradients { query, key, value, prefix, bias: bias.map(|bias| self.result(bias)) })
    }

    fn cross_entropy(
        &self,
        logits: &Buffer,
        classes: usize,
        _labels: &[u32],
        _smoothing: f32,
    ) -> Result<(f64, Buffer)> {
        Ok((0.0, self.plain(logits.len() / classes)))
    }

    fn cross_entropy_gradient(
        &self,
        logits: &Buffer,
        _classes: usize,
        _labels: &[u32],
        _smoothing: f32,
        _lse: &Buffer,
        _scale: f32,
    ) -> Result<Buffer> {
        Ok(self.filled(logits.len()))
    }

    fn linear_cross_entropy(
        &self,
        loss: &LinearLoss,
        wanted: [bool; 3],
    ) -> Result<(f64, LinearLossGradients)> {
        self.tally.linear_loss(loss, wanted);
        let lengths = [loss.x.len(), loss.weight.len(), loss.classes];
        let [x, weight, bias] = [0, 1, 2].map(|which| wanted[which].then(|| self.take(lengths[which])));
        let logits = self.take(chunk_rows(loss.labels.len(), loss.classes) * loss.classes);
        drop(self.book(Some(Class::Workspace), logits, 0.0));
        let [x, weight, bias] = [x, weight, bias].map(|taken| taken.map(|taken| self.result(taken)));
        Ok((0.0, LinearLossGradients { x, weight, bias }))
    }

    fn linear_log_probabilities(&self, loss: &LinearLoss) -> Result<Vec<f32>> {
        self.linear_cross_entropy(loss, [false; 3])?;
        Ok(vec![0.0; loss.labels.len()])
    }

    fn sum_of_squares(&self, _x: &Buffer) -> Result<f64> {
        Ok(0.0)
    }

    fn adamw(
        &self,
        _settings: &AdamW,
        _step: u64,
        _parameter: &mut Buffer,
        _gradient: &Buffer,
        _gradient_scale: f32,
        _first_moment: &mut Buffer,
        _second_moment: &mut Buffer,
    ) -> Result<()> {
        Ok(())
    }
}
