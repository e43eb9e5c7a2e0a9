//! How a language model is asked about a task's rows and how its answers are scored, in lm-evaluation-harness's terms.

use crate::data::language::question::Form;
use crate::data::language::{Sampler, Template};
use crate::score::{ExactMatch, Filter};
use crate::words::list;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is asked of the model, as lm-evaluation-harness has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputType {
    /// The log-likelihood of every choice.
    MultipleChoice,
    /// The log-likelihood of one text behind another.
    Loglikelihood,
    /// The log-likelihood of a whole text, however long.
    LoglikelihoodRolling,
    /// A text of the model's own.
    GenerateUntil,
}

/// What is made of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionMetric {
    /// Share of rows whose likeliest choice is right; of `loglikelihood`, whose text is what the model would say.
    Acc,
    /// The same by the log-likelihood for each character.
    AccNorm,
    /// The same for each byte.
    AccBytes,
    /// The same less the log-likelihood of the choice alone.
    AccMutualInfo,
    /// F1 of each choice that is right or chosen anywhere, their mean.
    F1Macro,
    /// F1 of every choice there is, their mean: lm-evaluation-harness's score of CommitmentBank. For `tenfold eval`.
    F1MacroAll,
    /// Probability of all right choices together, as TruthfulQA's MC2.
    Mc2,
    /// SQuAD's exact match.
    Em,
    /// SQuAD's F1 of words.
    F1,
    /// Mean of these two.
    EmF1,
    /// MultiRC's own, of choices judged one by one: mean of the share of rows judged rightly throughout and the F1 of all
    /// choices. For models with a head.
    Multirc,
    /// Share of rows whose text is one of the references.
    ExactMatch,
    /// BLEU of all rows, as sacreBLEU has it.
    Bleu,
    /// F-measure of the longest common subsequence.
    RougeL,
    /// exp of the nats a text of `loglikelihood` costs.
    Perplexity,
    /// exp of the nats a word costs.
    WordPerplexity,
    /// exp of the nats a byte costs.
    BytePerplexity,
    /// Bits that a byte costs.
    BitsPerByte,
}

/// All that turns rows into questions and answers into scores.
#[derive(Debug, Clone)]
pub struct Questions {
    /// What is asked.
    pub output_type: OutputType,
    /// What is reported, the task's own metric first.
    pub metrics: Vec<QuestionMetric>,
    /// Worked examples before each question, unless the user says otherwise.
    pub num_fewshot: usize,
    /// How they are drawn.
    pub sampler: Sampler,
    /// What stands between them.
    pub fewshot_delimiter: String,
    /// Generated texts end before these.
    pub until: Vec<String>,
    /// Tokens of a generated text at the most.
    pub max_gen_toks: usize,
    /// By name, what is taken of a generated text; none: all of it.
    pub filters: Vec<(String, Vec<Filter>)>,
    /// What texts may differ in and still match.
    pub exact_match: ExactMatch,
    /// Lists within a record that each element of makes a row: (its name in the row, the list's path).
    pub(crate) unnest: Vec<(String, String)>,
    pub(crate) description: Option<Template>,
    pub(crate) form: Arc<Form>,
}

impl Questions {
    /// The same asked of a model with a head, which says of each choice by itself how sure it is: lengths of texts and
    /// likelihoods behind nothing mean nothing there.
    pub(crate) fn judged(&self) -> Questions {
        use QuestionMetric::*;
        let of = |metric: &QuestionMetric| match metric {
            AccNorm | AccBytes | AccMutualInfo | Mc2 => Acc,
            other => *other,
        };
        Questions { metrics: self.metrics.iter().map(of).collect(), ..self.clone() }
    }

    /// Refuses to ask a language model what it takes a head to answer.
    pub(crate) fn check_weighable(&self) -> Result<()> {
        if self.metrics.contains(&QuestionMetric::Multirc) {
            return Err(Error::Unsupported {
                what: "metric = \"multirc\" for a language model".into(),
                why: "it needs each choice judged right or wrong by itself, as a head does; take the task multirc"
                    .into(),
            });
        }
        Ok(())
    }

    /// The choices, where every row has the same ones.
    pub(crate) fn label_space(&self) -> Option<Vec<String>> {
        self.form.label_space()
    }

    /// Which score a study compares by, where the task has others beside it.
    pub(crate) fn compared_by(&self) -> Option<String> {
        let (first, rest) = self.metrics.split_first()?;
        let filters = || self.filters.iter().map(|(name, _)| name.as_str());
        let others: Vec<&str> = rest.iter().map(|metric| metric.name()).chain(filters().skip(1)).collect();
        let by = filters().next().map_or_else(String::new, |filter| format!(" ({filter})"));
        (!others.is_empty()).then(|| {
            format!("compared by {}{by} alone; `tenfold eval` has {} too", first.name(), list(&others))
        })
    }

    /// What decides answers beside the questions themselves, as a text to be compared.
    pub(crate) fn way_of_asking(&self) -> String {
        let alone = self.metrics.contains(&QuestionMetric::AccMutualInfo);
        let generates = (&self.until, self.max_gen_toks);
        format!("{:?}", (self.output_type, &self.form.delimiter, &self.fewshot_delimiter, generates, alone))
    }
}

