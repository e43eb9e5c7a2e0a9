//! Sums over rows that count more than once, not at all or with the other sign, of all methods at once.
//!
//! What resampling, leaving out and exchanging rows have in common: every row gets a weight, and all methods on the same
//! rows the same one. A replicate's weights are a function of its number and the number of rows alone, so it does not
//! matter which methods are summed together, nor on how many threads. Weights exist for a block of rows at a time, which
//! stays in a core's nearest cache while the methods take it up.

use super::random::SplitMix;
use crate::score::Sums;
use rayon::prelude::*;

/// Rows whose weights exist at once; a power of two, from which draws take their bits.
const BLOCK: usize = 1024;
/// Replicates that take up a block of rows one after the other, while it stays in the cache.
const AT_ONCE: usize = 16;

/// Weights of one replicate, block by block.
pub(super) trait Weights: Send {
    /// The weights of the next rows.
    fn next(&mut self, weights: &mut [f64]);
}

/// How often each row is drawn, if as many rows are drawn as there are, with replacement.
pub(super) struct Drawn {
    random: SplitMix,
    /// Rows that are still to come.
    rows: usize,
    /// Draws that fall on them.
    draws: u64,
}

impl Drawn {
    pub(super) fn new(random: SplitMix, rows: usize) -> Drawn {
        Drawn { random, rows, draws: rows as u64 }
    }
}

impl Weights for Drawn {
    fn next(&mut self, weights: &mut [f64]) {
        let (random, here) = (&mut self.random, weights.len());
        // The draws that fall on these rows and not on later ones are binomial: blocks together are multinomial.
        let drawn = if here == self.rows {
            self.draws
        } else {
            random.binomial(self.draws, here as f64 / self.rows as f64)
        };
        self.rows -= here;
        self.draws -= drawn;
        weights.fill(0.0);
        match <&mut [f64; BLOCK]>::try_from(&mut *weights) {
            Ok(block) => draw_in_block(random, drawn, block),
            Err(_) => (0..drawn).for_each(|_| weights[random.below(here)] += 1.0),
        }
    }
}

/// Six draws from each number of 64 bits.
fn draw_in_block(random: &mut SplitMix, drawn: u64, block: &mut [f64; BLOCK]) {
    const BITS: u32 = BLOCK.trailing_zeros();
    const EACH: u64 = (u64::BITS / BITS) as u64;
    for _ in 0..drawn / EACH {
        let mut bits = random.bits();
        for _ in 0..EACH {
            block[bits as usize % BLOCK] += 1.0;
            bits >>= BITS;
        }
    }
    (0..drawn % EACH).for_each(|_| block[random.bits() as usize % BLOCK] += 1.0);
}

/// 1 or −1 for each row, as likely the one as the other.
pub(super) struct Signs(pub(super) SplitMix);

impl Weights for Signs {
    fn next(&mut self, weights: &mut [f64]) {
        for chunk in weights.chunks_mut(64) {
            let bits = self.0.bits();
            for (place, weight) in chunk.iter_mut().enumerate() {
                *weight = 1.0 - 2.0 * (bits >> place & 1) as f64;
            }
        }
    }
}

/// What `take` makes of the sums of all samples, for each of so many replicates, in their order. All samples are of as
/// many rows as the first.
pub(super) fn each<W: Weights, T: Send>(
    samples: &[&dyn Sums],
    replicates: u64,
    weights: impl Fn(u64) -> W + Sync,
    take: impl Fn(u64, &[Vec<f64>]) -> T + Sync,
) -> Vec<T> {
    let Some(rows) = samples.first().map(|sample| sample.rows()) else { return Vec::new() };
    let chunks = replicates.div_ceil(AT_ONCE as u64);
    let of_chunk = |chunk: u64| -> Vec<T> {
        let first = chunk * AT_ONCE as u64;
        let numbers = first..replicates.min(first + AT_ONCE as u64);
        let mut states: Vec<W> = numbers.clone().map(&weights).collect();
        let empty: Vec<Vec<f64>> = samples.iter().map(|sample| vec![0.0; sample.width()]).collect();
        let mut sums = vec![empty; states.len()];
        let mut block = [0.0; BLOCK];
        for start in (0..rows).step_by(BLOCK) {
            let block = &mut block[..BLOCK.min(rows - start)];
            for (state, sums) in states.iter_mut().zip(&mut sums) {
                state.next(block);
                samples.iter().zip(sums).for_each(|(sample, sums)| sample.add(start, block, sums));
            }
        }
        numbers.zip(&sums).map(|(number, sums)| take(number, sums)).collect()
    };
    (0..chunks).into_par_iter().map(of_chunk).collect::<Vec<_>>().into_iter().flatten().collect()
}

