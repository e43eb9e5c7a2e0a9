//! A model's tokenizer and chat template together: how rows for language models are worded.

use super::chat_template::ChatTemplate;
use super::tokenizer::Tokenizer;
use crate::data::language::{LanguageTokenizer, Message};
use crate::error::{Error, Result};

/// What turns chats and prompts into tokens.
pub struct Wording<'a> {
    tokenizer: &'a Tokenizer,
    template: Option<&'a ChatTemplate>,
}

impl<'a> Wording<'a> {
    /// The wording of a model; one without a template has no chats.
    pub fn new(tokenizer: &'a Tokenizer, template: Option<&'a ChatTemplate>) -> Wording<'a> {
        Wording { tokenizer, template }
    }
}

impl LanguageTokenizer for Wording<'_> {
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.words(text)
    }

    fn text_ids(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode(text, None, usize::MAX)?.ids)
    }

    fn first_id(&self) -> Option<u32> {
        let first = *self.text_ids("a").ok()?.first()?;
        self.tokenizer.bos_id().filter(|bos| *bos == first)
    }

    fn end_id(&self) -> Option<u32> {
        self.tokenizer.eos_ids().first().copied()
    }

    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        match self.template {
            Some(template) => template.render(messages, add_generation_prompt),
            None => Err(Error::Unsupported {
                what: "chats".into(),
                why: "the model comes without a chat template".into(),
            }),
        }
    }
}
