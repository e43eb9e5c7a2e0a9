//! Two tokenizers put to the same texts.

use super::Source;
use crate::Result;
use crate::model::tokenizer::Tokenizer;

impl Source<'_> {
    /// What the two tokenizers do not agree on, if there is anything.
    pub(super) fn difference(&self, theirs: &Tokenizer) -> Result<Option<String>> {
        for id in 0..self.own.vocab_size as u32 {
            let [own, other] = [self.own, theirs].map(|tokenizer| tokenizer.token(id));
            if own.is_some() && own != other {
                return Ok(Some(format!("token {id} would be {other:?} and not {own:?}")));
            }
        }
        let missing = self.own.eos_ids().iter().find(|id| !theirs.eos_ids().contains(id));
        if let Some(id) = missing {
            return Ok(Some(format!("there is no place for token {id}, which ends texts")));
        }
        let pairs = self.json["model"]["type"] == "WordPiece";
        for text in self.texts()? {
            let read = |tokenizer: &Tokenizer| tokenizer.encode(&text, pairs.then_some(&text), usize::MAX);
            let (own, other) = (read(self.own)?, read(theirs)?);
            if own != other {
                return Ok(Some(format!("{text:?} would become {:?} and not {:?}", other.ids, own.ids)));
            }
        }
        Ok(None)
    }

    /// Texts at which tokenizers differ: edge cases, tokens of the whole vocabulary, and all tokens that were added.
    fn texts(&self) -> Result<Vec<String>> {
        let mut texts: Vec<String> = TEXTS.map(str::to_owned).into();
        texts.push("x".repeat(150));
        let step = self.own.vocab_size.div_ceil(4096);
        let ids = (0..self.own.vocab_size as u32).step_by(step).filter(|id| self.own.token(*id).is_some());
        for ids in ids.collect::<Vec<u32>>().chunks(64) {
            texts.push(self.own.decode(ids, false)?);
        }
        for added in self.own.inner.get_added_tokens_decoder().into_values() {
            let token = added.content;
            texts.extend([format!("a{token}b"), format!("a  {token} b\n{token}\n{token} ")]);
        }
        texts.sort();
        Ok(texts)
    }
}

/// Edge cases of writing.
pub(super) const TEXTS: [&str; 18] = [
    "",
    " ",
    "   \n\n  \t\r\n ",
    "The capital of France is Paris, isn't it? I'LL say they've 'd it'S.",
    "  leading, trailing  and   inner    blanks  ",
    "0 1 22 333 4444 55555 3.14159 1,000,000 x12345y 2024-01-31T23:59",
    "a  1   2    33 x  \u{2167}\u{b2}\u{bd} \u{664}\u{665}\u{666}",
    "caf\u{e9} cafe\u{301} na\u{ef}ve \u{212b}\u{fb01} STRASSE stra\u{df}e \u{130}stanbul \u{3a3}\u{3c2}",
    "\u{5317}\u{4eac}\u{306f}\u{3072}\u{3089}\u{304c}\u{306a} \u{d55c}\u{ad6d}\u{c5b4} \u{e20}\u{e32}\u{e29}\u{e32} \u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}",
    "\u{645}\u{631}\u{62d}\u{628}\u{627} \u{5e9}\u{5c1}\u{5b8}\u{5dc}\u{5d5}\u{5b9}\u{5dd}",
    "\u{1f642}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{1f1e9}\u{1f1ea}\u{2764}\u{fe0f}",
    "def f(x):\n    return {'a': [x**2, \"b\"]}  # \\n\n\tif x != None: pass;;",
    "<div class=\"a\">&amp;</div> https://x.org/?q=1&r=%20#top user@mail.com $5 50% ~~ ___ --- ...",
    "\u{a0}no\u{2009}break\u{3000}wide\u{200b}zero\u{ad}soft\u{feff}mark",
    "\u{0}\u{1}\u{7f}\u{85}\u{2028}\u{fffd}\u{10ffff}",
    "\u{2581}under \u{2581}\u{2581}score ##ing [PAD1] [UNK] <s> </s> <0x41> <unk>",
    "HTTPServer camelCase SCREAMING_SNAKE MiXeD UnBelievable\u{2019}s \u{201c}quoted\u{201d}\u{2014}dash",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa     bbbb\n\n\n\ncccc",
];
