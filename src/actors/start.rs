//! Runs a prepared search: starts the actor system and the Supervisor in it, listens to signals,
//! serves the page, waits for the end. Must not know SQL or how a child is trained.

use crate::actors::messages::{PollConfig, Shutdown};
use crate::actors::runtime::Stopwatch;
use crate::actors::supervisor::{End, Parts, Prepared, Supervisor, TICK};
use crate::child::kill_programs;
use crate::telemetry::Endpoint;
use actix::{Actor, Addr, System};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Runs a prepared search to its end. Blocks; SIGINT and SIGTERM end it, saved, within ten seconds;
/// a second signal ends it at once.
///
/// # Errors
/// When the process cannot listen to signals.
pub fn search(
    prepared: Prepared,
    mut parts: Parts,
    endpoint: Option<Endpoint>,
) -> std::io::Result<End> {
    let journal = prepared.journal.clone();
    let probe = journal.clone();
    parts
        .metrics
        .readiness
        .watch_journal(move || probe.problem());
    let heartbeat = Arc::new(AtomicU64::new(0));
    let watched = Arc::new(());
    start_watchdog(
        Arc::downgrade(&watched),
        heartbeat.clone(),
        parts.restart.parameter_shard.freeze_seconds,
    )?;
    let system = System::new();
    parts.serving = system.block_on(async move { endpoint.map(Endpoint::serve).transpose() })?;
    let page = parts.page.clone();
    let (ended, end) = oneshot::channel();
    system.block_on(async move {
        let supervisor = Supervisor::new(prepared, parts, ended, heartbeat).start();
        poll_config_on_hangup(&supervisor)?;
        end_on_signals(&supervisor)
    })?;
    let end = system
        .block_on(end)
        .unwrap_or_else(|_| End::Failed("the actors ended without a word".into()));
    journal.close();
    // The server still runs, so that the page can report how the run ended.
    if let Some(page) = page {
        system.block_on(async move { page.notify_end().await });
    }
    System::current().stop();
    system.run()?;
    drop(watched);
    Ok(end)
}

/// The actors' handlers share one thread. When that stands still for so long nothing in this
/// process can mend it: the process ends, and what was finished is on disk. Once `watched` is
/// dropped there is nothing to watch any more.
fn start_watchdog(
    watched: Weak<()>,
    heartbeat: Arc<AtomicU64>,
    freeze_seconds: f64,
) -> std::io::Result<()> {
    std::thread::Builder::new().name("watch".into()).spawn(move || {
        let mut last = heartbeat.load(Ordering::Relaxed);
        let mut silence = Stopwatch::start();
        while silence.seconds() < freeze_seconds {
            std::thread::sleep(TICK);
            if watched.strong_count() == 0 {
                return;
            }
            let now = heartbeat.load(Ordering::Relaxed);
            if now != last {
                silence = Stopwatch::start();
            }
            last = now;
        }
        // A full or closed standard error must not keep the process alive.
        let _ = writeln!(
            std::io::stderr(),
            "error: the actors' thread has stood still for {freeze_seconds} seconds (restart.parameter_shard.freeze_seconds); what was \
             finished is saved, the same command continues it"
        );
        kill_programs();
        std::process::exit(1);
    })?;
    Ok(())
}

/// SIGHUP has the config file read.
fn poll_config_on_hangup(supervisor: &Addr<Supervisor>) -> std::io::Result<()> {
    let mut signals = signal(SignalKind::hangup())?;
    let supervisor = supervisor.clone();
    actix::spawn(async move {
        while signals.recv().await.is_some() {
            supervisor.do_send(PollConfig { forced: true });
        }
    });
    Ok(())
}

fn end_on_signals(supervisor: &Addr<Supervisor>) -> std::io::Result<()> {
    for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15)] {
        let mut signals = signal(kind)?;
        let supervisor = supervisor.clone();
        actix::spawn(async move {
            signals.recv().await;
            supervisor.do_send(Shutdown::Signal(number));
            signals.recv().await;
            kill_programs();
            // What was finished is on disk; a second signal means that the user does not want to
            // wait.
            std::process::exit(128 + i32::from(number));
        });
    }
    Ok(())
}
