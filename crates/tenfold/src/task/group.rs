//! In which company a task stands in a list: for what models it is, and what these are asked.

use super::{OutputType, Task};

/// A heading in the list of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// GLUE, for models with a head.
    Glue,
    /// SuperGLUE, for models with a head.
    SuperGlue,
    /// Other labels, numbers and parts of passages, for models with a head.
    Classified,
    /// Language models choose among answers.
    Asked,
    /// Language models write an answer.
    Generated,
    /// Language models meet a text.
    Perplexity,
}

impl Group {
    /// All, in the order of the list.
    pub const ALL: [Group; 6] =
        [Group::Glue, Group::SuperGlue, Group::Classified, Group::Asked, Group::Generated, Group::Perplexity];

    /// For programs.
    pub fn name(self) -> &'static str {
        match self {
            Group::Glue => "glue",
            Group::SuperGlue => "superglue",
            Group::Classified => "classified",
            Group::Asked => "asked",
            Group::Generated => "generated",
            Group::Perplexity => "perplexity",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Group::Glue => "Labels and numbers: GLUE",
            Group::SuperGlue => "Labels and choices: SuperGLUE",
            Group::Classified => "Labels, numbers and parts of passages: others",
            Group::Asked => "Language models: which answer is the likeliest",
            Group::Generated => "Language models: what they write",
            Group::Perplexity => "Language models: perplexity of a text",
        }
    }
}

impl Task {
    /// Where it stands in a list.
    pub fn group(&self) -> Group {
        // Tasks of a benchmark carry its name where a person reads it: SST-2 is GLUE's under a name of its own.
        let benchmark = self.title.rsplit_once('(').map(|(_, last)| last);
        match (OutputType::named(&self.output_type), benchmark) {
            (_, Some("GLUE)")) => Group::Glue,
            (_, Some("SuperGLUE)")) => Group::SuperGlue,
            (Some(OutputType::GenerateUntil), _) => Group::Generated,
            (Some(OutputType::LoglikelihoodRolling), _) => Group::Perplexity,
            (Some(OutputType::MultipleChoice | OutputType::Loglikelihood), _) => Group::Asked,
            (None, _) => Group::Classified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_task_stands_where_it_is_looked_for() {
        let group = |name: &str| Task::load(name).unwrap().group();
        assert_eq!([group("sst2"), group("glue_stsb")], [Group::Glue; 2]);
        assert_eq!([group("superglue_copa"), group("copa")], [Group::SuperGlue, Group::Asked]);
        assert_eq!([group("squad"), group("banking77_lm")], [Group::Classified, Group::Asked]);
        assert_eq!([group("gsm8k"), group("wikitext")], [Group::Generated, Group::Perplexity]);
    }
}
