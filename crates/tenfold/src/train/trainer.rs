//! The training loop: batches in a seeded order, an optimizer step each, a look at the validation
//! split now and then, and snapshots from which it goes on with the same bits. What is made small comes in as an
//! [`Objective`], how a tuning is judged as [`Looks`].

use super::diverged::likely_causes;
use super::objective::Objective;
use super::optimizer::Optimizer;
use super::order::Order;
use super::settings::TrainSettings;
use super::snapshot::{self, Weights};
use super::source::Source;
use crate::adapter::{Step, Tuning};
use crate::error::{Error, Result};
use crate::model::Forward;
use crate::record::{Score, Validation};
use crate::score::Scoring;
use serde::{Deserialize, Serialize};
use std::ops::Add;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenfold_tensor::{Backend, Param, Tensor, random};

/// One training run, ready to go.
pub struct Trainer<'a> {
    /// Where the parameters live.
    pub backend: Arc<dyn Backend>,
    /// What is trained.
    pub tuning: &'a Tuning,
    /// What is made small.
    pub objective: &'a dyn Objective,
    /// How.
    pub settings: &'a TrainSettings,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Seed of the order of rows and of dropout.
    pub seed: u64,
    /// Rows to learn from.
    pub train: &'a Source<'a>,
    /// How the tuning is judged on the way; none: the last step's weights are kept.
    pub looks: Option<Looks<'a>>,
    /// Steps after which to look besides, in rising order: the last one ends the run, with a snapshot from which a run
    /// of more stops goes on with the same bits. Empty: it goes to its planned end.
    pub stops: &'a [usize],
    /// Where to keep a snapshot, so that a killed run can go on.
    pub snapshot: Option<PathBuf>,
    /// How often.
    pub snapshot_every: Duration,
    /// Asked before each batch; an error ends the run.
    pub go_on: &'a (dyn Fn() -> Result<()> + Sync),
    /// Told about each step.
    pub on_step: &'a (dyn Fn(&Progressed) + Sync),
}

/// What judges a tuning on rows that it is not trained on, by which steps are chosen.
pub struct Looks<'a> {
    /// Which of two scores is better.
    pub scoring: &'static Scoring,
    /// The score of the tuning as it is.
    pub score: &'a dyn Fn() -> Result<Score>,
}

/// One optimizer step.
#[derive(Debug, Clone, Serialize)]
pub struct Progressed {
    /// Steps done.
    pub step: usize,
    /// Steps planned.
    pub steps: usize,
    /// Mean loss of the step, in nats.
    pub loss: f32,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Rows of the step.
    pub examples: u64,
    /// Real tokens of the step.
    pub tokens: u64,
    /// Seconds that the step took.
    pub seconds: f64,
}

/// How a run stands, and in the end what it came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Optimizer steps done.
    pub step: usize,
    /// Rows seen.
    pub examples: u64,
    /// Real tokens seen.
    pub tokens: u64,
    /// Wall time spent in steps.
    pub seconds: f64,
    /// Loss of every step, in nats.
    pub losses: Vec<f32>,
    /// Looks at the validation split.
    pub validation: Vec<Validation>,
    /// The step whose weights are kept so far.
    pub best_step: usize,
    /// Looks since the best one.
    pub stale: usize,
    /// Whether it ended before its last planned step.
    pub stopped_early: bool,
}

