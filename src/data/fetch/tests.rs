//! Fetching from a server of the test's own on this machine, with archives of a few bytes.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use tar::{Builder, EntryType, Header};

const FOLDER: &str = "tiny-bin";
const FILES: &[(&str, u64)] = &[("one.bin", 2_000), ("two.bin", 1_000)];

/// What an archive holds: path, type, content or where a link leads.
type Member<'a> = (&'a str, EntryType, &'a [u8]);

/// Bytes that cannot be compressed, so that archives are as long as what they hold.
fn noise(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn archive(members: &[Member]) -> Vec<u8> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, kind, content) in members {
        let mut header = Header::new_gnu();
        // `set_path` refuses what these tests are about.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        if is_link {
            header.as_gnu_mut().unwrap().linkname[..content.len()].copy_from_slice(content);
        }
        let content = if is_link { &[][..] } else { content };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// The members that the data set must have.
fn whole() -> Vec<u8> {
    archive(&[
        ("./tiny-bin/", EntryType::Directory, b""),
        ("tiny-bin/one.bin", EntryType::Regular, &noise(2_000, 1)),
        ("tiny-bin/two.bin", EntryType::Regular, &noise(1_000, 2)),
        ("tiny-bin/readme.html", EntryType::Regular, b"<p>"),
    ])
}

fn checksum(bytes: &[u8]) -> String {
    Md5::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// The data set whose archive is this.
fn set<'a>(archive: &[u8], md5: &'a str) -> Published<'a> {
    Published {
        name: "tiny",
        url: "https://example.org/data/tiny.tar.gz",
        bytes: archive.len() as u64,
        md5,
        folder: FOLDER,
        files: FILES,
    }
}

/// Answers requests by a function of their head, each on a connection of its own.
struct Server {
    url: String,
    /// The `Range` of each request, empty where it has none.
    ranges: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(usize, &str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/tiny.tar.gz", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let asked = ranges.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let range = range_of(&stream);
                asked.lock().unwrap().push(range.clone());
                let _ = stream.write_all(&answer(number, &range));
            }
        });
        Self { url, ranges }
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::parse(&self.url).unwrap()]
    }

    fn ranges(&self) -> Vec<String> {
        self.ranges.lock().unwrap().clone()
    }
}

fn range_of(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            (name.to_lowercase() == "range").then(|| value.to_owned())
        })
        .collect()
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// All of it, or from where the request says; of that so many bytes, then the connection ends.
fn ranged(archive: &[u8], range: &str, at_most: usize) -> Vec<u8> {
    let first = range
        .strip_prefix("bytes=")
        .and_then(|rest| rest.strip_suffix('-'));
    let first: usize = first.map_or(0, |first| first.parse().unwrap());
    let rest = &archive[first..];
    let mut headers = format!("Content-Length: {}\r\n", rest.len());
    if first > 0 {
        let last = archive.len() - 1;
        let _ = write!(
            headers,
            "Content-Range: bytes {first}-{last}/{}\r\n",
            archive.len()
        );
    }
    let status = if first > 0 {
        "206 Partial Content"
    } else {
        "200 OK"
    };
    response(status, &headers, &rest[..rest.len().min(at_most)])
}

/// Fetches into a folder; the error's text without the server's address.
fn fetched(set: &Published, sources: &[Source], into: &Path) -> Result<Fetched, String> {
    fetch(set, sources, into, &mut |_| ()).map_err(|error| {
        let text = error.to_string();
        assert!(!text.contains('\n'), "one line: {text}");
        let name = format!("{}: ", sources.last().unwrap());
        text.strip_prefix(&name).unwrap_or(&text).to_owned()
    })
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A folder with an earlier copy in it, which is not quite whole, so that it is fetched again.
fn with_earlier_copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(FOLDER);
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join("one.bin"), noise(2_000, 7)).unwrap();
    folder
}

#[track_caller]
fn assert_earlier_copy_is_unharmed(folder: &Path) {
    assert_eq!(names(&folder.join(FOLDER)), ["one.bin"]);
    let one = std::fs::read(folder.join(FOLDER).join("one.bin")).unwrap();
    assert_eq!(one, noise(2_000, 7));
}

