//! generate: a language model goes on from texts.

use super::{print_text, say, texts};
use crate::arguments::{GenerateOptions, SamplingOptions, TunedModel};
use crate::dashboard::Dashboard;
use crate::output::tell;
use anyhow::{Result, bail};
use serde_json::json;
use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::sync::Arc;
use tenfold::adapter::{Context, Tuning, file};
use tenfold::data::language::Message;
use tenfold::device::device;
use tenfold::generate::{FinishReason, Generated, Generator, Sampling, Watch};
use tenfold::model::chat_template::ChatTemplate;
use tenfold::model::store::{self, Located};
use tenfold::model::tokenizer::Tokenizer;
use tenfold::model::wording::Wording;
use tenfold::model::{self, Model};
use tenfold::progress::{Event, Progress, told_if_slow};
use tenfold::words::count;

/// Prompts that are answered side by side.
const BATCH: usize = 8;

pub fn generate(request: &GenerateOptions, dashboard: &Dashboard) -> Result<()> {
    let prompts = prompts(request)?;
    let speaker = Speaker::load(&request.model, dashboard)?;
    match request.chat {
        true => speaker.note_endless_turns(dashboard),
        false => speaker.note_repeated_starts(&prompts, dashboard)?,
    }
    let encoded: Vec<Vec<u32>> = (prompts.iter())
        .map(|prompt| match request.chat {
            true => speaker.conversation(&[Message::new("user", prompt.as_str())]),
            false => speaker.text(prompt),
        })
        .collect::<Result<_>>()?;
    let sampling = request.sampling.sampling();
    let decode = |ids: &[u32]| speaker.decode(ids);
    let generator = speaker.generator(&sampling, &decode)?;
    let streams = prompts.len() == 1 && !request.json && stdout().is_terminal();
    let mut aloud = Aloud::new(dashboard, streams);
    let mut cut = 0;
    for (prompts, encoded) in prompts.chunks(BATCH).zip(encoded.chunks(BATCH)) {
        let answers = match streams {
            true => generator.generate(encoded, &mut aloud),
            false => told_if_slow(dashboard, "generating", || generator.generate(encoded, &mut aloud)),
        };
        aloud.written()?;
        let answers = answers?;
        model::unchanged()?;
        for (prompt, answer) in prompts.iter().zip(&answers) {
            match (request.json, streams, request.prompts.is_some()) {
                (true, ..) => say!("{}", line(prompt, answer))?,
                (false, true, _) => say!("")?,
                (false, false, false) => print_text(&format!("{}\n", answer.text))?,
                (false, false, true) => print_text(&format!("> {prompt}\n{}\n\n", answer.text))?,
            }
        }
        if answers.iter().any(|answer| answer.finish_reason == FinishReason::Interrupted) {
            return Err(tenfold::Error::Interrupted.into());
        }
        cut += cut_answers(&answers);
    }
    if !request.json {
        tell_cut(cut, sampling.max_new_tokens);
    }
    Ok(())
}

/// How many answers end at the limit of tokens, not because the model ended them.
pub(super) fn cut_answers(answers: &[Generated]) -> usize {
    answers.iter().filter(|answer| answer.finish_reason == FinishReason::Length).count()
}

/// Says how many answers are cut, where some are.
pub(super) fn tell_cut(cut: usize, limit: usize) {
    let limit = count(limit, "token");
    match cut {
        0 => {}
        1 => tell(&format!("an answer is cut after {limit} (--max-new-tokens)")),
        cut => tell(&format!("{cut} answers are cut after {limit} (--max-new-tokens)")),
    }
}

fn line(prompt: &str, answer: &Generated) -> serde_json::Value {
    let tokens = answer.ids.len();
    json!({
        "prompt": prompt,
        "text": answer.text,
        "tokens": tokens,
        "finish_reason": answer.finish_reason,
        "seconds": answer.seconds,
        "tokens_per_second": tokens as f64 / answer.seconds.max(f64::MIN_POSITIVE),
    })
}

/// The texts of the command line.
fn prompts(request: &GenerateOptions) -> Result<Vec<String>> {
    let Some(file) = &request.prompts else { return Ok(request.prompt.iter().cloned().collect()) };
    let text = texts::read(file)?;
    let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        bail!("{}: expected a text or more, one a line, found none", file.display());
    }
    Ok(lines)
}

/// A language model with all it takes to answer in words.
pub(super) struct Speaker {
    name: String,
    model: Arc<dyn Model>,
    tokenizer: Arc<Tokenizer>,
    template: Option<Arc<ChatTemplate>>,
    tuning: Tuning,
}

impl Speaker {
    pub fn load(request: &TunedModel, dashboard: &Dashboard) -> Result<Speaker> {
        let located = store::locate(&request.model, dashboard)?;
        let task = located.files.usual_task()?;
        if !task.is_language_modelling() {
            bail!("{} is no language model: it does not generate text", request.model);
        }
        let backend = device(&request.device)?.backend();
        let reading = format!("reading {}", request.model);
        let loaded = told_if_slow(dashboard, &reading, || located.files.load(task, &backend, None))?;
        let (model, tokenizer) = (loaded.model, located.files.tokenizer()?);
        tokenizer.check(&model.extents())?;
        note_all(loaded.notes.iter().chain(tokenizer.notes()), dashboard);
        let tuning = match &request.adapter {
            Some(adapter) => tuning(adapter, request.merged, &*model, &located, &tokenizer)?,
            None => Tuning::untouched(&*model),
        };
        let template = located.files.chat_template()?;
        Ok(Speaker { name: request.model.clone(), model, tokenizer, template, tuning })
    }

