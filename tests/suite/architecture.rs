//! Keeps the invariants of ARCHITECTURE.md by reading the source: what each room imports, who
//! starts threads, who knows SQL, how each file opens and how long it is. Reads tokens, so that no
//! way of writing a path and no comment deceives it.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use std::path::{Path, PathBuf};

/// The rooms that a room may import.
#[derive(Clone, Copy)]
enum Allowed {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

/// Every room and what it may import; a new room is entered here and in ARCHITECTURE.md.
const ROOMS: &[(&str, Allowed)] = &[
    ("random", Allowed::Only(&[])),
    ("machine", Allowed::Only(&[])),
    ("space", Allowed::Only(&["random"])),
    ("kernels", Allowed::Only(&["random"])),
    ("policy", Allowed::Only(&["space", "kernels", "random"])),
    ("data", Allowed::Only(&["space", "kernels", "random"])),
    (
        "child",
        Allowed::Only(&["space", "data", "kernels", "random"]),
    ),
    (
        "export",
        Allowed::Only(&["child", "data", "space", "kernels", "random", "machine"]),
    ),
    ("strategy", Allowed::Only(&["policy", "space", "random"])),
    (
        "workload",
        Allowed::Only(&["child", "data", "space", "kernels", "random", "machine"]),
    ),
    (
        "journal",
        Allowed::AllBut(&["actors", "telemetry", "settings", "report", "cli"]),
    ),
    ("telemetry", Allowed::AllBut(&["actors", "cli"])),
    ("report", Allowed::AllBut(&["actors", "cli"])),
    ("actors", Allowed::AllBut(&["cli"])),
    ("settings", Allowed::AllBut(&["cli"])),
    ("cli", Allowed::AllBut(&[])),
];

/// Names that start a thread or a pool of threads, or use one, and the rooms that may use them.
const THREADS: &[(&str, &[&str])] = &[
    ("thread::spawn", &["actors", "journal"]),
    ("thread::Builder", &["actors", "journal"]),
    ("thread::scope", &["actors"]),
    ("spawn_blocking", &["actors"]),
    ("SyncArbiter", &["actors"]),
    ("ThreadPoolBuilder", &["machine", "kernels"]),
    // A parallel loop runs on the pool that it is handed; only `machine` builds a lane's pool.
    (
        "rayon",
        &["machine", "kernels", "data", "child", "workload"],
    ),
    ("HttpServer", &["telemetry"]),
];

/// Beginnings of SQL statements.
const SQL: &[&str] = &[
    "SELECT ",
    "INSERT INTO",
    "INSERT OR",
    "UPDATE ",
    "DELETE FROM",
    "CREATE TABLE",
    "CREATE INDEX",
    "PRAGMA ",
    "BEGIN IMMEDIATE",
];

const MAX_FILE_LINES: usize = 750;

/// Lines between the braces of a function; tests, whose tables of cases are long, are left out.
const MAX_FUNCTION_LINES: usize = 80;

/// What was found in one file, each with its line.
#[derive(Default)]
struct Findings {
    imports: Vec<(usize, String)>,
    sql: Vec<(usize, String)>,
    /// Outside `#[cfg(test)]`, as the following.
    threads: Vec<(usize, &'static str)>,
    /// Name and length of every function.
    functions: Vec<(usize, String, usize)>,
}

/// The module that is being read.
#[derive(Clone, Copy)]
struct Scope {
    /// Modules between the crate's root and here.
    depth: usize,
    is_test: bool,
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

fn is(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

/// True if `::` stands at this position.
fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |token: Option<&TokenTree>, joint: bool| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':' && (!joint || punct.spacing() == Spacing::Joint));
    colon(tokens.get(at), true) && colon(tokens.get(at + 1), false)
}

impl Findings {
    fn of(text: &str, depth: usize, is_test: bool) -> Self {
        let mut findings = Self::default();
        let tokens: TokenStream = text
            .parse()
            .expect("the source compiles, so it is a stream of tokens");
        findings.read(tokens, Scope { depth, is_test });
        findings
    }

