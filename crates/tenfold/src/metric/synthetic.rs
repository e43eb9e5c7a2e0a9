//! A made-up study for tests: eight methods, three seeds, four domains, one failure, one missing probe.

mod sized;

pub(crate) use sized::Sized;

use super::{Accounting, Evidence, Findings, MethodFacts, StudyFacts, applications};
use crate::record::*;
use crate::statistics::SplitMix;
use std::collections::BTreeMap;
use std::sync::OnceLock;

const SEEDS: [u64; 3] = [1, 2, 3];
const SIZES: [usize; 6] = [16, 32, 64, 128, 256, 512];
const DRAWS: usize = 3;
const STEPS: usize = 240;
const DOMAINS: [(&str, f64); 4] =
    [("movie", 0.0), ("restaurant", -0.05), ("tweets", -0.14), ("laptop", -0.08)];

/// name, title, mergeable, accuracy, trainable, train MB, examples/s, latency ms.
type Row = (&'static str, &'static str, bool, f64, u64, f64, f64, f64);
const METHODS: [Row; 9] = [
    ("full", "Full fine-tuning", false, 0.871, 22_713_602, 431.0, 62.0, 7.9),
    ("lora", "LoRA, rank 8", true, 0.868, 221_954, 148.0, 117.0, 9.1),
    ("dora", "DoRA, rank 8", true, 0.869, 235_010, 171.0, 78.0, 11.8),
    ("ia3", "(IA)³", true, 0.852, 37_634, 139.0, 124.0, 8.6),
    ("bitfit", "BitFit", false, 0.858, 99_458, 137.0, 131.0, 7.9),
    ("prefix_tuning", "Prefix tuning, 20 tokens", false, 0.823, 244_226, 160.0, 96.0, 10.2),
    ("prompt_tuning", "Prompt tuning, 20 tokens", false, 0.774, 155_906, 163.0, 88.0, 12.4),
    ("linear_probe", "Linear probe", false, 0.795, 770, 96.0, 412.0, 7.9),
    ("adalora", "AdaLoRA, rank 8 <from 12>", true, 0.0, 0, 0.0, 0.0, 0.0),
];

/// Records that look like those of a study.
pub(crate) struct World {
    pub(crate) records: Vec<Record>,
    seeds: usize,
}

impl World {
    /// The whole study's findings, computed once for all tests.
    pub(crate) fn findings() -> &'static Findings<'static> {
        static FINDINGS: OnceLock<Findings<'static>> = OnceLock::new();
        FINDINGS.get_or_init(|| {
            let world: &'static World = Box::leak(Box::new(World::new()));
            Findings::of(Box::leak(Box::new(world.evidence())))
        })
    }

    /// The whole study.
    pub(crate) fn new() -> World {
        World::with_seeds(SEEDS.len())
    }

    /// The study with its first seeds alone.
    pub(crate) fn with_seeds(seeds: usize) -> World {
        let mut random = SplitMix::new(42);
        let hardness: Vec<Vec<f64>> =
            DOMAINS.iter().map(|_| (0..800).map(|_| random.uniform()).collect()).collect();
        let mut records = Vec::new();
        for row in &METHODS {
            if row.3 == 0.0 {
                let reason = "the loss became NaN at step 12: try a lower learning rate than 3e-2".to_owned();
                records.push(record(row.0, Role::Main, 1, Outcome::Failed { reason }));
                continue;
            }
            for seed in &SEEDS[..seeds] {
                let skill = row.3 + 0.004 * random.normal();
                let run = trained(&mut random, row, skill, &hardness, STEPS);
                records.push(record(row.0, Role::Main, *seed, Outcome::Trained(Box::new(run))));
            }
            for (place, size) in SIZES.iter().enumerate() {
                for draw in 0..DRAWS {
                    let short = 0.36 * (row.3 - 0.5) * (1.0 - place as f64 / 6.5) + 0.4 * row.6.recip();
                    let skill = row.3 - short + 0.015 * random.normal();
                    let run = trained(&mut random, row, skill, &hardness[..1], 40);
                    let role = Role::SmallData { examples: *size, draw };
                    records.push(record(row.0, role, 1, Outcome::Trained(Box::new(run))));
                }
            }
            if row.0 != "dora" {
                let probed = probed(&mut random, row);
                records.push(probe(row.0, 1, probed));
            }
        }
        World { records, seeds }
    }