    pub fn generator<'a>(
        &'a self,
        sampling: &'a Sampling,
        decode: &'a dyn Fn(&[u32]) -> tenfold::Result<String>,
    ) -> Result<Generator<'a>> {
        Ok(Generator::new(&*self.model, &self.tuning, sampling, self.tokenizer.eos_ids(), decode)?)
    }

    /// A text as the model reads it; an empty one is the beginning of any.
    fn text(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.tokenizer.prompt(text)?;
        if ids.is_empty() { Ok(self.tokenizer.bos_id().into_iter().collect()) } else { Ok(ids) }
    }

    /// Says so where prompts begin with the token that the tokenizer puts before every text.
    fn note_repeated_starts(&self, prompts: &[String], dashboard: &Dashboard) -> Result<()> {
        let mut repeated = 0;
        for prompt in prompts {
            repeated += usize::from(self.tokenizer.begins_twice(prompt)?);
        }
        if let Some(token) =
            self.tokenizer.bos_id().and_then(|id| self.tokenizer.token(id)).filter(|_| repeated > 0)
        {
            let (prompts, begin) =
                (count(repeated, "prompt"), if repeated == 1 { "begins" } else { "begin" });
            dashboard.event(Event::Note(format!(
                "{prompts} {begin} with {token}, which the tokenizer puts before every text: the model reads it once"
            )));
        }
        Ok(())
    }

    /// Says so where nothing in the chat template's turns ends an answer.
    pub fn note_endless_turns(&self, dashboard: &Dashboard) {
        let wording = Wording::new(&self.tokenizer, self.template.as_deref());
        if let Some(behind) = wording.endless_turn() {
            dashboard.event(Event::Note(format!(
                "the chat template writes {behind:?} behind an answer, and no token of that ends a text: answers may go \
                 on to --max-new-tokens; --stop TEXT ends them at a text"
            )));
        }
    }

    /// A conversation as the model reads it, up to where its own words begin.
    pub fn conversation(&self, messages: &[Message]) -> Result<Vec<u32>> {
        match &self.template {
            Some(template) => Ok(self.tokenizer.words(&template.render(messages, None, true)?)?),
            None => bail!("{} has no chat template: `tenfold generate` goes on from plain texts", self.name),
        }
    }

    /// The words of an answer. Rows that pad a model's vocabulary stand for none.
    pub fn decode(&self, ids: &[u32]) -> tenfold::Result<String> {
        let words: Vec<u32> =
            ids.iter().copied().filter(|id| (*id as usize) < self.tokenizer.vocab_size()).collect();
        self.tokenizer.decode(&words, true)
    }
}

pub(super) fn note_all<'a>(notes: impl Iterator<Item = &'a String>, dashboard: &Dashboard) {
    notes.for_each(|note| dashboard.event(Event::Note(note.clone())));
}

fn tuning(
    adapter: &Path,
    merged: bool,
    model: &dyn Model,
    located: &Located,
    tokenizer: &Tokenizer,
) -> Result<Tuning> {
    let backend = model.word_embeddings().tensor.backend();
    let tokenize = |text: &str| tokenizer.words(text);
    let tuning = file::read(adapter, &Context { model, backend, seed: 0, tokenize: &tokenize })?;
    file::notes(adapter, &tuning, model, located)?.iter().for_each(|note| tell(note));
    if !merged {
        return Ok(tuning);
    }
    match tuning.merged(model, backend)? {
        Some(merged) => Ok(merged),
        None => bail!("{} cannot be folded into the base model's weights", tuning.method().title),
    }
}

impl SamplingOptions {
    pub fn sampling(&self) -> Sampling {
        Sampling {
            do_sample: self.do_sample,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
            max_new_tokens: self.max_new_tokens,
            stop_strings: self.stop_strings.clone(),
            seed: self.seed,
        }
    }
}

/// Answers as they grow, and Ctrl-C.
pub(super) struct Aloud<'a> {
    dashboard: &'a Dashboard,
    streams: bool,
    /// Why an answer could not be shown on.
    unwritable: Option<anyhow::Error>,
}

impl<'a> Aloud<'a> {
    /// Shows answers as they grow if it `streams`.
    pub fn new(dashboard: &'a Dashboard, streams: bool) -> Aloud<'a> {
        Aloud { dashboard, streams, unwritable: None }
    }

    /// Whether all that was to be shown was shown.
    pub fn written(&mut self) -> Result<()> {
        self.unwritable.take().map_or(Ok(()), Err)
    }
}

impl Watch for Aloud<'_> {
    fn piece(&mut self, _prompt: usize, piece: &str) -> tenfold::Result<()> {
        if !self.streams {
            return Ok(());
        }
        print_text(piece).map_err(|error| {
            self.unwritable = Some(error);
            tenfold::Error::Interrupted
        })
    }

    fn go_on(&self) -> bool {
        !self.dashboard.stop_requested()
    }
}
