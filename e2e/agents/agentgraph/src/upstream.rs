//! The model provider, e2e/agents/upstream.py here.

use std::time::Duration;

use axum::http::{Method, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

use crate::failure::{Failure, Kind};

pub struct Upstream {
    endpoint: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Upstream {
    /// # Errors
    /// It is no URL.
    pub fn new(url: &str) -> Result<Self, axum::http::uri::InvalidUri> {
        let endpoint = format!("{}/complete", url.trim_end_matches('/')).parse()?;
        Ok(Self { endpoint, client: Client::builder(TokioExecutor::new()).build_http() })
    }

    /// Asks for an answer that takes so many seconds.
    pub async fn complete(&self, seconds: f64, timeout: Duration) -> Result<(), Failure> {
        match tokio::time::timeout(timeout, self.send(seconds)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Upstream(Kind::Timeout)),
        }
    }

    async fn send(&self, seconds: f64) -> Result<(), Failure> {
        let body = serde_json::json!({ "seconds": seconds }).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|error| Failure::Other(error.to_string()))?;
        // Refused, or cut on the way.
        let broken = |error: &dyn std::error::Error| {
            log::debug!("upstream: {error}");
            Failure::Upstream(Kind::Broken)
        };
        let response = self.client.request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        response.into_body().collect().await.map_err(|error| broken(&error))?;
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err(Failure::Upstream(Kind::RateLimited)),
            status if status.is_server_error() => Err(Failure::Upstream(Kind::Broken)),
            status if status.is_client_error() => Err(Failure::Other(format!("the upstream refused: {status}"))),
            _ => Ok(()),
        }
    }
}