#[test]
fn a_data_set_is_downloaded_checked_and_unpacked_once() {
    let archive = whole();
    let md5 = checksum(&archive);
    let set = set(&archive, &md5);
    let served = archive.clone();
    let server = Server::start(move |_, range| ranged(&served, range, usize::MAX));
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("data");
    let mut last = None;
    let first = fetch(&set, &server.sources(), &into, &mut |step| {
        if let Step::Have { bytes, of } = step {
            last = Some((bytes, of));
        }
    });
    assert_eq!(last, Some((set.bytes, set.bytes)));
    let first = first.unwrap();
    assert_eq!((first.was_there, first.set_aside), (false, None));
    assert_eq!(names(&into), [FOLDER]);
    assert_eq!(names(&first.folder), ["one.bin", "readme.html", "two.bin"]);
    assert_eq!(
        std::fs::read(first.folder.join("two.bin")).unwrap(),
        noise(1_000, 2)
    );
    let second = fetched(&set, &server.sources(), &into).unwrap();
    assert!(second.was_there);
    assert_eq!(
        server.ranges(),
        [""],
        "the second time nothing is asked for"
    );
}

#[test]
fn a_connection_that_breaks_is_continued_where_it_broke() {
    let archive = whole();
    let md5 = checksum(&archive);
    let set = set(&archive, &md5);
    let served = archive.clone();
    let server = Server::start(move |number, range| {
        ranged(&served, range, if number < 2 { 1_000 } else { usize::MAX })
    });
    let folder = tempfile::tempdir().unwrap();
    fetched(&set, &server.sources(), folder.path()).unwrap();
    assert_eq!(server.ranges(), ["", "bytes=1000-", "bytes=2000-"]);
}

#[test]
fn what_an_earlier_process_downloaded_is_not_asked_for_again() {
    let archive = whole();
    let md5 = checksum(&archive);
    let set = set(&archive, &md5);
    let served = archive.clone();
    let broken = Server::start(move |_, range| {
        ranged(&served, range, if range.is_empty() { 1_500 } else { 0 })
    });
    let folder = tempfile::tempdir().unwrap();
    let problem = fetched(&set, &broken.sources(), folder.path()).unwrap_err();
    let bytes = archive.len();
    assert_eq!(
        problem,
        format!(
            "the connection ended before the archive did; 1500 of {bytes} bytes are kept, and the same command goes on from there"
        )
    );
    assert_eq!(names(folder.path()), ["tiny.tar.gz.partial"]);
    let served = archive.clone();
    let server = Server::start(move |_, range| ranged(&served, range, usize::MAX));
    fetched(&set, &server.sources(), folder.path()).unwrap();
    assert_eq!(server.ranges(), ["bytes=1500-"]);
    assert_eq!(names(folder.path()), [FOLDER]);
}

#[test]
fn a_start_that_does_not_fit_is_fetched_anew() {
    let archive = whole();
    let md5 = checksum(&archive);
    let set = set(&archive, &md5);
    let folder = tempfile::tempdir().unwrap();
    let mut start = archive[..900].to_vec();
    start[500] ^= 1;
    std::fs::write(folder.path().join("tiny.tar.gz.partial"), &start).unwrap();
    let served = archive.clone();
    let server = Server::start(move |_, range| ranged(&served, range, usize::MAX));
    fetched(&set, &server.sources(), folder.path()).unwrap();
    assert_eq!(server.ranges(), ["bytes=900-", ""]);

    // A server that knows no ranges sends all of it; one that counts otherwise is asked for all.
    for status in ["200 OK", "416 Range Not Satisfiable", "206 Partial Content"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tiny.tar.gz.partial"), &start).unwrap();
        let served = archive.clone();
        let server = Server::start(move |_, range| match (range, status) {
            ("", _) | (_, "200 OK") => ranged(&served, "", usize::MAX),
            _ => response(
                status,
                "Content-Range: bytes 3-9/10\r\nContent-Length: 0\r\n",
                b"",
            ),
        });
        fetched(&set, &server.sources(), folder.path()).unwrap();
        assert_eq!(names(folder.path()), [FOLDER], "{status}");
    }
}

