//! The HTTP side, with the paths and answers of the reference agent.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::failure::Failure;
use crate::shape::Shape;

const MEMORY_FACTOR_MAX: f64 = 100.0;
const KEY_LENGTH_MAX: usize = 200;
const BODY_BYTES_MAX: usize = 1 << 20;
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
pub struct Server {
    pub agent: Arc<Agent>,
    pub shape: Arc<Shape>,
}

impl Server {
    pub fn router(self) -> Router {
        Router::new()
            .route("/run", post(run))
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "alive"))
            .route("/livez", get(async || "alive"))
            .route("/readyz", get(ready))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
    }
}

async fn run(State(server): State<Server>, body: Bytes) -> Response {
    let (key, memory_factor) = match parse_run(&body) {
        Ok(asked) => asked,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let job = server.shape.draw(key, memory_factor);
    match server.agent.run(&job).await {
        Ok(outcome) => {
            let wait =
                [(HeaderName::from_static("x-queue-wait-seconds"), format!("{:.3}", outcome.wait.as_secs_f64()))];
            match outcome.result {
                Ok(bytes) => (wait, Json(json!({"key": job.key, "context_bytes": bytes}))).into_response(),
                Err(failure) => {
                    if let Failure::Other(why) = &failure {
                        log::error!("a run failed: {why}");
                    }
                    (StatusCode::BAD_GATEWAY, wait, Json(json!({"error": failure.name()}))).into_response()
                }
            }
        }
        Err(rejection) => {
            let retry_after = rejection.retry_after.as_secs_f64().ceil().max(1.0);
            let headers = [(header::RETRY_AFTER, retry_after.to_string())];
            let body = Json(json!({"rejected": rejection.reason.name()}));
            (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
        }
    }
}

async fn metrics(State(server): State<Server>) -> Response {
    if !server.agent.settings().monitoring {
        return (StatusCode::NOT_FOUND, "MONITORING_ENABLED is false").into_response();
    }
    server.agent.measure();
    match server.agent.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(server): State<Server>) -> (StatusCode, &'static str) {
    if server.agent.draining() { (StatusCode::SERVICE_UNAVAILABLE, "draining") } else { (StatusCode::OK, "ready") }
}

/// Reads `{"key": text, "memory_factor": number}`, both optional.
fn parse_run(body: &[u8]) -> Result<(Option<String>, f64), String> {
    let wrong = || r#"expected an object with "key" and "memory_factor", both optional"#.to_owned();
    let body = if body.is_empty() { b"{}" } else { body };
    let document: Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    let (mut key, mut memory_factor) = (None, 1.0);
    for (name, value) in document.as_object().ok_or_else(wrong)? {
        match (name.as_str(), value) {
            ("key", Value::Null) => {}
            ("key", Value::String(text)) if text.chars().count() <= KEY_LENGTH_MAX => key = Some(text.clone()),
            ("key", _) => return Err(format!("key must be a string of at most {KEY_LENGTH_MAX} characters")),
            ("memory_factor", value) => {
                let number = value.as_f64().filter(|factor| (0.0..=MEMORY_FACTOR_MAX).contains(factor));
                let why = || format!("memory_factor must be a number from 0 to {MEMORY_FACTOR_MAX}");
                memory_factor = number.ok_or_else(why)?;
            }
            _ => return Err(wrong()),
        }
    }
    Ok((key, memory_factor))
}
