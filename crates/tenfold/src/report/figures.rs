//! Every figure of every method, for programs: `metrics.json`.

use crate::metric::{ByLabel, Direction, Figure, Findings, METRICS, by_label};
use serde::Serialize;

/// Version of `metrics.json`.
const SCHEMA: u32 = 2;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    study: &'a str,
    metrics: Vec<OfMetric<'a>>,
}

#[derive(Serialize)]
struct OfMetric<'a> {
    number: usize,
    name: &'a str,
    title: &'a str,
    unit: &'a str,
    direction: Direction,
    source: &'a str,
    methods: Vec<OfMethod<'a>>,
}

#[derive(Serialize)]
struct OfMethod<'a> {
    method: &'a str,
    figures: &'a [Figure],
    /// Precision, recall, F1 and support of every label, of metric 1 where answers are labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_label: Option<ByLabel>,
}

/// The ten metrics in their order, each with all methods in the study's order; a figure that is not to be had says why.
pub fn metrics_json(findings: &Findings) -> String {
    let metrics = METRICS.iter().map(|metric| OfMetric {
        number: metric.number,
        name: metric.name,
        title: metric.title,
        unit: metric.unit,
        direction: metric.direction,
        source: metric.source,
        methods: (findings.methods().iter())
            .map(|method| OfMethod {
                method: &method.name,
                figures: findings.figures(metric, &method.name),
                by_label: match metric.name {
                    "accuracy" => by_label(findings.evidence, &method.name),
                    _ => None,
                },
            })
            .collect(),
    });
    let study = &findings.evidence.study.name;
    let document = Document { schema: SCHEMA, study, metrics: metrics.collect() };
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::synthetic::World;
    use serde_json::Value;

    #[test]
    fn every_figure_is_there_with_its_value_or_its_reason() {
        let findings = World::findings();
        let json: Value = serde_json::from_str(&metrics_json(findings)).unwrap();
        let metrics = json["metrics"].as_array().unwrap();
        let numbers: Vec<u64> = metrics.iter().map(|metric| metric["number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
        let labels = &metrics[0]["methods"][0]["by_label"]["labels"];
        assert!(labels.as_array().unwrap().len() == 2 && labels[0]["support"] == 400, "{labels}");
        for metric in metrics {
            for method in metric["methods"].as_array().unwrap() {
                for figure in method["figures"].as_array().unwrap() {
                    let (name, metric) =
                        (method["method"].as_str().unwrap(), metric["name"].as_str().unwrap());
                    let known = findings.figure(name, metric, figure["key"].as_str().unwrap()).unwrap();
                    let reading = &figure["reading"];
                    match known.reading.estimate() {
                        Some(e) => {
                            let value = reading["estimate"]["value"].as_f64().unwrap();
                            assert!((value - e.value).abs() <= 1e-12 * e.value.abs(), "{figure}");
                        }
                        None => {
                            assert!(!reading["reason"].is_null() || !reading["verdict"].is_null(), "{figure}")
                        }
                    }
                }
            }
        }
    }
}
