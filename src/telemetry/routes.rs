//! The routes for monitors: `/metrics`, `/healthz`. Read-only; must not know what is measured.

use super::Metrics;
use actix_web::{HttpResponse, web};
use std::sync::Arc;

/// Adds the routes to an application.
pub fn routes(metrics: Arc<Metrics>) -> impl Fn(&mut web::ServiceConfig) + Send + Sync + 'static {
    let metrics = web::Data::from(metrics);
    move |config| {
        config
            .app_data(metrics.clone())
            .route("/metrics", web::get().to(scrape))
            .route("/healthz", web::get().to(async || HttpResponse::Ok().content_type("text/plain").body("ok\n")));
    }
}

async fn scrape(metrics: web::Data<Metrics>) -> HttpResponse {
    match metrics.text() {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}
