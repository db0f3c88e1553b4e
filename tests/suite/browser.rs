//! The page in a real browser: it loads, follows the search, opens trials by click and by key, fits
//! a narrow screen, and asks nobody but its own server. So does the report that a search leaves;
//! and drawings can be read. Needs Chromium and its WebDriver.

use super::common::driver::{Driver, ENTER, ESCAPE, LEFT};
use super::common::{ENDLESS, Search, Server, needs, netwright, succeeds, trials};
use netwright::report;
use netwright::space::{
    Cell, CellNetwork, ConvLayer, ConvNetwork, Convolution, ImageShape, Operation, Pool,
    ReferenceCell, TreeCell,
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A search that trains for as long as the test needs.
const CONFIG: &str = "[run]\nname = \"in a <browser>\"\ntrials = 1000000\n[space]\nkind = \"conv\"\nlayers = 2\nfilters = [4, 6]\nfilter_height = [1, 3]\n\
    filter_width = [1, 3]\nstride_height = [2]\nstride_width = [2]\n[controller]\nchildren = 4\n[child]\nepochs = 3\nbatch_size = 50\n\
    [data]\nkind = \"builtin\"\ntrain_size = 800\nvalidation_size = 50\n[devices]\nuse = [\"cpu\"]\nlanes_per_device = 2\n[telemetry]\nlisten = \"127.0.0.1:0\"\n";

/// The number of finished trials that the page shows.
const FINISHED: &str = "document.querySelector('#progress strong').textContent.replaceAll(',', '')";

/// A search that pauses three times, so that the test reads the page while nothing changes.
struct PausingSearch {
    served: Server,
    folder: tempfile::TempDir,
}

impl PausingSearch {
    /// Trial 1 pauses after two epochs. So does the first trial of the third minibatch before it
    /// starts, and that of the fifth, for good.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("search.toml");
        std::fs::write(&config, CONFIG).unwrap();
        let [first, second] = ["first", "second"].map(|name| gate(folder.path(), name));
        let fault = format!(
            "epoch2.hold=1@{};start.hold=9@{};start.hold=17",
            first.display(),
            second.display()
        );
        let mut command = netwright();
        command
            .env("NETWRIGHT_FAULT", fault)
            .arg("search")
            .arg(&config)
            .arg("--run-dir")
            .arg(folder.path().join("run"));
        Self {
            served: Server::start(&mut command),
            folder,
        }
    }

    /// Lets the trial continue that waits at this gate.
    fn open(&self, name: &str) {
        std::fs::write(gate(self.folder.path(), name), "").unwrap();
    }
}

fn gate(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("gate-{name}"))
}

fn has_browser(what: &str) -> bool {
    let install = "sudo apt-get install chromium chromium-driver";
    needs::has(what, &["chromium", "chromedriver"], install)
}

#[test]
fn the_page_follows_a_search_and_opens_its_trials() {
    if !has_browser("the page in a browser") {
        return;
    }
    let mut search = PausingSearch::start();
    let browser = Driver::start();
    let url = format!("http://{}/", search.served.address);
    browser.go(&url);
    assert_eq!(
        browser.run("return document.title"),
        "in a <browser> · netwright"
    );
    follows(&browser, &search);
    opens_by_click(&browser);
    opens_by_key(&browser);
    fits_a_narrow_screen(&browser);

    let asked = browser.requests();
    assert!(
        asked
            .iter()
            .any(|address| address.contains("/fragment/trial/")),
        "{asked:?}"
    );
    // `chrome:` and `chrome-untrusted:` are the browser's own first tab; a page of ours could not
    // ask for them.
    let ours = |address: &str| {
        [url.as_str(), "data:", "chrome"]
            .iter()
            .any(|start| address.starts_with(start))
    };
    let outside: Vec<_> = asked.iter().filter(|address| !ours(address)).collect();
    assert!(outside.is_empty(), "{outside:?}");
    let errors = browser.console();
    assert!(errors.is_empty(), "{errors:?}");

    says_what_is_not_there(&browser);
    search.served.process.kill();
    browser.until(
        "the page says that the search is gone",
        "!document.getElementById('lost').hidden",
    );
    hears_of_the_end(&browser);
}

/// A search that is asked to stop says so before it leaves.
fn hears_of_the_end(browser: &Driver) {
    let search = Search::new(ENDLESS, "");
    let mut served = Server::search(&mut search.command("run"));
    browser.go(&format!("http://{}/", served.address));
    let before = browser.number(FINISHED);
    browser.until("it follows", &format!("{FINISHED} > {before}"));
    let status = served.terminate();
    browser.until(
        "the page says that the search has stopped",
        "document.querySelector('#lost.end:not([hidden])')",
    );
    assert_eq!(status.code(), Some(143));
    let finished = trials(&search.run_dir("run"))
        .iter()
        .filter(|trial| trial.3 == "completed")
        .count();
    assert_eq!(
        browser.number(FINISHED),
        finished as f64,
        "the page shows all that was finished"
    );
    assert_eq!(
        browser.run("return document.getElementById('state').textContent"),
        "stopped"
    );
    let text = browser.run("return document.getElementById('lost').textContent");
    assert!(
        text.as_str()
            .unwrap()
            .starts_with("The search has stopped and is saved"),
        "{text}"
    );
}

