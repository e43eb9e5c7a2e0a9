//! The operations but attention, each as its trait describes it.

use crate::ExampleDevice;
use crate::arithmetic::{activation, cap_slope, capped, log_sum_exp};
use crate::memory::{indices, number, numbers, write};
use tenfold_tensor::backend::{
    Activation, AdamWUpdate, Buffer, Dropout, ElementwiseOps, IndexBuffer, LinearLoss, LinearLossGradients,
    LinearOps, LossOps, MatMul, NormGradients, NormOps, OptimizerOps, Result, RotaryOps, RowOps, Turn,
};

fn each<'a>(x: &'a [f32]) -> impl Iterator<Item = f64> + Clone + 'a {
    x.iter().map(|x| f64::from(*x))
}

/// Element (i, j) of a matrix of rows of `cols`, or of its transpose of rows of `rows`.
fn at(x: &[f32], [rows, cols]: [usize; 2], transposed: bool, i: usize, j: usize) -> f64 {
    f64::from(if transposed { x[j * rows + i] } else { x[i * cols + j] })
}

impl LinearOps for ExampleDevice {
    fn matmul(&self, product: &MatMul, onto: Option<Buffer>) -> Result<Buffer> {
        self.note("matmul");
        let MatMul { m, n, k, alpha, a_transposed, b_transposed, .. } = *product;
        let (a, b, bias) = (numbers(product.a), numbers(product.b), product.bias.map(numbers));
        let entry = |i: usize, j: usize| {
            let term = |l| at(&a, [m, k], a_transposed, i, l) * at(&b, [k, n], b_transposed, l, j);
            let sum: f64 = (0..k).map(term).sum();
            f64::from(alpha) * sum + bias.as_ref().map_or(0.0, |bias| f64::from(bias[j]))
        };
        let all = (0..m * n).map(|place| entry(place / n, place % n));
        let Some(mut sum) = onto else { return Ok(self.result(all)) };
        let before = numbers(&sum);
        write(&mut sum, each(&before).zip(all).map(|(before, more)| (before + more) as f32).collect());
        Ok(sum)
    }

    fn column_sums(&self, x: &Buffer, cols: usize) -> Result<Buffer> {
        self.note("column_sums");
        let x = numbers(x);
        Ok(self.result((0..cols).map(|col| each(&x).skip(col).step_by(cols).sum())))
    }
}

impl ElementwiseOps for ExampleDevice {
    fn add(&self, a: &Buffer, b: &Buffer) -> Result<Buffer> {
        self.note("add");
        Ok(self.result(each(&numbers(a)).zip(each(&numbers(b))).map(|(a, b)| a + b)))
    }

    fn add_assign(&self, a: &mut Buffer, b: &Buffer) -> Result<()> {
        self.note("add_assign");
        let sum = numbers(a).iter().zip(&*numbers(b)).map(|(a, b)| a + b).collect();
        write(a, sum);
        Ok(())
    }

    fn scale(&self, x: &Buffer, alpha: f32) -> Result<Buffer> {
        self.note("scale");
        Ok(self.result(each(&numbers(x)).map(|x| x * f64::from(alpha))))
    }

    fn scale_by(&self, mut x: Buffer, factor: &Buffer) -> Result<Buffer> {
        self.note("scale_by");
        let factor = number(factor);
        let scaled = numbers(&x).iter().map(|x| x * factor).collect();
        write(&mut x, scaled);
        Ok(x)
    }

    fn scale_columns(&self, x: &Buffer, l: &Buffer) -> Result<Buffer> {
        self.note("scale_columns");
        let l = numbers(l);
        Ok(self.result(each(&numbers(x)).zip(each(&l).cycle()).map(|(x, l)| x * l)))
    }

    fn scale_columns_gradient(&self, x: &Buffer, l: &Buffer, dy: &Buffer) -> Result<Buffer> {
        self.note("scale_columns_gradient");
        let (x, dy, cols) = (numbers(x), numbers(dy), l.len());
        let sum = |col| each(&x).zip(each(&dy)).skip(col).step_by(cols).map(|(x, dy)| x * dy).sum();
        Ok(self.result((0..cols).map(sum)))
    }

