//! Jinja templates of others, run within limits of steps, size, depth and time.
//!
//! The engine's fuel counts instructions and the bytes that they make, but not the walking of values: `x = [x, x]` forty
//! times is forty steps and a value of 2⁴⁰ parts, to print or compare which takes days, and a list in a list a hundred
//! thousand deep overflows the stack when it is dropped. So every expression that makes a value, and every place where one
//! is walked, is rewritten to pass its value through a function of ours first ([`rewrite`]), which refuses what is nested too
//! deep or too large when it is walked out, and pays fuel for it ([`weigh`]). What templates do that stays within the limits
//! is not changed by that.

mod rewrite;
mod weigh;

pub(crate) use weigh::walk_to_print;

use crate::guard;
use minijinja::machinery::{CodeGenerator, Instructions, Token, eval, make_string_output, parse, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, thread};

/// Steps that one rendering may take; in each 64 bytes may be made, or 256 walked. Real templates take some thousands, and
/// a few for each hundred bytes of a conversation.
pub(crate) const FUEL: u64 = 4_000_000;
/// More bytes than any real template has.
pub(crate) const LONGEST: usize = 256 << 10;
/// More words than any real tag has: each may nest the syntax tree one level deeper.
const WORDS: usize = 1000;
/// More branches than any real `if` has, each of which is nested in the one before.
const BRANCHES: usize = 200;
/// Enough for the deepest syntax tree within these limits, where it is made.
const STACK: usize = 64 << 20;
/// Frames of loops, and four for each macro, that may stand on one another where a template runs: fewer than the engine's
/// 500, so that the stack of any thread is enough.
const FRAMES: usize = 300;
const NAME: &str = "template";

/// A template, ready to run.
#[derive(Clone)]
pub(crate) struct Program {
    environment: Arc<Environment<'static>>,
    syntax: SyntaxConfig,
    source: &'static str,
    code: Arc<Code>,
}

struct Code {
    instructions: Instructions<'static>,
    blocks: BTreeMap<&'static str, Instructions<'static>>,
}

impl Program {
    /// Compiles `source`. The filters and functions of `environment` are those it may use; its formatter must begin with
    /// [`walk_to_print`].
    pub(crate) fn new(
        mut environment: Environment<'static>,
        syntax: SyntaxConfig,
        source: &str,
    ) -> Result<Program, Error> {
        within_limits(source, &syntax)?;
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(FRAMES);
        weigh::install(&mut environment);
        let source = interned(source);
        let code = aside(|| {
            let whole = rewrite::statement(&parse(source, NAME, syntax.clone())?);
            let mut generator = CodeGenerator::new(NAME, source);
            generator.compile_stmt(&whole);
            let (instructions, blocks) = generator.finish();
            Ok(Code { instructions, blocks })
        })?;
        Ok(Program { environment: Arc::new(environment), syntax, source, code: Arc::new(code) })
    }

    /// The text that the template makes of the variables in `context`.
    pub(crate) fn render(&self, context: Value) -> Result<String, Error> {
        let run = || {
            let mut text = String::new();
            let mut out = make_string_output(&mut text);
            let Code { instructions, blocks } = &*self.code;
            eval(&self.environment, instructions, context, blocks, &mut out, AutoEscape::None)?;
            drop(out);
            Ok(text)
        };
        guard::quietly(run).unwrap_or_else(|panic| Err(failed(panic)))
    }

    /// The functions and filters it may use, to give it others.
    pub(crate) fn environment(&mut self) -> &mut Environment<'static> {
        Arc::make_mut(&mut self.environment)
    }

    /// What it was made from.
    pub(crate) fn source(&self) -> &str {
        self.source
    }

    /// The names of variables that the template may look up, dotted as far as it tells.
    pub(crate) fn undeclared(&self) -> Result<HashSet<String>, Error> {
        aside(|| {
            let mut environment = Environment::empty();
            environment.set_syntax(self.syntax.clone());
            environment.template_from_named_str(NAME, self.source).map(|it| it.undeclared_variables(true))
        })
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_tuple("Program").field(&self.source).finish()
    }
}

/// The source for as long as the process lives, which compiled templates refer to. There is one for each model and a few for
/// each task, however often they are loaded.
fn interned(source: &str) -> &'static str {
    static ALL: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(source) {
        return known;
    }
    let kept: &'static str = Box::leak(source.into());
    all.insert(kept);
    kept
}

/// Works on a thread with a stack that the limits were made for; a panic of the engine is an error.
fn aside<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK);
        let thread = thread.spawn_scoped(scope, || guard::quietly(work));
        let thread = thread.map_err(|error| failed(format!("no thread to work on: {error}")))?;
        match thread.join() {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(failed(panic)),
            Err(_) => Err(failed("the template engine failed".into())),
        }
    })
}

fn failed(words: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, words)
}

/// Refuses what would make a syntax tree so deep that walking it overflows the stack, before there is a tree.
fn within_limits(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let refused = |expected: String| Err(Error::new(ErrorKind::SyntaxError, expected));
    if source.len() > LONGEST {
        return refused(format!("it has {} bytes, and {LONGEST} at most are read", source.len()));
    }
    let (mut words, mut branches) = (0, 0);
    for token in tokenize(source, false, syntax.clone()) {
        let (token, span) = token?;
        match token {
            Token::VariableStart | Token::BlockStart => words = 0,
            Token::Ident("elif") => branches += 1,
            // One ends before the next begins, wherever it stands.
            Token::Ident("endif") => branches = 0,
            _ => {}
        }
        words += 1;
        if words > WORDS {
            return refused(format!("a tag in line {} has more than {WORDS} words", span.start_line));
        }
        if branches > BRANCHES {
            return refused(format!("line {} is the end of more than {BRANCHES} elif", span.start_line));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
