//! A process of the program that serves its page, and GET over a plain socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Killed when dropped.
pub struct Served {
    pub process: Child,
    pub address: String,
}

/// What a server answers.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Served {
    /// Starts the command; ready once it has printed its address.
    pub fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let rest = line.strip_prefix("page: http://")?;
            Some(rest.split('/').next()?.to_owned())
        });
        // Read to its end, whether someone listens or not.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self {
            process,
            address: address.expect("the address is printed"),
        }
    }

    /// `netwright page` of a run, on any free port.
    pub fn page(run: &std::path::Path) -> Self {
        Self::start(
            super::netwright()
                .arg("page")
                .arg(run)
                .args(["--listen", "127.0.0.1:0"]),
        )
    }

    /// HTTP/1.0, so that no answer comes in chunks.
    pub fn get(&self, path: &str) -> Answer {
        let mut stream = self.ask(path);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap();
        Answer {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    /// As JSON, with its status.
    pub fn json(&self, path: &str) -> (u16, serde_json::Value) {
        let answer = self.get(path);
        (
            answer.status,
            serde_json::from_str(&answer.body)
                .unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.body)),
        )
    }

    /// The events that a browser hears that shows nothing yet, until `enough` of them are there.
    pub fn events(&self, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut lines = BufReader::new(self.ask("/events"))
            .lines()
            .map(Result::unwrap);
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

    /// The lines of the events of a browser that shows nothing yet, to the end.
    pub fn event_lines(&self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.ask("/events"))
            .lines()
            .map_while(Result::ok)
    }

    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.address
        )
        .unwrap();
        stream
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
