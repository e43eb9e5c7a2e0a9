//! Choosing and placing rows and columns: embeddings, pooling, virtual tokens.

use super::attention::check_ragged;
use super::linear::sum_onto;
use crate::backend::Ragged;
use crate::buffer::{Buffer, IndexBuffer};
use crate::error::{Result, check};
use crate::host::{Host, Kernels, elements, indices, kernel, read, write};
use crate::indices::{Indices, ToIndices, check_indices};
use crate::memory::Class;
use crate::tensor::Tensor;

/// What a device does with rows and columns by their numbers.
pub trait RowOps {
    /// Rows of a table of any format: \[n, cols\] -> \[ids.len(), cols\].
    fn rows(&self, table: &Buffer, cols: usize, ids: &IndexBuffer) -> Result<Buffer>;
    /// Copies rows of `x` \[at.len(), cols\] over the rows `at` of `table`, which is written in place.
    fn write_rows(&self, x: &Buffer, cols: usize, at: &IndexBuffer, table: &mut Buffer) -> Result<()>;
    /// Adds each row of `dy` \[ids.len(), cols\] onto the row of `table` it came from, in the order of `ids`.
    fn scatter_rows(&self, dy: &Buffer, cols: usize, ids: &IndexBuffer, table: &mut Buffer) -> Result<()>;
    /// Columns `first..first + width` of rows of `cols`: \[rows, cols\] -> \[rows, width\].
    fn columns(&self, x: &Buffer, cols: usize, first: usize, width: usize) -> Result<Buffer>;
    /// Its gradient \[rows, cols\]: `dy` \[rows, width\] at its place among zeros, or added to its place in `onto`.
    fn columns_gradient(
        &self,
        dy: &Buffer,
        cols: usize,
        first: usize,
        width: usize,
        onto: Option<Buffer>,
    ) -> Result<Buffer>;
}

impl<K: Kernels> RowOps for Host<K> {
    fn rows(&self, table: &Buffer, cols: usize, ids: &IndexBuffer) -> Result<Buffer> {
        Ok(self.filled(ids.len() * cols, |y| {
            kernel!(K, embedding::forward)(elements(table), cols, indices(ids), y);
        }))
    }

    fn write_rows(&self, x: &Buffer, cols: usize, at: &IndexBuffer, table: &mut Buffer) -> Result<()> {
        if Self::COMPUTES {
            let table = write(table);
            for (row, at) in read(x).chunks_exact(cols).zip(indices(at)) {
                table[*at as usize * cols..][..cols].copy_from_slice(row);
            }
        }
        Ok(())
    }

    fn scatter_rows(&self, dy: &Buffer, cols: usize, ids: &IndexBuffer, table: &mut Buffer) -> Result<()> {
        if Self::COMPUTES {
            kernel!(K, embedding::backward)(read(dy), cols, indices(ids), write(table));
        }
        Ok(())
    }

    fn columns(&self, x: &Buffer, cols: usize, first: usize, width: usize) -> Result<Buffer> {
        let len = x.len() / cols * width;
        Ok(self.filled(len, |y| kernel!(K, elementwise::columns)(read(x), cols, first, width, y)))
    }

    fn columns_gradient(
        &self,
        dy: &Buffer,
        cols: usize,
        first: usize,
        width: usize,
        onto: Option<Buffer>,
    ) -> Result<Buffer> {
        let place = |add: bool, dx: &mut [f32]| {
            kernel!(K, elementwise::columns_backward)(read(dy), cols, first, width, add, dx);
        };
        Ok(match onto {
            Some(mut sum) => {
                if Self::COMPUTES {
                    place(true, write(&mut sum));
                }
                sum
            }
            None => self.filled(dy.len() / width * cols, |dx| place(false, dx)),
        })
    }
}

impl Tensor {
    /// The rows `ids` of a table \[n, cols\], which may be a frozen weight of any format: an embedding, or the pooling of
    /// chosen tokens. -> \[ids.len(), cols\]. Ids that are used again and again are uploaded once as [`Indices`].
    pub fn select_rows(&self, ids: &(impl ToIndices + ?Sized)) -> Result<Tensor> {
        let (table_rows, cols) = (self.rows(), self.cols());
        let backend = self.backend();
        let ids = ids.to_indices(backend)?;
        check_indices("select_rows", &ids, table_rows)?;
        let y = backend.rows(self.buffer(), cols, ids.buffer())?;
        let table = self.trace().clone();
        let shape = vec![ids.len(), cols];
        let saved = table.as_ref().map(|_| ids);
        Ok(Tensor::result(backend, &[&table.clone()], y, shape, move |dy, gradients| {
            let Some(ids) = saved else { return Ok(()) };
            gradients.compute(&table, |backend, onto| {
                let mut sum = match onto {
                    Some(sum) => sum,
                    None => backend.zeros(Class::Workspace, table_rows * cols)?,
                };
                backend.scatter_rows(&dy, cols, ids.buffer(), &mut sum)?;
                Ok(sum)
            })
        }))
    }