#[test]
fn what_is_not_the_archive_is_refused_in_one_line_and_nothing_is_kept() {
    let archive = whole();
    let (md5, bytes) = (checksum(&archive), archive.len());
    let set = set(&archive, &md5);
    let mut tampered = archive.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let altered = format!(
        "its checksum (MD5) is {}, and the published one {md5}: it was altered or damaged",
        checksum(&tampered)
    );
    let page = b"\n <!DOCTYPE html><html>Please log in</html>".to_vec();
    let html = "is an HTML page, not the archive: perhaps a proxy's or a login's";
    let length = |body: &[u8]| format!("Content-Length: {}\r\n", body.len());
    let cases: Vec<(Vec<u8>, String)> = vec![
        (
            response("200 OK", &length(&tampered), &tampered),
            altered.clone(),
        ),
        (response("200 OK", "", &tampered), altered),
        (response("200 OK", &length(&page), &page), html.into()),
        (
            response(
                "200 OK",
                "Content-Type: text/html; charset=utf-8\r\n",
                b"login",
            ),
            html.into(),
        ),
        (
            response("200 OK", "", b"PK\x03\x04"),
            "is not the archive: no gzip file begins like this".into(),
        ),
        (
            response("200 OK", &length(&archive[1..]), &archive[..bytes - 1]),
            format!(
                "has {} bytes, and the archive {bytes}: it is cut off",
                bytes - 1
            ),
        ),
        (
            response("200 OK", "", &[&archive[..], b"more"].concat()),
            format!(
                "has {} bytes, and the archive {bytes}: it is another file",
                bytes + 4
            ),
        ),
        (
            response("404 Not Found", "Content-Length: 0\r\n", b""),
            "the server answers 404 Not Found".into(),
        ),
    ];
    for (answer, expected) in cases {
        let server = Server::start(move |_, _| answer.clone());
        let folder = with_earlier_copy();
        let problem = fetched(&set, &server.sources(), folder.path()).unwrap_err();
        assert_eq!(problem, expected);
        assert_earlier_copy_is_unharmed(folder.path());
        assert_eq!(names(folder.path()), [FOLDER], "{expected}");
    }
    // The same of files.
    let folder = with_earlier_copy();
    let file = folder.path().join("some.tar.gz");
    for (content, expected) in [
        (&tampered[..], "its checksum (MD5) is "),
        (&page, html),
        (&archive[..700], "has 700 bytes, and the archive "),
        (b"", "has 0 bytes, and the archive "),
    ] {
        std::fs::write(&file, content).unwrap();
        let source = [Source::File(file.clone())];
        let problem = fetched(&set, &source, folder.path()).unwrap_err();
        assert!(problem.starts_with(expected), "{problem}");
        assert_earlier_copy_is_unharmed(folder.path());
        assert_eq!(names(folder.path()), ["some.tar.gz", FOLDER]);
    }
}

#[test]
fn a_page_in_place_of_the_rest_does_not_cost_what_is_here() {
    let archive = whole();
    let md5 = checksum(&archive);
    let set = set(&archive, &md5);
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join("tiny.tar.gz.partial");
    std::fs::write(&partial, &archive[..1_200]).unwrap();
    let server = Server::start(|_, _| response("200 OK", "", b"<html>Please pay</html>"));
    let problem = fetched(&set, &server.sources(), folder.path()).unwrap_err();
    assert!(
        problem.starts_with("is an HTML page") && problem.contains("; 1200 of "),
        "{problem}"
    );
    assert_eq!(std::fs::read(partial).unwrap(), archive[..1_200]);
}

