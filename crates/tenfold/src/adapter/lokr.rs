//! LoKr: an update that is the Kronecker product of two small matrices, beside chosen linear maps.
//!
//! `y = W x + b + alpha / r · (W1 ⊗ W2) x`, W1 \[out₁, in₁\], W2 \[out₂, in₂\], out = out₁ · out₂, in = in₁ · in₂; W2 = A B of rank r
//! where r is less than half its longer side, and with `decompose_both` W1 likewise.
//! Paper: Yeh et al. 2023, arXiv:2309.14859 (LyCORIS). Parameters: those of W1 and W2, or r · (out + in) of one that is decomposed.
//! W1 (or its A) starts at zero, the others uniform in ±1/√columns, as PEFT has it; "lycoris" starts W2 (or its B) at zero
//! instead: the identity at step 0. Mergeable. Convertible to LoRA: the rank of W1 ⊗ W2 is that of W1 times that of W2.
//!
//! The product is never there: x is multiplied with W2 and W1 one after the other. PEFT computes it; nor does it put LoKr on GPT-2's
//! Conv1D. Not here: `rank_dropout` and `module_dropout`.

use super::settings::{ANY, Allowed};
use super::targets::{Selection, Targets, pattern_value};
use super::{Adapter, Context, Method, settings, to_map, to_value};
use crate::error::Result;
use crate::model::{Forward, Hooks, Linear, Role, Site};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tenfold_tensor::{Param, Tensor};

pub(super) const METHOD: Method = Method {
    name: "lokr",
    title: "LoKr",
    summary: "a Kronecker product beside chosen linear maps",
    source: "Yeh et al. 2023, arXiv:2309.14859",
    peft_type: Some("LOKR"),
    mergeable: true,
    learning_rates: &[1e-3, 3e-3, 1e-2, 3e-2],
    harmless: &[("rank_dropout", "0.0"), ("module_dropout", "0.0")],
    settings: &[
        ("r", Allowed::Whole(1, ANY)),
        ("alpha", Allowed::Positive),
        ("decompose_both", Allowed::Flag),
        ("decompose_factor", Allowed::WholeOrMinusOne),
        ("target_modules", Allowed::Modules),
        ("exclude_modules", Allowed::Modules),
        ("init_weights", Allowed::FlagOr(&["lycoris"])),
        ("rank_pattern", Allowed::ByModule(&Allowed::Whole(1, ANY))),
        ("alpha_pattern", Allowed::ByModule(&Allowed::Positive)),
    ],
    defaults: || to_value(&LoKr::default()),
    build: |settings, context| Ok(Box::new(Products::new(settings, context)?)),
};

/// Settings, under PEFT's names and with PEFT's defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LoKr {
    r: usize,
    #[serde(serialize_with = "super::settings::as_written")]
    alpha: f64,
    decompose_both: bool,
    /// out₁ and in₁; −1: as near to the square root as divisors are.
    decompose_factor: i64,
    /// Default: queries and values.
    target_modules: Option<Targets>,
    exclude_modules: Option<Targets>,
    init_weights: Start,
    rank_pattern: BTreeMap<String, usize>,
    alpha_pattern: BTreeMap<String, f64>,
}

/// How the factors start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Start {
    /// true: W1 at zero; false: all drawn, for tests.
    Usual(bool),
    /// "lycoris": W2 at zero.
    Named(String),
}

impl Default for LoKr {
    fn default() -> LoKr {
        LoKr {
            r: 8,
            alpha: 8.0,
            decompose_both: false,
            decompose_factor: -1,
            target_modules: None,
            exclude_modules: None,
            init_weights: Start::Usual(true),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        }
    }
}

struct Products {
    settings: LoKr,
    updates: BTreeMap<String, Update>,
}

/// The update of one linear map.
struct Update {
    w1: Factor,
    w2: Factor,
    scale: f32,
}

/// One side of the product.
enum Factor {
    /// \[outputs, inputs\].
    Whole(Param),
    /// A \[outputs, r\] times B \[r, inputs\].
    LowRank(Param, Param),
}

