//! `netwright page`: serves the page of a run, also of a finished one or of another process's. Must
//! not change anything.

use super::{Failure, print, reading};
use crate::journal::Reader;
use crate::machine::ensure_open_files;
use crate::report::{Page, routes};
use crate::telemetry::{BindError, Endpoint, TelemetrySettings};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct PageArgs {
    /// The run directory
    pub run: PathBuf,
    /// Where to serve it; unset: 127.0.0.1:9464 or, if taken, the next free port
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Files that it has open: journal, runtime, a few browsers.
const FILES: u64 = 32;

pub fn run(args: PageArgs) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("the page: {error}"));
    Reader::open(&args.run).map_err(reading)?;
    ensure_open_files(FILES).map_err(Failure::Failed)?;
    let settings = TelemetrySettings {
        listen: args.listen,
    };
    // The rules are those of the setting; here it has another name.
    let own_name = |error: BindError| {
        Failure::Input(error.to_string().replace("telemetry.listen =", "--listen"))
    };
    let endpoint = Endpoint::bind(&settings).map_err(own_name)?;
    let Some(endpoint) = endpoint else {
        return Err(Failure::Input(
            "--listen off: a page needs an address, for example 127.0.0.1:9464".into(),
        ));
    };
    let address = endpoint
        .address()
        .ok_or_else(|| Failure::Failed("the page: the system does not say its address".into()))?;
    let url = format!("http://{address}/");
    print(&if args.json {
        format!("{}\n", serde_json::json!({ "url": url }))
    } else {
        format!("page: {url}   (Ctrl-C ends it)\n")
    })?;
    if let Some(warning) = endpoint.warning() {
        note!("warning: {warning}");
    }
    let endpoint = endpoint.with(routes(Arc::new(Page::new(&args.run))));
    let signal = actix::System::new().block_on(async move {
        endpoint.serve()?;
        signal().await
    });
    Err(Failure::Signal(signal.map_err(failed)?))
}

/// Waits for SIGINT or SIGTERM; returns its number.
async fn signal() -> std::io::Result<u8> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    })
}
