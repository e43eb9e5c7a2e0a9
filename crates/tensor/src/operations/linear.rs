//! Linear maps: `x · weightᵀ + bias`, the shape in which Hugging Face stores weights.

use crate::backend::Backend;
use crate::buffer::Buffer;
use crate::error::{Result, check};
use crate::host::{Host, Kernels, elements, kernel, read, write};
use crate::kept::Kept;
use crate::tensor::Tensor;
use std::sync::Arc;
use tenfold_kernels::matmul::Matrix;

/// `alpha · a · b + bias`, or the same added onto something.
#[derive(Clone, Copy)]
pub struct MatMul<'a> {
    /// Left operand: \[m, k\], or \[k, m\] if transposed.
    pub a: &'a Buffer,
    /// Whether `a` is stored transposed.
    pub a_transposed: bool,
    /// Right operand: \[k, n\], or \[n, k\] if transposed. May be a frozen weight of any format.
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

/// What a device does for linear maps.
pub trait LinearOps {
    /// The product \[m, n\], added onto `onto` where that is given.
    fn matmul(&self, product: &MatMul, onto: Option<Buffer>) -> Result<Buffer>;
    /// Sum over rows: \[rows, cols\] -> \[cols\].
    fn column_sums(&self, x: &Buffer, cols: usize) -> Result<Buffer>;
}

impl<K: Kernels> LinearOps for Host<K> {
    fn matmul(&self, product: &MatMul, onto: Option<Buffer>) -> Result<Buffer> {
        self.kernels.count(product);
        let multiply = |accumulate: bool, out: &mut [f32]| {
            let MatMul { m, n, k, a_transposed, b_transposed, alpha, .. } = *product;
            let a = Matrix { elements: elements(product.a), rows: m, cols: k, transposed: a_transposed };
            let b = Matrix { elements: elements(product.b), rows: k, cols: n, transposed: b_transposed };
            kernel!(K, matmul::matmul)(alpha, a, b, product.bias.map(read), accumulate, out);
        };
        Ok(match onto {
            Some(mut sum) => {
                if Self::COMPUTES {
                    multiply(true, write(&mut sum));
                }
                sum
            }
            None => self.filled(product.m * product.n, |out| multiply(false, out)),
        })
    }

    fn column_sums(&self, x: &Buffer, cols: usize) -> Result<Buffer> {
        Ok(self.filled(cols, |sums| kernel!(K, elementwise::column_sums)(read(x), cols, sums)))
    }
}

impl Tensor {
    /// \[rows, in\] · \[out, in\]ᵀ + \[out\] -> \[rows, out\]. A frozen weight may be of any format.
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.map(Map::new(self, weight, 1.0, Stored::OutIn)?, weight, bias)
    }

    /// \[rows, in\] · \[in, out\] + \[out\] -> \[rows, out\], the shape in which GPT-2 stores weights
    /// (`Conv1D`); a weight's gradient has that shape too.
    pub fn linear_transposed(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.map(Map::new(self, weight, 1.0, Stored::InOut)?, weight, bias)
    }

    fn map(&self, map: Map, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        if let Some(bias) = bias {
            bias.require_f32("linear")?;
            let fits = bias.len() == map.outputs;
            check("linear", fits, || format!("a bias of {}", map.outputs), || bias.len().to_string())?;
        }
        let backend = self.backend().clone();
        let y = backend
            .matmul(&map.forward(self.buffer(), weight.buffer(), bias.map(|b| &**b.buffer())), None)?;
        let bias_trace = bias.map_or(&None, Tensor::trace).clone();
        let inputs = [self.trace(), weight.trace(), &bias_trace];
        let (saved, target) = (map.save(self, weight), bias_trace.clone());
        Ok(Tensor::result(&backend, &inputs, y, map.shape(self), move |dy, gradients| {
            gradients.compute(&target, |backend, onto| {
                sum_onto(backend, backend.column_sums(&dy, map.outputs)?, onto)
            })?;
            saved.backward(&map, &dy, gradients)
        }))
    }

    /// `self + alpha · (x · weightᵀ)`: \[rows, out\] + \[rows, in\] · \[out, in\]ᵀ. Written onto `self`
    /// where nobody else holds it: the second half of a low-rank update costs no memory.
    pub fn add_linear(self, x: &Tensor, weight: &Tensor, alpha: f32) -> Result<Tensor> {
        let map = Map::new(x, weight, alpha, Stored::OutIn)?;
        let fits = self.rows() == map.rows && self.cols() == map.outputs;
        let expected = || format!("a sum of [{}, {}]", map.rows, map.outputs);
        check("add_linear", fits, expected, || format!("{:?}", self.shape()))?;
        let (backend, shape, onto_trace) =
            (self.backend().clone(), self.shape().to_vec(), self.trace().clone());
        let product = map.forward(x.buffer(), weight.buffer(), None);
        let y = match Arc::try_unwrap(self.into_buffer()) {
            Ok(own) => backend.matmul(&product, Some(own))?,
            Err(shared) => {
                let mut y = backend.matmul(&product, None)?;
                backend.add_assign(&mut y, &shared)?;
                y
            }
        };
        let inputs = [&onto_trace.clone(), x.trace(), weight.trace()];
        let saved = map.save(x, weight);
        Ok(Tensor::result(&backend, &inputs, y, shape, move |dy, gradients| {
            saved.backward(&map, &dy, gradients)?;
            gradients.give(&onto_trace, dy)
        }))
    }
}

