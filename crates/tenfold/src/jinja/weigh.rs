//! How deep and how large a value is, and the filters that every value of a template passes through.

use indexmap::IndexMap;
use minijinja::value::{Tuple, Value, ValueIter, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, functions};
use std::collections::HashMap;

/// For values that are made: refuses what is too deep or too large, and makes lists of sequences that are worked out as
/// they are read. Names of filters that no template can write.
pub(super) const HOLD: &str = "\0hold";
/// For values that are walked: the same, and the walk is paid for.
pub(super) const WALK: &str = "\0walk";
/// For values that are put into others: the same, and refuses what is no data, as a namespace, in which lists without end
/// could be hidden.
pub(super) const STORE: &str = "\0store";

/// As deep as JSON may be that a message brings, and some more.
const DEEPEST: usize = 160;
/// Bytes that a value may have when it is written out.
const LARGEST: usize = 32 << 20;
/// What each part of a value is taken for, beside the bytes of texts.
const PART: usize = 64;
/// Bytes that are walked for a step.
const WALKED: usize = 256;
/// Parts that are looked at for a step.
const LOOKED_AT: usize = 16;

/// Gives the environment our filters, and takes from it what cannot be limited.
pub(super) fn install(environment: &mut Environment) {
    environment.add_filter(HOLD, hold);
    environment.add_filter(WALK, walk);
    environment.add_filter(STORE, store);
    environment.add_function("namespace", namespace);
    // Both write a value out with an indentation for each level, in one piece.
    environment.remove_global("debug");
    environment.remove_filter("pprint");
}

/// What a formatter does first with a value: it is paid for as one that is walked.
pub(crate) fn walk_to_print(state: &mut State, value: &Value) -> Result<(), Error> {
    walk(state, value.clone()).map(drop)
}

fn namespace(state: &mut State, values: Option<ValueOrKwargs>) -> Result<Value, Error> {
    if let Some(values) = &values {
        measure(state, values)?;
    }
    functions::namespace(values)
}

fn hold(state: &mut State, value: Value) -> Result<Value, Error> {
    if value.as_object().is_none() || is_machinery(&value) {
        return Ok(value);
    }
    let value = listed(state, value)?;
    measure(state, &value)?;
    Ok(value)
}

fn walk(state: &mut State, value: Value) -> Result<Value, Error> {
    if value.as_object().is_none() {
        return Ok(value);
    }
    // A namespace may be printed; then what is in it is walked.
    let bytes = measure(state, &value)?;
    state.consume_fuel((bytes / WALKED) as u64)?;
    Ok(value)
}

fn store(state: &mut State, value: Value) -> Result<Value, Error> {
    match is_machinery(&value) {
        true => Err(refused("a namespace, a loop, a macro or a function cannot be put into another value")),
        false => hold(state, value),
    }
}

/// Sequences that are worked out as they are read may stand on one another as deep as they like: a list is one level.
fn listed(state: &mut State, value: Value) -> Result<Value, Error> {
    let is_lazy = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
        && value.downcast_object_ref::<Vec<Value>>().is_none()
        && value.downcast_object_ref::<Tuple>().is_none();
    if !is_lazy {
        return Ok(value);
    }
    let mut items = Vec::new();
    for item in value.try_iter()?.checked() {
        // A step for every two items, as the engine takes for a list's.
        if items.len() % 2 == 0 {
            state.consume_fuel(1)?;
        }
        items.push(item?);
    }
    Ok(Value::from_object(items))
}

/// What the engine is made of, as against data. It may hold other values where nothing looks for them.
fn is_machinery(value: &Value) -> bool {
    const KINDS: [&str; 4] = ["::Namespace", "::Loop", "::Macro", "::BoxedFunction"];
    value.as_object().is_some_and(|object| {
        let name = object.type_name();
        KINDS.iter().any(|kind| name.ends_with(kind)) || value.kind() == ValueKind::Plain
    })
}

/// Sizes of lists and maps that were measured before. Each is held, so that its place in memory stays its own.
#[derive(Default)]
struct Known(HashMap<usize, (Value, Size)>);

#[derive(Clone, Copy, Default)]
struct Size {
    bytes: usize,
    /// Levels below this one.
    depth: usize,
}

