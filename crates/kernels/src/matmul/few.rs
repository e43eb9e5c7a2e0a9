//! A few rows against a matrix stored along its terms, as every word that a language model writes asks for: the matrix
//! is read once, [`LANES`] of its rows at a time, a lane of a vector for each, and widened in registers.
//!
//! The tiles would broadcast each of its numbers to sums of which most lanes are empty. The sums are the same chains of
//! multiply-adds here, so a row has the same bits alone and among many.

use super::block::KC;
use super::pack::Source;
use super::tile::unrolled;
use crate::elements::turned::{Turned, Words};
use crate::elements::{F32, bytes_of};
use crate::parallel::{self, Shared};
use crate::simd::Level;
use std::arch::x86_64::{__m256, __m512, _MM_HINT_T0, _mm_prefetch};
use std::ops::Range;

/// Multiply-adds below which spreading a product costs more than it saves: few, for these are the fastest.
const SMALL: usize = 1 << 16;
/// Rows at the most: from four on the tiles take no longer.
const ROWS: usize = 2;
/// Rows of the matrix that are summed side by side: as many chains as hide how long a multiply-add takes.
const LANES: usize = 32;
/// Rows of the matrix at the least: of fewer too many lanes would be empty here, too.
const LEAST: usize = LANES / 4;
/// Terms widened at a time where a format's blocks are not multiplied as they lie: they stay in the L1 cache, and are
/// whole units of every format.
const RUN: usize = 128;

/// What is left of a run of terms behind its last whole block: 7 terms at the most.
type Rest = [[f32; LANES]; 8];
type Sums = [[f32; LANES]; ROWS];

/// [`LANES`] rows of the matrix.
pub(crate) struct Job<'a> {
    bytes: &'a [u8],
    /// Where the first block of each row stands.
    positions: [usize; LANES],
    blocks: usize,
    /// Where the blocks stand that the next job is about, if that lies behind them.
    ahead: Option<usize>,
    /// Terms behind the blocks, widened.
    rest: &'a [[f32; LANES]],
    /// As many terms of each row of the left operand.
    left: [&'a [f32]; ROWS],
}

/// How the blocks of a format are multiplied as they lie, for each number of rows.
pub(crate) struct Kernels {
    terms: usize,
    positions: fn(&Lying) -> ([usize; LANES], Option<usize>),
    avx2: [Kernel; ROWS],
    avx512: [Kernel; ROWS],
}

/// Adds the products of a job's terms to the sums, one term after the other.
///
/// # Safety
/// The machine has the level, the matrix the blocks that the job tells of.
type Kernel = unsafe fn(&Job, &mut Sums);

impl Kernels {
    pub(crate) const fn of<F: Turned>() -> Kernels {
        Kernels {
            terms: F::TERMS,
            positions: positions::<F>,
            avx2: [avx2::<F, 1>, avx2::<F, 2>],
            avx512: [avx512::<F, 1>, avx512::<F, 2>],
        }
    }
}

/// Where the terms of [`LANES`] rows of the matrix lie, and what multiplies them there.
struct Lying<'a> {
    bytes: &'a [u8],
    kernels: &'static Kernels,
    /// The element of each row with which they begin.
    firsts: [usize; LANES],
    /// The element with which the same terms of the next rows begin, if these are next in memory.
    ahead: Option<usize>,
}

/// Where a format's blocks stand that begin with the elements told of. The kernels only load what this works out: done
/// in them, the compiler makes vectors of it, which it takes apart again for every address.
fn positions<F: Turned>(lying: &Lying) -> ([usize; LANES], Option<usize>) {
    let mut positions = lying.firsts;
    for position in &mut positions {
        *position = F::position(*position);
    }
    (positions, lying.ahead.map(F::position))
}

/// A product of this kind.
pub(super) struct Few<'a> {
    level: Level,
    alpha: f32,
    left: &'a [f32],
    rows: usize,
    right: Source<'a>,
    /// The matrix's bytes and what is done with them, or none if its blocks are widened first.
    direct: Option<(&'a [u8], &'static Kernels)>,
    bias: Option<&'a [f32]>,
    accumulate: bool,
}