    fn read(&mut self, tokens: TokenStream, scope: Scope) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut next_is_test = false;
        for (at, token) in tokens.iter().enumerate() {
            let path_goes_on = at >= 2 && is_path_separator(&tokens, at - 2);
            match token {
                TokenTree::Group(group) => {
                    let text = group.to_string();
                    let attribute = at > 0
                        && matches!(&tokens[at - 1], TokenTree::Punct(punct) if "#!".contains(punct.as_char()));
                    if attribute && group.delimiter() == Delimiter::Bracket {
                        next_is_test |= text.replace(' ', "").contains("cfg(test)");
                        if text.trim_start_matches(['[', ' ']).starts_with("doc") {
                            continue;
                        }
                    }
                    let module = group.delimiter() == Delimiter::Brace
                        && at >= 2
                        && is(tokens.get(at - 2), "mod");
                    let inner = Scope {
                        depth: scope.depth + usize::from(module),
                        is_test: scope.is_test || next_is_test,
                    };
                    self.read(group.stream(), inner);
                    next_is_test &= group.delimiter() != Delimiter::Brace;
                }
                TokenTree::Ident(ident) if ident == "crate" || ident == "netwright" => {
                    if is_path_separator(&tokens, at + 1) {
                        self.path(&tokens[at + 3..], 0);
                    } else if is(tokens.get(at + 1), "as") {
                        self.imports.push((line(token), "*".into()));
                    }
                }
                TokenTree::Ident(ident) if !path_goes_on && ident == "super" => {
                    self.path(&tokens[at..], scope.depth);
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => next_is_test = false,
                TokenTree::Literal(literal) => self.literal(&literal.to_string(), line(token)),
                _ => {}
            }
            if !scope.is_test && !next_is_test {
                self.thread(&tokens, at);
                self.function(&tokens, at);
            }
            if is(Some(token), "rusqlite") {
                self.sql.push((line(token), "rusqlite".into()));
            }
        }
    }

    /// The rest of a path that stands `depth` modules below the crate's root.
    fn path(&mut self, rest: &[TokenTree], depth: usize) {
        let Some(first) = rest.first() else { return };
        match first {
            TokenTree::Ident(ident) if ident == "super" => {
                let above = depth.saturating_sub(1);
                if is_path_separator(rest, 1) {
                    self.path(&rest[3..], above);
                } else if above == 0 {
                    self.imports.push((line(first), "*".into()));
                }
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
                inner
                    .split(comma)
                    .for_each(|element| self.path(element, depth));
            }
            TokenTree::Ident(ident) if depth == 0 => {
                let name = ident.to_string();
                self.imports
                    .push((line(first), if name == "self" { "*".into() } else { name }));
            }
            TokenTree::Punct(punct) if depth == 0 && punct.as_char() == '*' => {
                self.imports.push((line(first), "*".into()));
            }
            _ => {}
        }
    }

    /// A function that begins here and has a body.
    fn function(&mut self, tokens: &[TokenTree], at: usize) {
        let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else {
            return;
        };
        if !is(tokens.get(at), "fn") {
            return;
        }
        let end = |token: &&TokenTree| match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            TokenTree::Punct(punct) => punct.as_char() == ';',
            _ => false,
        };
        if let Some(TokenTree::Group(body)) = tokens[at..].iter().find(end) {
            let open = body.span_open().start().line;
            let close = body.span_close().end().line;
            let lines = (close - open).saturating_sub(1);
            self.functions
                .push((line(&tokens[at]), name.to_string(), lines));
        }
    }

    /// A thread, or a pool of them, that is named here.
    fn thread(&mut self, tokens: &[TokenTree], at: usize) {
        for (name, _) in THREADS {
            let found = match name.split_once("::") {
                None => is(tokens.get(at), name),
                Some((module, function)) => {
                    let named = |token: &TokenTree| match token {
                        TokenTree::Group(group) => group
                            .stream()
                            .into_iter()
                            .any(|inner| is(Some(&inner), function)),
                        _ => is(Some(token), function),
                    };
                    is(tokens.get(at), module)
                        && is_path_separator(tokens, at + 1)
                        && tokens.get(at + 3).is_some_and(named)
                }
            };
            if found {
                self.threads.push((line(&tokens[at]), name));
            }
        }
    }

    fn literal(&mut self, literal: &str, line: usize) {
        if let Some(word) = SQL.iter().find(|word| literal.contains(**word)) {
            self.sql.push((line, word.trim().to_owned()));
        }
    }
}

/// The room of a file, from its path under src/; None: main.rs and lib.rs.
fn room(file: &Path) -> Option<String> {
    let first = file.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "main" && name != "lib").then(|| name.to_owned())
}

/// Modules between the crate's root and the inside of this file.
fn depth(file: &Path) -> usize {
    let parts = file.components().count();
    parts - usize::from(file.file_name().is_some_and(|name| name == "mod.rs"))
}

