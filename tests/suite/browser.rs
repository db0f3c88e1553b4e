//! The page in a real browser: it loads, follows the search, opens trials by click and by key, fits
//! a narrow screen, and asks nobody but its own server. Needs Chromium and its WebDriver.

use super::common::driver::{Driver, ENTER, ESCAPE, LEFT};
use super::common::{Search, Served, needs, netwright, trials};

/// A search that trains for as long as anyone looks.
const CONFIG: &str = "[run]\nname = \"in a <browser>\"\ntrials = 1000000\n[space]\nkind = \"conv\"\nlayers = 2\nfilters = [4, 6]\nfilter_height = [1, 3]\n\
    filter_width = [1, 3]\nstride_height = [2]\nstride_width = [2]\n[controller]\nchildren = 4\n[child]\nepochs = 3\nbatch_size = 50\n\
    [data]\nkind = \"builtin\"\ntrain_size = 800\nvalidation_size = 50\n[devices]\nuse = [\"cpu\"]\nlanes_per_device = 2\n[telemetry]\nlisten = \"127.0.0.1:0\"\n";

const FINISHED: &str = "document.querySelector('#progress strong').textContent.replaceAll(',', '')";

#[test]
fn the_page_follows_a_search_and_opens_its_trials() {
    if !needs::has(
        "the page in a browser",
        &["chromium", "chromedriver"],
        "sudo apt-get install chromium chromium-driver",
    ) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("search.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let mut search = netwright();
    let mut served = Served::start(
        search
            .arg("search")
            .arg(&config)
            .arg("--run-dir")
            .arg(folder.path().join("run")),
    );
    let browser = Driver::start();
    let url = format!("http://{}/", served.address);
    browser.go(&url);
    assert_eq!(
        browser.run("return document.title"),
        "in a <browser> · netwright"
    );
    follows(&browser);
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
    served.process.kill().unwrap();
    browser.until(
        "the page says that the search is gone",
        "!document.getElementById('lost').hidden",
    );
    hears_of_the_end(&browser);
}

/// A search that is told to stop says so before it leaves.
fn hears_of_the_end(browser: &Driver) {
    let search = Search::new(1_000_000, "");
    let mut command = search.command("run");
    let mut served = Served::start(command.args(["--set", "telemetry.listen=127.0.0.1:0"]));
    browser.go(&format!("http://{}/", served.address));
    let before = browser.number(FINISHED);
    browser.until("it follows", &format!("{FINISHED} > {before}"));
    let pid = rustix::process::Pid::from_raw(served.process.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    browser.until(
        "the page says that the search has stopped",
        "document.querySelector('#lost.end:not([hidden])')",
    );
    assert_eq!(served.process.wait().unwrap().code(), Some(143));
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

fn follows(browser: &Driver) {
    browser.until(
        "a child's learning curve",
        "document.querySelector('#running .spark path.curve')",
    );
    browser.until("the first outcome", &format!("{FINISHED} > 0"));
    let before = browser.number(FINISHED);
    browser.until("one more", &format!("{FINISHED} > {before}"));
    browser.until(
        "the leaderboard",
        "document.querySelector('#leaders tbody tr')",
    );
    browser.until(
        "the chart",
        "document.querySelector('#rewards path.points')",
    );
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
    let (inner, content) = (
        browser.number("innerWidth"),
        browser.number("document.documentElement.scrollWidth"),
    );
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
