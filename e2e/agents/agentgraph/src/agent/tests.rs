use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use agentscaler_tuning::CircuitBreaker;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use prometheus::Registry;

use super::*;

const SETTINGS: Settings = Settings {
    workers: 2,
    queue: 5,
    cache_bytes: 1 << 20,
    cache_ttl: Duration::from_secs(60),
    breaker: CircuitBreaker {
        failure_rate_threshold_percent: 50,
        wait_duration_in_open_state_seconds: 30,
        sliding_window_seconds: 60,
        minimum_number_of_calls: 10,
        permitted_calls_in_half_open_state: 2,
    },
    call_timeout: Duration::from_secs(60),
    attempts: 1,
    retry_delay: Duration::from_millis(1),
    run_timeout: None,
    memory_limit_bytes: None,
    monitoring: true,
};

fn job() -> Job {
    let answer_seconds = vec![0.0];
    let key = "key".to_owned();
    Job { key, context_seconds: 0.0, result_bytes: 1, answer_seconds, held_bytes: 1, excursion_bytes: 1, tokens: 7 }
}

/// An agent whose provider answers each call by its number, from 0; `None`: never. And the number of its calls.
async fn agent(
    settings: Settings,
    answer: fn(usize) -> Option<StatusCode>,
) -> (Arc<Agent>, Registry, Arc<AtomicUsize>) {
    let (calls, registry) = (Arc::new(AtomicUsize::new(0)), Registry::new());
    let counted = calls.clone();
    let complete = async move || match answer(counted.fetch_add(1, SeqCst)) {
        Some(status) => status,
        None => std::future::pending().await,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().route("/complete", post(complete))).into_future());
    let metrics = Metrics::new(&registry, "agent").unwrap();
    (Agent::new(metrics, Upstream::new(&url).unwrap(), settings), registry, calls)
}

fn series(agent: &Agent) -> String {
    agent.measure();
    String::from_utf8(agent.metrics.text().unwrap()).unwrap()
}

#[tokio::test]
async fn a_call_is_repeated_as_often_as_the_settings_say() {
    let settings = Settings { attempts: 3, ..SETTINGS };
    let sick_at_first = |call| Some(if call < 2 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK });
    let (agent, _, calls) = agent(settings, sick_at_first).await;
    let outcome = agent.run(&job()).await.unwrap();
    assert!(outcome.result.is_ok());
    assert_eq!(calls.load(SeqCst), 4, "the third attempt of the first call, then the second call");
    assert_eq!(agent.metrics.upstream_calls("failure"), 2);
}

#[tokio::test]
async fn a_run_that_takes_too_long_ends_and_is_held_against_the_upstream() {
    let settings = Settings { run_timeout: Some(Duration::from_millis(50)), attempts: 9, ..SETTINGS };
    let (agent, ..) = agent(settings, |_| None).await;
    let outcome = agent.run(&job()).await.unwrap();
    assert_eq!(outcome.result.unwrap_err().name(), "timeout");
    let text = series(&agent);
    assert!(text.contains(r#"agent_upstream_errors_total{kind="timeout"} 1"#), "{text}");
    assert!(text.contains("agent_inflight_requests 0"), "{text}");
}

#[tokio::test]
async fn who_hangs_up_gives_the_worker_back_and_counts_as_an_error() {
    let (agent, ..) = agent(SETTINGS, |_| None).await;
    let (mine, job) = (agent.clone(), job());
    let run = tokio::spawn(async move { mine.run(&job).await.map(|_| ()) });
    while agent.limiter.counts().running == 0 {
        tokio::task::yield_now().await;
    }
    run.abort();
    assert!(run.await.is_err());
    let text = series(&agent);
    assert!(text.contains(r#"agent_requests_total{status="error"} 1"#), "{text}");
    assert!(text.contains("agent_inflight_requests 0"), "{text}");
    assert!(text.contains(r#"agent_upstream_calls_total{outcome="failure"} 0"#), "{text}");
}

#[tokio::test]
async fn the_guides_metrics_tell_the_runs_in_its_units() {
    let (agent, ..) = agent(SETTINGS, |_| Some(StatusCode::OK)).await;
    agent.run(&job()).await.unwrap().result.unwrap();
    let text = series(&agent);
    assert!(text.contains(r#"agent_token_usage{agent="agent"} 7"#), "{text}");
    assert!(text.contains(r#"agent_response_time_ms_bucket{agent="agent",le="600000"} 1"#), "{text}");
    let rate = text.lines().find_map(|line| line.strip_prefix(r#"agent_requests_per_second{agent="agent"} "#));
    assert!(rate.unwrap().parse::<f64>().unwrap() > 0.0, "{text}");
}
