//! How often 95 % intervals over seeds and rows hold the truth, by simulation.
//!
//! Rows of differing difficulty, seeds of differing luck; right or wrong, three in four right; and the same of scores
//! that are no means of rows: Matthews' correlation, Pearson's r, perplexity. `cargo test --release -p tenfold --lib coverage --
//! --ignored --nocapture` prints the large table.

mod verdicts;

use super::bootstrap::{Runs, combined, difference, score};
use super::{Estimate, Resampled, Rows, SplitMix};
use crate::score::{matthews, pearson};

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
        self.outcomes_by(|_, random| SKILL + self.luck * random.normal(), shared, random)
    }

    fn outcomes_by(
        &self,
        mut skill: impl FnMut(usize, &mut SplitMix) -> f64,
        shared: &[f64],
        random: &mut SplitMix,
    ) -> Vec<Vec<f64>> {
        let run = |seed| {
            let skill = skill(seed, random);
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

/// The same seeds on rows of two domains, where one that does well in the one does as well in the other, or as badly.
fn of_drop(world: &World, random: &mut SplitMix, alike: f64) -> Estimate {
    let lucks: Vec<f64> = (0..world.seeds).map(|_| world.luck * random.normal()).collect();
    let mut domain = |sign: f64| {
        let rows = world.rows(random);
        let skill = |seed: usize, _: &mut SplitMix| SKILL + sign * lucks[seed];
        Runs::new(&world.outcomes_by(skill, &rows, random)).unwrap()
    };
    let (home, away) = (domain(1.0), domain(alike));
    combined(&home, &away, Rows::Own, |home, away| home - away).unwrap()
}

/// A score of whole runs: what it truly is on average over seeds, and its interval in one trial.
struct Whole {
    name: &'static str,
    truth: fn(&World) -> f64,
    one: fn(&World, &mut SplitMix) -> Estimate,
}

const WHOLE: [Whole; 3] = [
    Whole { name: "matthews", truth: true_matthews, one: of_matthews },
    // The slope on the truth is the correlation, and its mean over seeds that of the slopes.
    Whole { name: "pearson", truth: |_| SKILL, one: of_pearson },
    // The mean of a log-normal number.
    Whole { name: "perplexity", truth: |world| (NATS + world.luck.powi(2) / 2.0).exp(), one: of_perplexity },
];

/// Share of rows of label 1.
const COMMON: f64 = 0.7;
/// Mean cross-entropy of a token.
const NATS: f64 = 2.0;

/// Of accuracy alike for both labels, over the seeds' normal luck.
fn true_matthews(world: &World) -> f64 {
    let of_skill = |skill: f64| {
        let said = COMMON * skill + (1.0 - COMMON) * (1.0 - skill);
        (2.0 * skill - 1.0) * (COMMON * (1.0 - COMMON) / (said * (1.0 - said))).sqrt()
    };
    let steps = (-400..=400).map(|step| f64::from(step) / 100.0);
    let (sum, weight) = steps.fold((0.0, 0.0), |(sum, all), z| {
        let weight = (-z * z / 2.0).exp();
        (sum + weight * of_skill(SKILL + world.luck * z), all + weight)
    });
    sum / weight
}

fn of_matthews(world: &World, random: &mut SplitMix) -> Estimate {
    let labels: Vec<u32> = (0..world.rows).map(|_| u32::from(random.uniform() < COMMON)).collect();
    let shared = world.rows(random);
    let said: Vec<Vec<u32>> = world
        .outcomes(&shared, random)
        .iter()
        .map(|run| run.iter().zip(&labels).map(|(right, l)| if *right > 0.5 { *l } else { 1 - l }).collect())
        .collect();
    let range = (-1.0, 1.0);
    of_whole(world, range, |seed, rows| matthews(&picked(&said[seed], rows), &picked(&labels, rows)))
}

fn of_pearson(world: &World, random: &mut SplitMix) -> Estimate {
    let truth: Vec<f64> = (0..world.rows).map(|_| random.normal()).collect();
    let shared: Vec<f64> = (0..world.rows).map(|_| random.normal()).collect();
    let run = |_| -> Vec<f64> {
        let r = (SKILL + world.luck * random.normal()).clamp(-1.0, 1.0);
        let mut noise = |u: f64| if random.uniform() < world.own { random.normal() } else { u };
        truth.iter().zip(&shared).map(|(t, u)| r * t + (1.0 - r * r).sqrt() * noise(*u)).collect()
    };
    let said: Vec<Vec<f64>> = (0..world.seeds).map(run).collect();
    let range = (-1.0, 1.0);
    of_whole(world, range, |seed, rows| pearson(&picked(&said[seed], rows), &picked(&truth, rows)))
}

/// Texts of 5 to 24 tokens, some of which are much harder than others.
fn of_perplexity(world: &World, random: &mut SplitMix) -> Estimate {
    let hard = |random: &mut SplitMix| -(1.0 - random.uniform()).ln() - 1.0;
    let counts: Vec<f64> = (0..world.rows).map(|_| 5.0 + random.below(20) as f64).collect();
    let shared: Vec<f64> = (0..world.rows).map(|_| hard(random)).collect();
    let run = |_| -> Vec<f64> {
        let mean = NATS + world.luck * random.normal();
        let mut own = |u: f64| if random.uniform() < world.own { hard(random) } else { u };
        counts.iter().zip(&shared).map(|(count, u)| count * (mean + own(*u) / 2.0)).collect()
    };
    let nats: Vec<Vec<f64>> = (0..world.seeds).map(run).collect();
    of_whole(world, (1.0, f64::INFINITY), |seed, rows| {
        let sum = |values: &[f64]| rows.iter().map(|row| values[*row as usize]).sum::<f64>();
        Some((sum(&nats[seed]) / sum(&counts)).exp())
    })
}

fn picked<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter().map(|row| values[*row as usize]).collect()
}

fn of_whole(
    world: &World,
    range: (f64, f64),
    score: impl Fn(usize, &[u32]) -> Option<f64> + Sync + Send,
) -> Estimate {
    Resampled::of(world.seeds, world.rows, range, score).unwrap().estimate()
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
    // Two seeds whose luck outweighs the rows hold less than they say, and `Basis::words` tells.
    let covered = world(2, 0.06, 0.2).coverage(500, SKILL, of_score);
    assert!((0.91..=0.95).contains(&covered), "{covered}");
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
fn intervals_of_drops_cover_the_truth_as_often_as_they_say() {
    for (seeds, alike) in [(3, 1.0), (3, -1.0), (5, 1.0), (5, -1.0)] {
        let world = World { seeds, rows: 100, luck: 0.05, own: 0.2 };
        let covered = world.coverage(500, 0.0, |world, random| of_drop(world, random, alike));
        assert!((0.93..=0.98).contains(&covered), "{world:?}, {alike}: {covered}");
    }
}

#[test]
fn intervals_of_scores_that_are_no_means_cover_the_truth_about_as_often() {
    let world = World { seeds: 3, rows: 100, luck: 0.03, own: 0.2 };
    for whole in &WHOLE {
        let covered = world.coverage(200, (whole.truth)(&world), whole.one);
        // Of 200 trials one standard error is 1.5 %.
        assert!((0.91..=0.99).contains(&covered), "{}: {covered}", whole.name);
    }
}

#[test]
#[ignore = "takes minutes"]
fn the_table_of_coverage_of_scores_that_are_no_means() {
    const TRIALS: u64 = 500;
    let settings = [(1, 0.0), (2, 0.02), (2, 0.06), (3, 0.02), (3, 0.06), (5, 0.02), (5, 0.06)];
    let mut outside = Vec::new();
    println!("seeds rows luck own  matthews  pearson  perplexity");
    for (seeds, luck) in settings {
        let world = World { seeds, rows: 150, luck, own: 0.2 };
        let [matthews, pearson, perplexity] =
            WHOLE.map(|whole| world.coverage(TRIALS, (whole.truth)(&world), whole.one));
        println!("{seeds:5}  150 {luck:4} 0.2  {matthews:.3}     {pearson:.3}    {perplexity:.3}");
        let good = |covered: &f64| (0.93..=0.97).contains(covered);
        if seeds >= 5 && ![matthews, pearson, perplexity].iter().all(good) {
            outside.push(world);
        }
    }
    assert!(outside.is_empty(), "{outside:?}");
}

#[test]
#[ignore = "takes minutes"]
fn the_large_table_of_coverage() {
    const TRIALS: u64 = 2000;
    let settings = [(150, 0.0, 0.1), (150, 0.02, 0.2), (150, 0.06, 0.2), (600, 0.01, 0.1), (600, 0.06, 0.2)];
    let mut outside = Vec::new();
    println!("seeds rows luck own  score  difference  drop   plain draws of seeds and rows");
    for seeds in [2, 3, 5, 10] {
        for (rows, luck, own) in settings {
            let world = World { seeds, rows, luck, own };
            let score = world.coverage(TRIALS, SKILL, of_score);
            let difference = world.coverage(TRIALS, 0.0, of_difference);
            let drop = world.coverage(TRIALS, 0.0, |world, random| of_drop(world, random, 1.0));
            let plain = world.coverage(TRIALS / 2, SKILL, of_plain_draws);
            println!(
                "{seeds:5} {rows:4} {luck:4} {own:3}  {score:.3}  {difference:.3}       {drop:.3}  {plain:.3}"
            );
            let good = |covered: f64| (0.93..=0.97).contains(&covered);
            if seeds >= 5 && !(good(score) && good(difference) && good(drop)) {
                outside.push(world);
            }
        }
    }
    assert!(outside.is_empty(), "{outside:?}");
}
