//! Which worked examples stand before a question, as lm-evaluation-harness draws them.

use super::Question;
use serde::{Deserialize, Serialize};

/// How examples are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// Anew for every question, by Python's `random.sample` from the harness's seed 1234, one question after the other.
    #[default]
    Default,
    /// The first ones of the file, in its order.
    FirstN,
}

/// The harness's `--seed` of examples.
const SEED: u32 = 1234;

/// Draws examples for one question after the other.
pub struct Shots<'a> {
    pool: &'a [Question],
    count: usize,
    sampler: Sampler,
    /// Whether the questions asked are those of the pool: none is its own example.
    among: bool,
    random: Mersenne,
}

impl<'a> Shots<'a> {
    /// `count` examples for each question. There must be that many, and one more if questions are `among` the pool.
    pub fn new(pool: &'a [Question], count: usize, sampler: Sampler, among: bool) -> Shots<'a> {
        Shots { pool, count, sampler, among, random: Mersenne::new(SEED) }
    }

    /// The examples that stand before the next question, in their order.
    pub fn next(&mut self, asked: &Question) -> Vec<&'a Question> {
        if self.count == 0 {
            return Vec::new();
        }
        let others = |question: &&'a Question| !self.among || *question != asked;
        if self.sampler == Sampler::FirstN {
            return self.pool.iter().filter(others).take(self.count).collect();
        }
        let drawn = self.random.sample(self.pool.len(), self.count + usize::from(self.among));
        let drawn: Vec<&Question> =
            drawn.into_iter().map(|place| &self.pool[place]).filter(others).take(self.count).collect();
        if drawn.len() == self.count {
            return drawn;
        }
        // Rows that stand in the file several times were all drawn: once more, without any of them.
        let rest: Vec<&Question> = self.pool.iter().filter(others).collect();
        self.random.sample(rest.len(), self.count).into_iter().map(|place| rest[place]).collect()
    }
}

/// Python's generator: MT19937 (Matsumoto & Nishimura 1998).
struct Mersenne {
    state: [u32; N],
    place: usize,
}

const N: usize = 624;
const M: usize = 397;

impl Mersenne {
    /// Seeded as Python does with a small integer: by the array of its one word.
    fn new(seed: u32) -> Mersenne {
        let mut state = [0; N];
        state[0] = 19_650_218;
        for i in 1..N {
            state[i] = spread(state[i - 1], 1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        let wrap = |state: &mut [u32; N], i: &mut usize| {
            *i += 1;
            if *i == N {
                state[0] = state[N - 1];
                *i = 1;
            }
        };
        for _ in 0..N {
            state[i] = (state[i] ^ spread(state[i - 1], 1_664_525)).wrapping_add(seed);
            wrap(&mut state, &mut i);
        }
        for _ in 0..N - 1 {
            state[i] = (state[i] ^ spread(state[i - 1], 1_566_083_941)).wrapping_sub(i as u32);
            wrap(&mut state, &mut i);
        }
        state[0] = 0x8000_0000;
        Mersenne { state, place: N }
    }

    fn word(&mut self) -> u32 {
        if self.place == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
            }
            self.place = 0;
        }
        let mut y = self.state[self.place];
        self.place += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number below `n`, which is not 0: `Random._randbelow`.
    fn below(&mut self, n: usize) -> usize {
        let bits = (usize::BITS - n.leading_zeros()).min(32);
        loop {
            let drawn = (self.word() >> (32 - bits)) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `Random.sample(range(n), count)`; of fewer than `count` all.
    fn sample(&mut self, n: usize, count: usize) -> Vec<usize> {
        let count = count.min(n);
        // Where Python changes from a pool to a set: 21, and for more than 5 a power of 4 above 3 × count more.
        let mut few = 21;
        if count > 5 {
            let mut power = 1;
            while power < 3 * count {
                power *= 4;
            }
            few += power;
        }
        if n <= few {
            let mut pool: Vec<usize> = (0..n).collect();
            return (0..count)
                .map(|i| {
                    let j = self.below(n - i);
                    let drawn = pool[j];
                    pool[j] = pool[n - i - 1];
                    drawn
                })
                .collect();
        }
        let mut drawn: Vec<usize> = Vec::new();
        while drawn.len() < count {
            let j = self.below(n);
            if !drawn.contains(&j) {
                drawn.push(j);
            }
        }
        drawn
    }
}

fn spread(word: u32, by: u32) -> u32 {
    (word ^ (word >> 30)).wrapping_mul(by)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str) -> Question {
        Question::Answer { context: text.into(), references: vec!["x".into()] }
    }

    /// `random.Random(1234)` of Python 3.11: `sample(range(10), 3)`, `sample(range(1000), 5)`, `sample(range(50), 7)`.
    #[test]
    fn draws_are_those_of_python() {
        let mut random = Mersenne::new(SEED);
        assert_eq!(random.sample(10, 3), PYTHON.0);
        assert_eq!(random.sample(1000, 5), PYTHON.1);
        assert_eq!(random.sample(50, 7), PYTHON.2);
    }

    const PYTHON: ([usize; 3], [usize; 5], [usize; 7]) =
        ([7, 1, 0], [92, 932, 965, 961, 826], [37, 2, 42, 44, 5, 6, 22]);

    #[test]
    fn a_question_is_never_its_own_example() {
        let pool: Vec<Question> = ["a", "b", "b", "c", "d"].map(question).into();
        for sampler in [Sampler::Default, Sampler::FirstN] {
            let mut shots = Shots::new(&pool, 2, sampler, true);
            for asked in &pool {
                let drawn = shots.next(asked);
                assert_eq!(drawn.len(), 2);
                assert!(!drawn.contains(&asked), "{sampler:?}");
            }
        }
        let first = Shots::new(&pool, 3, Sampler::FirstN, false).next(&pool[0]);
        assert_eq!(first, [&pool[0], &pool[1], &pool[2]]);
        assert!(Shots::new(&pool, 0, Sampler::Default, false).next(&pool[0]).is_empty());
    }
}
