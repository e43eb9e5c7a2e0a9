//! Choosing and placing rows and columns: embeddings, pooling, virtual tokens.

use super::linear::sum_onto;
use crate::backend::Ragged;
use crate::error::{Result, check, check_indices};
use crate::memory::Class;
use crate::tensor::Tensor;

impl Tensor {
    /// The rows `ids` of a table \[n, cols\], which may be a frozen weight of any format:
    /// an embedding, or the pooling of chosen tokens. -> \[ids.len(), cols\].
    pub fn select_rows(&self, ids: &[u32]) -> Result<Tensor> {
        let (table_rows, cols) = (self.rows(), self.cols());
        check_indices("select_rows", ids, table_rows)?;
        let backend = self.backend();
        let y = backend.rows(self.buffer(), cols, ids)?;
        let table = self.trace().clone();
        let saved = table.as_ref().map(|_| ids.to_vec());
        Ok(Tensor::result(backend, &[&table.clone()], y, vec![ids.len(), cols], move |dy, gradients| {
            let Some(ids) = saved else { return Ok(()) };
            gradients.compute(&table, |backend, onto| {
                let mut sum = match onto {
                    Some(sum) => sum,
                    None => backend.zeros(Class::Workspace, table_rows * cols)?,
                };
                backend.scatter_rows(&dy, cols, &ids, &mut sum)?;
                Ok(sum)
            })
        }))
    }

    /// The same rows, but for the rows `at`, in whose place `rows` \[at.len(), cols\] stand; `self` may be a frozen weight of
    /// any format. No row stands in `at` twice.
    pub fn replace_rows(&self, rows: &Tensor, at: &[u32]) -> Result<Tensor> {
        rows.require_f32("replace_rows")?;
        let (count, cols) = (self.rows(), self.cols());
        check_indices("replace_rows", at, count)?;
        let fits = rows.rows() == at.len() && rows.cols() == cols;
        let expected = || format!("[{}, {cols}]", at.len());
        check("replace_rows", fits, expected, || format!("{:?}", rows.shape()))?;
        let backend = self.backend();
        let all: Vec<u32> = (0..count as u32).collect();
        let mut y = backend.rows(self.buffer(), cols, &all)?;
        backend.write_rows(rows.buffer(), cols, at, &mut y)?;
        let (x_trace, rows_trace) = (self.trace().clone(), rows.trace().clone());
        let inputs = [&x_trace.clone(), &rows_trace.clone()];
        let at = at.to_vec();
        Ok(Tensor::result(backend, &inputs, y, self.shape().to_vec(), move |dy, gradients| {
            gradients.compute(&rows_trace, |backend, onto| {
                sum_onto(backend, backend.rows(&dy, cols, &at)?, onto)
            })?;
            gradients.compute(&x_trace, |backend, onto| {
                let mut dx = backend.rows(&dy, cols, &all)?;
                let zeros = backend.zeros(Class::Workspace, at.len() * cols)?;
                backend.write_rows(&zeros, cols, &at, &mut dx)?;
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
        ragged.check("prepend", self.rows())?;
        let (cols, virtual_tokens) = (self.cols(), prompt.rows());
        check(
            "prepend",
            prompt.cols() == cols,
            || format!("[_, {cols}]"),
            || format!("{:?}", prompt.shape()),
        )?;
        let longer = Ragged::from_lengths(ragged.lengths().map(|length| length + virtual_tokens));
        let places = Places::new(&longer, virtual_tokens);
        let backend = self.backend();
        let mut y = backend.zeros(Class::Activations, longer.rows() * cols)?;
        backend.scatter_rows(self.buffer(), cols, &places.token, &mut y)?;
        let repeated = backend.rows(prompt.buffer(), cols, &places.source)?;
        backend.scatter_rows(&repeated, cols, &places.prompt, &mut y)?;
        let (x_trace, p_trace) = (self.trace().clone(), prompt.trace().clone());
        let inputs = [&x_trace.clone(), &p_trace.clone()];
        let shape = vec![longer.rows(), cols];
        let tensor = Tensor::result(backend, &inputs, y, shape, move |dy, gradients| {
            gradients.compute(&p_trace, |backend, onto| {
                let mut sum = match onto {
                    Some(sum) => sum,
                    None => backend.zeros(Class::Workspace, virtual_tokens * cols)?,
                };
                let repeated = backend.rows(&dy, cols, &places.prompt)?;
                backend.scatter_rows(&repeated, cols, &places.source, &mut sum)?;
                Ok(sum)
            })?;
            gradients.compute(&x_trace, |backend, onto| {
                sum_onto(backend, backend.rows(&dy, cols, &places.token)?, onto)
            })
        });
        Ok((tensor, longer))
    }
}

/// Which rows of the longer batch are tokens, which are virtual, and which virtual one each is.
struct Places {
    token: Vec<u32>,
    prompt: Vec<u32>,
    source: Vec<u32>,
}

impl Places {
    fn new(longer: &Ragged, virtual_tokens: usize) -> Places {
        let mut places = Places { token: Vec::new(), prompt: Vec::new(), source: Vec::new() };
        for (start, length) in longer.starts().iter().zip(longer.lengths()) {
            for place in 0..length {
                let row = (start + place) as u32;
                if place < virtual_tokens {
                    places.prompt.push(row);
                    places.source.push(place as u32);
                } else {
                    places.token.push(row);
                }
            }
        }
        places
    }
}
