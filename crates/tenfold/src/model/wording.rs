//! A model's tokenizer and chat template together: how rows for language models are worded.

use super::chat_template::ChatTemplate;
use super::tokenizer::Tokenizer;
use crate::data::language::{LanguageTokenizer, Message};
use crate::error::{Error, Result};
use serde_json::Value;

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

    /// What the chat template writes behind the assistant's last words, if no token of it ends a text: a model that is
    /// trained on such chats would never stop.
    pub fn endless_turn(&self) -> Option<String> {
        const ANSWER: &str = "Tenfold";
        let messages = [Message::new("user", "?"), Message::new("assistant", ANSWER)];
        let text = self.template?.render(&messages, None, false).ok()?;
        let behind = text.rsplit_once(ANSWER)?.1;
        let ids = self.tokenizer.words(behind).ok()?;
        ids.iter().all(|id| !self.ends(*id)).then(|| behind.to_owned())
    }

    /// The token that ends texts, as the vocabulary writes it.
    pub fn end(&self) -> Option<String> {
        self.tokenizer.token(self.end_id()?)
    }
}

impl LanguageTokenizer for Wording<'_> {
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.words(text)
    }

    fn text_ids(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.prompt(text)
    }

    fn first_id(&self) -> Option<u32> {
        let first = *self.text_ids("a").ok()?.first()?;
        self.tokenizer.bos_id().filter(|bos| *bos == first)
    }

    fn end_id(&self) -> Option<u32> {
        self.tokenizer.eos_ids().first().copied()
    }

    fn ends(&self, id: u32) -> bool {
        self.tokenizer.eos_ids().contains(&id)
    }

    fn render(
        &self,
        messages: &[Message],
        tools: Option<&Value>,
        add_generation_prompt: bool,
    ) -> Result<String> {
        match self.template {
            Some(template) => template.render(messages, tools, add_generation_prompt),
            None => Err(Error::Unsupported {
                what: "chats".into(),
                why: "the model comes without a chat template".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    /// What a template writes behind an answer, by a tokenizer whose only end is </s>.
    fn endless(template: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
        let end = json!({"id": 0, "content": "</s>", "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false});
        let model = json!({"type": "BPE", "vocab": {"</s>": 0, "a": 1}, "merges": []});
        write(
            "tokenizer.json",
            &json!({"version": "1.0", "added_tokens": [end], "model": model}).to_string(),
        );
        write("tokenizer_config.json", r#"{"eos_token": "</s>"}"#);
        write("chat_template.jinja", template);
        let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
        let template = ChatTemplate::from_dir(folder.path()).unwrap();
        Wording::new(&tokenizer, template.as_ref()).endless_turn()
    }

    #[test]
    fn templates_whose_turns_end_no_answer_are_known() {
        let turns = |end: &str| {
            format!("{{% for m in messages %}}[{{{{ m.role }}}}]{{{{ m.content }}}}{end}{{% endfor %}}")
        };
        assert_eq!(endless(&turns("[end]")), Some("[end]".into()));
        assert_eq!(endless(&turns("")), Some(String::new()));
        assert_eq!(endless(&turns("{{ eos_token }}")), None);
        // A template that does not take this chat is not judged.
        assert_eq!(endless("{{ raise_exception('no') }}"), None);
    }
}
