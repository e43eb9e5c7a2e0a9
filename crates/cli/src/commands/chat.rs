//! chat: a conversation with a language model, line by line.

use super::generate::{Aloud, Speaker, cut_answers, tell_cut};
use super::{print_text, say};
use crate::arguments::ChatOptions;
use crate::dashboard::Dashboard;
use crate::output::{Unwritable, tell};
use anyhow::{Context as _, Result};
use std::io::{IsTerminal, stdin};
use tenfold::data::language::Message;
use tenfold::generate::{Generator, Memory};

pub fn chat(request: &ChatOptions, dashboard: &Dashboard) -> Result<()> {
    let speaker = Speaker::load(&request.model, dashboard)?;
    let system = request.system.iter().map(|words| Message::new("system", words.as_str()));
    let opening: Vec<Message> = system.collect();
    let sampling = request.sampling.sampling();
    let decode = |ids: &[u32]| speaker.decode(ids);
    let generator = speaker.generator(&sampling, &decode)?;
    // A model without a template is refused before anyone types.
    speaker.conversation(&[&opening[..], &[Message::new("user", "")]].concat())?;
    speaker.note_endless_turns(dashboard);
    let mut messages = opening.clone();
    // Of what the model has read only what a longer conversation begins with is used again.
    let mut memory = Memory::default();
    dashboard.next_answer();
    while let Some(line) = next_line()? {
        match line.trim() {
            "" => {}
            "/quit" => break,
            "/reset" => messages.clone_from(&opening),
            words => {
                messages.push(Message::new("user", words));
                match answer(
                    &speaker,
                    &generator,
                    (&mut memory, &messages),
                    sampling.max_new_tokens,
                    dashboard,
                ) {
                    Ok(text) => messages.push(Message::new("assistant", text)),
                    Err(error) if ends_all(&error) => return Err(error),
                    Err(error) => {
                        messages.pop();
                        tell(&format!("error: {error:#}; /reset begins anew"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Whether there is no point in a next question: nobody can read the answer, or the model is no longer what it was.
fn ends_all(error: &anyhow::Error) -> bool {
    error.is::<Unwritable>() || matches!(error.downcast_ref(), Some(tenfold::Error::Io { .. }))
}

/// What is typed next; `None` at the end of it.
fn next_line() -> Result<Option<String>> {
    if stdin().is_terminal() {
        print_text("> ")?;
    }
    let mut line = String::new();
    let read = stdin().read_line(&mut line).context("cannot read the standard input")?;
    Ok((read > 0).then_some(line))
}

fn answer(
    speaker: &Speaker,
    generator: &Generator,
    (memory, messages): (&mut Memory, &[Message]),
    limit: usize,
    dashboard: &Dashboard,
) -> Result<String> {
    let prompt = speaker.conversation(messages)?;
    dashboard.next_answer();
    let mut aloud = Aloud::new(dashboard, true);
    let answers = generator.go_on(memory, &[prompt], &mut aloud);
    aloud.written()?;
    dashboard.next_answer();
    say!("")?;
    let answers = answers?;
    tenfold::model::unchanged()?;
    tell_cut(cut_answers(&answers), limit);
    Ok(answers.into_iter().map(|answer| answer.text).collect())
}