/// The sums of a sample with every row once.
pub(super) fn whole(sample: &dyn Sums) -> Vec<f64> {
    let mut sums = vec![0.0; sample.width()];
    for start in (0..sample.rows()).step_by(BLOCK) {
        let rows = BLOCK.min(sample.rows() - start);
        sample.add(start, &[1.0; BLOCK][..rows], &mut sums);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::Runs;
    use super::*;

    /// All weights of one replicate.
    fn weights(mut of: impl Weights, rows: usize) -> Vec<f64> {
        let mut all = vec![0.0; rows];
        all.chunks_mut(BLOCK).for_each(|block| of.next(block));
        all
    }

    #[test]
    fn every_replicate_draws_as_many_rows_as_there_are_and_each_as_often_as_any() {
        for rows in [1, 7, BLOCK, BLOCK + 1, 3 * BLOCK + 500] {
            let replicates = 400;
            let mut sums = vec![0.0; rows];
            let mut squares = 0.0;
            for replicate in 0..replicates {
                let drawn = weights(Drawn::new(SplitMix::stream(1, replicate), rows), rows);
                assert_eq!(drawn.iter().sum::<f64>(), rows as f64);
                squares += drawn.iter().map(|x| (x - 1.0).powi(2)).sum::<f64>();
                sums.iter_mut().zip(&drawn).for_each(|(sum, x)| *sum += x);
            }
            // A row's number of draws has variance 1 − 1/n: six standard errors of its mean.
            let far = 6.0 / (replicates as f64).sqrt();
            assert!(sums.iter().all(|sum| (sum / replicates as f64 - 1.0).abs() <= far));
            let variance = squares / (replicates as usize * rows) as f64;
            let wanted = 1.0 - 1.0 / rows as f64;
            assert!((variance - wanted).abs() < 0.12 / (rows as f64).sqrt() + 1e-12, "{rows}: {variance}");
        }
    }

    #[test]
    fn blocks_together_are_drawn_as_all_rows_at_once_would_be() {
        // The draws that fall on the first 1,500 of 2,500 rows are binomial.
        let (rows, share) = (2500, 0.6);
        let mut sizes: Vec<f64> = (0..4000)
            .map(|i| weights(Drawn::new(SplitMix::stream(2, i), rows), rows)[..1500].iter().sum())
            .collect();
        sizes.sort_by(f64::total_cmp);
        let deviation = (rows as f64 * share * (1.0 - share)).sqrt();
        for (place, normal) in [(100, -1.96), (2000, 0.0), (3900, 1.96)] {
            let wanted = rows as f64 * share + normal * deviation;
            assert!((sizes[place] - wanted).abs() < 4.0, "{} {wanted}", sizes[place]);
        }
    }

    #[test]
    fn sums_are_those_of_the_weights_whatever_is_summed_beside_and_on_any_number_of_threads() {
        let rows = 2 * BLOCK + 77;
        let mut random = SplitMix::new(3);
        let mut runs = || Runs::new(&[(0..rows).map(|_| random.uniform()).collect::<Vec<f64>>()]).unwrap();
        let (a, b) = (runs(), runs());
        let of = |samples: &[&dyn Sums], threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let drawn = |i| Drawn::new(SplitMix::stream(4, i), rows);
            pool.install(|| each(samples, 40, drawn, |_, sums| sums[0][0]))
        };
        let alone = of(&[&a], 1);
        assert_eq!(alone, of(&[&a, &b], 3));
        for (i, found) in alone.iter().enumerate() {
            let weights = weights(Drawn::new(SplitMix::stream(4, i as u64), rows), rows);
            let wanted: f64 = weights.iter().zip(a.rows()).map(|(w, x)| w * x).sum();
            assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");
        }
    }
}