impl Factor {
    /// Of this name and these extents, of rank `r` if it is `decomposed`. `at_zero`: whether the product starts at zero, and if
    /// so by its first part or by its last.
    fn new(
        context: &Context,
        name: &str,
        [outputs, inputs]: [usize; 2],
        r: Option<usize>,
        at_zero: Option<Zero>,
    ) -> Result<Factor> {
        let start = |name: String, shape: [usize; 2], at_zero: bool| match at_zero {
            true => context.constant(&name, &shape, 0.0),
            false => context.kaiming_uniform(&name, &shape, shape[1]),
        };
        Ok(match r {
            None => Factor::Whole(start(name.to_owned(), [outputs, inputs], at_zero.is_some())?),
            Some(r) => Factor::LowRank(
                start(format!("{name}_a"), [outputs, r], at_zero == Some(Zero::First))?,
                start(format!("{name}_b"), [r, inputs], at_zero == Some(Zero::Last))?,
            ),
        })
    }

    /// x \[rows, inputs\] -> \[rows, outputs\].
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Factor::Whole(w) => x.linear(&w.tensor(), None)?,
            Factor::LowRank(a, b) => x.linear(&b.tensor(), None)?.linear(&a.tensor(), None)?,
        })
    }

    fn extents(&self) -> [usize; 2] {
        match self {
            Factor::Whole(w) => [w.shape()[0], w.shape()[1]],
            Factor::LowRank(a, b) => [a.shape()[0], b.shape()[1]],
        }
    }

    fn parameters(&self) -> Vec<Param> {
        match self {
            Factor::Whole(w) => vec![w.clone()],
            Factor::LowRank(a, b) => vec![a.clone(), b.clone()],
        }
    }

    /// \[outputs, inputs\].
    fn numbers(&self) -> Result<Vec<f32>> {
        let (a, b) = match self {
            Factor::Whole(w) => return Ok(w.numbers()?),
            Factor::LowRank(a, b) => (a, b),
        };
        let (r, [outputs, inputs]) = (b.shape()[0], self.extents());
        let (a, b) = (a.numbers()?, b.numbers()?);
        let mut numbers = vec![0.0; outputs * inputs];
        for (row, a) in numbers.chunks_exact_mut(inputs).zip(a.chunks_exact(r)) {
            for (a, b) in a.iter().zip(b.chunks_exact(inputs)) {
                row.iter_mut().zip(b).for_each(|(w, b)| *w += a * b);
            }
        }
        Ok(numbers)
    }
}

/// Which part of a low-rank product starts at zero.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Zero {
    First,
    Last,
}

/// Two factors of an extent, the smaller first, as LyCORIS finds them: `factor` and the rest if it divides; else, up to `factor`
/// (−1: any), those whose sum is the least.
fn factors(extent: usize, factor: i64) -> [usize; 2] {
    let most = usize::try_from(factor).unwrap_or(extent);
    if factor > 0 && extent.is_multiple_of(most) {
        return [most, extent / most];
    }
    let divisors = (1..=most.min(extent)).filter(|divisor| extent.is_multiple_of(*divisor));
    let small = divisors.take_while(|divisor| divisor * divisor <= extent).last().unwrap_or(1);
    [small, extent / small]
}

impl Products {
    fn new(value: &Value, context: &Context) -> Result<Products> {
        let mut settings: LoKr = settings(&METHOD, value)?;
        let usual = || Targets::roles(context.model, &[Role::Query, Role::Value, Role::QueryKeyValue]);
        let targets = settings.target_modules.get_or_insert_with(usual).clone();
        let exclude = settings.exclude_modules.as_ref();
        let selection = Selection { targets: &targets, exclude, layers: None, layers_pattern: &[] };
        let mut updates = BTreeMap::new();
        for Linear { site, .. } in selection.linears(context.model)? {
            updates.insert(site.path.clone(), Update::new(&settings, site, context)?);
        }
        Ok(Products { settings, updates })
    }
}

