//! load.py: a short script that loads the folder it lies in with Transformers, and PEFT where it is needed, and answers.

use super::CHANGED;
use super::about::{ABOUT, LABELS, Reads};
use crate::model::TaskType;

/// Name of the script.
pub(super) const NAME: &str = "load.py";

/// What the folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// An adapter of PEFT's.
    Adapter,
    /// Weights of the base model that were changed.
    Changed,
    /// A whole model.
    Model,
}

/// All that the script depends on.
pub(super) struct Script {
    pub task: TaskType,
    pub holds: Holds,
    pub reads: Reads,
    /// Outputs of the head.
    pub outputs: usize,
    /// Tokens that the model reads at the most.
    pub max_length: usize,
    pub has_token_types: bool,
    /// Whether the base model is a GGUF file.
    pub is_gguf: bool,
    /// Whether the adapter is one of prefixes, which PEFT 0.21.2 hands to classes with a head by a name that Transformers
    /// 5.24 changed.
    pub has_prefixes: bool,
}

/// The script; `None` for tasks that no study trains.
pub(super) fn write(script: &Script) -> Option<String> {
    let (class, answer) = match script.task {
        TaskType::SequenceClassification => ("AutoModelForSequenceClassification", script.label()),
        TaskType::QuestionAnswering => ("AutoModelForQuestionAnswering", script.span()),
        TaskType::CausalLm => ("AutoModelForCausalLM", script.words("[0, inputs[\"input_ids\"].shape[1]:]")),
        TaskType::Seq2SeqLm => ("AutoModelForSeq2SeqLM", script.words("[0]")),
        TaskType::TokenClassification => return None,
    };
    Some(script.head(class) + &script.model() + &answer)
}