/// The page shows what the search does, up to the state in which it pauses for good: of the last
/// minibatch, three trials are finished and one waits at its gate.
fn follows(browser: &Driver, search: &PausingSearch) {
    browser.until(
        "a child's learning curve",
        "document.querySelector('#running .spark path.curve')",
    );
    // The other lane has the rest of the minibatch.
    browser.until("the first outcomes", &format!("{FINISHED} == 3"));
    search.open("first");
    browser.until("the next minibatch", &format!("{FINISHED} >= 8"));
    search.open("second");
    browser.until("one more", &format!("{FINISHED} >= 16"));
    browser.until(
        "the leaderboard",
        "document.querySelector('#leaders tbody tr')",
    );
    browser.until(
        "the chart",
        "document.querySelector('#rewards path.points')",
    );
    browser.until("nothing new", &format!("{FINISHED} == 19"));
}

fn opens_by_click(browser: &Driver) {
    browser.until(
        "an outcome among the latest",
        "document.querySelector('#latest a')",
    );
    browser.click("#leaders tbody tr td.arch");
    browser.until(
        "the drawing",
        "document.querySelector('dialog[open] .drawing img')?.naturalWidth > 100",
    );
    browser.until(
        "the learning curve",
        "document.querySelector('dialog[open] figure path.curve')",
    );
    let text = browser.run("return document.querySelector('dialog').innerText");
    for part in [
        "Parameters",
        "FLOPs",
        "Seed",
        "controller 0, minibatch",
        "completed",
        "next →",
    ] {
        assert!(
            text.as_str().unwrap().contains(part),
            "{part} is missing from\n{text}"
        );
    }
    browser.press(ESCAPE);
    browser.until(
        "closed",
        "!document.querySelector('dialog[open]') && location.hash === ''",
    );
}

fn opens_by_key(browser: &Driver) {
    browser.run("document.querySelector('#leaders a').focus()");
    browser.press(ENTER);
    browser.until(
        "a trial by Enter",
        "document.querySelector('dialog[open] .drawing')",
    );
    browser.press(ESCAPE);
    let back = "!document.querySelector('dialog[open]') && document.activeElement.id.startsWith('leader-')";
    browser.until("focus back where it was", back);
    browser.run("document.getElementById('rewards').focus()");
    browser.press(LEFT);
    browser.until(
        "a point of the chart",
        "/^trial \\d+: reward /.test(document.getElementById('tip').textContent)",
    );
    browser.press(ENTER);
    browser.until(
        "the point's trial",
        "document.querySelector('dialog[open] h2')?.textContent.startsWith('Trial ')",
    );
    browser.press(ESCAPE);
    browser.until("closed", "!document.querySelector('dialog[open]')");
}

fn fits_a_narrow_screen(browser: &Driver) {
    browser.resize(400, 800);
    browser.until("400 pixels", "innerWidth <= 500");
    let inner = browser.number("innerWidth");
    let content = browser.number("document.documentElement.scrollWidth");
    assert!(content <= inner, "{content} pixels of content on {inner}");
}

fn says_what_is_not_there(browser: &Driver) {
    browser.run("document.getElementById('wanted').focus()");
    browser.press("400");
    browser.press(ENTER);
    browser.until(
        "what is not there is said",
        "document.querySelector('dialog[open] h2')?.textContent === 'There is no trial 400'",
    );
    browser.press(ESCAPE);
}

/// A network of so many layers; `inputs` says what each of them (from 1) takes.
fn network(layers: usize, inputs: impl Fn(usize) -> Vec<usize>) -> ConvNetwork {
    let layer = |number: usize| {
        let convolution = Convolution {
            filter_height: 7,
            filter_width: 7,
            filters: 216,
            stride_height: 1 + number % 2,
            stride_width: 2,
        };
        let operation = match number % 7 {
            3 => Operation::MaxPool(Pool { size: 3, stride: 2 }),
            5 => Operation::LocalContrast { window: 9 },
            6 => Operation::AveragePool(Pool { size: 3, stride: 1 }),
            _ => convolution.into(),
        };
        ConvLayer::new(operation, &inputs(number))
    };
    let image = ImageShape {
        channels: 3,
        height: 224,
        width: 224,
    };
    ConvNetwork::new(image, 1000, (1..=layers).map(layer).collect())
}

