//! Server-sent events: each browser is told of the parts that have changed since what it shows. Must not know what the parts say.

use super::{Page, View};
use actix_web::web::{self, Bytes};
use futures_util::stream::{self, Stream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a browser is told.
const TICK: Duration = Duration::from_secs(1);

/// A line that says nothing, so that a connection that is gone is noticed.
const SILENCE: Duration = Duration::from_secs(15);

/// Where a browser stands.
pub(super) struct Listener {
    page: Arc<Page>,
    version: u64,
    spoke: Instant,
    first: bool,
}

impl Listener {
    /// `from` is what the browser shows: `instance-version`; anything else means that it shows nothing of ours.
    pub(super) fn new(page: Arc<Page>, from: &str) -> Self {
        let version = from.rsplit_once('-').filter(|(instance, _)| *instance == page.instance);
        let version = version.and_then(|(_, version)| version.parse().ok()).unwrap_or(0);
        Self { page, version, spoke: Instant::now(), first: true }
    }

    /// Events for as long as the browser listens.
    pub(super) fn stream(self) -> impl Stream<Item = actix_web::Result<Bytes>> {
        stream::unfold(self, |mut listener| async move {
            let bytes = listener.next().await;
            Some((Ok(bytes), listener))
        })
    }

    async fn next(&mut self) -> Bytes {
        loop {
            if !std::mem::take(&mut self.first) {
                actix_web::rt::time::sleep(TICK).await;
            }
            let page = self.page.clone();
            let view = web::block(move || page.view()).await;
            // A run that cannot be read for the moment is read again.
            let text = view.ok().and_then(Result::ok).and_then(|view| self.event(&view));
            if let Some(text) = text.or_else(|| (self.spoke.elapsed() > SILENCE).then(|| ":\n\n".to_owned())) {
                self.spoke = Instant::now();
                return Bytes::from(text);
            }
        }
    }

    fn event(&mut self, view: &View) -> Option<String> {
        let parts: serde_json::Map<String, serde_json::Value> = view
            .sections
            .iter()
            .filter(|section| section.changed > self.version)
            .map(|section| (section.name.to_owned(), section.html.clone().into()))
            .collect();
        self.version = view.version;
        let data = serde_json::Value::Object(parts);
        let id = self.page.from(view);
        (data != serde_json::json!({})).then(|| format!("retry: 2000\nid: {id}\nevent: parts\ndata: {data}\n\n"))
    }
}

impl Page {
    /// What a browser that shows this view stands at.
    pub(super) fn from(&self, view: &View) -> String {
        format!("{}-{}", self.instance, view.version)
    }
}