impl Trainer<'_> {
    /// Trains to the end, or on from a snapshot to the end. The tuning then holds the kept weights.
    pub fn run(&self) -> Result<Training> {
        let mut optimizer = self.optimizer()?;
        let mut training = Training::default();
        let mut best: Option<Weights> = None;
        if let Some(path) = &self.snapshot
            && let Some(found) = snapshot::read(path, self.tuning)?
        {
            (training, best) = found.resume(self.tuning, &mut optimizer, &self.backend)?;
        }
        let mut order = self.order();
        self.advance(&mut order, &mut training, &mut best, &mut optimizer)?;
        if let Some(best) = best.filter(|_| training.best_step != training.step) {
            best.restore(self.tuning, &self.backend)?;
        }
        self.check_numbers(&training)?;
        Ok(training)
    }

    /// The loss of a step shows what the steps before it did; nothing shows what the last one did.
    fn check_numbers(&self, training: &Training) -> Result<()> {
        let numbers = Param::numbers_of(&self.tuning.parameters())?;
        if !numbers.iter().flatten().all(|number| number.is_finite()) {
            let step = training.best_step.saturating_sub(1);
            return Err(Error::Overflowed { step, causes: self.likely_causes(training.best_step) });
        }
        Ok(())
    }

    /// The first `count` steps of the run, as [`Trainer::run`] would do them, and no more.
    pub fn first_steps(&self, count: usize) -> Result<Training> {
        let mut optimizer = self.optimizer()?;
        let mut training = Training::default();
        let mut order = self.order();
        for _ in 0..count.min(order.steps()) {
            self.step(&mut training, &mut optimizer, &mut order)?;
        }
        Ok(training)
    }

    fn optimizer(&self) -> Result<Optimizer> {
        let groups = self.tuning.parameter_groups();
        Ok(Optimizer::new(&self.backend, groups, self.settings)?.clip(self.settings.max_grad_norm))
    }

    fn advance(
        &self,
        order: &mut Order,
        training: &mut Training,
        best: &mut Option<Weights>,
        optimizer: &mut Optimizer,
    ) -> Result<()> {
        let mut pace = snapshot::Pace::new(self.snapshot_every);
        let end = self.end(order);
        while training.step < end && !training.stopped_early {
            self.step(training, optimizer, order)?;
            if self.is_look(training.step, order) {
                self.look(training, best)?;
            }
            if let Some(path) = &self.snapshot {
                let write =
                    || snapshot::write(path, training, self.tuning, optimizer, best.as_ref(), &*self.backend);
                let is_over = training.step == end || training.stopped_early;
                if is_over && !self.stops.is_empty() { write() } else { pace.keep(write) }?;
            }
        }
        Ok(())
    }

    /// The step with which the run ends.
    fn end(&self, order: &Order) -> usize {
        self.stops.last().map_or(order.steps(), |stop| order.steps().min(*stop))
    }

    fn step(&self, training: &mut Training, optimizer: &mut Optimizer, order: &mut Order) -> Result<()> {
        let start = Instant::now();
        let steps = order.steps();
        let passes = order.passes(training.step);
        let rows = self.train.rows();
        let (mut losses, mut shares, mut tokens) = (Vec::new(), Vec::new(), 0);
        let whole: f64 = passes.iter().map(|picks| self.objective.weight(rows, picks)).sum();
        let dropout_key = random::mix(random::key(self.seed, "dropout"), training.step as u64);
        for micro in &passes {
            (self.go_on)().inspect_err(|_| self.forget_gradients())?;
            let forward = Forward::training(self.tuning, dropout_key, micro);
            let forward = forward.recomputing(self.settings.gradient_checkpointing);
            let (mean, share) = pass(self.objective, self.train, &forward, micro, whole)?;
            losses.push(mean);
            shares.push(share);
            tokens += micro.iter().map(|row| rows.tokens(*row) as u64).sum::<u64>();
        }
        if let Some(added) = penalty(self.tuning)? {
            losses.push(added);
            shares.push(1.0);
        }
        let means = Tensor::numbers_of_all(&losses.iter().collect::<Vec<_>>())?;
        let loss = means.iter().flatten().zip(&shares).map(|(mean, share)| mean * share).fold(0.0, Add::add);
        let warmup = self.settings.warmup(steps);
        let factor = self.settings.lr_scheduler_type.factor(training.step, warmup, steps);
        let learning_rate = self.learning_rate * factor;
        if !loss.is_finite() {
            let causes = self.likely_causes(training.step);
            return Err(Error::Diverged { step: training.step, loss, causes });
        }
        update(self.tuning, optimizer, learning_rate, Step { number: training.step, steps })?;
        training.step += 1;
        let examples = passes.iter().map(|picks| picks.len() as u64).sum();
        training.examples += examples;
        training.tokens += tokens;
        training.losses.push(loss);
        let seconds = start.elapsed().as_secs_f64();
        training.seconds += seconds;
        let step = training.step;
        (self.on_step)(&Progressed { step, steps, loss, learning_rate, examples, tokens, seconds });
        Ok(())
    }

    /// Why numbers are none any more, after so many steps.
    fn likely_causes(&self, steps: usize) -> String {
        likely_causes(self.settings, self.learning_rate, self.train.rows(), steps)
    }

    fn order(&self) -> Order<'_> {
        Order::new(self.settings, self.train.rows(), self.seed)
    }

    fn forget_gradients(&self) {
        self.tuning.parameters().iter().for_each(Param::clear_gradient);
    }

    /// Whether to look at the validation split after `step` steps: evenly over each epoch, and at the end.
    fn is_look(&self, step: usize, order: &Order) -> bool {
        let (_, place, per_epoch) = order.place(step - 1);
        let looks = self.settings.evaluations_per_epoch;
        let passed = |place: usize| place * looks / per_epoch;
        step == order.steps() || self.stops.contains(&step) || passed(place + 1) > passed(place)
    }

    fn look(&self, training: &mut Training, best: &mut Option<Weights>) -> Result<()> {
        let Some(looks) = &self.looks else {
            training.best_step = training.step;
            return Ok(());
        };
        let score = (looks.score)()?;
        let patience = self.settings.early_stopping_patience;
        let kept =
            training.validation.iter().find(|look| look.step == training.best_step).map(|look| look.score);
        if patience == 0 || kept.is_none_or(|kept| looks.scoring.is_ahead(&score, &kept)) {
            training.best_step = training.step;
            training.stale = 0;
            if patience > 0 {
                *best = Some(Weights::of(self.tuning)?);
            }
        } else {
            training.stale += 1;
            training.stopped_early = training.stale >= patience;
        }
        training.validation.push(Validation { step: training.step, score });
        Ok(())
    }
}

/// Adds the gradients of what the method adds to the loss of a step; returns that, still on its device.
pub(super) fn penalty(tuning: &Tuning) -> Result<Option<Tensor>> {
    let Some(penalty) = tuning.penalty()? else { return Ok(None) };
    let number = penalty.detach();
    penalty.backward(1.0)?;
    Ok(Some(number))
}

/// One step of the optimizer, and what the method does about it.
pub(super) fn update(
    tuning: &Tuning,
    optimizer: &mut Optimizer,
    learning_rate: f64,
    step: Step,
) -> Result<()> {
    tuning.adapter().on_gradients(&step)?;
    let gradient_scale = optimizer.step(learning_rate)?;
    tuning.adapter().after_step(&step, gradient_scale.as_ref())
}

/// Adds the gradients of the rows `picks`, of a step whose rows weigh `whole`; returns their mean loss, still on its device, and
/// its share of the step's.
pub(super) fn pass(
    objective: &dyn Objective,
    source: &Source,
    forward: &Forward,
    picks: &[usize],
    whole: f64,
) -> Result<(Tensor, f32)> {
    let mean = objective.mean(source, forward, picks)?;
    let share = objective.weight(source.rows(), picks) as f32 / whole as f32;
    let number = mean.detach();
    mean.backward(share)?;
    Ok((number, share))
}