    fn activation(&self, kind: Activation, x: &Buffer) -> Result<Buffer> {
        self.note("activation");
        Ok(self.result(numbers(x).iter().map(|x| activation(kind, *x).0)))
    }

    fn activation_gradient(&self, kind: Activation, x: &Buffer, dy: &Buffer) -> Result<Buffer> {
        self.note("activation_gradient");
        let (x, dy) = (numbers(x), numbers(dy));
        Ok(self.result(x.iter().zip(each(&dy)).map(|(x, dy)| dy * activation(kind, *x).1)))
    }

    fn gated(&self, kind: Activation, gate: &Buffer, up: &Buffer) -> Result<Buffer> {
        self.note("gated");
        let (gate, up) = (numbers(gate), numbers(up));
        Ok(self.result(gate.iter().zip(each(&up)).map(|(gate, up)| activation(kind, *gate).0 * up)))
    }

    fn gated_gradient(
        &self,
        kind: Activation,
        gate: &Buffer,
        up: &Buffer,
        dy: &Buffer,
    ) -> Result<(Buffer, Buffer)> {
        self.note("gated_gradient");
        let (gate, up, dy) = (numbers(gate), numbers(up), numbers(dy));
        let all = || gate.iter().map(|gate| activation(kind, *gate)).zip(each(&up).zip(each(&dy)));
        let dgate = self.result(all().map(|((_, slope), (up, dy))| dy * up * slope));
        Ok((dgate, self.result(all().map(|((value, _), (_, dy))| dy * value))))
    }

    fn softcap(&self, x: &Buffer, c: f32) -> Result<Buffer> {
        self.note("softcap");
        Ok(self.result(each(&numbers(x)).map(|x| capped(x, Some(c)))))
    }

    fn softcap_gradient(&self, y: &Buffer, c: f32, dy: &Buffer) -> Result<Buffer> {
        self.note("softcap_gradient");
        let (y, dy) = (numbers(y), numbers(dy));
        Ok(self.result(each(&y).zip(each(&dy)).map(|(y, dy)| dy * cap_slope(y, Some(c)))))
    }

    fn dropout(&self, dropout: &Dropout, x: &Buffer) -> Result<Buffer> {
        self.note("dropout");
        let x = numbers(x);
        let cols = x.len().checked_div(dropout.rows.len()).unwrap_or(0);
        let factor = |place: usize| f64::from(dropout.keep_scale(place / cols, (place % cols) as u64));
        Ok(self.result(each(&x).enumerate().map(|(place, x)| x * factor(place))))
    }
}

impl NormOps for ExampleDevice {
    fn layer_norm(
        &self,
        x: &Buffer,
        weight: &Buffer,
        bias: &Buffer,
        eps: f32,
    ) -> Result<(Buffer, Buffer, Buffer)> {
        self.note("layer_norm");
        let (x, weight, bias) = (numbers(x), numbers(weight), numbers(bias));
        let cols = weight.len();
        let (mut y, mut means, mut deviations) = (Vec::new(), Vec::new(), Vec::new());
        for row in x.chunks_exact(cols) {
            let mean = each(row).sum::<f64>() / cols as f64;
            let variance = each(row).map(|x| (x - mean).powi(2)).sum::<f64>() / cols as f64;
            let deviation = 1.0 / (variance + f64::from(eps)).sqrt();
            let affine = each(&weight).zip(each(&bias));
            y.extend(each(row).zip(affine).map(|(x, (weight, bias))| (x - mean) * deviation * weight + bias));
            means.push(mean);
            deviations.push(deviation);
        }
        Ok((self.result(y), self.result(means), self.result(deviations)))
    }