/// An unfinished sum over the parts of a value.
struct Level {
    value: Value,
    parts: Parts,
    size: Size,
}

enum Parts {
    Items(ValueIter),
    Entries(ValueIter, Value),
}

/// The bytes of a value when it is written out; refuses one that is too deep or too large, or holds more than data. No
/// recursion, so that what is too deep is only ever found to be.
fn measure(state: &mut State, value: &Value) -> Result<usize, Error> {
    let mut known = std::mem::take(&mut state.get_or_insert_extension_with(Known::default).0);
    let measured = sum(state, value, &mut known);
    state.get_or_insert_extension_with(Known::default).0 = known;
    measured
}

fn sum(state: &State, value: &Value, known: &mut HashMap<usize, (Value, Size)>) -> Result<usize, Error> {
    let mut levels = Vec::new();
    let mut done = enter(value, known, &mut levels)?;
    let mut looked_at = 0;
    while let Some(level) = levels.last_mut() {
        if let Some(Size { bytes, depth }) = done.take() {
            level.size.bytes = level.size.bytes.saturating_add(bytes);
            level.size.depth = level.size.depth.max(depth + 1);
        }
        if level.size.bytes > LARGEST {
            return Err(refused(&format!("a value of more than {} MB", LARGEST >> 20)));
        }
        looked_at += 1;
        if looked_at % LOOKED_AT == 0 {
            state.consume_fuel(1)?;
        }
        let part = match &mut level.parts {
            Parts::Items(items) => items.next(),
            Parts::Entries(keys, map) => match keys.next() {
                Some(key) => {
                    level.size.bytes = level.size.bytes.saturating_add(own_bytes(&key));
                    let part = map.get_item(&key).unwrap_or_default();
                    // A key is data of little size, or a value that was measured when the map was made.
                    if key.as_object().is_some() {
                        return Err(refused("a list or a map as the key of a map"));
                    }
                    Some(part)
                }
                None => None,
            },
        };
        match part {
            Some(part) if is_machinery(&part) => {
                return Err(refused("a namespace, a loop, a macro or a function inside of another value"));
            }
            Some(part) if levels.len() + depth_of(&part, known) > DEEPEST => {
                return Err(refused(&format!("a value nested more than {DEEPEST} deep")));
            }
            Some(part) => done = enter(&part, known, &mut levels)?,
            None => done = levels.pop().map(|level| finished(level, known)),
        }
    }
    Ok(done.unwrap_or_default().bytes)
}

/// The size of a value without parts or of one that is known; else a level more to be summed up.
fn enter(
    value: &Value,
    known: &HashMap<usize, (Value, Size)>,
    levels: &mut Vec<Level>,
) -> Result<Option<Size>, Error> {
    if let Some((_, size)) = place(value).and_then(|place| known.get(&place)) {
        return Ok(Some(*size));
    }
    let parts = match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => Parts::Items(value.try_iter()?),
        ValueKind::Map => Parts::Entries(value.try_iter()?, value.clone()),
        _ => return Ok(Some(Size { bytes: own_bytes(value), depth: 0 })),
    };
    levels.push(Level { value: value.clone(), parts, size: Size { bytes: PART, depth: 0 } });
    Ok(None)
}

fn finished(level: Level, known: &mut HashMap<usize, (Value, Size)>) -> Size {
    if let Some(place) = place(&level.value) {
        known.insert(place, (level.value, level.size));
    }
    level.size
}

/// How deep a value is known to be.
fn depth_of(value: &Value, known: &HashMap<usize, (Value, Size)>) -> usize {
    place(value).and_then(|place| known.get(&place)).map_or(0, |(_, size)| size.depth)
}

/// Where a list or a map lies in memory, which tells it from all others. They never change; what does is machinery.
fn place(value: &Value) -> Option<usize> {
    let list = value.downcast_object_ref::<Vec<Value>>().map(|list| std::ptr::from_ref(list) as usize);
    let map = || value.downcast_object_ref::<IndexMap<Value, Value>>();
    list.or_else(|| map().map(|map| std::ptr::from_ref(map) as usize))
}

fn own_bytes(value: &Value) -> usize {
    let text = value.as_str().map(str::len).or_else(|| value.as_bytes().map(<[u8]>::len));
    PART + text.unwrap_or(0)
}

fn refused(found: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("the template makes {found}"))
}
