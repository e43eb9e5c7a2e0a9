//! list methods | models | tasks | metrics

use super::{print_json, say};
use crate::arguments::Listed;
use anyhow::Result;
use serde_json::{Value, json};
use tenfold::task::{self, Group};
use tenfold::words::wrapped;
use tenfold::{adapter, metric, model};

const WIDTH: usize = 80;
const GAP: usize = 2;

pub fn list(what: Listed, json: bool) -> Result<()> {
    let rows = match what {
        Listed::Methods => methods(),
        Listed::Models => models()?,
        Listed::Tasks => tasks()?,
        Listed::Metrics => metrics(),
    };
    if json {
        return print_json(&rows);
    }
    let longest = rows.iter().map(|row| text(row, "name").chars().count()).max().unwrap_or(0);
    if what != Listed::Tasks {
        return rows.iter().try_for_each(|row| show(row, longest));
    }
    for (number, group) in Group::ALL.iter().enumerate() {
        say!("{}{}", if number > 0 { "\n" } else { "" }, group.title())?;
        rows.iter()
            .filter(|row| text(row, "group") == group.name())
            .try_for_each(|row| show(row, longest))?;
    }
    Ok(())
}

/// Its name, what it is and where it comes from, within 80 columns as far as its words allow.
fn show(row: &Value, longest: usize) -> Result<()> {
    let lines = |key: &str| wrapped(text(row, key), WIDTH - longest - GAP);
    let loads = match text(row, "loads") {
        "" => Vec::new(),
        loads => wrapped(&format!("loads in: {loads}"), WIDTH - longest - GAP),
    };
    let lines: Vec<String> = lines("what").into_iter().chain(lines("source")).chain(loads).collect();
    for (number, line) in lines.iter().enumerate() {
        let name = if number == 0 { text(row, "name") } else { "" };
        say!("{name:longest$}{:GAP$}{line}", "")?;
    }
    Ok(())
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

fn methods() -> Vec<Value> {
    (adapter::METHODS.iter())
        .map(|method| {
            json!({
                "name": method.name,
                "what": format!("{}: {}", method.title, method.summary),
                "source": method.source,
                "peft_type": method.peft_type,
                "mergeable": method.mergeable,
                "loads": method.loads(),
                "settings": (method.defaults)(),
                "learning_rates": method.learning_rates,
            })
        })
        .collect()
}

fn models() -> Result<Vec<Value>> {
    let entries = model::catalog::entries()?;
    Ok(entries
        .iter()
        .map(|entry| json!({"name": entry.name, "what": entry.title, "source": entry.source()}))
        .collect())
}

fn tasks() -> Result<Vec<Value>> {
    let tasks = task::builtin()?;
    let row = |task: &task::Task| {
        let domains: Vec<&str> = task.domains().collect();
        json!({"name": task.name, "what": task.title, "source": task.source, "licence": task.licence, "group": task.group().name(), "domains": domains})
    };
    Ok(tasks.iter().map(row).collect())
}

fn metrics() -> Vec<Value> {
    let row = |metric: &&metric::Metric| {
        let what = format!("{}. {} ({})", metric.number, metric.title, metric.direction.words());
        json!({"name": metric.name, "what": what, "source": metric.source})
    };
    metric::METRICS.iter().map(row).collect()
}