impl<'a> Few<'a> {
    /// The product, if it is one that is better done here.
    pub(super) fn of(
        level: Level,
        alpha: f32,
        left: &Source<'a>,
        right: &Source<'a>,
        bias: Option<&'a [f32]>,
        accumulate: bool,
    ) -> Option<Few<'a>> {
        let here = left.lanes <= ROWS && left.along_k && right.along_k && right.lanes >= LEAST;
        if !here || level < Level::Avx2 {
            return None;
        }
        let (left, rows) = (left.elements.as_f32()?, left.lanes);
        Some(Few {
            level,
            alpha,
            left,
            rows,
            right: *right,
            direct: right.elements.as_they_lie(right.k),
            bias,
            accumulate,
        })
    }

    /// Computes it into `[rows, lanes of the right operand]`.
    pub(super) fn run(&self, out: &mut [f32]) {
        let lanes = self.right.lanes;
        let spread = self.rows * lanes * self.right.k >= SMALL && rayon::current_num_threads() > 1;
        let groups = lanes.div_ceil(LANES);
        let each = if spread { groups.div_ceil(4 * rayon::current_num_threads()) } else { groups };
        let out = Shared::new(out);
        parallel::tasks(groups.div_ceil(each), spread, |task| {
            for group in task * each..groups.min((task + 1) * each) {
                let first = group * LANES;
                // SAFETY: every group is one task's.
                unsafe { self.group(first..lanes.min(first + LANES), out) };
            }
        });
    }

    /// All rows against some lanes, [`LANES`] at the most.
    ///
    /// # Safety
    /// `out` is the whole output, and no other task writes these columns of it.
    unsafe fn group(&self, lanes: Range<usize>, out: Shared<f32>) {
        let k = self.right.k;
        for from in (0..k).step_by(KC) {
            let terms = from..(from + KC).min(k);
            let mut sums = [[0.0; LANES]; ROWS];
            match self.direct {
                Some((bytes, kernels)) => {
                    // Where there are fewer lanes the last stands for those that are missing.
                    let firsts = std::array::from_fn(|i| (lanes.start + i).min(lanes.end - 1) * k + from);
                    let ahead = Some((lanes.start + LANES) * k + from * LANES);
                    self.add(&lanes, terms, &Lying { bytes, kernels, firsts, ahead }, &mut sums);
                }
                None => self.add_widened(&lanes, terms, &mut sums),
            }
            for (row, sums) in sums.iter().take(self.rows).enumerate() {
                let row = row * self.right.lanes;
                // SAFETY: the caller's promise; `of` asks for AVX2, which comes with FMA.
                unsafe { self.write(sums, lanes.start, from, out.slice(row + lanes.start..row + lanes.end)) };
            }
        }
    }

    /// Adds the products of some terms of some lanes.
    fn add(&self, lanes: &Range<usize>, terms: Range<usize>, lying: &Lying, sums: &mut Sums) {
        let Lying { bytes, kernels, .. } = *lying;
        let (k, blocks) = (self.right.k, terms.len() / kernels.terms);
        let behind = terms.start + blocks * kernels.terms..terms.end;
        let widened;
        let mut rest = &[][..];
        if !behind.is_empty() {
            widened = self.rest(&behind, lanes);
            rest = &widened[..behind.len()];
        }
        let row = |i: usize| if i < self.rows { &self.left[i * k..][terms.clone()] } else { &[] };
        let (positions, ahead) = (kernels.positions)(lying);
        let job = Job { bytes, positions, blocks, ahead, rest, left: std::array::from_fn(row) };
        let kernels = if self.level == Level::Avx512 { &kernels.avx512 } else { &kernels.avx2 };
        // SAFETY: the level was detected, and the lanes' terms are elements of the matrix.
        unsafe { kernels[self.rows - 1](&job, sums) };
    }

    /// Terms that are no whole block of a kernel, widened.
    fn rest(&self, terms: &Range<usize>, lanes: &Range<usize>) -> Rest {
        let mut rest = [[0.0; LANES]; 8];
        for (i, lane) in lanes.clone().enumerate() {
            let mut run = [0.0; 8];
            let run = &mut run[..terms.len()];
            self.right.elements.widen(self.level, lane * self.right.k + terms.start, run);
            run.iter().zip(&mut rest).for_each(|(x, rest)| rest[i] = *x);
        }
        rest
    }

    /// The same by way of a buffer.
    fn add_widened(&self, lanes: &Range<usize>, terms: Range<usize>, sums: &mut Sums) {
        static WIDENED: Kernels = Kernels::of::<F32>();
        let mut buffer = [0.0; LANES * RUN];
        for at in terms.clone().step_by(RUN) {
            let terms = at..(at + RUN).min(terms.end);
            for (lane, run) in lanes.clone().zip(buffer.chunks_exact_mut(RUN)) {
                self.right.elements.widen(self.level, lane * self.right.k + at, &mut run[..terms.len()]);
            }
            let firsts = std::array::from_fn(|i| i * RUN);
            let lying = Lying { bytes: bytes_of(&buffer), kernels: &WIDENED, firsts, ahead: None };
            self.add(lanes, terms, &lying, sums);
        }
    }

    /// Adds the sums of the terms from `from` on to what stands there, as the tiles do.
    #[target_feature(enable = "avx2,fma")]
    fn write(&self, sums: &[f32; LANES], first: usize, from: usize, out: &mut [f32]) {
        for (i, out) in out.iter_mut().enumerate() {
            let mut base = 0.0;
            if let Some(bias) = self.bias.filter(|_| from == 0) {
                base = bias[first + i];
            }
            if self.accumulate || from > 0 {
                base += *out;
            }
            *out = self.alpha.mul_add(sums[i], base);
        }
    }
}