    /// The same rows, but for the rows `at`, in whose place `rows` \[at.len(), cols\] stand; `self` may be a frozen weight of
    /// any format. No row stands in `at` twice.
    pub fn replace_rows(&self, rows: &Tensor, at: &(impl ToIndices + ?Sized)) -> Result<Tensor> {
        rows.require_f32("replace_rows")?;
        let (count, cols) = (self.rows(), self.cols());
        let backend = self.backend();
        let at = at.to_indices(backend)?;
        check_indices("replace_rows", &at, count)?;
        let fits = rows.rows() == at.len() && rows.cols() == cols;
        let expected = || format!("[{}, {cols}]", at.len());
        check("replace_rows", fits, expected, || format!("{:?}", rows.shape()))?;
        let all = Indices::new(backend, &(0..count as u32).collect::<Vec<_>>())?;
        let mut y = backend.rows(self.buffer(), cols, all.buffer())?;
        backend.write_rows(rows.buffer(), cols, at.buffer(), &mut y)?;
        let (x_trace, rows_trace) = (self.trace().clone(), rows.trace().clone());
        let inputs = [&x_trace.clone(), &rows_trace.clone()];
        Ok(Tensor::result(backend, &inputs, y, self.shape().to_vec(), move |dy, gradients| {
            gradients.compute(&rows_trace, |backend, onto| {
                sum_onto(backend, backend.rows(&dy, cols, at.buffer())?, onto)
            })?;
            gradients.compute(&x_trace, |backend, onto| {
                let mut dx = backend.rows(&dy, cols, all.buffer())?;
                let zeros = backend.zeros(Class::Workspace, at.len() * cols)?;
                backend.write_rows(&zeros, cols, at.buffer(), &mut dx)?;
                sum_onto(backend, dx, onto)
            })
        }))
    }

    /// Columns `first..first + width`: \[rows, cols\] -> \[rows, width\].
    pub fn select_columns(&self, first: usize, width: usize) -> Result<Tensor> {
        self.select_grouped_columns(self.cols(), first, width)
    }

    /// Of every group of `group` columns the columns `first..first + width`: \[rows, n · group\] ->
    /// \[rows, n · width\]. Takes query, key and value out of one product.
    pub fn select_grouped_columns(&self, group: usize, first: usize, width: usize) -> Result<Tensor> {
        self.require_f32("select_columns")?;
        let (rows, cols) = (self.rows(), self.cols());
        let groups = group > 0 && cols.is_multiple_of(group);
        check(
            "select_columns",
            groups,
            || format!("groups of {group} columns"),
            || format!("{cols} columns"),
        )?;
        let fits = width > 0 && first.checked_add(width).is_some_and(|end| end <= group);
        let found = || format!("{width} columns from {first} on");
        check("select_columns", fits, || format!("columns within 0..{group}"), found)?;
        let backend = self.backend();
        // A group is a row of its own here.
        let y = backend.columns(self.buffer(), group, first, width)?;
        let (x, shape) = (self.trace().clone(), vec![rows, cols / group * width]);
        Ok(Tensor::result(backend, &[&x.clone()], y, shape, move |dy, gradients| {
            gradients.compute(&x, |backend, onto| backend.columns_gradient(&dy, group, first, width, onto))
        }))
    }

    /// Puts the same `prompt` \[virtual, cols\] before every sequence of \[tokens, cols\].
    /// -> \[tokens + sequences · virtual, cols\] and where the sequences now lie.
    pub fn prepend(&self, prompt: &Tensor, ragged: &Ragged) -> Result<(Tensor, Ragged)> {
        self.require_f32("prepend")?;
        prompt.require_f32("prepend")?;
        check_ragged("prepend", ragged, self.rows())?;
        let (cols, virtual_tokens) = (self.cols(), prompt.rows());
        check(
            "prepend",
            prompt.cols() == cols,
            || format!("[_, {cols}]"),
            || format!("{:?}", prompt.shape()),
        )?;
        let longer = Ragged::from_lengths(ragged.lengths().map(|length| length + virtual_tokens));
        let backend = self.backend();
        let [token, prompts, source] =
            places(&longer, virtual_tokens).map(|places| Indices::new(backend, &places));
        let (token, prompts, source) = (token?, prompts?, source?);
        let mut y = backend.zeros(Class::Activations, longer.rows() * cols)?;
        backend.scatter_rows(self.buffer(), cols, token.buffer(), &mut y)?;
        let repeated = backend.rows(prompt.buffer(), cols, source.buffer())?;
        backend.scatter_rows(&repeated, cols, prompts.buffer(), &mut y)?;
        let (x_trace, p_trace) = (self.trace().clone(), prompt.trace().clone());
        let inputs = [&x_trace.clone(), &p_trace.clone()];
        let shape = vec![longer.rows(), cols];
        let tensor = Tensor::result(backend, &inputs, y, shape, move |dy, gradients| {
            gradients.compute(&p_trace, |backend, onto| {
                let mut sum = match onto {
                    Some(sum) => sum,
                    None => backend.zeros(Class::Workspace, virtual_tokens * cols)?,
                };
                let repeated = backend.rows(&dy, cols, prompts.buffer())?;
                backend.scatter_rows(&repeated, cols, source.buffer(), &mut sum)?;
                Ok(sum)
            })?;
            gradients.compute(&x_trace, |backend, onto| {
                sum_onto(backend, backend.rows(&dy, cols, token.buffer())?, onto)
            })
        });
        Ok((tensor, longer))
    }
}

/// Which rows of the longer batch are tokens, which are virtual, and which virtual one each is.
fn places(longer: &Ragged, virtual_tokens: usize) -> [Vec<u32>; 3] {
    let [mut token, mut prompt, mut source] = [const { Vec::new() }; 3];
    for (start, length) in longer.starts().iter().zip(longer.lengths()) {
        for place in 0..length {
            let row = (start + place) as u32;
            if place < virtual_tokens {
                prompt.push(row);
                source.push(place as u32);
            } else {
                token.push(row);
            }
        }
    }
    [token, prompt, source]
}