    fn layer_norm_gradient(
        &self,
        x: &Buffer,
        weight: &Buffer,
        statistics: (&Buffer, &Buffer),
        dy: &Buffer,
        affine: (bool, bool),
    ) -> Result<NormGradients> {
        self.note("layer_norm_gradient");
        let (x, weight, dy) = (numbers(x), numbers(weight), numbers(dy));
        let (means, deviations) = (numbers(statistics.0), numbers(statistics.1));
        let cols = weight.len();
        let (mut dx, mut dweight, mut dbias) = (Vec::new(), vec![0.0; cols], vec![0.0; cols]);
        for (row, (x, dy)) in x.chunks_exact(cols).zip(dy.chunks_exact(cols)).enumerate() {
            let (mean, deviation) = (f64::from(means[row]), f64::from(deviations[row]));
            let normed: Vec<f64> = each(x).map(|x| (x - mean) * deviation).collect();
            let g: Vec<f64> = each(dy).zip(each(&weight)).map(|(dy, weight)| dy * weight).collect();
            let level = g.iter().sum::<f64>() / cols as f64;
            let along = g.iter().zip(&normed).map(|(g, x)| g * x).sum::<f64>() / cols as f64;
            dx.extend(g.iter().zip(&normed).map(|(g, x)| deviation * (g - level - x * along)));
            for (col, dy) in each(dy).enumerate() {
                dweight[col] += dy * normed[col];
                dbias[col] += dy;
            }
        }
        Ok(NormGradients {
            input: self.result(dx),
            weight: affine.0.then(|| self.result(dweight)),
            bias: affine.1.then(|| self.result(dbias)),
        })
    }

    fn rms_norm(&self, x: &Buffer, weight: &Buffer, eps: f32, offset: f32) -> Result<(Buffer, Buffer)> {
        self.note("rms_norm");
        let (x, weight) = (numbers(x), numbers(weight));
        let cols = weight.len();
        let (mut y, mut factors) = (Vec::new(), Vec::new());
        for row in x.chunks_exact(cols) {
            let square = each(row).map(|x| x * x).sum::<f64>() / cols as f64;
            let factor = 1.0 / (square + f64::from(eps)).sqrt();
            y.extend(
                each(row).zip(each(&weight)).map(|(x, weight)| x * factor * (f64::from(offset) + weight)),
            );
            factors.push(factor);
        }
        Ok((self.result(y), self.result(factors)))
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
        self.note("rms_norm_gradient");
        let (x, weight, rrms, dy) = (numbers(x), numbers(weight), numbers(rrms), numbers(dy));
        let cols = weight.len();
        let (mut dx, mut dweight) = (Vec::new(), vec![0.0; cols]);
        for (row, (x, dy)) in x.chunks_exact(cols).zip(dy.chunks_exact(cols)).enumerate() {
            let factor = f64::from(rrms[row]);
            let g = each(dy).zip(each(&weight)).map(|(dy, weight)| dy * (f64::from(offset) + weight));
            let along = g.clone().zip(each(x)).map(|(g, x)| g * x * factor).sum::<f64>() / cols as f64;
            dx.extend(g.zip(each(x)).map(|(g, x)| factor * (g - x * factor * along)));
            dweight.iter_mut().zip(each(x).zip(each(dy))).for_each(|(sum, (x, dy))| *sum += dy * x * factor);
        }
        Ok((self.result(dx), affine.then(|| self.result(dweight))))
    }
}

impl RotaryOps for ExampleDevice {
    fn rotary(
        &self,
        x: &Buffer,
        cos: &Buffer,
        sin: &Buffer,
        rows: usize,
        head_dim: usize,
        turn: Turn,
    ) -> Result<Buffer> {
        self.note("rotary");
        let (x, cos, sin) = (numbers(x), numbers(cos), numbers(sin));
        let (cols, half) = (x.len() / rows.max(1), cos.len() / rows.max(1));
        let sign = if turn == Turn::Forward { 1.0 } else { -1.0 };
        let turned = |place: usize| {
            let (row, within) = (place / cols, place % head_dim);
            let value = f64::from(x[place]);
            if within >= 2 * half {
                return value;
            }
            let angle = row * half + within % half;
            let (cos, sin) = (f64::from(cos[angle]), sign * f64::from(sin[angle]));
            if within < half {
                value * cos - f64::from(x[place + half]) * sin
            } else {
                value * cos + f64::from(x[place - half]) * sin
            }
        };
        Ok(self.result((0..x.len()).map(turned)))
    }
}

impl RowOps for ExampleDevice {
    fn rows(&self, table: &Buffer, cols: usize, ids: &IndexBuffer) -> Result<Buffer> {
        self.note("rows");
        let table = numbers(table);
        let row = |id: &u32| &table[*id as usize * cols..][..cols];
        Ok(self.keep(None, indices(ids).iter().flat_map(row).copied().collect()))
    }

