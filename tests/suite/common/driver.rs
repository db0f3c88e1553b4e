//! A headless Chromium, driven through the few calls of the WebDriver protocol (W3C) that the tests
//! need, over a plain socket. A client crate would bring features that have every dependency of the
//! program built a second time for the tests.

use super::process::{LIMIT, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Keys, as WebDriver names them.
pub const ENTER: &str = "\u{e007}";
pub const ESCAPE: &str = "\u{e00c}";
pub const LEFT: &str = "\u{e012}";

/// ChromeDriver on a port of its own and one session; both end when dropped.
pub struct Driver {
    process: Child,
    address: String,
    session: String,
    /// The browser's own folder.
    _profile: tempfile::TempDir,
}

impl Driver {
    pub fn start() -> Self {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let port = lines.find_map(|line| {
            line.split("started successfully on port ")
                .nth(1)
                .map(|port| port.trim_end_matches('.').to_owned())
        });
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let data = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1200,1000",
            &data,
        ];
        let address = format!("127.0.0.1:{}", port.expect("chromedriver says its port"));
        let mut driver = Self {
            process,
            address,
            session: String::new(),
            _profile: profile,
        };
        let wanted = json!({ "goog:chromeOptions": { "args": arguments }, "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" } });
        let session = driver.call(
            "POST",
            "/session",
            &json!({ "capabilities": { "alwaysMatch": wanted } }),
        );
        driver.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        driver
    }

    /// The value of the answer.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let body = if method == "POST" {
            body.to_string()
        } else {
            String::new()
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let body = body_of(BufReader::new(stream));
        let mut answer: Value =
            serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{path}: {error}"));
        let value = answer["value"].take();
        assert!(value.get("error").is_none(), "{path}: {value}");
        value
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session), body)
    }

    pub fn go(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    pub fn resize(&self, width: u32, height: u32) {
        self.post("/window/rect", &json!({ "width": width, "height": height }));
    }

    /// Runs a script; the value that it returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    pub fn number(&self, expression: &str) -> f64 {
        self.run(&format!("return Number({expression})"))
            .as_f64()
            .unwrap()
    }

    /// Waits until the expression is true.
    pub fn until(&self, what: &str, expression: &str) {
        wait_until(what, || {
            self.run(&format!("return !!({expression})")) == true
        });
    }

    /// Presses a key, or types a text, where the focus is.
    pub fn press(&self, keys: &str) {
        let key = |key: char| {
            [
                json!({ "type": "keyDown", "value": key.to_string() }),
                json!({ "type": "keyUp", "value": key.to_string() }),
            ]
        };
        let actions: Vec<Value> = keys.chars().flat_map(key).collect();
        self.post(
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }),
        );
    }

    /// Clicks, with a real pointer, into the middle of the first element of this selector.
    pub fn click(&self, selector: &str) {
        let script = format!(
            "const box = document.querySelector({selector:?}); box.scrollIntoView({{ block: 'center' }}); const at = box.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2]"
        );
        let at = self.run(&script);
        let pixel = |axis: usize| at[axis].as_f64().unwrap().round() as i64;
        let actions = [
            json!({ "type": "pointerMove", "duration": 0, "x": pixel(0), "y": pixel(1) }),
            json!({ "type": "pointerDown", "button": 0 }),
            json!({ "type": "pointerUp", "button": 0 }),
        ];
        self.post(
            "/actions",
            &json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": actions }] }),
        );
    }

    /// What the browser has logged since the last time.
    pub fn console(&self) -> Vec<Value> {
        self.log("browser")
    }

    /// Every address that the browser has asked for since the last time.
    pub fn requests(&self) -> Vec<String> {
        let messages = self
            .log("performance")
            .into_iter()
            .map(|entry| serde_json::from_str(entry["message"].as_str().unwrap()));
        let sent = messages
            .map(Result::<Value, _>::unwrap)
            .filter(|message| message["message"]["method"] == "Network.requestWillBeSent");
        sent.map(|message| {
            message["message"]["params"]["request"]["url"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        serde_json::from_value(self.post("/se/log", &json!({ "type": kind }))).unwrap()
    }
}

/// The body of an answer; ChromeDriver keeps the connection open behind it.
fn body_of(mut stream: impl BufRead) -> Vec<u8> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        match line.trim_end().to_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap(),
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    body
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Ends the browser; a failure must not hide the test's own.
        if !std::thread::panicking() {
            self.call("DELETE", &self.session, &json!({}));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
