//! The routes for monitoring systems: `/metrics`, `/healthz`, `/readyz`. Read-only; must not know what
//! is measured.

use super::{Metrics, Sampler};
use actix_web::{HttpResponse, web};
use std::sync::Arc;
use std::time::Duration;

/// A scrape waits this long for readings of GPUs and disk, then answers without them.
const READING_TIMEOUT: Duration = Duration::from_secs(2);

/// Adds the routes to an application.
pub fn routes(
    metrics: Arc<Metrics>,
    sampler: Arc<Sampler>,
) -> impl Fn(&mut web::ServiceConfig) + Send + Sync + 'static {
    let metrics = web::Data::from(metrics);
    let sampler = web::Data::from(sampler);
    move |config| {
        config
            .app_data(metrics.clone())
            .app_data(sampler.clone())
            .route("/metrics", web::get().to(scrape))
            .route(
                "/healthz",
                web::get().to(async || text(HttpResponse::Ok(), "ok")),
            )
            .route("/readyz", web::get().to(ready));
    }
}

fn text(mut answer: actix_web::HttpResponseBuilder, line: &str) -> HttpResponse {
    answer
        .content_type("text/plain; charset=utf-8")
        .body(format!("{line}\n"))
}

async fn scrape(metrics: web::Data<Metrics>, sampler: web::Data<Sampler>) -> HttpResponse {
    let reading = web::block(move || sampler.sample());
    // After the timeout, families that could not be read are absent and the rest is served.
    let _ = actix_web::rt::time::timeout(READING_TIMEOUT, reading).await;
    match metrics.text() {
        Ok(text) => HttpResponse::Ok()
            .content_type("text/plain; version=0.0.4; charset=utf-8")
            .body(text),
        Err(error) => text(HttpResponse::InternalServerError(), &error.to_string()),
    }
}

async fn ready(metrics: web::Data<Metrics>) -> HttpResponse {
    match metrics.readiness.problem() {
        None => text(HttpResponse::Ok(), "ready"),
        Some(problem) => text(HttpResponse::ServiceUnavailable(), &problem),
    }
}