/// # Safety
/// See [`Kernel`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<F: Turned, const M: usize>(job: &Job, sums: &mut Sums) {
    // SAFETY: the caller's promise.
    unsafe { multiply::<F, __m256, M, { LANES / 8 }>(job, sums) }
}

/// # Safety
/// See [`Kernel`].
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c")]
unsafe fn avx512<F: Turned, const M: usize>(job: &Job, sums: &mut Sums) {
    // SAFETY: the caller's promise.
    unsafe { multiply::<F, __m512, M, { LANES / 16 }>(job, sums) }
}

/// Repeats a statement for the constants `$i < $n`, at most 64, as [`unrolled`] does.
macro_rules! each_term {
    ($i:ident < $n:expr, $body:expr) => {
        each_term!(@ $i $n, $body;
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
            32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63)
    };
    (@ $i:ident $n:expr, $body:expr; $($value:literal)*) => {
        $(if $value < $n {
            const $i: usize = $value;
            $body;
        })*
    };
}

/// Only functions that are inlined always stand between the caller, which has the instructions, and those that are one:
/// no closures, no iterators.
///
/// # Safety
/// See [`Kernel`]; `G` vectors are [`LANES`] lanes.
#[inline(always)]
unsafe fn multiply<F: Turned, V: Words, const M: usize, const G: usize>(job: &Job, sums: &mut Sums) {
    // SAFETY: the caller's promise; the left rows have a number for each term.
    unsafe {
        let mut chains = [[V::splat(0.0); G]; M];
        unrolled!(I < M, {
            unrolled!(J < G, chains[I][J] = V::load(sums.get_unchecked(I).as_ptr().add(J * V::LANES)));
        });
        for block in 0..job.blocks {
            let mut blocks = [F::block::<V>(job.bytes, job.positions.get_unchecked(..V::LANES), block); G];
            unrolled!(
                J < G,
                blocks[J] = F::block::<V>(
                    job.bytes,
                    job.positions.get_unchecked(J * V::LANES..(J + 1) * V::LANES),
                    block,
                )
            );
            each_term!(P < F::TERMS, {
                let mut terms = [V::splat(0.0); G];
                unrolled!(J < G, terms[J] = F::term::<V>(&blocks[J], P));
                step(&mut chains, &terms, &job.left, block * F::TERMS + P);
            });
            if let Some(ahead) = job.ahead {
                fetch(job.bytes, F::place(ahead, block * LANES)..F::place(ahead, (block + 1) * LANES));
            }
        }
        for i in 0..job.rest.len() {
            let mut terms = [V::splat(0.0); G];
            unrolled!(J < G, terms[J] = V::load(job.rest.get_unchecked(i).as_ptr().add(J * V::LANES)));
            step(&mut chains, &terms, &job.left, job.blocks * F::TERMS + i);
        }
        unrolled!(I < M, {
            unrolled!(J < G, chains[I][J].store(sums.get_unchecked_mut(I).as_mut_ptr().add(J * V::LANES)));
        });
    }
}

/// Has the processor bring bytes into its caches: rows side by side are too many streams for it to foresee. There may be
/// fewer bytes than asked for.
#[inline(always)]
fn fetch(bytes: &[u8], range: Range<usize>) {
    for at in range.step_by(64) {
        // SAFETY: every x86-64 has the instruction, which may be given any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(at).cast()) };
    }
}

/// One term of every sum.
///
/// # Safety
/// The machine has `V`'s instructions, and term `p` is one of the first `M` rows of `left`.
#[inline(always)]
unsafe fn step<V: Words, const M: usize, const G: usize>(
    chains: &mut [[V; G]; M],
    terms: &[V; G],
    left: &[&[f32]; ROWS],
    p: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        unrolled!(I < M, {
            let x = V::splat(*left.get_unchecked(I).get_unchecked(p));
            unrolled!(J < G, chains[I][J] = x.fma(terms[J], chains[I][J]));
        });
    }
}
