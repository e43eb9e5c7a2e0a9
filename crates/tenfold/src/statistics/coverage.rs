//! How often 95 % intervals over seeds and rows hold the truth, by simulation.
//!
//! Rows of differing difficulty, seeds of differing luck; right or wrong, three in four right. `cargo test --release -p tenfold --lib coverage --
//! --ignored --nocapture` prints the large table.

use super::bootstrap::{Runs, difference, score};
use super::{Estimate, SplitMix};

/// What is simulated: outcomes of `seeds` runs on `rows` rows.
#[derive(Debug, Clone, Copy)]
struct World {
    seeds: usize,
    rows: usize,
    /// Standard deviation of the seeds' true scores.
    luck: f64,
    /// Share of chance that a seed has to itself on each row; seeds of a real model agree on most rows.
    own: f64,
}

const SKILL: f64 = 0.75;

impl World {
    fn rows(&self, random: &mut SplitMix) -> Vec<f64> {
        (0..self.rows).map(|_| random.uniform()).collect()
    }

    fn outcomes(&self, shared: &[f64], random: &mut SplitMix) -> Vec<Vec<f64>> {
        let run = |_| {
            let skill = SKILL + self.luck * random.normal();
            let mut draw = |u: f64| if random.uniform() < self.own { random.uniform() } else { u };
            shared.iter().map(|u| f64::from(u8::from(draw(*u) < skill))).collect()
        };
        (0..self.seeds).map(run).collect()
    }

    fn runs(&self, shared: &[f64], random: &mut SplitMix) -> Runs {
        Runs::new(&self.outcomes(shared, random)).unwrap()
    }

    /// Share of trials whose interval holds `truth`.
    fn coverage(&self, trials: u64, truth: f64, one: impl Fn(&World, &mut SplitMix) -> Estimate) -> f64 {
        let holds = |trial: &u64| {
            let estimate = one(self, &mut SplitMix::stream(11, *trial));
            estimate.low.unwrap() <= truth && truth <= estimate.high.unwrap()
        };
        (0..trials).filter(holds).count() as f64 / trials as f64
    }
}

fn of_score(world: &World, random: &mut SplitMix) -> Estimate {
    let rows = world.rows(random);
    score(&world.runs(&rows, random))
}

fn of_difference(world: &World, random: &mut SplitMix) -> Estimate {
    let rows = world.rows(random);
    difference(&world.runs(&rows, random), &world.runs(&rows, random)).unwrap()
}

/// What others do: seeds and rows are both drawn with replacement, and the middle 95 % kept.
fn of_plain_draws(world: &World, random: &mut SplitMix) -> Estimate {
    let rows = world.rows(random);
    let outcomes = world.outcomes(&rows, random);
    let mut draws: Vec<f64> = (0..1000)
        .map(|_| {
            let seeds: Vec<&Vec<f64>> =
                outcomes.iter().map(|_| &outcomes[random.below(world.seeds)]).collect();
            let one = |row: usize| seeds.iter().map(|run| run[row]).sum::<f64>();
            let sum: f64 = (0..world.rows).map(|_| one(random.below(world.rows))).sum();
            sum / (world.seeds * world.rows) as f64
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    let end = |q| super::quantile_of_sorted(&draws, q);
    Estimate { value: 0.0, low: end(0.025), high: end(0.975), n: world.seeds }
}

#[test]
fn intervals_cover_the_truth_as_often_as_they_say() {
    let world = |seeds, luck, own| World { seeds, rows: 100, luck, own };
    for world in [world(1, 0.0, 0.1), world(3, 0.02, 0.1), world(5, 0.02, 0.2), world(5, 0.06, 0.2)] {
        let covered = world.coverage(500, SKILL, of_score);
        assert!((0.93..=0.97).contains(&covered), "{world:?}: {covered}");
    }
}

#[test]
fn intervals_of_differences_cover_the_truth_as_often_as_they_say() {
    for (seeds, luck) in [(3, 0.03), (5, 0.03)] {
        let world = World { seeds, rows: 100, luck, own: 0.2 };
        let covered = world.coverage(500, 0.0, of_difference);
        assert!((0.93..=0.98).contains(&covered), "{world:?}: {covered}");
    }
}

#[test]
#[ignore = "takes minutes"]
fn the_large_table_of_coverage() {
    const TRIALS: u64 = 2000;
    let settings = [(150, 0.0, 0.1), (150, 0.02, 0.2), (150, 0.06, 0.2), (600, 0.01, 0.1), (600, 0.06, 0.2)];
    let mut outside = Vec::new();
    println!("seeds rows luck own  score  difference  plain draws of seeds and rows");
    for seeds in [2, 3, 5, 10] {
        for (rows, luck, own) in settings {
            let world = World { seeds, rows, luck, own };
            let score = world.coverage(TRIALS, SKILL, of_score);
            let difference = world.coverage(TRIALS, 0.0, of_difference);
            let plain = world.coverage(TRIALS / 2, SKILL, of_plain_draws);
            println!("{seeds:5} {rows:4} {luck:4} {own:3}  {score:.3}  {difference:.3}       {plain:.3}");
            let good = |covered: f64| (0.93..=0.97).contains(&covered);
            if seeds >= 5 && !(good(score) && good(difference)) {
                outside.push(world);
            }
        }
    }
    assert!(outside.is_empty(), "{outside:?}");
}
