//! Data for language models: chats, prompts with completions and raw text, and from them the sequences of training.
//!
//! ```text
//! Task::read_language -> LanguageExample* -> encode -> Sequence* + LengthReport -> micro_batches -> train
//! ```

mod choices;
mod documents;
mod encode;
mod length;
mod pack;
pub(crate) mod question;
pub(crate) mod read;
mod shots;
mod template;

pub(crate) use documents::Documents;
pub use encode::{Encoded, Failed, Overlong, Placed, SequenceSettings, TrainOn, encode, encode_answers};
pub use length::{LengthReport, Spread};
pub use pack::{fill, micro_batches};
pub use question::Question;
pub use shots::{Sampler, Shots};
pub(crate) use template::Template;

use super::{Example, Row, put_count, put_text};
use crate::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: "system", "user", "assistant", or what else the model's chat template knows.
    pub role: String,
    /// What is said, as it is: white space counts. `None` where a tool is called without a word.
    pub content: Option<String>,
    /// What else the row says of the turn, for chat templates that read it: `tool_calls`, `name`, `reasoning_content`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Message {
    /// A message of that role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: Some(content.into()), more: Map::new() }
    }
}

/// A chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its turns in their order.
    pub messages: Vec<Message>,
    /// Descriptions of the functions that the assistant may call, for the chat template: a list of JSON Schemas.
    pub tools: Option<Value>,
}

impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Conversation {
        Conversation { messages, tools: None }
    }
}

/// One row of a language task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LanguageExample {
    /// A conversation; it has an assistant's message.
    Chat(Conversation),
    /// A text to go on from, and how it goes on. Both are put together as they are.
    Prompt {
        /// What is given.
        prompt: String,
        /// What is to be learnt; never blank.
        completion: String,
    },
    /// Raw text, all of it to be learnt.
    Text(String),
    /// A row that the model is also asked about; what is right is to be learnt.
    Asked {
        /// What is asked.
        question: Question,
        /// What stands between the context and what is said.
        delimiter: String,
    },
}

/// One training example as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Whether `ids[i]` counts in the loss, as the target of place i-1; never true of the first.
    pub labelled: Vec<bool>,
}

impl Sequence {
    /// How many tokens count in the loss.
    pub fn labels(&self) -> usize {
        self.labelled.iter().filter(|labelled| **labelled).count()
    }
}

/// What the rendering of sequences asks of a model's tokenizer and chat template.
pub trait LanguageTokenizer: Sync {
    /// The tokens of a text: no special tokens added, those that are written in it recognised.
    fn ids(&self, text: &str) -> Result<Vec<u32>>;

    /// The tokens of a text with those that the tokenizer itself puts around every text.
    fn text_ids(&self, text: &str) -> Result<Vec<u32>>;

    /// The token that the tokenizer itself puts before every text, if it does.
    fn first_id(&self) -> Option<u32>;

    /// The end-of-text token.
    fn end_id(&self) -> Option<u32>;

    /// Whether a token ends what a model generates.
    fn ends(&self, id: u32) -> bool;

    /// These messages, in which the assistant has these tools, as the model's chat template writes them, begin-of-text
    /// included where the template has it.
    fn render(
        &self,
        messages: &[Message],
        tools: Option<&Value>,
        add_generation_prompt: bool,
    ) -> Result<String>;
}

impl Row for LanguageExample {
    const SHARED: &'static str = "a prompt";
    type Shared<'a> = String;

    fn shared(&self) -> String {
        self.given()
    }

    fn drawn(&self) -> Example {
        let label = match self {
            LanguageExample::Asked { question: Question::Choice { golds, .. }, .. } => {
                golds.first().map_or(0, |gold| *gold as u32)
            }
            _ => 0,
        };
        Example { text: self.given(), pair: None, label, weight: None }
    }

    fn split_hash(&self, purpose: &str) -> [u8; 32] {
        Sha256::digest(format!("{purpose}\0{}", self.given())).into()
    }

    fn put(&self, hash: &mut Sha256) {
        match self {
            LanguageExample::Chat(Conversation { messages, tools }) => {
                put_text(hash, "chat");
                put_count(hash, messages.len());
                for message in messages {
                    put_text(hash, &message.role);
                    put_text(hash, message.content.as_deref().unwrap_or_default());
                    if !message.more.is_empty() || message.content.is_none() {
                        put_text(hash, &serde_json::to_string(message).unwrap_or_default());
                    }
                }
                if let Some(tools) = tools {
                    put_text(hash, &tools.to_string());
                }
            }
            LanguageExample::Prompt { prompt, completion } => {
                put_text(hash, "prompt");
                put_text(hash, prompt);
                put_text(hash, completion);
            }
            LanguageExample::Text(text) => {
                put_text(hash, "text");
                put_text(hash, text);
            }
            LanguageExample::Asked { question, delimiter } => {
                put_text(hash, "asked");
                put_text(hash, delimiter);
                question.put(hash);
            }
        }
    }
}

impl LanguageExample {
    /// What is given to the model: rows that share it stay in one split.
    pub(crate) fn given(&self) -> String {
        match self {
            LanguageExample::Chat(Conversation { messages, .. }) => {
                let until = messages.iter().position(|message| message.role == "assistant");
                let given = &messages[..until.unwrap_or(messages.len())];
                let said = |message: &Message| message.content.clone().unwrap_or_default();
                given.iter().map(|message| format!("{}\0{}\0", message.role, said(message))).collect()
            }
            LanguageExample::Prompt { prompt, .. } => prompt.clone(),
            LanguageExample::Text(text) => text.clone(),
            LanguageExample::Asked { .. } => self.plain().given(),
        }
    }

    /// What is learnt of it.
    fn plain(&self) -> Cow<'_, LanguageExample> {
        match self {
            LanguageExample::Asked { question: Question::Text { text, .. }, .. } => {
                Cow::Owned(LanguageExample::Text(text.clone()))
            }
            LanguageExample::Asked { question, delimiter } => {
                let (prompt, completion) = question.worked(delimiter);
                Cow::Owned(LanguageExample::Prompt { prompt, completion })
            }
            example => Cow::Borrowed(example),
        }
    }
}