    /// A small study that is unlike every other: some of the methods, any number of rows and seeds, and skills that are
    /// near to one another or far apart. "full" is always there.
    pub(crate) fn drawn(study: u64) -> World {
        let mut random = SplitMix::stream(4711, study);
        let (methods, seeds, rows) = (2 + random.below(4), 1 + random.below(5), 10 + random.below(190));
        let (spread, luck) = (0.9 * random.uniform(), 0.02 * random.uniform());
        let hardness = [(0..rows).map(|_| random.uniform()).collect::<Vec<f64>>()];
        let mut records = Vec::new();
        for row in &METHODS[..methods] {
            let skill = 0.95 - spread * random.uniform();
            for seed in 0..seeds as u64 {
                let skill = skill + luck * random.normal();
                let run = trained(&mut random, row, skill, &hardness, 16);
                records.push(record(row.0, Role::Main, seed, Outcome::Trained(Box::new(run))));
            }
            let probed = probed(&mut random, row);
            records.push(probe(row.0, 0, probed));
        }
        World { records, seeds: seeds.min(SEEDS.len()) }
    }

    /// Changes the answers of every trained run to the test rows of the domain trained on: labels and predictions.
    pub(crate) fn answer(&mut self, mut change: impl FnMut(&mut Vec<u32>, &mut Vec<u32>)) {
        self.answer_where(|_| true, &mut change);
    }

    /// The same of the comparison's runs of one method.
    pub(crate) fn answer_main(&mut self, method: &str, mut change: impl FnMut(&mut Vec<u32>, &mut Vec<u32>)) {
        self.answer_where(|trial| trial.method == method && trial.role == Role::Main, &mut change);
    }

    fn answer_where(
        &mut self,
        wanted: impl Fn(&Trial) -> bool,
        change: &mut impl FnMut(&mut Vec<u32>, &mut Vec<u32>),
    ) {
        for record in self.records.iter_mut().filter(|record| wanted(&record.trial)) {
            let Outcome::Trained(run) = &mut record.outcome else { continue };
            let Some(test) = run.tests.first_mut() else { continue };
            if let Answers::Labels { labels, predictions } = &mut test.answers {
                change(labels, predictions);
                let right = labels.iter().zip(predictions).filter(|(a, b)| a == b).count();
                test.score.value = Some(right as f64 / labels.len() as f64);
            }
        }
    }

    /// What the metrics look at.
    pub(crate) fn evidence(&self) -> Evidence<'_> {
        let fact = |row: &Row| MethodFacts {
            name: row.0.to_owned(),
            title: row.1.to_owned(),
            kind: row.0.to_owned(),
            mergeable: row.2,
            chosen: Some(Candidate { learning_rate: 1e-3, settings: serde_json::Map::new() }),
            adapter: None,
        };
        let study = StudyFacts {
            name: "quickstart".to_owned(),
            purpose: "balanced".to_owned(),
            methods: METHODS.iter().map(fact).collect(),
            seeds: SEEDS[..self.seeds].to_vec(),
            small_data: SIZES.to_vec(),
            small_data_draws: DRAWS,
            margin: 0.01,
            wanted_half_width: 0.01,
            mixture: String::new(),
            forgetting: "it is an encoder".to_owned(),
            batch_size: 16,
            applications: applications().to_vec(),
            energy: Accounting::default(),
            learning_rates: "Each method tried 4 learning rates on the validation split with the same number of steps; the best one was kept.".to_owned(),
            labels: Vec::new(),
            doubts: Vec::new(),
            data: "Sentiment (two labels): 2,400 training rows of movie reviews, 400 validation rows, 800 test rows in each of four domains. The most frequent label makes 51 % of the test rows.".to_owned(),
            model: "all-MiniLM-L6-v2, 22.7 M parameters, weights in f32.".to_owned(),
            machine: "Synthetic CPU @ 2.6 GHz, 2 cores, avx2, 7.64 GiB, Linux x86_64.".to_owned(),
            absent_benchmarks: Vec::new(),
            missing: BTreeMap::new(),
            generated_at: "2026-01-31".to_owned(),
            elapsed_seconds: 1234.0,
        };
        Evidence::new(study, &self.records)
    }
}