/// The extents of a linear map, and its factor.
#[derive(Clone, Copy)]
struct Map {
    rows: usize,
    inputs: usize,
    outputs: usize,
    alpha: f32,
    stored: Stored,
}

/// How a weight lies in memory.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    /// \[out, in\].
    OutIn,
    /// \[in, out\].
    InOut,
}

/// What the backward pass needs: an operand only where the other one's gradient is wanted.
struct Saved {
    input: Option<Kept>,
    weight: Option<Arc<Buffer>>,
    input_trace: Option<Arc<crate::autograd::Trace>>,
    weight_trace: Option<Arc<crate::autograd::Trace>>,
}

impl Map {
    fn new(x: &Tensor, weight: &Tensor, alpha: f32, stored: Stored) -> Result<Map> {
        x.require_f32("linear")?;
        let [outputs, inputs] = match (weight.shape(), stored) {
            ([outputs, inputs], Stored::OutIn) | ([inputs, outputs], Stored::InOut) => [*outputs, *inputs],
            _ => [0, 0],
        };
        let fits = x.cols() == inputs && outputs > 0;
        let expected = || match stored {
            Stored::OutIn => format!("a weight of [_, {}]", x.cols()),
            Stored::InOut => format!("a weight of [{}, _]", x.cols()),
        };
        check("linear", fits, expected, || format!("{:?}", weight.shape()))?;
        Ok(Map { rows: x.rows(), inputs, outputs, alpha, stored })
    }

    fn shape(&self, x: &Tensor) -> Vec<usize> {
        let mut shape = x.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.outputs;
        }
        shape
    }

    /// y [rows, out] = alpha · x [rows, in] · weightᵀ [in, out] + bias
    fn forward<'a>(&self, x: &'a Buffer, weight: &'a Buffer, bias: Option<&'a Buffer>) -> MatMul<'a> {
        MatMul {
            a: x,
            a_transposed: false,
            b: weight,
            b_transposed: self.stored == Stored::OutIn,
            m: self.rows,
            n: self.outputs,
            k: self.inputs,
            alpha: self.alpha,
            bias,
        }
    }

    /// dx [rows, in] = alpha · dy [rows, out] · weight [out, in]
    fn input_gradient<'a>(&self, dy: &'a Buffer, weight: &'a Buffer) -> MatMul<'a> {
        MatMul {
            a: dy,
            a_transposed: false,
            b: weight,
            b_transposed: self.stored == Stored::InOut,
            m: self.rows,
            n: self.inputs,
            k: self.outputs,
            alpha: self.alpha,
            bias: None,
        }
    }

    /// dweight [out, in] = alpha · dyᵀ [out, rows] · x [rows, in], or its transpose where the weight is stored so.
    fn weight_gradient<'a>(&self, dy: &'a Buffer, x: &'a Buffer) -> MatMul<'a> {
        let ((a, m), (b, n)) = match self.stored {
            Stored::OutIn => ((dy, self.outputs), (x, self.inputs)),
            Stored::InOut => ((x, self.inputs), (dy, self.outputs)),
        };
        let (k, alpha) = (self.rows, self.alpha);
        MatMul { a, a_transposed: true, b, b_transposed: false, m, n, k, alpha, bias: None }
    }

    fn save(&self, x: &Tensor, weight: &Tensor) -> Saved {
        Saved {
            input: weight.trace().is_some().then(|| x.keep()),
            weight: x.trace().is_some().then(|| weight.buffer().clone()),
            input_trace: x.trace().clone(),
            weight_trace: weight.trace().clone(),
        }
    }
}

impl Saved {
    fn backward(self, map: &Map, dy: &Buffer, gradients: &mut crate::autograd::Gradients) -> Result<()> {
        if let Some(input) = self.input {
            let input = input.numbers(gradients.backend)?;
            gradients.compute(&self.weight_trace, |backend, onto| {
                backend.matmul(&map.weight_gradient(dy, &input), onto)
            })?;
        }
        if let Some(weight) = &self.weight {
            gradients.compute(&self.input_trace, |backend, onto| {
                backend.matmul(&map.input_gradient(dy, weight), onto)
            })?;
        }
        Ok(())
    }
}

pub(super) fn sum_onto(backend: &dyn Backend, gradient: Buffer, onto: Option<Buffer>) -> Result<Buffer> {
    match onto {
        None => Ok(gradient),
        Some(mut sum) => {
            backend.add_assign(&mut sum, &gradient)?;
            Ok(sum)
        }
    }
}
