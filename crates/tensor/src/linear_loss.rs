//! The loss over a vocabulary on the host backends: logits come and go in chunks of rows.

use crate::backend::{LinearLoss, LinearLossGradients};
use crate::host::{Host, Kernels, elements, indices, kernel, read, write};
use crate::memory::Class;
use crate::recycle::Lent;
use tenfold_kernels::matmul::Matrix;

/// Logits that exist at a time, in bytes; at least one row.
const CHUNK_BYTES: usize = 24 << 20;

/// Rows whose logits exist at a time: as many in each chunk as in the others.
pub(crate) fn chunk_rows(rows: usize, classes: usize) -> usize {
    let most = (CHUNK_BYTES / 4 / classes).max(1);
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// `ln p(label)` of each row, and the gradients of their mean's negative with respect to input, weight and bias as far
/// as `wanted`, worked out while a chunk's logits are there.
pub(crate) fn linear_loss<K: Kernels>(
    host: &Host<K>,
    loss: &LinearLoss,
    wanted: [bool; 3],
) -> (Lent<K::Floats>, LinearLossGradients) {
    host.kernels.count_loss(loss, wanted);
    let rows = loss.labels.len();
    let lengths = [loss.x.len(), loss.weight.len(), loss.classes];
    let mut gradients = [0, 1, 2].map(|which| wanted[which].then(|| host.unwritten(lengths[which])));
    let chunk = chunk_rows(rows, loss.classes);
    let mut logits = host.book(Some(Class::Workspace), host.unwritten(chunk * loss.classes));
    let mut log_probabilities = host.fresh(rows);
    if Host::<K>::COMPUTES {
        let gradients = gradients.each_mut().map(|gradient| gradient.as_deref_mut());
        in_chunks::<K>(loss, write(&mut logits), &mut log_probabilities, gradients);
    }
    drop(logits);
    let [x, weight, bias] = gradients.map(|d| d.map(|numbers| host.result(numbers)));
    (log_probabilities, LinearLossGradients { x, weight, bias })
}

/// The same in given memory, that of the logits being room for one chunk.
fn in_chunks<K: Kernels>(
    loss: &LinearLoss,
    logits: &mut [f32],
    log_probabilities: &mut [f32],
    [mut dx, mut dweight, mut dbias]: [Option<&mut [f32]>; 3],
) {
    let (x, labels, classes) = (read(loss.x), indices(loss.labels), loss.classes);
    let (rows, hidden) = (labels.len(), loss.weight.len() / classes);
    let weight = Matrix { elements: elements(loss.weight), rows: classes, cols: hidden, transposed: false };
    let gradients = dx.is_some() || dweight.is_some() || dbias.is_some();
    let scale = gradients.then(|| 1.0 / rows as f32);
    let chunk = logits.len() / classes;
    for first in (0..rows).step_by(chunk) {
        let here = (rows - first).min(chunk);
        let logits = &mut logits[..here * classes];
        let these = first * hidden..(first + here) * hidden;
        let x = Matrix::f32(&x[these.clone()], here, hidden);
        kernel!(K, matmul::matmul)(1.0, x, weight.t(), loss.bias.map(read), false, logits);
        let (labels, each) = (&labels[first..first + here], &mut log_probabilities[first..first + here]);
        kernel!(K, cross_entropy::in_place)(logits, labels, loss.softcap, scale, each);
        let dlogits = Matrix::f32(logits, here, classes);
        if let Some(dx) = &mut dx {
            kernel!(K, matmul::matmul)(1.0, dlogits, weight, None, false, &mut dx[these]);
        }
        if let Some(dweight) = &mut dweight {
            kernel!(K, matmul::matmul)(1.0, dlogits.t(), x, None, first > 0, dweight);
        }
        if let Some(dbias) = &mut dbias {
            let mut sums = vec![0.0; classes];
            kernel!(K, elementwise::column_sums)(logits, classes, &mut sums);
            if first == 0 {
                dbias.copy_from_slice(&sums);
            } else {
                kernel!(K, elementwise::add_assign)(dbias, &sums);
            }
        }
    }
}
