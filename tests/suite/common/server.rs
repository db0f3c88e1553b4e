//! A process of the program with an HTTP endpoint: a search, or `netwright page`. GET over a plain
//! socket.

use super::process::{LIMIT, Running, netwright, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// The process is killed when this is dropped.
pub struct Server {
    pub process: Running,
    pub address: String,
}

/// What a server answers.
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: String,
}

/// Sends GET in HTTP/1.0, so that no answer comes in chunks; the answer is to be read from what
/// this returns.
fn ask(address: &str, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    Ok(stream)
}

/// # Errors
/// Where nobody listens, or the connection ends before there is an answer.
pub fn get(address: &str, path: &str) -> std::io::Result<Answer> {
    let mut answer = String::new();
    ask(address, path)?.read_to_string(&mut answer)?;
    let parse = || {
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        })
    };
    parse()
        .ok_or_else(|| std::io::Error::other(format!("no answer from {address}{path}: {answer:?}")))
}

/// The value of a sample line, such as `netwright_children_total{outcome="completed"}`; None: there
/// is no such line.
pub fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The lines of a stream, which is read to its end whether someone listens or not.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (line, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(stream)
            .lines()
            .map_while(Result::ok)
            .for_each(|text| drop(line.send(text)));
    });
    lines
}

impl Server {
    /// Starts the command; returns once it has printed the address of its page.
    pub fn start(command: &mut Command) -> Self {
        let mut process = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let printed = lines_of(process.take_stdout());
        let errors = lines_of(process.take_stderr());
        let address = printed.iter().find_map(|line| {
            let rest = line.strip_prefix("page: http://")?;
            Some(rest.split('/').next()?.to_owned())
        });
        let Some(address) = address else {
            panic!(
                "the process has ended without an address: {}",
                errors.iter().collect::<Vec<_>>().join("\n")
            )
        };
        Self { process, address }
    }

    /// A search with its endpoint on any free port.
    pub fn search(command: &mut Command) -> Self {
        Self::start(command.args(["--set", "telemetry.listen=127.0.0.1:0"]))
    }

    /// `netwright page` of a run, on any free port.
    pub fn page(run: &Path) -> Self {
        Self::start(
            netwright()
                .arg("page")
                .arg(run)
                .args(["--listen", "127.0.0.1:0"]),
        )
    }

    pub fn get(&self, path: &str) -> Answer {
        get(&self.address, path).unwrap()
    }

    /// The status and the JSON that it answers.
    pub fn json(&self, path: &str) -> (u16, serde_json::Value) {
        let answer = self.get(path);
        let value = serde_json::from_str(&answer.body)
            .unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.body));
        (answer.status, value)
    }

    /// Asks until the body is as wanted; returns that body.
    pub fn get_when(&self, what: &str, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut body = String::new();
        wait_until(what, || {
            body = self.get(path).body;
            wanted(&body)
        });
        body
    }

    /// Asks until the status is this one; returns the body that came with it.
    pub fn get_when_status(&self, path: &str, status: u16) -> String {
        let mut answer = self.get(path);
        wait_until(format!("{path} answers {status}"), || {
            answer = self.get(path);
            answer.status == status
        });
        answer.body
    }

    pub fn metrics(&self) -> String {
        let Answer { status, body, .. } = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Scrapes until the text is as wanted; returns that text.
    pub fn metrics_when(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.get_when(what, "/metrics", wanted)
    }

    /// The first events that a browser without any section receives, until `enough` accepts them.
    pub fn events(&self, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut lines = self.event_lines();
        let mut events = Vec::new();
        while !enough(&events) {
            let event: Vec<String> = lines
                .by_ref()
                .skip_while(|line| !line.starts_with("id:"))
                .take_while(|line| !line.is_empty())
                .collect();
            assert!(!event.is_empty(), "the events end");
            events.push(event.join("\n"));
        }
        events
    }

    /// The lines of all events that a browser without any section receives, to the end.
    pub fn event_lines(&self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(ask(&self.address, "/events").unwrap())
            .lines()
            .map_while(Result::ok)
    }

    /// Asks the process to stop, as `systemctl stop` does, and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.signal(rustix::process::Signal::TERM);
        self.process.wait()
    }
}