/// What in this file breaks an invariant. `file` is relative to src/.
fn violations(file: &str, text: &str) -> Vec<String> {
    let path = Path::new(file);
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!(
            "src/{file}:1: opens with `//!`: what the file is for and what it must not know"
        ));
    }
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES {
        found.push(format!(
            "src/{file}: {lines} lines; at most {MAX_FILE_LINES}"
        ));
    }
    let Some(room) = room(path) else { return found };
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        found.push(format!(
            "src/{file}: the room {room} is not in tests/suite/architecture.rs and ARCHITECTURE.md"
        ));
        return found;
    };
    let is_test = path.file_stem().is_some_and(|stem| stem == "tests")
        || path.components().any(|part| part.as_os_str() == "tests");
    let findings = Findings::of(text, depth(path), is_test);
    for (line, name, lines) in findings.functions {
        if lines > MAX_FUNCTION_LINES {
            found.push(format!(
                "src/{file}:{line}: {name} has {lines} lines; at most {MAX_FUNCTION_LINES}"
            ));
        }
    }
    let may_import = |name: &str| match allowed {
        Allowed::Only(names) => names.contains(&name),
        Allowed::AllBut(names) => name != "*" && !names.contains(&name),
    };
    for (line, name) in findings.imports {
        // Macros of ours stand at the crate's root and belong to no room.
        let is_room = name == "*" || ROOMS.iter().any(|(other, _)| *other == name);
        if is_room && name != room && !may_import(&name) {
            found.push(format!("src/{file}:{line}: {room} must not import {name}"));
        }
    }
    for (line, name) in findings.threads {
        if THREADS
            .iter()
            .any(|(thread, rooms)| *thread == name && !rooms.contains(&room.as_str()))
        {
            found.push(format!(
                "src/{file}:{line}: {room} must not start threads ({name})"
            ));
        }
    }
    if room != "journal" {
        found.extend(
            findings
                .sql
                .iter()
                .map(|(line, word)| format!("src/{file}:{line}: only journal knows SQL ({word})")),
        );
    }
    found
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn the_invariants_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    assert!(files.len() > 30, "the source was not found");
    let found: Vec<_> = files
        .iter()
        .flat_map(|file| {
            violations(
                file.strip_prefix(&root).unwrap().to_str().unwrap(),
                &std::fs::read_to_string(file).unwrap(),
            )
        })
        .collect();
    assert!(
        found.is_empty(),
        "{} violations:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn the_house_has_exactly_these_rooms() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let mut built: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let mut known: Vec<_> = ROOMS.iter().map(|(name, _)| *name).collect();
    built.sort_unstable();
    known.sort_unstable();
    assert_eq!(built, known);
}

/// The violations of a file that opens as it should.
fn planted(file: &str, code: &str) -> Vec<String> {
    violations(file, &format!("//! A file.\n{code}"))
}

#[test]
fn planted_imports_are_found() {
    for (file, code, name) in [
        ("space/conv.rs", "use crate::child::Task;", "child"),
        (
            "space/conv.rs",
            "use crate::{random, policy::Policy};",
            "policy",
        ),
        (
            "space/conv.rs",
            "use crate::{random::{Key, Purpose}, data};",
            "data",
        ),
        ("space/mod.rs", "use super::actors;", "actors"),
        ("space/conv.rs", "use super::super::kernels;", "kernels"),
        (
            "space/conv.rs",
            "use super::{Space, super::journal::Journal};",
            "journal",
        ),
        (
            "space/conv.rs",
            "mod tests { use super::super::super::child; }",
            "child",
        ),
        (
            "space/conv.rs",
            "fn f() { let x = crate::child::f(); }",
            "child",
        ),
        (
            "space/conv.rs",
            "fn f() { assert!(vec![crate /* c */ :: child::f()].is_empty()) }",
            "child",
        ),
        (
            "space/conv.rs",
            "macro_rules! m { () => { $crate::policy::f() } }",
            "policy",
        ),
        (
            "space/conv.rs",
            "pub(in crate::space) fn f(x: crate::child::Task) {}",
            "child",
        ),
        ("space/conv.rs", "use crate::*;", "*"),
        ("space/conv.rs", "use crate as root;", "*"),
        ("space/conv.rs", "use crate::{self as root};", "*"),
        ("space/mod.rs", "use super::*;", "*"),
        ("kernels/mod.rs", "use crate::space::Space;", "space"),
        ("machine/devices.rs", "use crate::random::Key;", "random"),
        ("workload/images.rs", "use crate::actors::Parts;", "actors"),
        ("export/mod.rs", "use crate::journal::Reader;", "journal"),
        ("export/torch/mod.rs", "use crate::report;", "report"),
        ("strategy/mod.rs", "use crate::journal::Journal;", "journal"),
        ("random/mod.rs", "use crate::space::Space;", "space"),
        (
            "policy/network.rs",
            "#[cfg(test)] mod tests { use crate::child::Outcome; }",
            "child",
        ),
        (
            "child/train.rs",
            "pub use crate::policy::Policy as P;",
            "policy",
        ),
        ("data/mod.rs", "use ::netwright::child::Task;", "child"),
        ("settings/mod.rs", "use crate::cli::ConfigArgs;", "cli"),
        (
            "telemetry/mod.rs",
            "use crate::{\n    actors::Event,\n};",
            "actors",
        ),
    ] {
        let found = planted(file, code);
        let expected = format!(" must not import {name}");
        assert!(
            found.iter().any(|message| message.ends_with(&expected)),
            "{file}: {code}: {found:?}"
        );
    }
    let lines = planted("space/conv.rs", "\n\nuse crate::child;");
    assert_eq!(lines, ["src/space/conv.rs:4: space must not import child"]);
}