impl Script {
    /// The arguments of a call, as people type them.
    fn typed(&self) -> &'static str {
        match (self.task, self.reads) {
            (TaskType::QuestionAnswering, _) => "\"the question\" \"the passage\"",
            (_, Reads::Pair) => "\"the first text\" \"the second text\"",
            _ => "\"some text\"",
        }
    }

    fn is_pair(&self) -> bool {
        self.task == TaskType::QuestionAnswering || self.reads == Reads::Pair
    }

    fn head(&self, class: &str) -> String {
        let (base, needs) = match self.holds {
            Holds::Model => ("", "transformers and torch"),
            Holds::Adapter if self.has_prefixes && !self.task.is_language_modelling() => {
                let needs = "transformers before 5.24 (with PEFT 0.21.2, later ones take no prefixes here), peft and torch";
                (" [--model BASE]", needs)
            }
            Holds::Adapter => (" [--model BASE]", "transformers, peft and torch"),
            Holds::Changed => (" [--model BASE]", "transformers and torch"),
        };
        let gguf = if self.is_gguf && self.holds != Holds::Model {
            ", and gguf for the base model's file"
        } else {
            ""
        };
        let mut imports = vec!["import argparse", "import json", "import pathlib", "", "import torch"];
        match self.holds {
            Holds::Model => imports.retain(|line| *line != "import json"),
            Holds::Adapter => imports.push("from peft import PeftModel"),
            Holds::Changed => imports.push("from safetensors.torch import load_file"),
        }
        let count = if self.is_pair() { 2 } else { 1 };
        format!(
            "\"\"\"Answers with this {what}: python {NAME} {typed}{base}\n\nNeeds {needs}{gguf}.\n\"\"\"\n{imports}\nfrom \
             transformers import {class}, AutoTokenizer\n\nhere = pathlib.Path(__file__).resolve().parent\nparser = \
             argparse.ArgumentParser(description=\"Answers with this {what}.\")\nparser.add_argument(\"text\", nargs={count})\n",
            what = if self.holds == Holds::Model { "model" } else { "adapter" },
            typed = self.typed(),
            imports = imports.join("\n"),
        ) + &self.arguments()
            + "tokenizer = AutoTokenizer.from_pretrained(here)\n"
            + &format!("AutoModel = {class}\n")
    }

    /// Where the base model is: where it was in training, else on the Hub, or where the caller says.
    fn arguments(&self) -> String {
        if self.holds == Holds::Model {
            return "args = parser.parse_args()\n".to_owned();
        }
        format!(
            r#"base = json.loads((here / "{ABOUT}").read_text(encoding="utf-8"))["base_model"]
known = [base["path"]] if pathlib.Path(base.get("path", "/nowhere")).exists() else [base["hub"]] if "hub" in base else []
parser.add_argument("--model", default=next(iter(known), None), help=f"the base model, {{base['name']}}")
args = parser.parse_args()
if args.model is None:
    parser.error(f"the base model {{base['name']}} is not at {{base.get('path')}}: give its folder as --model")
"#
        )
    }

    /// The model, in f32 as it was trained and judged.
    fn model(&self) -> String {
        let head = match self.task {
            TaskType::SequenceClassification => format!(", num_labels={}", self.outputs),
            _ => String::new(),
        };
        if self.holds == Holds::Model {
            return "model = AutoModel.from_pretrained(here, dtype=torch.float32).eval()\n".into();
        }
        let source = match self.is_gguf {
            true => {
                "path = pathlib.Path(args.model)\n\
                 file = path if path.suffix == \".gguf\" else next(path.glob(\"*.gguf\"), None)\n\
                 source = {\"gguf_file\": file.name} if file else {}\n\
                 folder = file.parent if file else args.model\n"
            }
            false => "folder, source = args.model, {}\n",
        };
        let base =
            format!("model = AutoModel.from_pretrained(folder, dtype=torch.float32{head}, **source)\n");
        let rest = match self.holds {
            Holds::Adapter => "model = PeftModel.from_pretrained(model, here).eval()\n".to_owned(),
            _ => format!(
                "changed = model.load_state_dict(load_file(here / \"{CHANGED}\"), strict=False)\n\
                 assert not changed.unexpected_keys, f\"{{args.model}} is another model: {{changed.unexpected_keys}}\"\n\
                 model.eval()\n"
            ),
        };
        source.to_owned() + &base + &rest
    }

    fn inputs(&self, truncation: &str, more: &str) -> String {
        let types = if self.has_token_types { "True" } else { "False" };
        format!(
            "inputs = tokenizer(*args.text, truncation={truncation}, max_length={}, return_token_type_ids={types}{more}, \
             return_tensors=\"pt\")\n",
            self.max_length
        )
    }

    fn label(&self) -> String {
        let logits = "with torch.no_grad():\n    logits = model(**inputs).logits[0]\n";
        let answer = match (self.outputs, self.holds) {
            (1, _) => "print(logits.item())\n".to_owned(),
            (_, Holds::Model) => "print(model.config.id2label[logits.argmax().item()])\n".to_owned(),
            _ => format!(
                "labels = json.loads((here / \"{LABELS}\").read_text(encoding=\"utf-8\"))\nprint(labels[logits.argmax().item()])\n"
            ),
        };
        self.inputs("True", "") + logits + &answer
    }

    /// The likeliest span of the passage, as Transformers' scripts find it.
    fn span(&self) -> String {
        self.inputs("\"only_second\"", ", return_offsets_mapping=True")
            + "offsets = inputs.pop(\"offset_mapping\")[0].tolist()\n\
               passage = [place for place, text in enumerate(inputs.sequence_ids(0)) if text == 1]\n\
               with torch.no_grad():\n    \
                   out = model(**inputs)\n\
               start, end = out.start_logits[0].tolist(), out.end_logits[0].tolist()\n\
               spans = [(a, b) for a in passage for b in passage if a <= b < a + 30]\n\
               first, last = max(spans, key=lambda span: start[span[0]] + end[span[1]])\n\
               print(args.text[1][offsets[first][0] : offsets[last][1]])\n"
    }

    fn words(&self, answer: &str) -> String {
        let inputs = match self.reads {
            Reads::Chat => {
                "turns = [{\"role\": \"user\", \"content\": args.text[0]}]\n\
                 inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors=\"pt\")\n"
            }
            _ => "inputs = tokenizer(args.text[0], return_token_type_ids=False, return_tensors=\"pt\")\n",
        };
        format!(
            "{inputs}ids = model.generate(**inputs, max_new_tokens=64, do_sample=False){answer}\n\
             print(tokenizer.decode(ids, skip_special_tokens=True))\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_need_no_more_than_what_they_load() {
        let script = |task, holds| Script {
            task,
            holds,
            reads: Reads::Pair,
            outputs: 3,
            max_length: 64,
            has_token_types: true,
            is_gguf: false,
            has_prefixes: true,
        };
        let text = |task, holds| write(&script(task, holds)).unwrap();
        let (classes, words) = (TaskType::SequenceClassification, TaskType::CausalLm);
        let whole = text(classes, Holds::Model);
        assert!(
            !whole.contains("peft") && !whole.contains("import json") && !whole.contains("--model"),
            "{whole}"
        );
        assert!(whole.contains("nargs=2") && whole.contains("return_token_type_ids=True"), "{whole}");
        let adapter = text(classes, Holds::Adapter);
        assert!(adapter.contains("num_labels=3") && adapter.contains("before 5.24"), "{adapter}");
        assert!(!text(words, Holds::Adapter).contains("before 5.24"));
        let changed = text(TaskType::QuestionAnswering, Holds::Changed);
        assert!(
            changed.contains("changed_weights.safetensors") && changed.contains("only_second"),
            "{changed}"
        );
        let gguf = write(&Script { is_gguf: true, ..script(words, Holds::Adapter) }).unwrap();
        assert!(gguf.contains("gguf_file") && gguf.contains("and gguf for"), "{gguf}");
        assert!(write(&script(TaskType::TokenClassification, Holds::Model)).is_none());
    }
}
