//! The HTTP endpoint, read-only: binds its address and serves the routes that it is given. Must not
//! know what they answer.

use super::TelemetrySettings;
use actix_web::{App, HttpServer, web};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// The first port that is tried when the user sets no address.
const DEFAULT_PORT: u16 = 9464;
/// How many ports are tried.
const PORTS: u16 = 100;

pub use actix_web::dev::ServerHandle as Serving;

/// No address can be bound: says what would be right.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "telemetry.listen = \"{0}\" is no address; valid is an address like \"127.0.0.1:9464\", or \"off\""
    )]
    NoAddress(String),
    #[error(
        "telemetry.listen = \"{address}\" cannot be had: {source}; take another, port 0 for any free one, or \"off\""
    )]
    Refused {
        address: String,
        source: std::io::Error,
    },
    /// With the error of the last port that was tried.
    #[error(
        "no free port between {} and {} on 127.0.0.1 ({last}); set telemetry.listen",
        DEFAULT_PORT,
        DEFAULT_PORT + PORTS - 1
    )]
    NoPort { last: String },
}

type Routes = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// A bound address, and what is served there.
pub struct Endpoint {
    listener: TcpListener,
    routes: Vec<Routes>,
}

impl Endpoint {
    /// Binds the address of the settings; returns None if that is `off`.
    ///
    /// # Errors
    /// The address that the user set, or every default port, cannot be bound.
    pub fn bind(settings: &TelemetrySettings) -> Result<Option<Self>, BindError> {
        let listener = match &settings.listen {
            None => bind_default()?,
            Some(address) if address == "off" => return Ok(None),
            Some(address) => bind(address)?,
        };
        Ok(Some(Self {
            listener,
            routes: Vec::new(),
        }))
    }

    /// The same address once more, without routes: for another search of this process.
    ///
    /// # Errors
    /// The system has no more files to open.
    pub fn again(&self) -> std::io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            routes: Vec::new(),
        })
    }

    /// The bound address; None where the system does not say.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// What the user should be warned of, if anything.
    pub fn warning(&self) -> Option<String> {
        let address = self
            .address()
            .filter(|address| !address.ip().is_loopback())?;
        Some(format!(
            "the endpoint on {address} can be read by other machines; it has no password"
        ))
    }

    /// Adds these routes.
    #[must_use]
    pub fn with(
        mut self,
        routes: impl Fn(&mut web::ServiceConfig) + Send + Sync + 'static,
    ) -> Self {
        self.routes.push(Arc::new(routes));
        self
    }

    /// Serves in the background of the current actix system, until the returned handle is stopped.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn serve(self) -> std::io::Result<Serving> {
        let routes = self.routes;
        let server = HttpServer::new(move || {
            let app = App::new();
            routes
                .iter()
                .fold(app, |app, routes| app.configure(|config| routes(config)))
        })
        .workers(1)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(self.listener)?
        .run();
        let serving = server.handle();
        actix_web::rt::spawn(server);
        Ok(serving)
    }
}

fn bind(address: &str) -> Result<TcpListener, BindError> {
    let parsed: SocketAddr = address
        .parse()
        .map_err(|_| BindError::NoAddress(address.to_owned()))?;
    TcpListener::bind(parsed).map_err(|source| BindError::Refused {
        address: address.to_owned(),
        source,
    })
}

fn bind_default() -> Result<TcpListener, BindError> {
    let mut last = None;
    for port in DEFAULT_PORT..DEFAULT_PORT + PORTS {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    let last = last.map_or_else(String::new, |error| error.to_string());
    Err(BindError::NoPort { last })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(listen: Option<&str>) -> Result<Option<Endpoint>, BindError> {
        Endpoint::bind(&TelemetrySettings {
            listen: listen.map(str::to_owned),
        })
    }

    #[test]
    fn a_taken_default_port_gives_the_next_one_and_a_taken_set_one_is_an_error() {
        let first = bound(None).unwrap().unwrap();
        let second = bound(None).unwrap().unwrap();
        assert_ne!(first.address().unwrap(), second.address().unwrap());
        let taken = first.address().unwrap().to_string();
        assert!(
            bound(Some(&taken))
                .err()
                .unwrap()
                .to_string()
                .contains("telemetry.listen")
        );
        assert!(bound(Some("off")).unwrap().is_none());
    }

    #[test]
    fn an_address_beyond_loopback_is_warned_of() {
        assert_eq!(bound(None).unwrap().unwrap().warning(), None);
        let warning = bound(Some("0.0.0.0:0"))
            .unwrap()
            .unwrap()
            .warning()
            .unwrap();
        assert!(
            warning.contains("0.0.0.0") && warning.contains("no password"),
            "{warning}"
        );
    }
}