    fn write_rows(&self, x: &Buffer, cols: usize, at: &IndexBuffer, table: &mut Buffer) -> Result<()> {
        self.note("write_rows");
        let mut all = numbers(table).to_vec();
        for (row, at) in numbers(x).chunks_exact(cols).zip(indices(at)) {
            all[*at as usize * cols..][..cols].copy_from_slice(row);
        }
        write(table, all);
        Ok(())
    }

    fn scatter_rows(&self, dy: &Buffer, cols: usize, ids: &IndexBuffer, table: &mut Buffer) -> Result<()> {
        self.note("scatter_rows");
        let mut all = numbers(table).to_vec();
        for (row, id) in numbers(dy).chunks_exact(cols).zip(indices(ids)) {
            all[*id as usize * cols..][..cols].iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
        }
        write(table, all);
        Ok(())
    }

    fn columns(&self, x: &Buffer, cols: usize, first: usize, width: usize) -> Result<Buffer> {
        self.note("columns");
        let x = numbers(x);
        let chosen = x.chunks_exact(cols).flat_map(|row| &row[first..first + width]);
        Ok(self.keep(None, chosen.copied().collect()))
    }

    fn columns_gradient(
        &self,
        dy: &Buffer,
        cols: usize,
        first: usize,
        width: usize,
        onto: Option<Buffer>,
    ) -> Result<Buffer> {
        self.note("columns_gradient");
        let mut dx = match &onto {
            Some(sum) => numbers(sum).to_vec(),
            None => vec![0.0; dy.len() / width * cols],
        };
        for (row, dy) in dx.chunks_exact_mut(cols).zip(numbers(dy).chunks_exact(width)) {
            row[first..].iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
        }
        let Some(mut sum) = onto else { return Ok(self.keep(None, dx)) };
        write(&mut sum, dx);
        Ok(sum)
    }
}

/// The share of a label that is a class's, smoothed.
fn target(is_label: bool, smoothing: f32, classes: usize) -> f64 {
    let smoothing = f64::from(smoothing);
    smoothing / classes as f64 + if is_label { 1.0 - smoothing } else { 0.0 }
}

impl LossOps for ExampleDevice {
    fn cross_entropy(
        &self,
        logits: &Buffer,
        classes: usize,
        labels: &IndexBuffer,
        smoothing: f32,
    ) -> Result<(Buffer, Buffer)> {
        self.note("cross_entropy");
        let (logits, labels) = (numbers(logits), indices(labels));
        let (mut sum, mut lses) = (0.0, Vec::new());
        for (row, label) in logits.chunks_exact(classes).zip(labels) {
            let lse = log_sum_exp(each(row));
            let share = |class: usize| target(class == *label as usize, smoothing, classes);
            sum += each(row).enumerate().map(|(class, x)| share(class) * (lse - x)).sum::<f64>();
            lses.push(lse);
        }
        Ok((self.result([sum / labels.len() as f64]), self.result(lses)))
    }

    fn cross_entropy_gradient(
        &self,
        logits: &Buffer,
        classes: usize,
        labels: &IndexBuffer,
        smoothing: f32,
        lse: &Buffer,
        dy: &Buffer,
    ) -> Result<Buffer> {
        self.note("cross_entropy_gradient");
        let (logits, labels, lse) = (numbers(logits), indices(labels), numbers(lse));
        let scale = f64::from(number(dy)) / labels.len() as f64;
        Ok(self.result(each(&logits).enumerate().map(|(place, x)| {
            let (row, class) = (place / classes, place % classes);
            let share = target(class == labels[row] as usize, smoothing, classes);
            scale * ((x - f64::from(lse[row])).exp() - share)
        })))
    }

