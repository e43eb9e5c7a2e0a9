//! list methods | models | tasks | metrics

use super::{print_json, say};
use crate::arguments::Listed;
use anyhow::Result;
use serde_json::{Value, json};
use tenfold::{adapter, metric, model, task};

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
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let width = rows.iter().map(|row| text(row, "name").chars().count()).max().unwrap_or(0);
    for row in &rows {
        say!("{:width$}  {}", text(row, "name"), text(row, "what"))?;
        say!("{:width$}  {}", "", text(row, "source"))?;
    }
    Ok(())
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
        .map(|entry| json!({"name": entry.name, "what": entry.title, "source": entry.hub.as_ref().or(entry.wheel.as_ref().map(|wheel| &wheel.package))}))
        .collect())
}

fn tasks() -> Result<Vec<Value>> {
    let tasks = task::builtin()?;
    let row = |task: &task::Task| {
        let domains: Vec<&str> = task.domains().collect();
        json!({"name": task.name, "what": task.title, "source": task.source, "licence": task.licence, "domains": domains})
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