impl Update {
    fn new(settings: &LoKr, site: &Site, context: &Context) -> Result<Update> {
        let r = pattern_value(&settings.rank_pattern, &site.path)?.unwrap_or(settings.r);
        let alpha = pattern_value(&settings.alpha_pattern, &site.path)?.unwrap_or(settings.alpha);
        let [inputs, outputs] =
            [site.inputs, site.outputs].map(|extent| factors(extent, settings.decompose_factor));
        // As in PEFT a rank of half the longer side or more is none.
        let rank = |place: usize| (2 * r < outputs[place].max(inputs[place])).then_some(r);
        let (first, second) = match settings.init_weights {
            Start::Usual(true) => (Some(Zero::First), None),
            Start::Usual(false) => (None, None),
            Start::Named(_) => (None, Some(Zero::Last)),
        };
        let factor = |name: &str, place: usize, r, at_zero| {
            let name = format!("base_model.model.{}.{name}", site.path);
            Factor::new(context, &name, [outputs[place], inputs[place]], r, at_zero)
        };
        let w1 = factor("lokr_w1", 0, rank(0).filter(|_| settings.decompose_both), first)?;
        let w2 = factor("lokr_w2", 1, rank(1), second)?;
        Ok(Update { w1, w2, scale: (alpha / r as f64) as f32 })
    }
}

impl Hooks for Products {
    fn after(&self, _forward: &Forward, site: &Site, x: &Tensor, y: Tensor) -> Result<Tensor> {
        let Some(Update { w1, w2, scale }) = self.updates.get(&site.path) else { return Ok(y) };
        let (rows, [_, in1], [out2, in2]) = (x.rows(), w1.extents(), w2.extents());
        // x is in₁ vectors of in₂ each; then out₂ of in₁ each.
        let inner = w2.apply(&x.reshape(&[rows * in1, in2])?)?.reshape(&[rows, in1 * out2])?;
        let inner = inner.transpose_columns(in1)?.reshape(&[rows * out2, in1])?;
        let outer = w1.apply(&inner)?.reshape(&[rows, site.outputs])?.transpose_columns(out2)?;
        Ok(y.add(&outer.scale(*scale)?)?)
    }
}

impl Adapter for Products {
    fn parameters(&self) -> Vec<Param> {
        let parameters =
            |update: &Update| [update.w1.parameters(), update.w2.parameters()].into_iter().flatten();
        self.updates.values().flat_map(parameters).collect()
    }

    fn merge(&self, site: &Site, weight: &mut [f32], _bias: Option<&mut [f32]>) -> Result<()> {
        let Some(Update { w1, w2, scale }) = self.updates.get(&site.path) else { return Ok(()) };
        let ([_, in1], [out2, in2]) = (w1.extents(), w2.extents());
        let (w1, w2) = (w1.numbers()?, w2.numbers()?);
        for (output, row) in weight.chunks_exact_mut(site.inputs).enumerate() {
            let (of_1, of_2) = (&w1[output / out2 * in1..][..in1], &w2[output % out2 * in2..][..in2]);
            for (group, a) in row.chunks_exact_mut(in2).zip(of_1) {
                group.iter_mut().zip(of_2).for_each(|(w, b)| *w += scale * a * b);
            }
        }
        Ok(())
    }

    fn config(&self) -> Result<Map<String, Value>> {
        Ok(to_map(&self.settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_factored_as_in_peft() {
        // PEFT's peft.tuners.lokr.layer.factorization.
        for (extent, factor, expected) in [
            (256, -1, [16, 16]),
            (128, -1, [8, 16]),
            (127, -1, [1, 127]),
            (128, 4, [4, 32]),
            (384, -1, [16, 24]),
            (32, 5, [4, 8]),
            (30, 7, [5, 6]),
            (7, 100, [1, 7]),
        ] {
            assert_eq!(factors(extent, factor), expected, "{extent} by {factor}");
        }
    }
}