fn record(method: &str, role: Role, seed: u64, outcome: Outcome) -> Record {
    let model = ModelIdentity {
        name: "all-minilm-l6-v2".into(),
        sha256: "0".repeat(64),
        parameters: 22_713_216,
        weights: "f32".into(),
    };
    let machine = Machine {
        processor: "Synthetic CPU".into(),
        cores: 2,
        memory_bytes: 8_200_000_000,
        simd: "avx2".into(),
        system: "linux x86_64".into(),
    };
    let data = DataIdentity { task: "sentiment".into(), sha256: "0".repeat(64) };
    let trial = Trial {
        code: "0.1.0".into(),
        model,
        data,
        method: method.into(),
        adapter: serde_json::json!({ "type": method }),
        train: serde_json::json!({ "learning_rate": 1e-3 }),
        role,
        seed,
    };
    let training = matches!(outcome, Outcome::Trained(_));
    let training = training.then_some(TrainingTime { seconds: 10.0, disturbance: None });
    let measured = Measured { machine, fit: None, training, probe: None };
    Record { schema: SCHEMA, trial, outcome, measured }
}

fn probe(method: &str, seed: u64, probed: Probed) -> Record {
    let repeat = Repeat { steps: 8, first_difference: None };
    let mut record = record(method, Role::Probe, seed, Outcome::Probed(repeat));
    record.measured.probe = Some(Box::new(probed));
    record
}

fn test(random: &mut SplitMix, domain: &str, skill: f64, hardness: &[f64]) -> Test {
    let labels: Vec<u32> = (0..hardness.len()).map(|i| (i % 2) as u32).collect();
    let right = |random: &mut SplitMix, h: f64| {
        let h = if random.uniform() < 0.12 { random.uniform() } else { h };
        h < skill
    };
    let predictions: Vec<u32> =
        labels.iter().zip(hardness).map(|(l, h)| if right(random, *h) { *l } else { 1 - l }).collect();
    let accuracy =
        labels.iter().zip(&predictions).filter(|(a, b)| a == b).count() as f64 / labels.len() as f64;
    let score = Score { examples: labels.len(), loss: 1.2 - accuracy, value: Some(accuracy) };
    let answers = Answers::Labels { labels, predictions };
    Test { domain: domain.to_owned(), metric: "accuracy".to_owned(), answers, score, cut: 0 }
}

fn trained(random: &mut SplitMix, row: &Row, skill: f64, hardness: &[Vec<f64>], steps: usize) -> Trained {
    let pace = 8.0 + 20.0 * (0.9 - row.3) / 0.1;
    let height = |step: usize| 0.69 - (0.69 - (1.15 - row.3)) * (1.0 - (-(step as f64) / pace).exp());
    let losses = (0..steps).map(|step| (height(step) + 0.05 * random.normal()).max(0.01) as f32).collect();
    let validation = (1..=8)
        .map(|look| {
            let step = look * steps / 8;
            let accuracy = skill - (skill - 0.5) * (-(step as f64) / pace).exp() + 0.006 * random.normal();
            let score = Score { examples: 400, loss: height(step), value: Some(accuracy) };
            Validation { step, score }
        })
        .collect();
    let tests: Vec<Test> = DOMAINS
        .iter()
        .zip(hardness)
        .map(|((domain, drop), h)| test(random, domain, skill + drop, h))
        .collect();
    let parameters =
        Parameters { trainable: row.4, head: 770, base: 22_713_216, adapter_bytes: row.4 * 4 + 1200 };
    Trained {
        parameters,
        steps,
        examples: steps as u64 * 16,
        tokens: steps as u64 * 16 * 24,
        losses,
        validation,
        best_step: steps,
        stopped_early: false,
        metric: "accuracy".to_owned(),
        train_score: Score { examples: 1000, loss: 0.2, value: Some((skill + 0.04).min(1.0)) },
        tests,
        untuned: None,
        forgetting: None,
    }
}

fn memory(peak: f64, trainable: u64, training: bool) -> Memory {
    let by_class: BTreeMap<String, u64> = [
        ("base", 91_000_000),
        ("trainable", trainable * 4),
        ("gradients", if training { trainable * 4 } else { 0 }),
        ("optimizer", if training { trainable * 8 } else { 0 }),
        ("workspace", 3_000_000),
    ]
    .map(|(class, bytes)| (class.to_owned(), bytes))
    .into();
    let sum: u64 = by_class.values().sum();
    let activations = ((peak * 1e6) as u64).saturating_sub(sum);
    let mut by_class = by_class;
    by_class.insert("activations".to_owned(), activations);
    let peak_bytes = by_class.values().sum();
    Memory { by_class, peak_bytes, process_peak_bytes: Some(peak_bytes + 31_000_000) }
}

