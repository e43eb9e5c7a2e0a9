//! What can be typed.

use crate::numbers::{
    count, count_or_none, one_or_more, positive, positive_single, probability, rate, seconds, seed,
    side_by_side,
};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use tenfold::bytes::Bytes;
use tenfold::device;
use tenfold::report::Purpose;

/// Which fine-tuning method should I use for my model, my data and my hardware?
///
/// Tenfold fine-tunes one base model with many methods, measures each over ten metrics, recommends
/// one, and leaves adapters that Hugging Face PEFT loads. Start with `tenfold quickstart`.
#[derive(Debug, Parser)]
#[command(name = "tenfold", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped on request (Ctrl-C).")]
pub struct Arguments {
    /// How progress and messages are written to the standard error: for people, or a JSON object a line
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, hide_default_value = true)]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// How progress is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do the whole job once, on a small real model and real data
    ///
    /// Fetches all-MiniLM-L6-v2 if it is not in the cache, fine-tunes it with eight methods and
    /// three seeds, and writes runs/quickstart/. Stopped or killed, the same command goes on.
    Quickstart {
        #[command(flatten)]
        run: RunOptions,
    },
    /// Run a study; finished trials are kept, so the same command goes on where it stopped
    Run {
        /// The study, a TOML file
        study: PathBuf,
        #[command(flatten)]
        run: RunOptions,
    },
    /// Train one method once, and leave its adapter; the same command goes on where it stopped
    Train(TrainOptions),
    /// Write a run's report anew from what is there
    Report {
        /// The run's folder
        run: PathBuf,
        /// Print the recommendation as JSON
        #[arg(long)]
        json: bool,
    },
    /// Recommend a method for a purpose from what a run measured
    ///
    /// Prints the answer and leaves the run's files as they are. Exit code 1 where no method can be recommended.
    Recommend {
        /// The run's folder
        run: PathBuf,
        /// balanced, accuracy, memory, speed, latency, small-data, storage or energy
        #[arg(long = "for", value_name = "PURPOSE", default_value = "balanced", value_parser = purpose)]
        purpose: Purpose,
        /// Write report.html, summary.md, recommendation.json and metrics.json anew for this purpose
        #[arg(long)]
        write: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Score a language model on tasks, or apply a model with an adapter to texts
    ///
    /// With --task: asks all questions, as lm-evaluation-harness does, and prints scores with their errors. Answers are
    /// kept 32 at a time: stopped or killed, the same command goes on behind the last 32 that were kept.
    ///
    /// With --texts: prints the number, the label or the loss, and the text of each line of a file that is not blank.
    Eval(EvalOptions),
    /// Let a language model go on from a text, or answer it
    Generate(GenerateOptions),
    /// Talk to a language model: /reset begins anew, /quit ends, Ctrl-C stops an answer
    Chat(ChatOptions),
    /// List what there is
    List {
        what: Listed,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch base models, look at them, and write them in other formats
    Model {
        #[command(subcommand)]
        command: ModelCommand,
    },
    /// Look at adapters
    Adapter {
        #[command(subcommand)]
        command: AdapterCommand,
    },
    /// Measure the engine on made-up rows: speed, memory, and the part of the machine's own rate that is reached
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Measure methods of a run again, in turns, by the names of their probes in trials/
    #[command(hide = true)]
    Probe {
        run: PathBuf,
        #[arg(required = true)]
        trials: Vec<String>,
        /// Measure one part of one method for each line of the standard input, and end with it: `run` starts this for
        /// each method
        #[arg(long)]
        parts: bool,
    },
}

#[derive(Debug, clap::Args)]
pub struct TrainOptions {
    /// A folder, a GGUF file, a Hugging Face id or a catalog name
    #[arg(long)]
    pub model: String,
    /// A built-in task, or the path of a task file
    #[arg(long)]
    pub task: String,
    /// One of `tenfold list methods`
    #[arg(long, default_value = "lora")]
    pub method: String,
    /// Highest learning rate [default: the second lowest of those that a search would try for the method, which is what is
    /// published for it: 1e-3 for lora, 3e-5 for full]
    #[arg(long, value_parser = positive)]
    pub learning_rate: Option<f64>,
    /// How frozen matrices are kept: stored (as the file has them), f32, f16, bf16, q8_0, q4_0, q4_1 or nf4
    #[arg(long, default_value = "stored")]
    pub weights: String,
    /// Seed of everything random
    #[arg(long, default_value_t = 0, value_parser = seed)]
    pub seed: u64,
    /// The run's folder [default: runs/<task>-<method>]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Change a setting of the study: --set train_rows=2000 --set train.max_length=512 --set methods.lora.r=16
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Memory that training may take, as 2GiB: blocks are recomputed and passes made smaller where that is needed
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<Bytes>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct RunOptions {
    /// The run's folder [default: runs/<the study's name>]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Change a setting: --set train.batch_size=16 --set seeds=[0]
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Train this method of the study alone; may be given more than once. The study stays whole, and the report says what
    /// of it is missing
    #[arg(long, value_name = "METHOD")]
    pub only: Vec<String>,
    /// Memory that a trial may take, as 2GiB: blocks are recomputed and passes made smaller where that is needed
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<Bytes>,
    /// Print the recommendation as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time training steps of one method; the first two steps are left out
    Train(BenchTrain),
    /// Time the matrix products of such a step alone: the machine's own rate on these shapes
    Matmul(BenchTrain),
    /// Time passes without training over one batch of rows
    Infer(BenchInfer),
    /// Time reading prompts and writing answers
    Generate(BenchGenerate),
}

#[derive(Debug, clap::Args)]
pub struct BenchModel {
    /// A folder, a GGUF file, a Hugging Face id or a catalog name; with --random-weights a folder or a config.json
    #[arg(long)]
    pub model: String,
    /// Draw the weights from a seed: the configuration is all that is needed
    #[arg(long)]
    pub random_weights: bool,
    /// Change a setting of the method: --set r=16
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// SEQ_CLS, TOKEN_CLS, QUESTION_ANS, CAUSAL_LM or SEQ_2_SEQ_LM [default: what the model is usually for]
    #[arg(long)]
    pub task: Option<String>,
    /// How frozen matrices are kept: stored (as the file has them, or f32), f32, bf16, q8_0, nf4 …
    #[arg(long, default_value = "stored")]
    pub weights: String,
    /// What it is computed on: cpu, or reference
    #[arg(long, value_name = "NAME", default_value = device::usual().name)]
    pub device: String,
    /// Threads [default: one for each core]
    #[arg(long, value_parser = one_or_more)]
    pub threads: Option<usize>,
    /// Seed of weights, rows and the method's start
    #[arg(long, default_value_t = 0, value_parser = seed)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct BenchTrain {
    #[command(flatten)]
    pub model: BenchModel,
    /// The method, as `tenfold list methods` names it
    #[arg(long)]
    pub method: String,
    /// Rows of an optimizer step
    #[arg(long, default_value_t = 8, value_parser = one_or_more)]
    pub batch: usize,
    /// Tokens of a row
    #[arg(long, default_value_t = 128, value_parser = one_or_more)]
    pub seq: usize,
    /// Tokens of an answer, for encoder-decoders
    #[arg(long, default_value_t = 32, value_parser = one_or_more)]
    pub target_seq: usize,
    /// Optimizer steps
    #[arg(long, default_value_t = 6, value_parser = count)]
    pub steps: usize,
    /// Tokens that go through the model at a time [default: all of a step's, unless what they keep for their
    /// gradients is large beside all else]
    #[arg(long, value_parser = count)]
    pub pass_tokens: Option<usize>,
    /// Compute blocks again in the backward pass instead of keeping them
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// Memory that the process may take, as 2GiB
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<Bytes>,
}

#[derive(Debug, clap::Args)]
pub struct BenchInfer {
    #[command(flatten)]
    pub model: BenchModel,
    #[command(flatten)]
    pub method: BenchMethod,
    /// Rows of a pass
    #[arg(long, default_value_t = 8, value_parser = one_or_more)]
    pub batch: usize,
    /// Tokens of a row
    #[arg(long, default_value_t = 128, value_parser = one_or_more)]
    pub seq: usize,
    /// Tokens of an answer, for encoder-decoders
    #[arg(long, default_value_t = 32, value_parser = one_or_more)]
    pub target_seq: usize,
    /// Timed passes
    #[arg(long, default_value_t = 10, value_parser = count)]
    pub passes: usize,
    #[command(flatten)]
    pub load: BenchLoad,
}

#[derive(Debug, clap::Args)]
pub struct BenchGenerate {
    #[command(flatten)]
    pub model: BenchModel,
    #[command(flatten)]
    pub method: BenchMethod,
    /// Prompts that are answered side by side
    #[arg(long, default_value_t = 1, value_parser = one_or_more)]
    pub batch: usize,
    /// Tokens of each prompt
    #[arg(long, default_value_t = 128, value_parser = count)]
    pub prompt_tokens: usize,
    /// Tokens of each answer
    #[arg(long, default_value_t = 128, value_parser = count)]
    pub new_tokens: usize,
    /// How often all of it is done
    #[arg(long, default_value_t = 3, value_parser = count)]
    pub repetitions: usize,
    #[command(flatten)]
    pub load: BenchLoad,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub struct BenchLoad {
    /// Closed loads as well: so many clients, each of which sends its next request when the last is answered
    #[arg(long, value_name = "COUNT", value_delimiter = ',', value_parser = side_by_side)]
    pub clients: Vec<usize>,
    /// Open loads as well: so many requests a second at random moments, timed from when they were to be sent
    #[arg(long, value_name = "PER_SECOND", value_delimiter = ',', value_parser = rate)]
    pub rate: Vec<f64>,
    /// Requests that are worked on side by side; they share out the threads
    #[arg(long, default_value_t = 1, value_parser = side_by_side)]
    pub servers: usize,
    /// Requests that are timed under each load
    #[arg(long, default_value_t = 100, value_parser = count)]
    pub requests: usize,
    /// Requests before them that are not
    #[arg(long, default_value_t = 5, value_parser = count_or_none)]
    pub warm_up: usize,
    /// Seconds of each load, instead of a number of requests
    #[arg(long, conflicts_with = "requests", value_parser = seconds)]
    pub seconds: Option<f64>,
}

#[derive(Debug, clap::Args)]
pub struct BenchMethod {
    /// The method, as `tenfold list methods` names it [default: the base model as it is]
    #[arg(long)]
    pub method: Option<String>,
    /// Fold the method into the base model's weights first
    #[arg(long, requires = "method")]
    pub merged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Listed {
    Methods,
    Models,
    Tasks,
    Metrics,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Fetch a model into the cache, and say where it is
    Pull {
        /// A folder, a Hugging Face id or a catalog name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a model's extents and the modules that methods can step in at
    Inspect {
        /// A folder, a Hugging Face id or a catalog name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a model anew with its matrices in another format
    ///
    /// To a file whose name ends in .gguf, which llama.cpp reads too: f32, f16, bf16, q8_0, q4_0 or q4_1. The model may be
    /// a GGUF file of any architecture, or a Hugging Face folder of llama, mistral, qwen2, qwen3 or bert; a tokenizer and
    /// a chat template go along. Or to a folder with safetensors: f32, f16, bf16 or nf4.
    ///
    /// q8_0 takes 8.5 bits a weight and q4_0 4.5; the fewer, the more a model loses. Vectors and norms stay as exact as
    /// they are. Whatever cannot be written is refused before anything is, and what exists is never written over.
    Quantize {
        /// A folder, a GGUF file, a Hugging Face id or a catalog name
        name: String,
        /// The format of matrices: f32, f16, bf16, q8_0, q4_0, q4_1 or nf4
        #[arg(long, value_name = "FORMAT")]
        weights: String,
        /// What to write: a file that ends in .gguf, or a folder
        #[arg(long)]
        out: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum AdapterCommand {
    /// Show an adapter's method, settings and tensors
    Inspect {
        /// The adapter's folder
        adapter: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write an adapter into a folder that Python loads: an adapter for PEFT, or a whole model for Transformers
    ///
    /// Adapters of methods that PEFT has are written for PEFT; with --merged, those that act on weights (all but prefix tuning,
    /// prompt tuning and P-tuning) are folded into the base model, which is written whole. Full fine-tuning, BitFit and linear
    /// probe are always written as whole models: config.json and model.safetensors in f32.
    ///
    /// The tokenizer's files and a script load.py go along. What exists is never written over.
    Export(ExportOptions),
}

#[derive(Debug, clap::Args)]
pub struct ExportOptions {
    /// The adapter's folder, ours or PEFT's
    pub adapter: PathBuf,
    /// The folder to write
    #[arg(long)]
    pub out: PathBuf,
    /// The base model: a folder, a GGUF file, a Hugging Face id or a catalog name [default: as the adapter says]
    #[arg(long)]
    pub model: Option<String>,
    /// Fold the adapter into the base model's weights, where the method can, and write the whole model
    #[arg(long)]
    pub merged: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct EvalOptions {
    /// A folder, a GGUF file, a Hugging Face id or a catalog name
    #[arg(long)]
    pub model: String,
    /// The adapter's folder, ours or PEFT's
    #[arg(long, required_unless_present = "task")]
    pub adapter: Option<PathBuf>,
    /// Fold the adapter into the base model's weights first, where the method can
    #[arg(long, requires = "adapter")]
    pub merged: bool,
    /// A task with questions, by name or path; may be given more than once
    #[arg(long, required_unless_present = "texts", conflicts_with = "texts")]
    pub task: Vec<String>,
    /// Ask these domains of the task alone; may be given more than once
    #[arg(long, conflicts_with = "texts", value_name = "NAME")]
    pub domain: Vec<String>,
    /// Worked examples before each question [default: as the task says]
    #[arg(long, conflicts_with = "texts", value_parser = count_or_none)]
    pub num_fewshot: Option<usize>,
    /// Ask the first so many rows of each domain alone
    #[arg(long, conflicts_with = "texts", value_parser = one_or_more)]
    pub limit: Option<usize>,
    /// Leave out rows that cannot be read, and say which, instead of refusing the file
    #[arg(long, conflicts_with = "texts")]
    pub skip_malformed: bool,
    /// How frozen matrices are kept: stored (as the file has them), f32, bf16, q8_0, nf4 …
    #[arg(long, default_value = "stored", conflicts_with = "texts")]
    pub weights: String,
    /// Where answers and scores are kept [default: runs/eval-<model>]
    #[arg(long, conflicts_with = "texts")]
    pub out: Option<PathBuf>,
    /// A file with one text a line; - reads the standard input
    #[arg(long)]
    pub texts: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct TunedModel {
    /// A folder, a GGUF file, a Hugging Face id or a catalog name
    #[arg(long)]
    pub model: String,
    /// An adapter's folder, ours or PEFT's
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// Fold the adapter into the base model's weights first, where the method can
    #[arg(long, requires = "adapter")]
    pub merged: bool,
    /// What it is computed on: cpu, or reference
    #[arg(long, value_name = "NAME", default_value = device::usual().name)]
    pub device: String,
}

#[derive(Debug, clap::Args)]
pub struct GenerateOptions {
    #[command(flatten)]
    pub model: TunedModel,
    /// The text
    #[arg(long, required_unless_present = "prompts")]
    pub prompt: Option<String>,
    /// A file with one text a line; - reads the standard input
    #[arg(long, conflicts_with = "prompt")]
    pub prompts: Option<PathBuf>,
    /// Put each text to the model as a user's message, by its chat template
    #[arg(long)]
    pub chat: bool,
    #[command(flatten)]
    pub sampling: SamplingOptions,
    /// Print JSON, one line for each text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct ChatOptions {
    #[command(flatten)]
    pub model: TunedModel,
    /// What the model is told before the conversation
    #[arg(long)]
    pub system: Option<String>,
    #[command(flatten)]
    pub sampling: SamplingOptions,
}

#[derive(Debug, clap::Args)]
pub struct SamplingOptions {
    /// Tokens of an answer at the most
    #[arg(long, default_value_t = 256, value_parser = count)]
    pub max_new_tokens: usize,
    /// Draw tokens by their probabilities instead of taking the likeliest
    #[arg(long)]
    pub do_sample: bool,
    /// Below 1: more of the likely tokens; above: more of the others
    #[arg(long, default_value_t = 1.0, value_parser = positive_single, requires = "do_sample")]
    pub temperature: f32,
    /// Draw from so many likeliest tokens; 0: from all
    #[arg(long, default_value_t = 50, value_parser = count_or_none, requires = "do_sample")]
    pub top_k: usize,
    /// Draw from the fewest tokens whose probabilities add up to this
    #[arg(long, default_value_t = 1.0, value_parser = probability, requires = "do_sample")]
    pub top_p: f64,
    /// Above 1: tokens that are there already become less likely
    #[arg(long, default_value_t = 1.0, value_parser = positive_single)]
    pub repetition_penalty: f32,
    /// An answer ends before this; may be given more than once
    #[arg(long = "stop", value_name = "TEXT")]
    pub stop_strings: Vec<String>,
    /// Decides what is drawn
    #[arg(long, default_value_t = 0, value_parser = seed, requires = "do_sample")]
    pub seed: u64,
}

/// A purpose by its name, or what is wrong with it.
fn purpose(name: &str) -> Result<Purpose, tenfold::Error> {
    Purpose::named(name)
}
