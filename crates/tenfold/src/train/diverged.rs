//! Why a loss or a weight is most likely no number any more, in words: the settings say more than the learning rate alone.

use super::rows::{Rows, Target};
use super::settings::TrainSettings;

/// AdamW's ε below this vanishes beside the square roots of 32-bit moments.
const LEAST_EPSILON: f64 = 1e-15;
/// A step that takes more than this share off every weight is no decay.
const MOST_DECAY: f64 = 0.1;
/// β₂ below this lets single gradients decide the size of a step.
const LEAST_BETA2: f64 = 0.9;
/// Labels above this have squared errors that swamp 32-bit gradients.
const MOST_LABEL: f32 = 1e6;

/// Likely causes and what to do about them, after `step` optimizer steps; `learning_rate` is the highest of the run.
pub(super) fn likely_causes(
    settings: &TrainSettings,
    learning_rate: f64,
    rows: &Rows,
    step: usize,
) -> String {
    let mut causes = Vec::new();
    let label = largest_label(rows);
    if label > MOST_LABEL {
        causes.push(format!(
            "the labels go up to {label:e}, and the loss is the square of the error: scale them, to about -1 to 1"
        ));
    }
    if step == 0 {
        causes.push(
            "nothing was trained before: with these rows the model itself gives no number; look at its weights with \
             `tenfold model inspect`, and at the rows"
                .into(),
        );
        return causes.join("; or ");
    }
    if settings.adam_epsilon < LEAST_EPSILON {
        causes
            .push(format!("train.adam_epsilon = {:e} is as good as 0: 1e-8 is usual", settings.adam_epsilon));
    }
    let decay = settings.weight_decay * learning_rate;
    if settings.weight_decay > 1.0 && decay > MOST_DECAY {
        causes.push(format!(
            "train.weight_decay = {:e} takes {decay:.1e} times itself off every weight in a step: 0.01 is usual",
            settings.weight_decay
        ));
    }
    if settings.adam_beta2 < LEAST_BETA2 {
        causes.push(format!(
            "train.adam_beta2 = {} averages over few steps: 0.999 is usual",
            settings.adam_beta2
        ));
    }
    if settings.max_grad_norm == 0.0 {
        causes.push("gradients are not clipped: train.max_grad_norm = 1.0 is usual".into());
    }
    let more = if causes.is_empty() { "try" } else { "otherwise try" };
    causes.push(format!("{more} a lower learning rate than {learning_rate:e}"));
    causes.join("; ")
}

/// The largest number that is to be foretold; 0 where rows have labels of another kind.
fn largest_label(rows: &Rows) -> f32 {
    let number = |row| match rows.target(row) {
        Target::Number(number) => number.abs(),
        _ => 0.0,
    };
    (0..rows.len()).map(number).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::Encoding;

    fn rows(target: Target) -> Rows {
        let encoding = Encoding { ids: vec![1], type_ids: vec![0], truncated: false };
        Rows::of(vec![encoding], vec![target])
    }

    #[test]
    fn the_setting_that_is_out_of_the_ordinary_is_named_and_the_rate_only_where_it_can_be_to_blame() {
        let usual = TrainSettings::default();
        let label = rows(Target::Label(0));
        assert_eq!(likely_causes(&usual, 1e300, &label, 3), "try a lower learning rate than 1e300");
        for (settings, expected) in [
            (TrainSettings { adam_epsilon: 1e-300, ..usual.clone() }, "train.adam_epsilon = 1e-300"),
            (TrainSettings { weight_decay: 1e30, ..usual.clone() }, "train.weight_decay = 1e30"),
            (TrainSettings { adam_beta2: 0.0, ..usual.clone() }, "train.adam_beta2 = 0"),
            (TrainSettings { max_grad_norm: 0.0, ..usual.clone() }, "train.max_grad_norm"),
        ] {
            let said = likely_causes(&settings, 1e-3, &label, 3);
            assert!(
                said.contains(expected) && said.ends_with("otherwise try a lower learning rate than 1e-3"),
                "{said}"
            );
        }
        let said = likely_causes(&usual, 1e-3, &rows(Target::Number(-1e30)), 0);
        assert!(said.starts_with("the labels go up to 1e30") && !said.contains("learning rate"), "{said}");
        let said = likely_causes(&usual, 1e-3, &label, 0);
        assert!(said.starts_with("nothing was trained before") && !said.contains("learning rate"), "{said}");
    }
}
