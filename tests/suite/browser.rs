//! The page in a real browser: it loads, follows the search, opens trials by click and by key, fits
//! a narrow screen, and asks nobody but its own server. Needs Chromium and its WebDriver.

use super::common::driver::{Driver, ENTER, ESCAPE, LEFT};
use super::common::{ENDLESS, Search, Server, needs, netwright, trials};
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

#[test]
fn the_page_follows_a_search_and_opens_its_trials() {
    if !needs::has(
        "the page in a browser",
        &["chromium", "chromedriver"],
        "sudo apt-get install chromium chromium-driver",
    ) {
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