impl QuestionMetric {
    /// All of them, each with its name in task files and results.
    pub const ALL: [(QuestionMetric, &str); 18] = {
        use QuestionMetric::*;
        [
            (Acc, "acc"),
            (AccNorm, "acc_norm"),
            (AccBytes, "acc_bytes"),
            (AccMutualInfo, "acc_mutual_info"),
            (F1Macro, "f1_macro"),
            (F1MacroAll, "f1_macro_all"),
            (Mc2, "mc2"),
            (Em, "em"),
            (F1, "f1"),
            (EmF1, "em_f1"),
            (Multirc, "multirc"),
            (ExactMatch, "exact_match"),
            (Bleu, "bleu"),
            (RougeL, "rouge_l"),
            (Perplexity, "perplexity"),
            (WordPerplexity, "word_perplexity"),
            (BytePerplexity, "byte_perplexity"),
            (BitsPerByte, "bits_per_byte"),
        ]
    };

    /// Its name in task files and results.
    pub fn name(self) -> &'static str {
        let known = QuestionMetric::ALL.into_iter().find(|(metric, _)| *metric == self);
        known.map_or("", |(_, name)| name)
    }

    /// The name of what a study compares by it, in [`crate::score::SCORINGS`]; none where `tenfold eval`
    /// alone computes it.
    pub fn scoring(self) -> Option<&'static str> {
        use QuestionMetric::*;
        match self {
            Acc => Some("accuracy"),
            Em => Some("exact_match"),
            F1 => Some("f1_words"),
            Bleu | F1MacroAll => None,
            WordPerplexity | BytePerplexity | BitsPerByte => Some("token_perplexity"),
            other => Some(other.name()),
        }
    }

    /// The same of what is asked and not trained on, where raw texts are whole.
    pub fn asked_scoring(self) -> Option<&'static str> {
        use QuestionMetric::*;
        match self {
            WordPerplexity | BytePerplexity | BitsPerByte => Some(self.name()),
            other => other.scoring(),
        }
    }

    /// Whether more is better.
    pub fn higher_is_better(self) -> bool {
        use QuestionMetric::*;
        !matches!(self, Perplexity | WordPerplexity | BytePerplexity | BitsPerByte)
    }

    /// Whether it is made of answers of this type.
    pub fn suits(self, output_type: OutputType) -> bool {
        use QuestionMetric::*;
        match output_type {
            OutputType::MultipleChoice => {
                matches!(self, Acc | AccNorm | AccBytes | AccMutualInfo | F1Macro | F1MacroAll)
                    || matches!(self, Mc2 | Em | F1 | EmF1 | Multirc)
            }
            OutputType::Loglikelihood => matches!(self, Acc | Perplexity),
            OutputType::LoglikelihoodRolling => matches!(self, WordPerplexity | BytePerplexity | BitsPerByte),
            OutputType::GenerateUntil => matches!(self, ExactMatch | Em | F1 | EmF1 | Bleu | RougeL),
        }
    }
}

impl OutputType {
    /// The output type of that name.
    pub fn named(name: &str) -> Option<OutputType> {
        use OutputType::*;
        let all = [MultipleChoice, Loglikelihood, LoglikelihoodRolling, GenerateUntil];
        all.into_iter().find(|known| known.name() == name)
    }

    /// Its name in task files.
    pub fn name(self) -> &'static str {
        match self {
            OutputType::MultipleChoice => "multiple_choice",
            OutputType::Loglikelihood => "loglikelihood",
            OutputType::LoglikelihoodRolling => "loglikelihood_rolling",
            OutputType::GenerateUntil => "generate_until",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_says_which_of_several_scores_it_compares_by() {
        let said = |task: &str| crate::task::Task::load(task).unwrap().questions().unwrap().compared_by();
        let gsm8k = "compared by exact_match (strict-match) alone; `tenfold eval` has flexible-extract too";
        assert_eq!(said("gsm8k").as_deref(), Some(gsm8k));
        assert_eq!(said("cb").as_deref(), Some("compared by acc alone; `tenfold eval` has f1_macro_all too"));
        assert_eq!(said("boolq"), None);
    }

    #[test]
    fn what_takes_a_head_is_not_asked_of_a_language_model() {
        let check =
            |task: &str| crate::task::Task::load(task).unwrap().questions().unwrap().check_weighable();
        let error = check("superglue_multirc").unwrap_err().to_string();
        assert!(error.contains("metric = \"multirc\" for a language model"), "{error}");
        assert!(check("multirc").is_ok() && check("superglue_record").is_ok());
    }

    #[test]
    fn every_metric_goes_by_the_name_that_results_have_and_suits_some_output() {
        use OutputType::*;
        for (metric, name) in QuestionMetric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), name);
            assert_eq!(metric.name(), name);
            let outputs = [MultipleChoice, Loglikelihood, LoglikelihoodRolling, GenerateUntil];
            assert!(outputs.into_iter().any(|output| metric.suits(output)), "{name}");
            if let Some(scoring) = metric.scoring() {
                assert!(crate::score::scoring(scoring).is_ok(), "{name}");
            }
        }
        assert_eq!(QuestionMetric::ALL.len(), 1 + QuestionMetric::BitsPerByte as usize);
    }
}
