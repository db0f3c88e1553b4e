//! Server-sent events: each browser is told of the parts that have changed since what it shows.
//! Must not know what the parts say.

use super::{Page, View};
use actix_web::web::{self, Bytes};
use futures_util::stream::{self, Stream};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often a browser is told.
const TICK: Duration = Duration::from_secs(1);

/// A line that says nothing, so that a connection that is gone is noticed.
const SILENCE: Duration = Duration::from_secs(15);

/// Most bytes of one event, before what it says of itself: what does not fit is told with the next
/// tick.
const MOST: usize = 18_000;

/// Where a browser stands.
pub(super) struct Listener {
    page: Arc<Page>,
    /// What it has been told of at least, and the parts that it knows in a later version.
    version: u64,
    told: HashMap<&'static str, u64>,
    spoke: Instant,
    first: bool,
    leaving: watch::Receiver<bool>,
    /// It knows how the search ended: there is nothing more to tell.
    ended: bool,
}

impl Listener {
    /// `from` is what the browser shows: `instance-version`; anything else means that it shows
    /// nothing of ours.
    pub(super) fn new(page: Arc<Page>, from: &str) -> Self {
        let version = from
            .rsplit_once('-')
            .filter(|(instance, _)| *instance == page.instance);
        let version = version
            .and_then(|(_, version)| version.parse().ok())
            .unwrap_or(0);
        let leaving = page.leaving.subscribe();
        Self {
            page,
            version,
            told: HashMap::new(),
            spoke: Instant::now(),
            first: true,
            leaving,
            ended: false,
        }
    }

    /// Events for as long as the browser listens and this server stays.
    pub(super) fn stream(self) -> impl Stream<Item = actix_web::Result<Bytes>> {
        stream::unfold(self, |mut listener| async move {
            let bytes = listener.next().await?;
            Some((Ok(bytes), listener))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            if !std::mem::take(&mut self.first) {
                // The end does not wait for the tick; that it came is looked up below.
                let _ = tokio::time::timeout(TICK, self.leaving.wait_for(|leaving| *leaving)).await;
            }
            let leaving = *self.leaving.borrow();
            let page = self.page.clone();
            page.refresh().await;
            let view = web::block(move || page.view()).await;
            // A run that cannot be read for the moment is read again.
            let view = view.ok().and_then(Result::ok);
            let text = match view {
                Some(view) if leaving => Some(self.last_events(&view)),
                Some(view) => self.event(&view),
                None if leaving => return None,
                None => None,
            };
            if let Some(text) =
                text.or_else(|| (self.spoke.elapsed() > SILENCE).then(|| ":\n\n".to_owned()))
            {
                self.spoke = Instant::now();
                return Some(Bytes::from(text));
            }
        }
        None
    }

    /// All that the browser has not heard, and that it was the last.
    fn last_events(&mut self, view: &View) -> String {
        self.ended = true;
        let mut events: String = std::iter::from_fn(|| self.event(view)).collect();
        events.push_str(&format!("event: end\ndata: {}\n\n", view.ending));
        events
    }

    fn event(&mut self, view: &View) -> Option<String> {
        let (mut parts, mut size, mut whole) = (serde_json::Map::new(), 0, true);
        for section in &view.sections {
            if section.changed <= self.told.get(section.name).copied().unwrap_or(self.version) {
                continue;
            }
            if size > 0 && size + section.html.len() > MOST {
                whole = false;
                continue;
            }
            size += section.html.len();
            self.told.insert(section.name, view.version);
            parts.insert(section.name.to_owned(), section.html.clone().into());
        }
        if whole {
            self.version = view.version;
            self.told.clear();
        }
        let id = format!("{}-{}", self.page.instance, self.version);
        let data = serde_json::Value::Object(parts);
        (data != serde_json::json!({}))
            .then(|| format!("retry: 2000\nid: {id}\nevent: parts\ndata: {data}\n\n"))
    }
}

impl Page {
    /// What a browser that shows this view stands at.
    pub(super) fn from(&self, view: &View) -> String {
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
        let mut listener = Listener::new(page.clone(), &format!("{}-4", page.instance));
        let now = view(
            6,
            &[
                ("a", 3, 10),
                ("b", 5, 15_000),
                ("c", 6, 9_000),
                ("d", 6, 100),
            ],
        );
        let event = listener.event(&now).unwrap();
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
        assert_eq!(names(listener.event(&later)), ["c", "d"]);
        assert_eq!(listener.event(&later), None);
        assert_eq!(
            names(Listener::new(page, "another-9").event(&later)),
            ["a", "b", "d"]
        );
    }

    #[test]
    fn the_last_events_tell_all_in_small_ones_and_then_the_end() {
        let page = Arc::new(Page::new(Path::new("nowhere")));
        let view = View {
            ending: "over",
            ..view(9, &[("a", 3, 15_000), ("b", 5, 15_000), ("c", 6, 9_000)])
        };
        let mut listener = Listener::new(page.clone(), &format!("{}-3", page.instance));
        let text = listener.last_events(&view);
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
        assert!(listener.ended);
    }
}