    fn linear_cross_entropy(
        &self,
        loss: &LinearLoss,
        wanted: [bool; 3],
    ) -> Result<(Buffer, LinearLossGradients)> {
        self.note("linear_cross_entropy");
        let (x, weight, rows, classes) =
            (numbers(loss.x), numbers(loss.weight), loss.labels.len(), loss.classes);
        let hidden = weight.len() / classes;
        let [mut dx, mut dweight, mut dbias] = [x.len(), weight.len(), classes].map(|len| vec![0.0; len]);
        let mut sum = 0.0;
        for (row, label) in indices(loss.labels).iter().enumerate() {
            let logits = self.logits(loss, row);
            let lse = log_sum_exp(logits.iter().copied());
            sum += lse - logits[*label as usize];
            for (class, logit) in logits.iter().enumerate() {
                let share = if class == *label as usize { 1.0 } else { 0.0 };
                let d = ((logit - lse).exp() - share) / rows as f64 * cap_slope(*logit, loss.softcap);
                dbias[class] += d;
                for i in 0..hidden {
                    dx[row * hidden + i] += d * f64::from(weight[class * hidden + i]);
                    dweight[class * hidden + i] += d * f64::from(x[row * hidden + i]);
                }
            }
        }
        let gradients = LinearLossGradients {
            x: wanted[0].then(|| self.result(dx)),
            weight: wanted[1].then(|| self.result(dweight)),
            bias: wanted[2].then(|| self.result(dbias)),
        };
        Ok((self.result([sum / rows as f64]), gradients))
    }

    fn linear_log_probabilities(&self, loss: &LinearLoss) -> Result<Buffer> {
        self.note("linear_log_probabilities");
        let each = indices(loss.labels).iter().enumerate().map(|(row, label)| {
            let logits = self.logits(loss, row);
            logits[*label as usize] - log_sum_exp(logits.iter().copied())
        });
        Ok(self.result(each.collect::<Vec<f64>>()))
    }
}

impl ExampleDevice {
    /// The capped logits of one row of a loss over a vocabulary.
    fn logits(&self, loss: &LinearLoss, row: usize) -> Vec<f64> {
        let (x, weight, bias) = (numbers(loss.x), numbers(loss.weight), loss.bias.map(numbers));
        let hidden = weight.len() / loss.classes;
        let x = &x[row * hidden..][..hidden];
        let logit = |(class, weight): (usize, &[f32])| {
            let product: f64 = each(x).zip(each(weight)).map(|(x, weight)| x * weight).sum();
            capped(product + bias.as_ref().map_or(0.0, |bias| f64::from(bias[class])), loss.softcap)
        };
        weight.chunks_exact(hidden).enumerate().map(logit).collect()
    }
}

impl OptimizerOps for ExampleDevice {
    fn global_norm(&self, buffers: &[&Buffer]) -> Result<Buffer> {
        self.note("global_norm");
        let squares = |buffer: &&Buffer| each(&numbers(buffer)).map(|x| x * x).sum::<f64>();
        Ok(self.result([buffers.iter().map(squares).sum::<f64>().sqrt()]))
    }

    fn clip_factor(&self, norm: &Buffer, max_norm: f32) -> Result<Buffer> {
        self.note("clip_factor");
        Ok(self.keep(None, vec![(max_norm / (number(norm) + 1e-6)).min(1.0)]))
    }

    fn adamw(&self, step: u64, gradient_scale: Option<&Buffer>, updates: &mut [AdamWUpdate]) -> Result<()> {
        self.note("adamw");
        let scale = gradient_scale.map_or(1.0, |scale| f64::from(number(scale)));
        for AdamWUpdate { settings: s, parameter, gradient, first_moment, second_moment } in updates {
            let [corrected1, corrected2] = [s.beta1, s.beta2].map(|beta| 1.0 - beta.powf(step as f64));
            let [mut p, mut m, mut v] =
                [&*parameter, &*first_moment, &*second_moment].map(|buffer| numbers(buffer).to_vec());
            for (i, g) in each(&numbers(gradient)).map(|g| g * scale).enumerate() {
                let first = s.beta1 * f64::from(m[i]) + (1.0 - s.beta1) * g;
                let second = s.beta2 * f64::from(v[i]) + (1.0 - s.beta2) * g * g;
                let shrunk = f64::from(p[i]) * (1.0 - s.learning_rate * s.weight_decay);
                let denominator = (second / corrected2).sqrt() + s.eps;
                p[i] = (shrunk - s.learning_rate / corrected1 * first / denominator) as f32;
                (m[i], v[i]) = (first as f32, second as f32);
            }
            write(parameter, p);
            write(first_moment, m);
            write(second_moment, v);
        }
        Ok(())
    }
}
