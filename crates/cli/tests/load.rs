//! Response times under load and energy, from a study's keys to its report, and `bench infer`.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions here")]

mod fixture;

use fixture::{Fixture, STUDY, records};
use serde_json::Value;

/// What makes a study two methods with probes, as quick as they go.
const PROBED: [&str; 4] = [
    "--set=methods={lora={learning_rate=1e-3},bitfit={learning_rate=1e-3}}",
    "--set=train.max_steps=2",
    "--set=small_data.examples=[]",
    "--set=train.early_stopping_patience=0",
];

const APPLICATION: &str =
    "[[applications]]\nname = \"spell_check\"\ntarget_seconds = 1e-6\nquantile = 0.99\n\n[probe]\n";

#[test]
fn a_study_measures_the_loads_that_it_names_and_judges_its_own_application() {
    let fixture = Fixture::new();
    fixture.write("study.toml", STUDY.replace("[probe]\n", APPLICATION));
    let keys = [
        "--set=probe.requests=40",
        "--set=probe.clients=[3, 1]",
        "--set=probe.rates=[200, 1e6]",
        "--set=probe.utilisations=[0.5]",
        "--set=probe.servers=2",
        "--set=energy.grid_grams_per_kwh=400",
        "--set=energy.grid_source='a yearbook'",
        "--set=energy.idle_seconds=0.1",
    ];
    // No method answers within a microsecond: none is left to be recommended, unless the machine was disturbed meanwhile.
    let run = |more: &[&str]| {
        let ended = fixture.run(&[&["run", "study.toml", "--out", "a"][..], &PROBED, &keys, more].concat());
        if fixture.is_disturbed("a", "for_spell_check") {
            return ended;
        }
        ended.is_refused("a target that both methods miss", &["no method can be recommended"]);
        ended
    };
    run(&[]);
    let records = records(&fixture.path("a"));
    let probes: Vec<&Value> = records
        .iter()
        .map(|(_, record)| &record["measured"]["probe"])
        .filter(|probed| !probed.is_null())
        .collect();
    assert_eq!(probes.len(), 2);
    // All methods are measured in the same rounds, which share out the requests.
    assert!(probes[0]["together"].is_u64() && probes[0]["together"] == probes[1]["together"]);
    for round in probes.iter().flat_map(|probed| probed["rounds"].as_array().unwrap()) {
        let loads = round["loads"].as_array().unwrap();
        let names: Vec<String> = loads.iter().map(|load| load["arrivals"]["kind"].to_string()).collect();
        let (closed, open) = ("\"closed\"", "\"open\"");
        // Two clients, as many as servers, find the capacity; the open loads are in the order of their rates.
        let one = [closed, closed, closed, open, open, open];
        let merged = loads.iter().filter(|load| load["merged"] == true).count();
        assert_eq!(names, one.repeat(1 + merged / one.len()), "{merged}");
        for load in loads {
            let counts = load["latency"].as_object().unwrap().values();
            assert_eq!(counts.map(|count| count.as_u64().unwrap()).sum::<u64>(), 14);
            assert_eq!(load["servers"], 2);
        }
    }
    let page = String::from_utf8(fixture.read("a/report.html")).unwrap();
    for words in [
        "Spell check",
        "too slow",
        "p99, 3 clients",
        "p95, 50 % load",
        "1,000,000/s",
        "not sustained",
        "All loads",
        "Requests a second (Poisson arrivals)",
        "400 g CO2e for a kilowatt-hour, as the study states (a yearbook)",
        "No GPU takes part",
    ] {
        assert!(page.contains(words), "\"{words}\" is not in the report");
    }
    // What only the report accounts for measures nothing anew; what is measured does.
    assert!(run(&["--set=energy.subtract_idle=true"]).stderr.contains("finished already"));
    assert!(!run(&["--set=probe.warm_up=6"]).stderr.contains("finished already"));
}

#[test]
fn loads_that_cannot_be_made_are_refused_with_every_key() {
    let fixture = Fixture::new();
    let application =
        "[[applications]]\nname = \"documents\"\ntarget_seconds = -1\nquantile = 2\n\n[probe]\n";
    fixture.write("study.toml", STUDY.replace("[probe]\n", application));
    let keys = [
        "--set=probe.clients=[0]",
        "--set=probe.rates=[0]",
        "--set=probe.utilisations=[99]",
        "--set=probe.servers=99999",
        "--set=probe.seconds=-1",
        "--set=energy.idle_seconds=1e9",
        "--set=energy.grid_grams_per_kwh=-1",
        "--set=energy.grid=400",
    ];
    fixture.run(&[&["run", "study.toml", "--out", "a"][..], &keys].concat()).is_refused(
        "wrong loads",
        &[
            "probe.clients: expected numbers from 1 to 1,024, found 0",
            "probe.rates",
            "probe.utilisations",
            "probe.servers",
            "probe.seconds",
            "energy.idle_seconds",
            "energy.grid_grams_per_kwh",
            "energy.grid: there is no such key",
            "applications.documents: there is one of that name already",
            "applications.documents.target_seconds",
            "applications.documents.quantile",
        ],
    );
    assert!(!fixture.path("a").exists());
}

#[test]
fn bench_infer_shows_a_load_on_request() {
    let fixture = Fixture::new();
    let bench = |more: &[&str]| {
        let model = ["bench", "infer", "--model", "model", "--batch", "1", "--seq", "8", "--passes", "2"];
        fixture.run(&[&model[..], more].concat())
    };
    let load = ["--clients", "1,4", "--rate", "300", "--requests", "50"];
    let text = bench(&load).done().stdout;
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for words in ["p99.9", "4 clients", "300/s", "service", "whole requests, ms", "█"] {
        assert!(text.contains(words), "\"{words}\" is not in\n{text}");
    }
    let report: Value =
        serde_json::from_str(&bench(&[&load[..], &["--json"]].concat()).done().stdout).unwrap();
    let loads = report["loads"].as_array().unwrap();
    assert_eq!(loads.len(), 3);
    for load in loads {
        let seconds = |times: &str, q: &str| load[times][q].as_f64().unwrap();
        assert_eq!(load["latency_seconds"]["count"], 50);
        assert!(seconds("latency_seconds", "p50") <= seconds("latency_seconds", "p99.9"));
        assert!(seconds("service_seconds", "mean") <= seconds("latency_seconds", "mean") * 1.001);
        assert!(load["sustained"].is_boolean() && load["achieved_rate"].as_f64().unwrap() > 0.0);
    }
    // Four clients of one server wait for one another.
    let mean = |place: usize| loads[place]["latency_seconds"]["p50"].as_f64().unwrap();
    assert!(mean(1) > 2.0 * mean(0), "{} {}", mean(1), mean(0));
    assert!(!bench(&["--json"]).done().stdout.contains("\"loads\""));
    for (option, expected) in [
        ("--rate", "--rate <PER_SECOND>': expected 0.001 to 1,000,000 requests a second, found 0"),
        ("--clients", "--clients <COUNT>': expected 1 to 1,024, found 0"),
    ] {
        let ended = bench(&[option, "0"]);
        assert!(ended.code == Some(2) && ended.stderr.contains(expected), "{ended:?}");
    }
}
