//! What the two host backends share: memory of the process, and one text for both implementations.

use crate::buffer::{Buffer, Dtype, Mapped};
use crate::memory::{Class, Ledger, Reservation};
use crate::recycle::{Numbers, Recycler};
use std::sync::Arc;
use tenfold_kernels::matmul::Elements;

/// Numbers in the memory of the process.
pub(crate) enum Host {
    F32(Numbers),
    Frozen { dtype: Dtype, len: usize, bytes: Vec<u8> },
    Mapped { len: usize, mapped: Mapped },
}

impl Host {
    pub(crate) fn elements(&self) -> Elements<'_> {
        match self {
            Host::F32(numbers) => Elements::F32(numbers),
            Host::Frozen { dtype, len, bytes } => Elements::new(*dtype, *len, bytes),
            Host::Mapped { len, mapped } => {
                Elements::new(mapped.dtype, *len, &mapped.map[mapped.range.clone()])
            }
        }
    }
}

/// Makes buffers and enters them into its ledger.
pub(crate) struct Memory {
    pub(crate) ledger: Arc<Ledger>,
    recycler: Arc<Recycler<Vec<f32>>>,
}

impl Memory {
    pub(crate) fn new() -> Memory {
        Memory { ledger: Ledger::new(), recycler: Arc::default() }
    }

    pub(crate) fn buffer(&self, class: Option<Class>, host: Host) -> Buffer {
        let (len, dtype, bytes) = match &host {
            Host::F32(numbers) => (numbers.len(), Dtype::F32, numbers.bytes()),
            Host::Frozen { dtype, len, bytes } => (*len, *dtype, bytes.len()),
            Host::Mapped { len, mapped } => (*len, mapped.dtype, mapped.range.len()),
        };
        let reservation = Reservation::new(&self.ledger, class, bytes as u64);
        Buffer::new(host, len, dtype, reservation)
    }

    /// `len` floats that hold anything.
    pub(crate) fn unwritten(&self, len: usize) -> Numbers {
        self.recycler.take(len)
    }

    /// A buffer of the current phase.
    pub(crate) fn result(&self, numbers: impl Into<Numbers>) -> Buffer {
        self.buffer(None, Host::F32(numbers.into()))
    }

    /// A buffer of the current phase that `fill` writes whole.
    pub(crate) fn filled(&self, len: usize, fill: impl FnOnce(&mut [f32])) -> Buffer {
        let mut numbers = self.unwritten(len);
        fill(&mut numbers);
        self.result(numbers)
    }

    /// Keeps bytes of `len` numbers as they are, but f32 as floats: operations read them in place.
    pub(crate) fn frozen(&self, class: Class, dtype: Dtype, len: usize, bytes: Vec<u8>) -> Buffer {
        let host = match dtype {
            Dtype::F32 => Host::F32(Elements::new(dtype, len, &bytes).to_f32().into()),
            _ => Host::Frozen { dtype, len, bytes },
        };
        self.buffer(Some(class), host)
    }

    /// Keeps the mapping where the processor can read it in place, and copies it where it cannot.
    pub(crate) fn map(&self, class: Class, len: usize, mapped: Mapped) -> Buffer {
        let elements = Elements::new(mapped.dtype, len, &mapped.map[mapped.range.clone()]);
        let host = match (mapped.dtype, elements) {
            (Dtype::F32, Elements::Stored(_)) => Host::F32(elements.to_f32().into()),
            _ => Host::Mapped { len, mapped },
        };
        self.buffer(Some(class), host)
    }
}

/// The numbers of a buffer of either host backend.
pub(crate) fn elements(buffer: &Buffer) -> Elements<'_> {
    buffer.storage::<Host>().expect("a buffer of a host backend").elements()
}

/// The numbers of an f32 buffer. Operations check the format above the seam.
pub(crate) fn read(buffer: &Buffer) -> &[f32] {
    match elements(buffer) {
        Elements::F32(numbers) => numbers,
        _ => unreachable!("frozen formats are refused above the seam"),
    }
}

