//! `netwright compare`: searches with several strategies at the same budget, each repeat with a seed
//! of its own, and says what they found. Each search is a process and a run of its own, one after
//! the other on the same lanes; interrupted, the same command goes on.

use super::{ConfigArgs, Failure, print, print_json, reading};
use crate::journal::{FinalState, Reader};
use crate::report::{Comparison, StrategyRuns};
use crate::settings::Settings;
use crate::strategy::StrategyChoice;
use comfy_table::{Table, presets};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often it is asked whether a search has ended.
const POLL: Duration = Duration::from_millis(20);

#[derive(clap::Args)]
pub struct CompareArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Strategies, such as guided,evolution,random
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    pub strategies: Vec<String>,
    /// Searches with each strategy; each has a seed of its own, from run.seed on
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub repeats: u64,
    /// Where the runs and the files are written; unset: the run directory of the config with
    /// -strategies behind it
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: CompareArgs) -> Result<(), Failure> {
    let strategies = named(&args.strategies)?;
    let words: Vec<&str> = strategies.iter().map(|one| one.as_str()).collect();
    let settings = args.config.load_for_strategies(&words)?;
    let folder = args.run_dir.clone().unwrap_or_else(|| {
        let mut folder = settings.run_dir(None).into_os_string();
        folder.push("-strategies");
        folder.into()
    });
    let searches = Searches {
        settings,
        folder,
        repeats: args.repeats,
    };
    for repeat in 1..=args.repeats {
        for strategy in &strategies {
            searches.run(*strategy, repeat)?;
        }
    }
    let comparison = searches.comparison(&strategies)?;
    let files = searches.write(&comparison)?;
    if args.json {
        return print_json(&serde_json::json!({
            "strategies": comparison.found(),
            "differences": comparison.differences(),
            "control": comparison.control(),
            "files": files,
        }));
    }
    print(&text(&comparison, &files))
}

/// The strategies of these names.
fn named(names: &[String]) -> Result<Vec<StrategyChoice>, Failure> {
    let mut strategies = Vec::new();
    for name in names {
        let word = serde_json::Value::from(name.as_str());
        let strategy: StrategyChoice = serde_json::from_value(word).map_err(|_| {
            Failure::Input(format!(
                "--strategies {name}: there is no such strategy; there are {}",
                StrategyChoice::words().join(", ")
            ))
        })?;
        if strategies.contains(&strategy) {
            return Err(Failure::Input(format!(
                "--strategies names {name} twice: once is enough"
            )));
        }
        strategies.push(strategy);
    }
    Ok(strategies)
}

struct Searches {
    settings: Settings,
    folder: PathBuf,
    repeats: u64,
}

impl Searches {
    fn name(strategy: StrategyChoice, repeat: u64) -> String {
        format!("{}-{repeat}", strategy.as_str())
    }

    fn run_dir(&self, strategy: StrategyChoice, repeat: u64) -> PathBuf {
        self.folder.join(Self::name(strategy, repeat))
    }

    /// The settings of one search. Keys of other strategies do not apply, so they are not in it.
    fn config(&self, strategy: StrategyChoice, repeat: u64) -> String {
        let mut settings = self.settings.clone();
        settings.controller.strategy = strategy;
        settings.run.seed = (settings.run.seed + repeat - 1) & (u64::MAX >> 1);
        settings.run.name = Self::name(strategy, repeat);
        settings.run.dir = None;
        settings.telemetry.listen = Some("off".into());
        settings.to_toml()
    }