#[test]
fn no_archive_writes_outside_its_folder() {
    let one: Member = ("tiny-bin/one.bin", EntryType::Regular, &[1; 2_000]);
    let two: Member = ("tiny-bin/two.bin", EntryType::Regular, &[2; 1_000]);
    let evil = |path, kind, content| vec![one, two, (path, kind, content)];
    let outside = "which leads out of the folder";
    let elsewhere = "which is no file directly in tiny-bin";
    let regular = EntryType::Regular;
    let mut cases: Vec<(Vec<Member>, String)> = [
        ("../evil", outside),
        ("tiny-bin/../../evil", outside),
        ("tiny-bin/../evil", outside),
        ("/tmp/evil", outside),
        ("evil", elsewhere),
        ("other/evil", elsewhere),
        ("tiny-bin/deeper/evil", elsewhere),
    ]
    .into_iter()
    .map(|(path, reason)| (evil(path, regular, b"evil"), format!("{path:?}, {reason}")))
    .collect();
    for kind in [EntryType::Symlink, EntryType::Link] {
        let reason = "\"tiny-bin/evil\", which is a link";
        cases.push((evil("tiny-bin/evil", kind, b"../../evil"), reason.into()));
    }
    for kind in [EntryType::Fifo, EntryType::Char, EntryType::Block] {
        let reason = "\"tiny-bin/evil\", which is neither a file nor a folder";
        cases.push((evil("tiny-bin/evil", kind, b""), reason.into()));
    }
    cases.push((
        evil("tiny-bin/one.bin", regular, b"evil"),
        "one.bin cannot be written".into(),
    ));
    cases.push((
        vec![one],
        "the archive is not the whole data set: two.bin is missing".into(),
    ));
    let much = noise(2 << 20, 3);
    cases.push((
        evil("tiny-bin/evil", regular, &much),
        "the archive holds more than the data set".into(),
    ));
    for (members, expected) in cases {
        let above = with_earlier_copy();
        let into = above.path();
        let archive = archive(&members);
        let md5 = checksum(&archive);
        let file = into.join("tiny.tar.gz");
        std::fs::write(&file, &archive).unwrap();
        let problem = fetched(&set(&archive, &md5), &[Source::File(file)], into).unwrap_err();
        assert!(problem.contains(&expected), "{problem}");
        assert_earlier_copy_is_unharmed(into);
        assert_eq!(names(into), [FOLDER, "tiny.tar.gz"], "{problem}");
        assert!(!into.parent().unwrap().join("evil").exists());
    }
}

#[test]
fn sources_are_asked_in_their_order_and_a_folder_that_is_not_whole_is_set_aside() {
    let archive = whole();
    let md5 = checksum(&archive);
    let set = set(&archive, &md5);
    let folder = with_earlier_copy();
    let into = folder.path();
    let elsewhere = tempfile::tempdir().unwrap();
    let [bad, good] = ["bad.tar.gz", "good.tar.gz"].map(|name| elsewhere.path().join(name));
    std::fs::write(&bad, b"<html>").unwrap();
    std::fs::write(&good, &archive).unwrap();
    let server = Server::start(|_, _| response("503 Service Unavailable", "", b""));
    let sources = [
        Source::File(bad),
        Source::parse(&server.url).unwrap(),
        Source::File(good),
    ];
    let mut failed = Vec::new();
    let fetched = fetch(&set, &sources, into, &mut |step| {
        if let Step::Failed(problem) = step {
            failed.push(problem.to_owned());
        }
    })
    .unwrap();
    assert!(
        failed[0].ends_with("perhaps a proxy's or a login's"),
        "{failed:?}"
    );
    assert!(
        failed[1].ends_with("the server answers 503 Service Unavailable"),
        "{failed:?}"
    );
    assert_eq!(failed.len(), 2);
    assert_eq!(fetched.set_aside, Some(into.join("tiny-bin.1")));
    assert_eq!(names(into), [FOLDER, "tiny-bin.1"]);
    assert_eq!(names(&into.join("tiny-bin.1")), ["one.bin"]);
}

#[test]
fn one_process_fetches_at_a_time() {
    let archive = whole();
    let md5 = checksum(&archive);
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join("tiny.tar.gz.partial");
    let other = File::create(&partial).unwrap();
    other.lock().unwrap();
    let source = [Source::File(folder.path().join("none"))];
    let problem = fetched(&set(&archive, &md5), &source, folder.path()).unwrap_err();
    assert!(
        problem.ends_with("another process is fetching this data set"),
        "{problem}"
    );
    assert!(partial.exists());
}

#[test]
fn a_source_is_an_address_of_the_web_or_a_file() {
    let url = Source::Url("HTTPS://a/b".into());
    assert_eq!(Source::parse("HTTPS://a/b"), Ok(url));
    assert_eq!(
        Source::parse("a/b.tar.gz"),
        Ok(Source::File("a/b.tar.gz".into()))
    );
    assert_eq!(
        Source::parse("ftp://a/b").unwrap_err(),
        "ftp://a/b: ftp is not among http and https; name such an address, or a file"
    );
    let server = Source::parse("http://127.0.0.1:1/x").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let problem = fetched(&PUBLISHED[0], &[server], folder.path()).unwrap_err();
    assert!(problem.starts_with("the connection failed: "), "{problem}");
    assert!(names(folder.path()).is_empty());
}