/// Drawings of the sizes that have to be readable.
fn drawings() -> Vec<String> {
    let mut all = Vec::new();
    for layers in [6, 39] {
        let two = |layer: usize| {
            let mut inputs = vec![layer / 3, layer / 2];
            inputs.dedup();
            inputs
        };
        all.push(report::svg(&network(layers, |layer| vec![layer - 1])));
        all.push(report::svg(&network(layers, |layer| (0..layer).collect())));
        all.push(report::svg(&network(layers, two)));
    }
    let reference = |reference| Cell::Reference { reference };
    for cell in [
        Cell::Tree(TreeCell::nascell()),
        reference(ReferenceCell::Lstm),
        reference(ReferenceCell::Gru),
    ] {
        all.push(report::cell_svg(&CellNetwork { cell, model: None }));
    }
    all
}

/// What cannot be read of the drawings that the document shows: texts that are less than 9 pixels
/// high, that touch another one, or that leave their box.
const UNREADABLE: &str = "
    const problems = [];
    const touch = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    const within = (a, b) => a.left >= b.left && a.right <= b.right;
    for (const svg of document.querySelectorAll('svg.architecture')) {
        if (!svg.checkVisibility()) continue;
        const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
        const boxes = [...svg.querySelectorAll('rect:not(.paper), circle')].map(box => box.getBoundingClientRect());
        // A line's own height is more than its glyphs'.
        const texts = [...svg.querySelectorAll('text')].map(text => {
            const { left, right, top, bottom, height } = text.getBoundingClientRect();
            return { text: text.textContent, size: parseFloat(getComputedStyle(text).fontSize) * scale,
                     left, right, top: top + 0.15 * height, bottom: bottom - 0.15 * height };
        });
        if (!texts.length) problems.push([svg.ariaLabel, 'has no text']);
        texts.forEach((a, index) => {
            if (a.size < 9) problems.push([svg.ariaLabel, a.text, a.size]);
            texts.slice(index + 1).filter(b => touch(a, b)).forEach(b => problems.push([svg.ariaLabel, a.text, 'touches', b.text]));
            boxes.filter(box => touch(a, box) && !within(a, box)).forEach(box => problems.push([svg.ariaLabel, a.text, 'leaves its box']));
        });
    }
    return problems;";

#[test]
fn drawings_can_be_read_and_the_report_shows_them_on_any_screen() {
    if !has_browser("drawings and the report in a browser") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let browser = Driver::start();
    let svgs = drawings().concat();
    let style = "<!doctype html><meta charset=utf-8><style>body { margin: 0 } svg { width: 1200px; height: auto }</style>";
    let file = folder.path().join("drawings.html");
    std::fs::write(&file, format!("{style}{svgs}")).unwrap();
    browser.go(&format!("file://{}", file.display()));
    let shown = "document.querySelectorAll('svg.architecture').length";
    assert_eq!(browser.number(shown), 9.0);
    let wide = "[...document.querySelectorAll('svg.architecture')].every(svg => Math.round(svg.getBoundingClientRect().width) === 1200)";
    browser.until("each is 1,200 pixels wide", wide);
    assert_eq!(browser.run(UNREADABLE), json!([]));

    let config = CONFIG.replace("trials = 1000000", "trials = 4");
    let search = folder.path().join("search.toml");
    std::fs::write(&search, config).unwrap();
    let run = folder.path().join("run");
    let mut command = netwright();
    command
        .arg("search")
        .arg(&search)
        .arg("--run-dir")
        .arg(&run);
    succeeds(&mut command);
    browser.requests();
    browser.console();
    browser.go(&format!("file://{}/report/index.html", run.display()));
    for width in [1200, 500] {
        browser.resize(width, 900);
        browser.until("the width", &format!("innerWidth <= {width}"));
        let inner = browser.number("innerWidth");
        let content = browser.number("document.documentElement.scrollWidth");
        assert!(content <= inner, "{content} pixels of content on {inner}");
        assert_eq!(browser.run(UNREADABLE), json!([]), "{width} pixels wide");
    }
    let shown =
        browser.number("document.querySelector('svg.architecture').getBoundingClientRect().width");
    assert!(
        shown > 200.0,
        "the best network's drawing is {shown} pixels wide"
    );
    // A link of the leaderboard opens the trial that it names.
    browser.run("document.querySelector('#leaders tbody tr:nth-child(2) a').click()");
    browser.until(
        "a trial unfolds",
        "document.querySelector('details[open] svg.architecture')",
    );
    let asked = browser.requests();
    let ours = |address: &String| {
        ["file:", "data:", "chrome"]
            .iter()
            .any(|start| address.starts_with(start))
    };
    assert!(asked.iter().all(ours), "{asked:?}");
    let errors = browser.console();
    assert!(errors.is_empty(), "{errors:?}");
}