    /// Runs one search to its end, or continues it.
    fn run(&self, strategy: StrategyChoice, repeat: u64) -> Result<(), Failure> {
        let name = Self::name(strategy, repeat);
        let configs = self.folder.join("configs");
        let config = configs.join(format!("{name}.toml"));
        std::fs::create_dir_all(&configs).map_err(writing(&configs))?;
        std::fs::write(&config, self.config(strategy, repeat)).map_err(writing(&config))?;
        note!("{name} of {}", self.repeats);
        let program = std::env::current_exe()
            .map_err(|error| Failure::Failed(format!("this program cannot be found: {error}")))?;
        let mut command = Command::new(program);
        command
            .arg("search")
            .arg(&config)
            .arg("--run-dir")
            .arg(self.run_dir(strategy, repeat))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Ctrl-C is passed on, so that the search hears it once.
            .process_group(0);
        // The file holds what they said.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("NETWRIGHT__") {
                command.env_remove(variable);
            }
        }
        let status = until_it_ends(&mut command)
            .map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
        match status {
            Ended::Signal(number) => Err(Failure::Signal(number)),
            Ended::Status(status) if status.success() => Ok(()),
            Ended::Status(status) => Err(Failure::Failed(format!(
                "{name}: its search ended with {status}; the reason stands above"
            ))),
        }
    }

    fn comparison(&self, strategies: &[StrategyChoice]) -> Result<Comparison, Failure> {
        let mut all = Vec::new();
        for strategy in strategies {
            let mut rewards = Vec::new();
            for repeat in 1..=self.repeats {
                rewards.push(outcomes(&self.run_dir(*strategy, repeat))?);
            }
            all.push(StrategyRuns {
                name: strategy.as_str().to_owned(),
                rewards,
            });
        }
        Ok(Comparison { strategies: all })
    }

    /// Writes the curves; returns the files.
    fn write(&self, comparison: &Comparison) -> Result<Vec<PathBuf>, Failure> {
        let title = format!(
            "{}: best reward so far, mean of {} searches",
            self.settings.run.name, self.repeats
        );
        let files = [
            ("curves.csv", comparison.curves_csv()),
            ("curves.svg", comparison.curves_svg(&title)),
        ];
        let mut written = Vec::new();
        for (name, text) in files {
            let path = self.folder.join(name);
            std::fs::write(&path, text).map_err(writing(&path))?;
            written.push(path);
        }
        Ok(written)
    }
}

fn writing(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::Input(format!("{}: {error}", path.display()))
}

/// The rewards of a run's sampled trials, by id; None: pruned or failed.
fn outcomes(run: &Path) -> Result<Vec<Option<f64>>, Failure> {
    let reader = Reader::open(run).map_err(reading)?;
    let others = reader.not_sampled().map_err(reading)?;
    let mut outcomes = std::collections::BTreeMap::new();
    reader
        .outcomes(|id, outcome| {
            outcomes.entry(id).or_insert(match outcome {
                FinalState::Completed(reward) => Some(reward),
                FinalState::Pruned | FinalState::Failed => None,
            });
        })
        .map_err(reading)?;
    for id in others {
        outcomes.remove(&id);
    }
    Ok(outcomes.into_values().collect())
}

enum Ended {
    Status(ExitStatus),
    /// We were asked to end; the search has saved.
    Signal(u8),
}

/// Starts a command and waits for its end; a signal to us is passed on to it.
fn until_it_ends(command: &mut Command) -> std::io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let mut process = command.spawn()?;
        let mut asked = None;
        loop {
            let number = tokio::select! {
                _ = interrupts.recv() => Some(2),
                _ = terminations.recv() => Some(15),
                () = tokio::time::sleep(POLL) => None,
            };
            if let (Some(number), Some(pid)) = (number, Pid::from_raw(process.id() as i32)) {
                asked = Some(number);
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::TERM);
            }
            if let Some(status) = process.try_wait()? {
                return Ok(asked.map_or(Ended::Status(status), Ended::Signal));
            }
        }
    })
}

fn text(comparison: &Comparison, files: &[PathBuf]) -> String {
    let mut found = Table::new();
    found.load_style(presets::NOTHING);
    found.set_header(["strategy", "best reward", "deviation", "searches"]);
    for row in comparison.found() {
        found.add_row([
            row.strategy,
            format!("{:.5}", row.mean),
            format!("{:.5}", row.deviation),
            row.best.len().to_string(),
        ]);
    }
    let mut differences = Table::new();
    differences.load_style(presets::NOTHING);
    differences.set_header(["difference", "mean", "95% interval"]);
    for row in comparison.differences() {
        differences.add_row([
            format!("{} − {}", row.strategy, row.minus),
            format!("{:+.5}", row.interval.mean),
            format!("{:+.5} to {:+.5}", row.interval.low, row.interval.high),
        ]);
    }
    let mut control = Table::new();
    control.load_style(presets::NOTHING);
    control.set_header([
        "strategy",
        "children",
        "best",
        "mean of top 5",
        "mean of top 15",
    ]);
    for row in comparison.control() {
        control.add_row([
            row.strategy,
            row.children.to_string(),
            format!("{:.5}", row.best),
            format!("{:.5}", row.mean_of_top_5),
            format!("{:.5}", row.mean_of_top_15),
        ]);
    }
    let files: String = files
        .iter()
        .map(|path| format!("{}\n", path.display()))
        .collect();
    format!("{found}\n\n{differences}\n\n{control}\n\n{files}")
}
