//! Server-sent events: each browser receives the sections that have changed since those it shows.
//! Must not know what the sections say.

use super::{Page, View};
use actix_web::web::{self, Bytes};
use futures_util::stream::{self, Stream};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Time between two events to a browser.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// After this time without an event an empty line is sent, so that a broken connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Largest size of one event in bytes, without its header. Sections that do not fit are sent with the
/// next event.
const MAX_EVENT_BYTES: usize = 18_000;

/// The events for one browser.
pub(super) struct EventStream {
    page: Arc<Page>,
    /// The browser shows all sections in this version or a later one.
    version: u64,
    /// Sections that the browser shows in a later version than `version`.
    sent: HashMap<&'static str, u64>,
    last_sent: Instant,
    first: bool,
    stopping: watch::Receiver<bool>,
    /// Whether the last event has been sent.
    ended: bool,
}

impl EventStream {
    /// `event_id` is the last event that the browser has received, as `instance-version`. If it is
    /// anything else, all sections are sent.
    pub(super) fn new(page: Arc<Page>, event_id: &str) -> Self {
        let version = event_id
            .rsplit_once('-')
            .filter(|(instance, _)| *instance == page.instance);
        let version = version
            .and_then(|(_, version)| version.parse().ok())
            .unwrap_or(0);
        let stopping = page.stopping.subscribe();
        Self {
            page,
            version,
            sent: HashMap::new(),
            last_sent: Instant::now(),
            first: true,
            stopping,
            ended: false,
        }
    }

    /// The events, until the browser disconnects or this server stops.
    pub(super) fn stream(self) -> impl Stream<Item = actix_web::Result<Bytes>> {
        stream::unfold(self, |mut events| async move {
            let bytes = events.next().await?;
            Some((Ok(bytes), events))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            if !std::mem::take(&mut self.first) {
                // The end of the search interrupts the interval; the flag is read below.
                let stopping = self.stopping.wait_for(|stopping| *stopping);
                let _ = tokio::time::timeout(EVENT_INTERVAL, stopping).await;
            }
            let stopping = *self.stopping.borrow();
            let page = self.page.clone();
            page.refresh().await;
            let view = web::block(move || page.view()).await;
            // A run that cannot be read now is read again at the next interval.
            let view = view.ok().and_then(Result::ok);
            let text = match view {
                Some(view) if stopping => Some(self.last_events(&view)),
                Some(view) => self.event(&view),
                None if stopping => return None,
                None => None,
            };
            if let Some(text) =
                text.or_else(|| (self.last_sent.elapsed() > KEEP_ALIVE).then(|| ":\n\n".to_owned()))
            {
                self.last_sent = Instant::now();
                return Some(Bytes::from(text));
            }
        }
        None
    }

    /// All changes that the browser has not received, and the end of the stream.
    fn last_events(&mut self, view: &View) -> String {
        self.ended = true;
        let mut events: String = std::iter::from_fn(|| self.event(view)).collect();
        events.push_str(&format!("event: end\ndata: {}\n\n", view.end_message));
        events
    }

    /// The next event: sections that have changed, up to `MAX_EVENT_BYTES`. None if the browser shows
    /// all of them.
    fn event(&mut self, view: &View) -> Option<String> {
        let mut parts = serde_json::Map::new();
        let mut size = 0;
        let mut complete = true;
        for section in &view.sections {
            if section.changed <= self.sent.get(section.name).copied().unwrap_or(self.version) {
                continue;
            }
            if size > 0 && size + section.html.len() > MAX_EVENT_BYTES {
                complete = false;
                continue;
            }
            size += section.html.len();
            self.sent.insert(section.name, view.version);
            parts.insert(section.name.to_owned(), section.html.clone().into());
        }
        if complete {
            self.version = view.version;
            self.sent.clear();
        }
        let id = format!("{}-{}", self.page.instance, self.version);
        let data = serde_json::Value::Object(parts);
        (data != serde_json::json!({}))
            .then(|| format!("retry: 2000\nid: {id}\nevent: parts\ndata: {data}\n\n"))
    }
}

impl Page {
    /// The id of the event after which a browser shows this view.
    pub(super) fn event_id(&self, view: &View) -> String {
        format!("{}-{}", self.instance, view.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::Section;
    use std::path::Path;

    fn view(version: u64, changed: &[(&'static str, u64, usize)]) -> View {
        let section = |(name, changed, size): &(&'static str, u64, usize)| Section {
            name,
            html: "x".repeat(*size),
            changed: *changed,
        };
        View {
            version,
            sections: changed.iter().map(section).collect(),
            ..View::default()
        }
    }

    fn names(event: Option<String>) -> Vec<String> {
        let event = event.unwrap_or_default();
        let data = event
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap_or("{}");
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(data)
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }

    #[test]
    fn a_browser_hears_of_what_changed_and_large_parts_one_after_the_other() {
        let page = Arc::new(Page::new(Path::new("nowhere")));
        let mut events = EventStream::new(page.clone(), &format!("{}-4", page.instance));
        let now = view(
            6,
            &[
                ("a", 3, 10),
                ("b", 5, 15_000),
                ("c", 6, 9_000),
                ("d", 6, 100),
            ],
        );
        let event = events.event(&now).unwrap();
        assert!(
            event.len() < 20_000 && event.contains(&format!("id: {}-4\n", page.instance)),
            "a browser that is lost now has not heard all"
        );
        assert_eq!(names(Some(event)), ["b", "d"]);
        // Meanwhile one of those changes again, and another one waits still.
        let later = view(
            7,
            &[
                ("a", 3, 10),
                ("b", 5, 15_000),
                ("c", 6, 9_000),
                ("d", 7, 100),
            ],
        );
        assert_eq!(names(events.event(&later)), ["c", "d"]);
        assert_eq!(events.event(&later), None);
        assert_eq!(
            names(EventStream::new(page, "another-9").event(&later)),
            ["a", "b", "d"]
        );
    }

    #[test]
    fn the_last_events_tell_all_in_small_ones_and_then_the_end() {
        let page = Arc::new(Page::new(Path::new("nowhere")));
        let view = View {
            end_message: "over",
            ..view(9, &[("a", 3, 15_000), ("b", 5, 15_000), ("c", 6, 9_000)])
        };
        let mut stream = EventStream::new(page.clone(), &format!("{}-3", page.instance));
        let text = stream.last_events(&view);
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(
            events[..2]
                .iter()
                .map(|event| names(Some((*event).to_owned())))
                .collect::<Vec<_>>(),
            [["b"], ["c"]]
        );
        assert!(
            events.iter().all(|event| event.len() < 20_000)
                && events[2..] == ["event: end\ndata: over"],
            "{:?}",
            &events[2..]
        );
        assert!(stream.ended);
    }
}
