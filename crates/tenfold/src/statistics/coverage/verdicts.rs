//! Which test may decide between methods: false claims, coverage and power of those that are here, by simulation.
//!
//! Six methods on the same rows. `cargo test -p tenfold --lib the_table_of_verdicts -- --ignored --nocapture` prints the table.

use super::World;
use crate::statistics::{Permuted, Runs, SplitMix, compare, difference, holm, regroup_seeds, swap_rows};

/// Expected scores of six methods that are all alike, and of six that are not.
const ALIKE: [f64; 6] = [0.75; 6];
const UNLIKE: [f64; 6] = [0.80, 0.80, 0.80, 0.75, 0.72, 0.65];

/// What the tests said of one study: by pair, whether they claim a difference, and whether the interval holds the truth.
#[derive(Default)]
struct Tally {
    /// Studies with a false claim, by test.
    false_claims: [u32; 4],
    /// True differences that were claimed, by test.
    found: [u32; 4],
    /// True differences.
    true_differences: u32,
    /// Studies in which the simultaneous intervals all hold their truth.
    all_held: u32,
    /// 95 % intervals of single pairs that hold their truth: bootstrap.
    bootstrap_held: u32,
    pairs: u32,
    studies: u32,
}

impl Tally {
    fn add(&mut self, truth: &[f64; 6], methods: &[Runs]) {
        let comparison = compare(methods);
        let count = comparison.pairs.len() as f64;
        let uncorrected: Vec<f64> = comparison.pairs.iter().map(|pair| pair.p / count).collect();
        let stepped = holm(&uncorrected);
        let permuted: Vec<f64> = comparison
            .pairs
            .iter()
            .map(|pair| {
                let (a, b) = (&methods[pair.first], &methods[pair.second]);
                Permuted::new(swap_rows(a, b).unwrap(), regroup_seeds(a.seeds(), b.seeds()).unwrap()).p
            })
            .collect();
        let permuted = holm(&permuted);
        let (mut wrong, mut all_held) = ([false; 4], true);
        for (index, pair) in comparison.pairs.iter().enumerate() {
            let by = truth[pair.first] - truth[pair.second];
            let drawn = difference(&methods[pair.first], &methods[pair.second]).unwrap();
            let (low, high) = (drawn.low.unwrap(), drawn.high.unwrap());
            let claims = [
                pair.judged(0.0).verdict.tells_apart(),
                stepped[index] < 0.05,
                low > 0.0 || high < 0.0,
                permuted[index] < 0.05,
            ];
            for (test, claimed) in claims.into_iter().enumerate() {
                wrong[test] |= claimed && by == 0.0;
                self.found[test] += u32::from(claimed && by != 0.0);
            }
            self.true_differences += u32::from(by != 0.0);
            self.bootstrap_held += u32::from(low <= by && by <= high);
            all_held &= pair.difference.low.unwrap() <= by && by <= pair.difference.high.unwrap();
            self.pairs += 1;
        }
        wrong.into_iter().zip(&mut self.false_claims).for_each(|(wrong, count)| *count += u32::from(wrong));
        self.all_held += u32::from(all_held);
        self.studies += 1;
    }
}

fn tally(world: &World, truth: &[f64; 6], studies: u64) -> Tally {
    let mut tally = Tally::default();
    for study in 0..studies {
        let mut random = SplitMix::stream(23, study);
        let shared = world.rows(&mut random);
        let methods: Vec<Runs> = truth
            .iter()
            .map(|skill| {
                let outcomes =
                    world.outcomes_by(|_, random| skill + world.luck * random.normal(), &shared, &mut random);
                Runs::new(&outcomes).unwrap()
            })
            .collect();
        tally.add(truth, &methods);
    }
    tally
}

#[test]
fn all_intervals_together_hold_the_truth_as_often_as_they_say() {
    let world = World { seeds: 3, rows: 100, luck: 0.02, own: 0.2 };
    for truth in [ALIKE, UNLIKE] {
        let studies = 150;
        let held = (0..studies)
            .filter(|study| {
                let mut random = SplitMix::stream(29, *study);
                let shared = world.rows(&mut random);
                let mut skill = |skill: f64| {
                    let by = |_: usize, random: &mut SplitMix| skill + world.luck * random.normal();
                    Runs::new(&world.outcomes_by(by, &shared, &mut random)).unwrap()
                };
                let methods: Vec<Runs> = truth.iter().map(|truth| skill(*truth)).collect();
                compare(&methods).pairs.iter().all(|pair| {
                    let by = truth[pair.first] - truth[pair.second];
                    pair.difference.low.unwrap() <= by && by <= pair.difference.high.unwrap()
                })
            })
            .count();
        assert!(held >= 140, "{held} of {studies}");
    }
}

#[test]
#[ignore = "takes minutes"]
fn the_table_of_verdicts() {
    const STUDIES: u64 = 400;
    const PERCENT: fn(u32, u32) -> f64 = |part, whole| 100.0 * f64::from(part) / f64::from(whole);
    println!("six methods, 15 pairs; false claims: % of studies with one or more, of six alike methods");
    println!(
        "found: % of the true differences; all held: % of studies; bootstrap held: % of single intervals"
    );
    println!(
        "seeds rows luck | all held (alike, unlike) | false: t, Holm, bootstrap, permuted | found: t, Holm, bootstrap, permuted | bootstrap held"
    );
    let mut outside = Vec::new();
    for seeds in [1, 2, 3, 5, 10] {
        for (rows, luck) in [(100, 0.01), (100, 0.04), (800, 0.005), (800, 0.03)] {
            let world = World { seeds, rows, luck: if seeds == 1 { 0.0 } else { luck }, own: 0.2 };
            let (alike, unlike) = (tally(&world, &ALIKE, STUDIES), tally(&world, &UNLIKE, STUDIES));
            let false_claims = alike.false_claims.map(|count| PERCENT(count, alike.studies));
            let found = unlike.found.map(|count| PERCENT(count, unlike.true_differences));
            let held = [&alike, &unlike].map(|tally| PERCENT(tally.all_held, tally.studies));
            println!(
                "{seeds:5} {rows:4} {:5} | {held:5.1?} | {false_claims:5.1?} | {found:5.1?} | {:.1}",
                world.luck,
                PERCENT(alike.bootstrap_held + unlike.bootstrap_held, alike.pairs + unlike.pairs)
            );
            // Of 400 studies one standard error is 1.1 %.
            if held.iter().any(|held| *held < 92.0) {
                outside.push(world);
            }
        }
    }
    assert!(outside.is_empty(), "{outside:?}");
}
