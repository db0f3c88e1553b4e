//! An archive by HTTP, behind what an earlier download has left. Must not know what is in it.

use super::archive::{Defect, check_length, check_start};
use super::{Published, Step};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::Duration;
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_mins(1);

/// How often in a row a download is continued that has hardly moved on.
const IDLE_TRIES: u32 = 3;

/// How far it has to move on to count as moving.
const PROGRESS: u64 = 1 << 16;

/// Bytes read at once.
const BUFFER: usize = 1 << 16;

/// How one request ended.
enum Ended {
    /// The archive's bytes are all there.
    Whole,
    /// The connection broke: why.
    Broke(String),
    /// The server does not go on from where the file ends.
    CannotGoOn,
}

/// Empties the file.
pub(super) fn discard(file: &mut File) -> Result<(), String> {
    file.set_len(0)
        .and_then(|()| file.rewind())
        .map_err(|error| error.to_string())
}

/// Downloads until the file has as many bytes as the archive, again and again from where the
/// connection broke, as long as it moves on. True: some of the bytes were there before.
///
/// # Errors
/// One sentence. What may be the start of the archive stays in the file.
pub(super) fn download(
    set: &Published,
    url: &str,
    file: &mut File,
    tell: &mut dyn FnMut(Step),
) -> Result<bool, String> {
    let agent = agent(url)?;
    let mut have = length(file)?;
    if have > set.bytes {
        discard(file)?;
        have = 0;
    }
    let mut continued = have > 0;
    let (mut idle, mut furthest) = (0, have);
    while have < set.bytes {
        let ended = request(&agent, set, url, file, tell)
            .map_err(|problem| format!("{problem}{}", kept(file, set)))?;
        let problem = match ended {
            Ended::Whole => break,
            Ended::Broke(problem) => problem,
            Ended::CannotGoOn => {
                discard(file)?;
                continued = false;
                "the server does not go on where it was interrupted".into()
            }
        };
        have = length(file)?;
        idle = if have >= furthest + PROGRESS {
            0
        } else {
            idle + 1
        };
        furthest = furthest.max(have);
        if idle >= IDLE_TRIES {
            return Err(format!("{problem}{}", kept(file, set)));
        }
    }
    Ok(continued)
}

fn length(file: &File) -> Result<u64, String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    Ok(metadata.len())
}

/// What is told of the bytes that stay.
fn kept(file: &File, set: &Published) -> String {
    match length(file) {
        Ok(have) if have > 0 => format!(
            "; {have} of {} bytes are kept, and the same command goes on from there",
            set.bytes
        ),
        _ => String::new(),
    }
}

/// Asks once for what the file lacks, and appends it.
fn request(
    agent: &Agent,
    set: &Published,
    url: &str,
    file: &mut File,
    tell: &mut dyn FnMut(Step),
) -> Result<Ended, String> {
    let have = file
        .seek(SeekFrom::End(0))
        .map_err(|error| error.to_string())?;
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = request.call().map_err(|error| plain(&error))?;
    check_page(&response)?;
    let (first, announced) = match response.status() {
        // Asked for the rest or not, this is all of it.
        StatusCode::OK => (0, number(response.headers(), "content-length")),
        StatusCode::PARTIAL_CONTENT if range(response.headers()) == Some((have, set.bytes)) => {
            (have, None)
        }
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
            return Ok(Ended::CannotGoOn);
        }
        status => return Err(format!("the server answers {status}")),
    };
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; BUFFER];
    let mut position = first;
    loop {
        let count = match body.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            Err(error) => return Ok(Ended::Broke(plain(&error.into()))),
        };
        if count == 0 && position == set.bytes {
            return Ok(Ended::Whole);
        }
        if count == 0 {
            let problem = "the connection ended before the archive did";
            return Ok(Ended::Broke(problem.into()));
        }
        let arrived = &buffer[..count];
        if position == 0 {
            // What is here already stays until something better arrives.
            check_start(arrived).map_err(|defect| defect.to_string())?;
            announced
                .map_or(Ok(()), |bytes| check_length(set, bytes))
                .map_err(|defect| defect.to_string())?;
            discard(file)?;
        }
        position += count as u64;
        if position > set.bytes {
            discard(file)?;
            let defect = Defect::TooLong {
                bytes: position,
                published: set.bytes,
            };
            return Err(defect.to_string());
        }
        file.write_all(arrived)
            .map_err(|error| format!("what arrives cannot be written here: {error}"))?;
        tell(Step::Have {
            bytes: position,
            of: set.bytes,
        });
    }
}

/// # Errors
/// The server says that it sends a page.
fn check_page(response: &Response<Body>) -> Result<(), String> {
    match response.body().mime_type() {
        Some("text/html" | "application/xhtml+xml") => Err(Defect::Html.to_string()),
        _ => Ok(()),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// First byte and number of all bytes, from `Content-Range: bytes 500-999/1000`.
fn range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let text = headers.get("content-range")?.to_str().ok()?;
    let (span, all) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = span.split_once('-')?;
    Some((first.trim().parse().ok()?, all.trim().parse().ok()?))
}

/// What went wrong on the way, in one line.
fn plain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "there is no host of this name, or no network".into(),
        ureq::Error::Timeout(_) => {
            format!("the server was silent for {} seconds", SILENCE.as_secs())
        }
        ureq::Error::Io(error) => format!("the connection failed: {error}"),
        other => format!("the request failed: {other}"),
    }
}

/// # Errors
/// The address cannot be read, or `SSL_CERT_FILE` names a file that cannot.
fn agent(url: &str) -> Result<Agent, String> {
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("is no address: {error}"))?;
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .tls_config(TlsConfig::builder().root_certs(authorities()?).build());
    // A proxy reaches another machine's loopback.
    if matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        config = config.proxy(None);
    }
    Ok(config.build().into())
}

/// Who vouches for servers: Mozilla's list as built in, or the file that `SSL_CERT_FILE` names, as
/// other programs take it, for networks with an authority of their own.
fn authorities() -> Result<RootCerts, String> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let problem = |error: String| format!("SSL_CERT_FILE={}: {error}", path.display());
    let bytes = std::fs::read(&path).map_err(|error| problem(error.to_string()))?;
    let certificates: Vec<_> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(problem("holds no certificate".into()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