/// The numbers of an f32 buffer that this process owns.
pub(crate) fn write(buffer: &mut Buffer) -> &mut [f32] {
    match buffer.storage_mut::<Host>() {
        Some(Host::F32(numbers)) => numbers,
        _ => unreachable!("only owned f32 buffers are written to"),
    }
}

/// Implements `Backend` for a struct with a field `memory: Memory`, in terms of the kernel modules
/// that are in scope where it stands: the fast ones in `cpu.rs`, their references in `reference.rs`.
macro_rules! implement_backend {
    ($backend:ty, $name:literal) => {
        const LINEAR_LOSS: Kernels = Kernels {
            matmul,
            cross_entropy: cross_entropy::in_place,
            column_sums: elementwise::column_sums,
            add_assign: elementwise::add_assign,
        };

        impl $crate::Backend for $backend {
            fn name(&self) -> &'static str {
                $name
            }

            fn ledger(&self) -> &Arc<Ledger> {
                &self.memory.ledger
            }

            fn upload(&self, class: Class, numbers: Vec<f32>) -> Result<Buffer> {
                Ok(self.memory.buffer(Some(class), Host::F32(numbers.into())))
            }

            fn upload_frozen(
                &self,
                class: Class,
                dtype: Dtype,
                len: usize,
                bytes: Vec<u8>,
            ) -> Result<Buffer> {
                Ok(self.memory.frozen(class, dtype, len, bytes))
            }

            fn map(&self, class: Class, len: usize, mapped: Mapped) -> Result<Buffer> {
                Ok(self.memory.map(class, len, mapped))
            }

            fn download(&self, buffer: &Buffer) -> Result<Vec<f32>> {
                Ok(elements(buffer).to_f32())
            }

            fn zeros(&self, class: Class, len: usize) -> Result<Buffer> {
                Ok(self.memory.buffer(Some(class), Host::F32(vec![0.0; len].into())))
            }

            fn matmul(&self, product: &MatMul, onto: Option<Buffer>) -> Result<Buffer> {
                let MatMul { a, b, m, n, k, .. } = *product;
                let a = Matrix { elements: elements(a), rows: m, cols: k, transposed: product.a_transposed };
                let b = Matrix { elements: elements(b), rows: k, cols: n, transposed: product.b_transposed };
                let bias = product.bias.map(read);
                Ok(match onto {
                    Some(mut sum) => {
                        matmul(product.alpha, a, b, bias, true, write(&mut sum));
                        sum
                    }
                    None => self.memory.filled(m * n, |out| matmul(product.alpha, a, b, bias, false, out)),
                })
            }

            fn add(&self, a: &Buffer, b: &Buffer) -> Result<Buffer> {
                Ok(self.memory.filled(a.len(), |out| elementwise::add(read(a), read(b), out)))
            }

            fn add_assign(&self, a: &mut Buffer, b: &Buffer) -> Result<()> {
                elementwise::add_assign(write(a), read(b));
                Ok(())
            }

            fn scale(&self, x: &Buffer, alpha: f32) -> Result<Buffer> {
                Ok(self.memory.filled(x.len(), |out| elementwise::scale(read(x), alpha, out)))
            }

            fn column_sums(&self, x: &Buffer, cols: usize) -> Result<Buffer> {
                Ok(self.memory.filled(cols, |out| elementwise::column_sums(read(x), cols, out)))
            }

            fn scale_columns(&self, x: &Buffer, l: &Buffer) -> Result<Buffer> {
                Ok(self.memory.filled(x.len(), |out| elementwise::scale_columns(read(x), read(l), out)))
            }

            fn scale_columns_gradient(&self, x: &Buffer, l: &Buffer, dy: &Buffer) -> Result<Buffer> {
                Ok(self.memory.filled(l.len(), |out| {
                    elementwise::scale_columns_backward(read(x), read(l), read(dy), None, Some(out))
                }))
            }

            fn columns(&self, x: &Buffer, cols: usize, first: usize, width: usize) -> Result<Buffer> {
                let len = x.len() / cols * width;
                Ok(self.memory.filled(len, |out| elementwise::columns(read(x), cols, first, width, out)))
            }

            fn columns_gradient(
                &self,
                dy: &Buffer,
                cols: usize,
                first: usize,
                width: usize,
                onto: Option<Buffer>,
            ) -> Result<Buffer> {
                if let Some(mut sum) = onto {
                    elementwise::columns_backward(read(dy), cols, first, width, true, write(&mut sum));
                    return Ok(sum);
                }
                Ok(self.memory.filled(dy.len() / width * cols, |dx| {
                    elementwise::columns_backward(read(dy), cols, first, width, false, dx);
                }))
            }

            fn activation(&self, kind: Activation, x: &Buffer) -> Result<Buffer> {
                Ok(self.memory.filled(x.len(), |out| activation::forward(kind, read(x), out)))
            }

            fn activation_gradient(&self, kind: Activation, x: &Buffer, dy: &Buffer) -> Result<Buffer> {
                Ok(self.memory.filled(x.len(), |dx| activation::backward(kind, read(x), read(dy), dx)))
            }

            fn gated(&self, kind: Activation, gate: &Buffer, up: &Buffer) -> Result<Buffer> {
                Ok(self.memory.filled(gate.len(), |out| gated::forward(kind, read(gate), read(up), out)))
            }

            fn gated_gradient(
                &self,
                kind: Activation,
                gate: &Buffer,
                up: &Buffer,
                dy: &Buffer,
            ) -> Result<(Buffer, Buffer)> {
                let mut dup = self.memory.unwritten(up.len());
                let dgate = self.memory.filled(gate.len(), |dgate| {
                    gated::backward(kind, read(gate), read(up), read(dy), dgate, &mut dup);
                });
                Ok((dgate, self.memory.result(dup)))
            }

            fn softcap(&self, x: &Buffer, c: f32) -> Result<Buffer> {
                Ok(self.memory.filled(x.len(), |out| softcap::forward(read(x), c, out)))
            }

            fn softcap_gradient(&self, y: &Buffer, c: f32, dy: &Buffer) -> Result<Buffer> {
                Ok(self.memory.filled(y.len(), |dx| softcap::backward(read(y), c, read(dy), dx)))
            }

            fn dropout(&self, dropout: &Dropout, x: &Buffer) -> Result<Buffer> {
                Ok(self.memory.filled(x.len(), |out| dropout::apply(dropout, read(x), out)))
            }

            fn layer_norm(
                &self,
                x: &Buffer,
                weight: &Buffer,
                bias: &Buffer,
                eps: f32,
            ) -> Result<(Buffer, Buffer, Buffer)> {
                let rows = x.len() / weight.len();
                let (mut mean, mut deviation) = (vec![0.0; rows], vec![0.0; rows]);
                let y = self.memory.filled(x.len(), |y| {
                    layer_norm::forward(read(x), read(weight), read(bias), eps, y, &mut mean, &mut deviation);
                });
                Ok((y, self.memory.result(mean), self.memory.result(deviation)))
            }

            fn layer_norm_gradient(
                &self,
                x: &Buffer,
                weight: &Buffer,
                statistics: (&Buffer, &Buffer),
                dy: &Buffer,
                affine: (bool, bool),
            ) -> Result<NormGradients> {
                let cols = weight.len();
                let mut dweight = affine.0.then(|| vec![0.0; cols]);
                let mut dbias = affine.1.then(|| vec![0.0; cols]);
                let (mean, deviation) = (read(statistics.0), read(statistics.1));
                let input = self.memory.filled(x.len(), |dx| {
                    let (dw, db) = (dweight.as_deref_mut(), dbias.as_deref_mut());
                    layer_norm::backward(read(x), read(weight), mean, deviation, read(dy), dx, dw, db);
                });
                let buffer = |numbers: Vec<f32>| self.memory.result(numbers);
                Ok(NormGradients { input, weight: dweight.map(buffer), bias: dbias.map(buffer) })
            }

            fn rms_norm(
                &self,
                x: &Buffer,
                weight: &Buffer,
                eps: f32,
                offset: f32,
            ) -> Result<(Buffer, Buffer)> {
                let mut rrms = self.memory.unwritten(x.len() / weight.len());
                let y = self.memory.filled(x.len(), |y| {
                    rms_norm::forward(read(x), read(weight), eps, offset, y, &mut rrms);
                });
                Ok((y, self.memory.result(rrms)))
            }

            fn rms_norm_gradient(
                &self,
                x: &Buffer,
                weight: &Buffer,
                offset: f32,
                rrms: &Buffer,
                dy: &Buffer,
                affine: bool,
            ) -> Result<(Buffer, Option<Buffer>)> {
                let mut dweight = affine.then(|| self.memory.unwritten(weight.len()));
                let dx = self.memory.filled(x.len(), |dx| {
                    let dweight = dweight.as_deref_mut();
                    rms_norm::backward(read(x), read(weight), offset, read(rrms), read(dy), dx, dweight);
                });
                Ok((dx, dweight.map(|dweight| self.memory.result(dweight))))
            }

            fn rotary(
                &self,
                x: &Buffer,
                cos: &Buffer,
                sin: &Buffer,
                rows: usize,
                head_dim: usize,
                turn: Turn,
            ) -> Result<Buffer> {
                Ok(self.memory.filled(x.len(), |out| {
                    rotary::apply(read(x), read(cos), read(sin), rows, head_dim, turn, out);
                }))
            }

            fn rows(&self, table: &Buffer, cols: usize, ids: &[u32]) -> Result<Buffer> {
                let table = elements(table);
                Ok(self.memory.filled(ids.len() * cols, |out| embedding::forward(table, cols, ids, out)))
            }

            fn write_rows(&self, x: &Buffer, cols: usize, at: &[u32], table: &mut Buffer) -> Result<()> {
                let table = write(table);
                for (row, at) in read(x).chunks_exact(cols).zip(at) {
                    table[*at as usize * cols..][..cols].copy_from_slice(row);
                }
                Ok(())
            }

            fn scatter_rows(&self, dy: &Buffer, cols: usize, ids: &[u32], table: &mut Buffer) -> Result<()> {
                embedding::backward(read(dy), cols, ids, write(table));
                Ok(())
            }

            fn attention(&self, shape: &AttentionShape, inputs: AttentionInputs) -> Result<(Buffer, Buffer)> {
                let parameters = attention_parameters(shape, &inputs);
                let [q, k, v, prefix_k, prefix_v] = attention_slices(&inputs);
                let mut lse = self.memory.unwritten(shape.queries.rows() * shape.heads);
                let y = self.memory.filled(q.len(), |out| {
                    attention::forward(&parameters, q, k, v, prefix_k, prefix_v, out, &mut lse);
                });
                Ok((y, self.memory.result(lse)))
            }

            fn attention_gradient(
                &self,
                shape: &AttentionShape,
                inputs: AttentionInputs,
                saved: (&Buffer, &Buffer),
                dy: &Buffer,
                bias_wanted: bool,
            ) -> Result<AttentionGradients> {
                let parameters = attention_parameters(shape, &inputs);
                let [q, k, v, prefix_k, prefix_v] = attention_slices(&inputs);
                let [mut dq, mut dk, mut dv, mut dprefix_k, mut dprefix_v] =
                    [q, k, v, prefix_k, prefix_v].map(|input| self.memory.unwritten(input.len()));
                let wanted = inputs.bias.filter(|_| bias_wanted);
                let mut dbias = wanted.map(|bias| self.memory.unwritten(bias.len()));
                let gradients = AttentionOutputs {
                    dq: &mut dq,
                    dk: &mut dk,
                    dv: &mut dv,
                    dprefix_k: &mut dprefix_k,
                    dprefix_v: &mut dprefix_v,
                    dbias: dbias.as_deref_mut(),
                };
                let (out, lse) = (read(saved.0), read(saved.1));
                attention::backward(&parameters, q, k, v, prefix_k, prefix_v, out, lse, read(dy), gradients);
                let [query, key, value] = [dq, dk, dv].map(|d| self.memory.result(d));
                let prefix = inputs.prefix.is_some().then(|| {
                    let [k, v] = [dprefix_k, dprefix_v].map(|d| self.memory.result(d));
                    (k, v)
                });
                let bias = dbias.map(|d| self.memory.result(d));
                Ok(AttentionGradients { query, key, value, prefix, bias })
            }

            fn cross_entropy(
                &self,
                logits: &Buffer,
                classes: usize,
                labels: &[u32],
                smoothing: f32,
            ) -> Result<(f64, Buffer)> {
                let mut lse = vec![0.0; logits.len() / classes];
                let sum = cross_entropy::forward(read(logits), labels, smoothing, &mut lse);
                Ok((sum, self.memory.result(lse)))
            }

            fn cross_entropy_gradient(
                &self,
                logits: &Buffer,
                _classes: usize,
                labels: &[u32],
                smoothing: f32,
                lse: &Buffer,
                scale: f32,
            ) -> Result<Buffer> {
                Ok(self.memory.filled(logits.len(), |d| {
                    cross_entropy::backward(read(logits), labels, smoothing, read(lse), scale, d);
                }))
            }

            fn linear_cross_entropy(
                &self,
                loss: &LinearLoss,
                wanted: [bool; 3],
            ) -> Result<(f64, LinearLossGradients)> {
                let (log_probabilities, gradients) = linear_loss(&self.memory, &LINEAR_LOSS, loss, wanted);
                let sum: f64 = log_probabilities.iter().map(|l| f64::from(*l)).sum();
                Ok((-sum / loss.labels.len() as f64, gradients))
            }

            fn linear_log_probabilities(&self, loss: &LinearLoss) -> Result<Vec<f32>> {
                Ok(linear_loss(&self.memory, &LINEAR_LOSS, loss, [false; 3]).0)
            }

            fn sum_of_squares(&self, x: &Buffer) -> Result<f64> {
                Ok(elementwise::sum_of_squares(read(x)))
            }

            fn adamw(
                &self,
                settings: &AdamW,
                step: u64,
                parameter: &mut Buffer,
                gradient: &Buffer,
                gradient_scale: f32,
                first_moment: &mut Buffer,
                second_moment: &mut Buffer,
            ) -> Result<()> {
                let (m, v) = (write(first_moment), write(second_moment));
                adamw::step(settings, step, write(parameter), read(gradient), gradient_scale, m, v);
                Ok(())
            }
        }
    };
}
pub(crate) use implement_backend;

use crate::backend::{AttentionInputs, AttentionShape};
use tenfold_kernels::attention::{Attention, Bias};

pub(crate) fn attention_parameters<'a>(
    shape: &'a AttentionShape,
    inputs: &AttentionInputs<'a>,
) -> Attention<'a> {
    Attention {
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        scale: shape.scale,
        causal: shape.causal,
        window: shape.window,
        softcap: shape.softcap,
        bias: inputs.bias.map(|table| Bias { table: read(table), first: shape.bias_first }),
        queries: shape.queries.spans(),
        keys: shape.keys.spans(),
        prefix_len: shape.prefix_len,
        dropout: shape.dropout.as_ref(),
    }
}

/// Query, key, value, and the prefix's key and value (empty where there is none).
pub(crate) fn attention_slices<'a>(inputs: &AttentionInputs<'a>) -> [&'a [f32]; 5] {
    let (prefix_k, prefix_v) = inputs.prefix.map_or((&[][..], &[][..]), |(k, v)| (read(k), read(v)));
    [read(inputs.query), read(inputs.key), read(inputs.value), prefix_k, prefix_v]
}