#[test]
fn planted_threads_and_sql_are_found() {
    for (file, code, what) in [
        (
            "data/mod.rs",
            "fn f() { std::thread::spawn(|| ()); }",
            "threads",
        ),
        (
            "child/mod.rs",
            "use std::{fmt, thread::{self, Builder}};",
            "threads",
        ),
        ("report/mod.rs", "use rayon::prelude::*;", "threads"),
        (
            "report/mod.rs",
            "fn f() { std::thread::scope(|s| ()); }",
            "threads",
        ),
        ("actors/mod.rs", "use actix_web::HttpServer;", "threads"),
        (
            "child/mod.rs",
            "#[cfg(test)] mod tests {} fn f() { std::thread::spawn(|| ()); }",
            "threads",
        ),
        ("report/mod.rs", "use rusqlite::Connection;", "SQL"),
        (
            "report/mod.rs",
            "const Q: &str = \"SELECT id FROM trials\";",
            "SQL",
        ),
        (
            "cli/top.rs",
            "const Q: &str = r#\"PRAGMA user_version\"#;",
            "SQL",
        ),
    ] {
        let found = planted(file, code);
        assert!(
            found.iter().any(|message| message.contains(what)),
            "{file}: {code}: {found:?}"
        );
    }
}

#[test]
fn what_is_allowed_stays_so() {
    for (file, code) in [
        (
            "space/conv.rs",
            "use crate::random::Key; use crate::space::Kind; use super::*; use super::{super::random, Space};",
        ),
        (
            "space/conv.rs",
            "// use crate::child;\n/* crate::policy */\n/// See crate::child and SELECT x.\nconst TEXT: &str = \"crate::child\";",
        ),
        (
            "space/conv.rs",
            "pub(crate) fn f() { child::g(); other::crate_name(); my::child::h(); }",
        ),
        (
            "child/mod.rs",
            "use crate::{data::{Dataset, Split}, space::Architecture};",
        ),
        (
            "child/mod.rs",
            "#[cfg(test)]\nmod tests { fn f() { std::thread::spawn(|| ()); } }",
        ),
        ("space/conv.rs", "mod inner { use super::super::Space; }"),
        (
            "journal/mod.rs",
            "use rusqlite::Connection; const Q: &str = \"SELECT 1\"; fn f() { std::thread::Builder::new(); }",
        ),
        ("kernels/mod.rs", "use rayon::prelude::*;"),
        ("cli/mod.rs", "use crate::{actors, settings::Settings};"),
        ("main.rs", "fn main() { netwright::cli::main() }"),
    ] {
        assert_eq!(planted(file, code), Vec::<String>::new(), "{file}: {code}");
    }
}

#[test]
fn planted_style_is_found() {
    assert_eq!(violations("space/new.rs", "use std::fmt;\n").len(), 1);
    assert_eq!(
        planted("space/new.rs", &"const A: u8 = 1;\n".repeat(MAX_FILE_LINES)).len(),
        1
    );
    let long = format!("fn f() {{\n{}}}", "g();\n".repeat(MAX_FUNCTION_LINES + 1));
    assert_eq!(planted("space/new.rs", &long).len(), 1);
    let in_test = format!("#[cfg(test)]\nmod tests {{ {long} }}");
    assert_eq!(planted("space/new.rs", &in_test), Vec::<String>::new());
    assert_eq!(planted("attic/mod.rs", "").len(), 1);
}
