//! `tuning.json`, against docs/tuning.schema.json, which is normative.

use agentscaler_tuning::{Cache, CircuitBreaker, Settings, Tuning, Workers, parse};
use serde_json::{Value, json};

const DEFAULTS: Settings = Settings {
    workers: Workers { max_concurrent: 3 },
    cache: Cache { max_bytes: 1000, ttl_seconds: 60 },
    circuit_breaker: CircuitBreaker {
        failure_rate_threshold_percent: 40,
        wait_duration_in_open_state_seconds: 30,
        sliding_window_seconds: 60,
        minimum_number_of_calls: 10,
        permitted_calls_in_half_open_state: 2,
    },
};

/// Every key of the schema as section (empty: none), key, lowest and highest value.
fn schema() -> Vec<(String, String, i64, i64)> {
    let text = include_str!("../../../docs/tuning.schema.json");
    let root: Value = serde_json::from_str(text).unwrap();
    let bounds = |leaf: &Value| (leaf["minimum"].as_i64().unwrap(), leaf["maximum"].as_i64().unwrap());
    let mut leaves = Vec::new();
    for (section, below) in root["properties"].as_object().unwrap() {
        match below["properties"].as_object() {
            Some(keys) => leaves.extend(keys.iter().map(|(key, leaf)| {
                let (minimum, maximum) = bounds(leaf);
                (section.clone(), key.clone(), minimum, maximum)
            })),
            None => leaves.push((String::new(), section.clone(), bounds(below).0, bounds(below).1)),
        }
    }
    leaves
}

fn with(section: &str, key: &str, value: &str) -> Vec<u8> {
    if section.is_empty() {
        format!(r#"{{"{key}": {value}}}"#).into_bytes()
    } else {
        format!(r#"{{"generation": 7, "{section}": {{"{key}": {value}}}}}"#).into_bytes()
    }
}

fn written(tuning: &Tuning) -> Value {
    let Settings { workers, cache, circuit_breaker: breaker } = tuning.settings;
    json!({
        "generation": tuning.generation,
        "workers": {"maxConcurrent": workers.max_concurrent},
        "cache": {"maxBytes": cache.max_bytes, "ttlSeconds": cache.ttl_seconds},
        "circuitBreaker": {
            "failureRateThresholdPercent": breaker.failure_rate_threshold_percent,
            "waitDurationInOpenStateSeconds": breaker.wait_duration_in_open_state_seconds,
            "slidingWindowSeconds": breaker.sliding_window_seconds,
            "minimumNumberOfCalls": breaker.minimum_number_of_calls,
            "permittedCallsInHalfOpenState": breaker.permitted_calls_in_half_open_state,
        },
    })
}

#[test]
fn every_key_of_the_schema_is_read_within_its_bounds_and_no_other_value() {
    let leaves = schema();
    assert!(leaves.len() >= 9, "{leaves:?}");
    for (section, key, minimum, maximum) in leaves {
        for value in [minimum, maximum] {
            let tuning = parse(&with(&section, &key, &value.to_string()), &DEFAULTS).unwrap();
            assert_eq!(tuning.unknown, Vec::<String>::new());
            let read = written(&tuning);
            let read = if section.is_empty() { &read[&key] } else { &read[&section][&key] };
            assert_eq!(read, &json!(value), "{section}.{key}");
        }
        let (below, above) = ((minimum - 1).to_string(), (maximum + 1).to_string());
        for value in [&below, &above, "1.5", r#""12""#, "true", "null", "[1]", "{}", "1e400"] {
            let read = parse(&with(&section, &key, value), &DEFAULTS);
            assert!(read.is_err(), "{section}.{key}: {value} is accepted: {read:?}");
        }
    }
}

#[test]
fn an_absent_key_means_the_agents_own_default() {
    let tuning = parse(br#"{"generation": 2, "cache": {"ttlSeconds": 5.0}}"#, &DEFAULTS).unwrap();
    let cache = Cache { ttl_seconds: 5, ..DEFAULTS.cache };
    assert_eq!(tuning, Tuning { generation: 2, settings: Settings { cache, ..DEFAULTS }, unknown: vec![] });
}

#[test]
fn unknown_keys_are_told_and_have_no_effect() {
    let content = br#"{"generation": 1, "colour": null, "cache": {"MaxBytes": 1, "weight": []},
        "workers.maxConcurrent": 9, "Workers": 1}"#;
    let mut tuning = parse(content, &DEFAULTS).unwrap();
    tuning.unknown.sort();
    assert_eq!(tuning.unknown, ["Workers", "cache.MaxBytes", "cache.weight", "colour", "workers.maxConcurrent"]);
    assert_eq!(tuning.settings, DEFAULTS);
}

#[test]
fn what_is_not_one_object_of_json_is_refused() {
    let large = format!(r#"{{"generation": 1}}{}"#, " ".repeat(64 * 1024));
    for content in [
        &b""[..],
        b"{",
        b"null",
        b"[]",
        b"7",
        b"{}",
        br#"{"generation": 1} {}"#,
        br#"{"generation": 1,}"#,
        br#"{"generation": NaN}"#,
        br#"{"generation": 1, "workers": null}"#,
        br#"{"generation": 1, "cache": [1]}"#,
        b"{\"generation\": 1, \"\xff\": 1}",
        "\u{feff}{\"generation\": 1}".as_bytes(),
        large.as_bytes(),
    ] {
        let read = parse(content, &DEFAULTS);
        assert!(read.is_err(), "{:.40} is accepted: {read:?}", String::from_utf8_lossy(content));
    }
}

#[test]
fn the_readme_shows_the_example() {
    let example = include_str!("../examples/agent.rs");
    let body = example.split_once("fn main() -> Result<(), prometheus::Error> {\n").unwrap().1;
    let body = body.split_once("    Ok(())").unwrap().0;
    let shown = format!("```rust\n{}```", body.replace("\n    ", "\n").trim_start());
    assert!(include_str!("../README.md").contains(&shown), "the README's example is not that of examples/agent.rs");
}
