//! Relative-position biases: a number for each head and bucket of distances, added to the scores of attention
//! (Raffel et al. 2020, section 2.1).

use super::Forward;
use super::layer::Weight;
use super::weights::Loader;
use crate::error::Result;
use tenfold_tensor::{Ragged, RelativeBias};

/// How distances fall into buckets: half of them for exact distances, the others ever wider up to a largest one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets {
    pub count: usize,
    pub max_distance: usize,
    /// Whether keys behind the query have buckets of their own; else they count as distance 0.
    pub bidirectional: bool,
}

impl Buckets {
    /// The bucket of a key's place minus the query's, as Transformers computes it.
    pub fn of(&self, distance: isize) -> u32 {
        let (mut count, mut first, mut far) = (self.count, 0, (-distance).max(0) as usize);
        if self.bidirectional {
            count /= 2;
            far = distance.unsigned_abs();
            if distance > 0 {
                first = count;
            }
        }
        let exact = count / 2;
        let bucket = if far < exact {
            far
        } else {
            let wide = (far as f32 / exact as f32).ln() / (self.max_distance as f32 / exact as f32).ln();
            (exact + (wide * (count - exact) as f32) as usize).min(count - 1)
        };
        (first + bucket) as u32
    }
}

/// A table of biases.
pub(super) struct Relative {
    weight: Weight,
    buckets: Buckets,
}

impl Relative {
    /// The table \[buckets, heads\] of that name.
    pub fn load(loader: &Loader, name: String, buckets: Buckets, heads: usize) -> Result<Relative> {
        Ok(Relative { weight: loader.matrix(name, buckets.count, heads)?, buckets })
    }

    pub fn weight(&self) -> &Weight {
        &self.weight
    }

    /// The bias of every distance that occurs in sequences of these lengths, the method's prefix before them.
    pub fn table(&self, forward: &Forward, ragged: &Ragged) -> Result<RelativeBias> {
        let longest = forward.positions(ragged).into_iter().max().unwrap_or(0) as isize;
        let ids: Vec<u32> = (-longest..=longest).map(|distance| self.buckets.of(distance)).collect();
        let table = forward.weight(&self.weight).select_rows(&ids)?;
        Ok(RelativeBias { table, first: -longest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_have_buckets_of_their_own_and_far_ones_share_the_last() {
        let both = Buckets { count: 32, max_distance: 128, bidirectional: true };
        let of = |distances: &[isize]| distances.iter().map(|d| both.of(*d)).collect::<Vec<u32>>();
        assert_eq!(of(&[0, -1, -7, -8, -9, -127, -128, -500]), [0, 1, 7, 8, 8, 15, 15, 15]);
        assert_eq!(of(&[1, 7, 8, 128, 500]), [17, 23, 24, 31, 31]);
        let back = Buckets { bidirectional: false, ..both };
        let of = |distances: &[isize]| distances.iter().map(|d| back.of(*d)).collect::<Vec<u32>>();
        assert_eq!(of(&[3, 0, -1, -15, -16, -17, -500]), [0, 0, 1, 15, 16, 16, 31]);
    }
}
