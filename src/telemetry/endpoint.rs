//! The HTTP endpoint: `/metrics` and `/healthz`, read-only. Must not know what is measured.

use super::{Metrics, TelemetrySettings};
pub use actix_web::dev::ServerHandle as Endpoint;
use actix_web::{App, HttpResponse, HttpServer, web};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Where the endpoint is when the user names no address; if taken, one of the next ports.
const DEFAULT_PORT: u16 = 9464;
const PORTS: u16 = 100;

/// Binds the address of the settings; None: `off`.
///
/// # Errors
/// An address that the user set and cannot have, in one sentence.
pub fn bind(settings: &TelemetrySettings) -> Result<Option<TcpListener>, String> {
    let Some(address) = &settings.listen else { return bind_default().map(Some) };
    if address == "off" {
        return Ok(None);
    }
    let valid = "an address like \"127.0.0.1:9464\", or \"off\"";
    let parsed: SocketAddr = address.parse().map_err(|_| format!("telemetry.listen = \"{address}\" is no address; valid is {valid}"))?;
    let listener = TcpListener::bind(parsed).map_err(|error| {
        format!("telemetry.listen = \"{address}\" cannot be had: {error}; take another, port 0 for any free one, or \"off\"")
    })?;
    if !parsed.ip().is_loopback() {
        tracing::warn!("the endpoint on {address} can be read by other machines; it has no password");
    }
    Ok(Some(listener))
}

fn bind_default() -> Result<TcpListener, String> {
    let mut last = None;
    for port in DEFAULT_PORT..DEFAULT_PORT + PORTS {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    let last = last.map_or_else(String::new, |error| error.to_string());
    Err(format!("no free port between {DEFAULT_PORT} and {} on 127.0.0.1 ({last}); set telemetry.listen", DEFAULT_PORT + PORTS - 1))
}

/// Serves in the background of the current actix system.
///
/// # Errors
/// When the socket cannot be used.
pub fn serve(listener: TcpListener, metrics: Arc<Metrics>) -> std::io::Result<Endpoint> {
    let metrics = web::Data::from(metrics);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(metrics.clone())
            .route("/metrics", web::get().to(scrape))
            .route("/healthz", web::get().to(async || HttpResponse::Ok().content_type("text/plain").body("ok\n")))
    })
    .workers(1)
    .shutdown_timeout(1)
    .disable_signals()
    .listen(listener)?
    .run();
    let endpoint = server.handle();
    actix_web::rt::spawn(server);
    Ok(endpoint)
}

async fn scrape(metrics: web::Data<Metrics>) -> HttpResponse {
    match metrics.text() {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_default_port_gives_the_next_one_and_a_taken_set_one_is_an_error() {
        let first = bind(&TelemetrySettings::default()).unwrap().unwrap();
        let second = bind(&TelemetrySettings::default()).unwrap().unwrap();
        assert_ne!(first.local_addr().unwrap(), second.local_addr().unwrap());
        let taken = TelemetrySettings { listen: Some(first.local_addr().unwrap().to_string()) };
        assert!(bind(&taken).unwrap_err().contains("telemetry.listen"));
    }
}