/// A second that nothing disturbed.
fn quiet() -> Disturbance {
    Disturbance {
        seconds: 1.0,
        processors: 2,
        threads: 2,
        own_seconds: Some(1.9),
        waited_seconds: Some(0.004),
        stolen_seconds: Some(0.0),
        others_seconds: Some(0.01),
        tries: 1,
    }
}

/// A second in which another process kept a processor busy.
pub(crate) fn disturbed() -> Disturbance {
    Disturbance { waited_seconds: Some(0.45), others_seconds: Some(0.96), tries: 3, ..quiet() }
}

/// Points of a line: seconds and MB by tokens.
fn points(line: &dyn Fn(f64) -> (f64, f64)) -> Vec<Point> {
    let point = |(batch_size, length): (usize, usize)| {
        let (seconds, megabytes) = line((batch_size * length) as f64);
        let (peak_bytes, seconds) = ((megabytes * 1e6) as u64, vec![seconds; 2]);
        Point { batch_size, length, answer_tokens: 0, peak_bytes, seconds, disturbance: Some(quiet()) }
    };
    [(4, 16), (8, 16), (16, 16), (4, 64), (8, 64), (16, 64)].map(point).to_vec()
}

fn probed(random: &mut SplitMix, row: &Row) -> Probed {
    let mut batches = |seconds: f64, n: usize| -> Vec<f64> {
        (0..n).map(|_| seconds * (1.0 + 0.05 * random.normal().abs())).collect()
    };
    let training = Speed {
        examples: 16 * 24,
        tokens: 16 * 24 * 24,
        batch_seconds: batches(16.0 / row.6, 24),
        disturbance: Some(quiet()),
    };
    let inference = Speed {
        examples: 32 * 20,
        tokens: 32 * 20 * 24,
        batch_seconds: batches(32.0 / 410.0, 20),
        disturbance: Some(quiet()),
    };
    let energy = |seconds: f64| Energy {
        joules: seconds * 11.4,
        seconds,
        processor_seconds: Some(seconds * 1.9),
        source: EnergySource::Estimate { watts_per_core: 6.0, because: "there is no powercap".into() },
        laps: Vec::new(),
        disturbance: Some(quiet()),
    };
    let merged = if row.2 { loads(random, 7.9, true) } else { Vec::new() };
    let per_row = (row.5 - 91.0).max(4.0) / 16.0;
    let questions = inference.examples;
    let stretch = |speed: Speed| Stretch { energy: energy(speed.batch_seconds.iter().sum()), speed };
    let round = Round {
        training: stretch(training),
        inference: stretch(inference),
        points: points(&|tokens| (0.004 + tokens / (row.6 * 24.0), 91.0 + per_row * tokens / 24.0)),
        inference_points: points(&|tokens| (0.001 + tokens / 24_000.0, 91.0 + 0.1 * tokens)),
        loads: loads(random, row.7, false).into_iter().chain(merged).collect(),
    };
    Probed {
        threads: 2,
        loading_peak_bytes: Some(118_000_000),
        inference_questions: questions,
        training_memory: memory(row.5, row.4, true),
        inference_memory: memory(104.0, row.4, false),
        idle_energy: None,
        gpu: None,
        together: 1,
        rounds: vec![round],
    }
}

/// One client, four, and Poisson arrivals at half and four fifths of the capacity, waiting as in M/M/1.
fn loads(random: &mut SplitMix, ms: f64, merged: bool) -> Vec<Load> {
    let open = |share: f64| (Arrivals::Open { rate: share / (ms * 1.08e-3), share: Some(share) }, share);
    let closed = |clients: usize| (Arrivals::Closed { clients }, 0.0);
    [closed(1), closed(4), open(0.5), open(0.8)]
        .into_iter()
        .map(|(arrivals, share)| {
            let mut load = Load { merged, disturbance: Some(quiet()), ..Load::empty(arrivals, 1) };
            for _ in 0..400 {
                let slow = 0.09 * random.normal().abs() + 0.6 * random.uniform().powi(40);
                let service = ms * 1e-3 * (1.0 + slow);
                let before = if matches!(arrivals, Arrivals::Closed { clients: 4 }) { 3.0 } else { 0.0 };
                let waits = -(1.0 - random.uniform()).ln() / (1.0 - share) - 1.0;
                let waited = if share > 0.0 { waits.max(0.0) } else { before };
                load.service.record(service);
                load.latency.record(service + waited * ms * 1e-3);
                load.seconds += match arrivals {
                    Arrivals::Closed { .. } => service,
                    Arrivals::Open { rate, .. } => 1.0 / rate,
                };
            }
            load
        })
        .collect()
}
