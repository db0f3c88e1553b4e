//! The page in a real browser: it loads, follows the search, opens trials by click and by key, fits a narrow screen, and asks nobody
//! but its own server. Needs Chromium and its WebDriver.

use super::common::{Served, needs, netwright};
use fantoccini::{Client, ClientBuilder, Locator, key::Key};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A search that trains for as long as anyone looks.
const CONFIG: &str = "[run]\nname = \"in a <browser>\"\ntrials = 500\n[space]\nkind = \"conv\"\nlayers = 2\nfilters = [4, 6]\nfilter_height = [1, 3]\n\
    filter_width = [1, 3]\nstride_height = [2]\nstride_width = [2]\n[controller]\nchildren = 4\n[child]\nepochs = 3\nbatch_size = 50\n\
    [data]\nkind = \"builtin\"\ntrain_size = 100\nvalidation_size = 50\n[devices]\nuse = [\"cpu\"]\nlanes_per_device = 2\n[telemetry]\nlisten = \"127.0.0.1:0\"\n";

/// ChromeDriver on a port of its own; ended when dropped.
struct Driver {
    process: Child,
    address: String,
    /// The browser's own folder.
    _profile: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Driver {
    fn start() -> Self {
        let mut process = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port =
            lines.find_map(|line| line.split("started successfully on port ").nth(1).map(|port| port.trim_end_matches('.').to_owned()));
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let data = format!("--user-data-dir={}", profile.path().display());
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,1000", &data];
        let address = format!("127.0.0.1:{}", port.expect("chromedriver says its port"));
        Self { process, address, _profile: profile, arguments: arguments.map(str::to_owned).into() }
    }

    async fn browser(&self) -> Client {
        let options = json!({ "args": self.arguments });
        let capabilities = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" } });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        builder.connect(&format!("http://{}", self.address)).await.unwrap()
    }

    /// What the browser has logged since the last time, of this kind.
    fn log(&self, session: &str, kind: &str) -> Vec<Value> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = json!({ "type": kind }).to_string();
        let head = format!("POST /session/{session}/se/log HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", self.address, body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let mut value: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        serde_json::from_value(value["value"].take()).unwrap()
    }

    /// Every address that the browser has asked for.
    fn requests(&self, session: &str) -> Vec<String> {
        let messages = self.log(session, "performance").into_iter().map(|entry| serde_json::from_str(entry["message"].as_str().unwrap()));
        let sent = messages.map(Result::<Value, _>::unwrap).filter(|message| message["message"]["method"] == "Network.requestWillBeSent");
        sent.map(|message| message["message"]["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until the script's expression is true.
async fn until(client: &Client, what: &str, expression: &str) {
    let started = std::time::Instant::now();
    while client.execute(&format!("return !!({expression})"), Vec::new()).await.unwrap() != true {
        assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn number(client: &Client, expression: &str) -> f64 {
    client.execute(&format!("return Number({expression})"), Vec::new()).await.unwrap().as_f64().unwrap()
}

async fn press(client: &Client, key: &str) {
    client.active_element().await.unwrap().send_keys(key).await.unwrap();
}

const FINISHED: &str = "document.querySelector('#progress strong').textContent.replaceAll(',', '')";

#[test]
fn the_page_follows_a_search_and_opens_its_trials() {
    if !needs::has("the page in a browser", &["chromium", "chromedriver"], "sudo apt-get install chromium chromium-driver") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("search.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let mut search = netwright();
    let mut served = Served::start(search.arg("search").arg(&config).arg("--run-dir").arg(folder.path().join("run")));
    let driver = Driver::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = driver.browser().await;
        let session = client.session_id().await.unwrap().unwrap();
        let url = format!("http://{}/", served.address);
        client.goto(&url).await.unwrap();
        assert_eq!(client.title().await.unwrap(), "in a <browser> · netwright");
        follows(&client).await;
        opens_by_click(&client).await;
        opens_by_key(&client).await;
        fits_a_narrow_screen(&client).await;

        let asked = driver.requests(&session);
        assert!(asked.iter().any(|address| address.contains("/fragment/trial/")), "{asked:?}");
        let outside: Vec<_> = asked.iter().filter(|address| !address.starts_with(&url) && !address.starts_with("data:")).collect();
        assert!(outside.is_empty(), "{outside:?}");
        let errors = driver.log(&session, "browser");
        assert!(errors.is_empty(), "{errors:?}");

        says_what_is_not_there(&client).await;

        served.process.kill().unwrap();
        until(&client, "the page says that the search is gone", "!document.getElementById('lost').hidden").await;
        client.close().await.unwrap();
    });
}

async fn follows(client: &Client) {
    until(client, "a child's learning curve", "document.querySelector('#running .spark path.curve')").await;
    until(client, "the first outcome", &format!("{FINISHED} > 0")).await;
    let before = number(client, FINISHED).await;
    until(client, "one more", &format!("{FINISHED} > {before}")).await;
    until(client, "the leaderboard", "document.querySelector('#leaders tbody tr')").await;
    until(client, "the chart", "document.querySelector('#rewards path.points')").await;
}

async fn opens_by_click(client: &Client) {
    until(client, "an outcome among the latest", "document.querySelector('#latest a')").await;
    client.execute("document.querySelector('#leaders tbody tr td.arch').click()", Vec::new()).await.unwrap();
    until(client, "the drawing", "document.querySelector('dialog[open] .drawing img')?.naturalWidth > 100").await;
    until(client, "the learning curve", "document.querySelector('dialog[open] figure path.curve')").await;
    let text = client.find(Locator::Css("dialog")).await.unwrap().text().await.unwrap();
    for part in ["Parameters", "FLOPs", "Seed", "controller 0, minibatch", "completed", "next →"] {
        assert!(text.contains(part), "{part} is missing from\n{text}");
    }
    press(client, &Key::Escape).await;
    until(client, "closed", "!document.querySelector('dialog[open]') && location.hash === ''").await;
}

async fn opens_by_key(client: &Client) {
    client.execute("document.querySelector('#leaders a').focus()", Vec::new()).await.unwrap();
    press(client, &Key::Enter).await;
    until(client, "a trial by Enter", "document.querySelector('dialog[open] .drawing')").await;
    press(client, &Key::Escape).await;
    until(client, "focus back where it was", "!document.querySelector('dialog[open]') && document.activeElement.id.startsWith('leader-')")
        .await;
    client.execute("document.getElementById('rewards').focus()", Vec::new()).await.unwrap();
    press(client, &Key::Left).await;
    until(client, "a point of the chart", "/^trial \\d+: reward /.test(document.getElementById('tip').textContent)").await;
    press(client, &Key::Enter).await;
    until(client, "the point's trial", "document.querySelector('dialog[open] h2').textContent.startsWith('Trial ')").await;
    press(client, &Key::Escape).await;
    until(client, "closed", "!document.querySelector('dialog[open]')").await;
}

async fn says_what_is_not_there(client: &Client) {
    let input = client.find(Locator::Css("#wanted")).await.unwrap();
    input.send_keys("400").await.unwrap();
    input.send_keys(&Key::Enter).await.unwrap();
    until(client, "what is not there is said", "document.querySelector('dialog[open] h2').textContent === 'There is no trial 400'").await;
    press(client, &Key::Escape).await;
}

async fn fits_a_narrow_screen(client: &Client) {
    client.set_window_size(400, 800).await.unwrap();
    until(client, "400 pixels", "innerWidth <= 500").await;
    let (inner, content) = (number(client, "innerWidth").await, number(client, "document.documentElement.scrollWidth").await);
    assert!(content <= inner, "{content} pixels of content on {inner}");
}
