//! The loss over a vocabulary on the host backends: logits come and go in chunks of rows.

use crate::backend::{LinearLoss, LinearLossGradients};
use crate::host::{Host, Memory, elements, read, write};
use crate::memory::Class;
use tenfold_kernels::matmul::Matrix;

/// Logits that exist at a time, in bytes; at least one row.
const CHUNK_BYTES: usize = 24 << 20;

type MatMul = fn(f32, Matrix, Matrix, Option<&[f32]>, bool, &mut [f32]);
type CrossEntropy = fn(&mut [f32], &[u32], Option<f32>, Option<f32>, &mut [f32]);

/// The kernels of one backend that the loss is made of.
pub(crate) struct Kernels {
    pub(crate) matmul: MatMul,
    pub(crate) cross_entropy: CrossEntropy,
    pub(crate) column_sums: fn(&[f32], usize, &mut [f32]),
    pub(crate) add_assign: fn(&mut [f32], &[f32]),
}

/// Rows whose logits exist at a time: as many in each chunk as in the others.
pub(crate) fn chunk_rows(rows: usize, classes: usize) -> usize {
    let most = (CHUNK_BYTES / 4 / classes).max(1);
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// `ln p(label)` of each row, and the gradients of their mean's negative with respect to input, weight and bias as far
/// as `wanted`, worked out while a chunk's logits are there.
pub(crate) fn linear_loss(
    memory: &Memory,
    kernels: &Kernels,
    loss: &LinearLoss,
    wanted: [bool; 3],
) -> (Vec<f32>, LinearLossGradients) {
    let (x, rows, classes) = (read(loss.x), loss.labels.len(), loss.classes);
    let hidden = loss.weight.len() / classes;
    let weight = Matrix { elements: elements(loss.weight), rows: classes, cols: hidden, transposed: false };
    let scale = wanted.contains(&true).then(|| 1.0 / rows as f32);
    let [mut dx, mut dweight, mut dbias] = [(0, x.len()), (1, classes * hidden), (2, classes)]
        .map(|(which, len)| wanted[which].then(|| memory.unwritten(len)));
    let chunk = chunk_rows(rows, classes);
    let mut buffer = memory.buffer(Some(Class::Workspace), Host::F32(memory.unwritten(chunk * classes)));
    let mut log_probabilities = vec![0.0; rows];
    for first in (0..rows).step_by(chunk) {
        let here = (rows - first).min(chunk);
        let logits = &mut write(&mut buffer)[..here * classes];
        let these = first * hidden..(first + here) * hidden;
        let x = Matrix::f32(&x[these.clone()], here, hidden);
        (kernels.matmul)(1.0, x, weight.t(), loss.bias.map(read), false, logits);
        let labels = &loss.labels[first..first + here];
        (kernels.cross_entropy)(logits, labels, loss.softcap, scale, &mut log_probabilities[first..][..here]);
        let dlogits = Matrix::f32(logits, here, classes);
        if let Some(dx) = &mut dx {
            (kernels.matmul)(1.0, dlogits, weight, None, false, &mut dx[these]);
        }
        if let Some(dweight) = &mut dweight {
            (kernels.matmul)(1.0, dlogits.t(), x, None, first > 0, dweight);
        }
        if let Some(dbias) = &mut dbias {
            let mut sums = vec![0.0; classes];
            (kernels.column_sums)(logits, classes, &mut sums);
            if first == 0 {
                dbias.copy_from_slice(&sums);
            } else {
                (kernels.add_assign)(dbias, &sums);
            }
        }
    }
    drop(buffer);
    let [x, weight, bias] = [dx, dweight, dbias].map(|d| d.map(|numbers| memory.result(numbers)));
    (log_probabilities, LinearLossGradients { x, weight, bias })
}
