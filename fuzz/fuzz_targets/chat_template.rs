//! Whatever program a chat template is, rendering comes to an end, with a text or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use tenfold::data::language::Message;
use tenfold::model::chat_template::ChatTemplate;
use tenfold::model::gguf::{Metadata, Value};

fuzz_target!(|source: &str| {
    let key = "tokenizer.chat_template".to_owned();
    let metadata = Metadata::new("fuzzed.gguf", BTreeMap::from([(key, Value::String(source.into()))]));
    if let Ok(Some(template)) = ChatTemplate::from_gguf(&metadata) {
        let message = Message { role: "user".into(), content: "a <b> \u{e9}".into() };
        let _ = template.render(&[message.clone(), message], true);
    }
});
