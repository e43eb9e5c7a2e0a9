//! Parquet files for tests: JSON objects as the Hub writes such rows, every value optional, lists in three levels
//! (Melnik et al. 2010, Dremel, for the levels).

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// What a column holds.
enum Node {
    Leaf(&'static str),
    List(Box<Node>),
    Group(Vec<(String, Node)>),
}

/// A leaf's repetition level, definition level and value, one after the other.
type Levels = Vec<(i16, i16, Value)>;

/// Writes rows, which are objects, to `path`. Columns are those that occur.
pub(crate) fn write(path: &Path, rows: &[Value]) {
    let Node::Group(columns) = Node::of(&rows.iter().collect::<Vec<_>>()) else { panic!("rows are objects") };
    let fields: String = columns.iter().map(|(name, node)| node.schema(name)).collect();
    let schema = parse_message_type(&format!("message rows {{ {fields} }}")).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file =
        SerializedFileWriter::new(File::create(path).unwrap(), Arc::new(schema), properties).unwrap();
    let mut group = file.next_row_group().unwrap();
    for (name, node) in &columns {
        let mut leaves = Vec::new();
        node.leaves(&mut leaves);
        let mut levels: Vec<Levels> = leaves.iter().map(|_| Vec::new()).collect();
        rows.iter().for_each(|row| node.shred(row.get(name).unwrap_or(&Value::Null), 0, 0, 0, &mut levels));
        for (kind, levels) in leaves.into_iter().zip(levels) {
            let mut column = group.next_column().unwrap().unwrap();
            let repetition: Vec<i16> = levels.iter().map(|(repetition, ..)| *repetition).collect();
            let definition: Vec<i16> = levels.iter().map(|(_, definition, _)| *definition).collect();
            let (definition, repetition) = (Some(definition.as_slice()), Some(repetition.as_slice()));
            let values = levels.iter().map(|(.., value)| value).filter(|value| !value.is_null());
            match kind {
                BOOLEAN => {
                    let values: Vec<bool> = values.map(|value| value.as_bool().unwrap()).collect();
                    column.typed::<BoolType>().write_batch(&values, definition, repetition).unwrap();
                }
                INTEGER => {
                    let values: Vec<i64> = values.map(|value| value.as_i64().unwrap()).collect();
                    column.typed::<Int64Type>().write_batch(&values, definition, repetition).unwrap();
                }
                FLOAT => {
                    let values: Vec<f64> = values.map(|value| value.as_f64().unwrap()).collect();
                    column.typed::<DoubleType>().write_batch(&values, definition, repetition).unwrap();
                }
                _ => {
                    let values: Vec<ByteArray> = values.map(|value| value.as_str().unwrap().into()).collect();
                    column.typed::<ByteArrayType>().write_batch(&values, definition, repetition).unwrap();
                }
            }
            column.close().unwrap();
        }
    }
    group.close().unwrap();
    file.close().unwrap();
}

const BOOLEAN: &str = "boolean";
const INTEGER: &str = "int64";
const FLOAT: &str = "double";
const TEXT: &str = "binary";

impl Node {
    /// What all of these values are.
    fn of(values: &[&Value]) -> Node {
        let known: Vec<&Value> = values.iter().copied().filter(|value| !value.is_null()).collect();
        match known.first() {
            Some(Value::Array(_)) => {
                let elements: Vec<&Value> = known.iter().flat_map(|list| list.as_array().unwrap()).collect();
                Node::List(Box::new(Node::of(&elements)))
            }
            Some(Value::Object(_)) => {
                let mut names: Vec<&String> = Vec::new();
                for name in known.iter().flat_map(|object| object.as_object().unwrap().keys()) {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                let column = |name: &String| {
                    let values: Vec<&Value> = known.iter().filter_map(|object| object.get(name)).collect();
                    (name.clone(), Node::of(&values))
                };
                Node::Group(names.into_iter().map(column).collect())
            }
            Some(Value::Bool(_)) => Node::Leaf(BOOLEAN),
            Some(Value::Number(number)) => Node::Leaf(if number.is_f64() { FLOAT } else { INTEGER }),
            _ => Node::Leaf(TEXT),
        }
    }

    fn schema(&self, name: &str) -> String {
        match self {
            Node::Leaf(TEXT) => format!("optional binary {name} (STRING); "),
            Node::Leaf(kind) => format!("optional {kind} {name}; "),
            Node::List(element) => {
                let element = element.schema("element");
                format!("optional group {name} (LIST) {{ repeated group list {{ {element} }} }} ")
            }
            Node::Group(fields) => {
                let fields: String = fields.iter().map(|(name, node)| node.schema(name)).collect();
                format!("optional group {name} {{ {fields} }} ")
            }
        }
    }

    fn leaves(&self, kinds: &mut Vec<&'static str>) {
        match self {
            Node::Leaf(kind) => kinds.push(kind),
            Node::List(element) => element.leaves(kinds),
            Node::Group(fields) => fields.iter().for_each(|(_, node)| node.leaves(kinds)),
        }
    }

    /// Adds a value at these levels, `lists` lists deep, to its leaves.
    fn shred(&self, value: &Value, repetition: i16, definition: i16, lists: i16, leaves: &mut [Levels]) {
        let empty = value.as_array().is_some_and(Vec::is_empty);
        if value.is_null() || empty {
            let definition = definition + i16::from(empty);
            leaves.iter_mut().for_each(|leaf| leaf.push((repetition, definition, Value::Null)));
            return;
        }
        match self {
            Node::Leaf(_) => leaves[0].push((repetition, definition + 1, value.clone())),
            Node::List(element) => {
                for (i, value) in value.as_array().unwrap().iter().enumerate() {
                    let repetition = if i == 0 { repetition } else { lists + 1 };
                    element.shred(value, repetition, definition + 2, lists + 1, leaves);
                }
            }
            Node::Group(fields) => {
                let mut rest = leaves;
                for (name, node) in fields {
                    let mut kinds = Vec::new();
                    node.leaves(&mut kinds);
                    let (own, others) = rest.split_at_mut(kinds.len());
                    let value = value.get(name).unwrap_or(&Value::Null);
                    node.shred(value, repetition, definition + 1, lists, own);
                    rest = others;
                }
            }
        }
    }
}
