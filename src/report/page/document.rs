//! The page as one HTML document, and its content security policy. Must not know what the sections
//! say.

use super::super::chart;
use super::super::html::escape;
use super::View;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The style of the page and of its charts.
pub(super) static STYLE: LazyLock<String> = LazyLock::new(|| format!("{}{CSS}", chart::STYLE));

/// The content security policy: the page may use its own script and style and connect to its own
/// server, and nothing else.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| base64(&Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(&STYLE)
    )
});

/// The document with all sections. `event_id` is the point from which the browser then asks for
/// events, `dir` the directory of the run.
pub(super) fn document(view: &View, event_id: &str, dir: &str) -> String {
    fill(HTML, |name| match name {
        "style" => STYLE.clone(),
        "script" => SCRIPT.into(),
        "from" => escape(event_id),
        "run" => escape(&view.title),
        "dir" => escape(dir),
        section_name => view
            .sections
            .iter()
            .filter(|section| section.name == section_name)
            .map(|section| section.html.as_str())
            .collect(),
    })
}

/// A template in which each `{{name}}` is replaced by its value, as HTML.
pub(super) fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut html = String::with_capacity(64 * 1024);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        html.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        html.push_str(&value(name));
        rest = after;
    }
    html + rest
}

/// Base64 with padding (RFC 4648), in which a policy gives hashes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * position) & 63) as usize]);
            text.push(if position <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::Section;

    #[test]
    fn base64_is_as_in_the_rfc() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, text) in cases {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn every_part_finds_its_place_and_a_name_is_no_markup() {
        let section = |name| Section {
            name,
            html: format!("[{name}]"),
            changed: 1,
        };
        let names = [
            "state", "progress", "figures", "rewards", "pareto", "leaders", "running", "latest",
            "devices", "events",
        ];
        let view = View {
            title: "<script>alert(1)</script>".into(),
            sections: names.map(section).into(),
            ..View::default()
        };
        let html = document(&view, "x-1", "/a/<b>");
        for name in names {
            assert_eq!(html.matches(&format!("[{name}]")).count(), 1, "{name}");
        }
        assert!(
            !html.contains("{{")
                && !html.contains("<script>alert")
                && html.contains("/a/&lt;b&gt;")
        );
        assert!(
            !html.contains("http://") && !html.contains("https://"),
            "an outside address"
        );
    }
}
