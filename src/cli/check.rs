//! `netwright check`: what a config file means on this machine. What it prints is itself a config
//! file: facts that are no settings stand in comments.

use super::devices::describe;
use super::{Failure, assembly, enqueue, print, warm_start};
use crate::journal::Enqueued;
use crate::machine::{Device, LaneSpec, list_devices};
use crate::report::{grouped, summary};
use crate::settings::Settings;
use crate::space::{SizeLimits, Space, Survey, survey};
use crate::strategy::{Resolved, confirmed_networks};
use serde_json::json;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: super::ConfigArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: CheckArgs) -> Result<(), Failure> {
    let settings = args.config.load()?;
    let lanes = assembly::lanes(&settings)?;
    assembly::check_cost(&settings, &lanes)?;
    let used = list_devices()
        .into_iter()
        .filter(|device| lanes.iter().any(|lane| lane.device == device.device))
        .collect();
    // Without a look at the data, which may be large or not there yet.
    let candidates = assembly::workload_settings(&settings).expected_candidates();
    let run_dir = settings.run_dir(None);
    let mut copies = warm_start::copies(&run_dir)?;
    let enqueued = enqueue::entries(&args.config, &settings, &candidates, &mut copies)?;
    warm_start::parameters(&settings, &mut copies)?;
    warm_start::known_trials(&settings, &candidates, &mut copies)?;
    let facts = Facts {
        settings,
        space: candidates.space,
        enqueued,
        lanes,
        used,
    };
    let text = if args.json {
        facts
            .json()
            .map_err(|error| Failure::Failed(error.to_string()))?
            + "\n"
    } else {
        facts.text()
    };
    print(&text)
}

struct Facts {
    settings: Settings,
    space: Arc<dyn Space>,
    enqueued: Vec<Enqueued>,
    lanes: Vec<LaneSpec>,
    used: Vec<Device>,
}

impl Facts {
    /// Children that train at the same time: one on each lane, if the controllers ask for so many.
    fn at_once(&self) -> usize {
        self.lanes.len().min(self.wanted())
    }

    fn wanted(&self) -> usize {
        self.settings
            .controller
            .replicas
            .saturating_mul(self.settings.controller.children)
    }

    /// Trials that are sampled.
    fn sampled(&self) -> u64 {
        let run = &self.settings.run;
        run.trials.saturating_sub(run.confirm)
    }

    /// Which networks the last trials confirm.
    fn confirmations(&self) -> String {
        let confirm = self.settings.run.confirm;
        let networks = match confirmed_networks(confirm) {
            1 => "network".to_owned(),
            many => format!("{many} networks"),
        };
        match confirm {
            0 => String::new(),
            _ => format!(
                "# {} trials are sampled, and the last {confirm} evaluate the best {networks} again (run.confirm)\n",
                self.sampled()
            ),
        }
    }

    /// Depth of the first and the last architectures.
    fn depths(&self) -> (usize, usize) {
        (
            self.space.layers(0),
            self.space.layers(self.sampled().saturating_sub(1)),
        )
    }

    /// Sizes of the networks of the first and the last depth.
    fn surveys(&self) -> Vec<(usize, Survey)> {
        let (first, last) = self.depths();
        let depths = if first == last {
            vec![first]
        } else {
            vec![first, last]
        };
        depths
            .into_iter()
            .filter_map(|layers| Some((layers, survey(self.space.as_ref(), layers)?)))
            .collect()
    }

    /// How many networks the limits leave out.
    fn beyond(&self, survey: &Survey) -> String {
        let limits = SizeLimits::new(&self.settings.space);
        if !limits.is_some() {
            return String::new();
        }
        let drawn = survey.drawn.iter();
        let count = drawn
            .filter(|size| limits.leave_out(Some(size.0), Some(size.1)))
            .count();
        let (parameters, flops) = survey.smallest;
        if limits.leave_out(Some(parameters), Some(flops)) {
            return format!(
                "# warning: no network fits space.max_parameters and max_flops: the smallest found has {} parameters and takes {} \
                 floating-point operations; every trial will fail, untrained\n",
                grouped(parameters),
                grouped(flops)
            );
        }
        if count == survey.drawn.len() {
            return format!(
                "# warning: none of {count} random networks fits space.max_parameters and max_flops; a trial whose network is too large \
                 100 times fails, untrained\n"
            );
        }
        let percent = 100 * count / survey.drawn.len().max(1);
        format!(
            "#   {percent}% of random networks are larger than space.max_parameters or max_flops allow: those are drawn again, and not trained\n"
        )
    }

    fn text(&self) -> String {
        let size = |layers| architectures(self.space.log10_size(layers));
        let size = match self.depths() {
            (0, _) => format!("{} architectures", size(0)),
            (first, last) if first == last => {
                format!("{} architectures ({first} layers)", size(first))
            }
            (first, last) => format!(
                "{} architectures ({first} layers) to {} ({last} layers)",
                size(first),
                size(last)
            ),
        };
        let mut text = format!(
            "{}\n# search space: {size}\n",
            self.settings.to_toml().trim_end()
        );
        for (layers, survey) in self.surveys() {
            text += &sizes(layers, &survey);
            text += &self.beyond(&survey);
        }
        text += &self.strategy();
        text += &self.confirmations();
        for Enqueued { name, trial } in &self.enqueued {
            let size = trial.parameters.map_or_else(String::new, |count| {
                format!(" ({} parameters)", grouped(count))
            });
            text += &format!(
                "# evaluated before sampling starts: {name}: {}{size}\n",
                summary(&trial.architecture)
            );
        }
        for device in &self.used {
            text += &format!("# device {}: {}\n", device.device, describe(device));
        }
        let idle = self.lanes.len() - self.at_once();
        let note = match idle {
            0 => String::new(),
            _ => {
                format!("; {idle} more would fit: raise controller.children or controller.replicas")
            }
        };
        text += &format!(
            "# children at once: {} (lanes: {}){note}\n",
            self.at_once(),
            lane_names(&self.lanes)
        );
        text + &format!(
            "# run directory: {}\n",
            self.settings.run_dir(None).display()
        )
    }

    /// What `auto` stands for and why, and whether anything can be learned.
    fn strategy(&self) -> String {
        let controller = &self.settings.controller;
        let explained = controller.strategy.explained(self.space.as_ref());
        let mut text = explained.map_or_else(String::new, |Resolved { strategy, reason }| {
            format!(
                "# controller.strategy = \"auto\" is {}: {reason}\n",
                strategy.as_str()
            )
        });
        let accumulate = self.settings.parameter_server.accumulate;
        let strategy = controller.strategy.resolve(self.space.as_ref());
        let learning = controller.learning(strategy, accumulate);
        let trials = self.sampled();
        if let Some(updates) = learning.too_little_to_learn(trials, controller.children) {
            text += &format!(
                "# warning: {} will learn next to nothing: {trials} trials are {updates} updates of controller.learning_rate = {}; run more \
                 trials, ask for fewer controller.children, raise the rate, or leave controller.strategy to \"auto\"\n",
                strategy.as_str(),
                learning.learning_rate
            );
        }
        text
    }

    fn json(&self) -> serde_json::Result<String> {
        let (first, last) = self.depths();
        let depth =
            |layers| json!({ "layers": layers, "log10_size": self.space.log10_size(layers) });
        serde_json::to_string_pretty(&json!({
            "settings": self.settings.applicable(),
            "strategy": self.settings.controller.strategy.resolve(self.space.as_ref()),
            "space": { "first": depth(first), "last": depth(last) },
            "sizes": self.surveys().iter().map(|(layers, survey)| json!({
                "layers": layers,
                "parameters": { "smallest": survey.smallest.0, "median": survey.median.0, "largest": survey.largest.0 },
                "flops": { "smallest": survey.smallest.1, "median": survey.median.1, "largest": survey.largest.1 },
            })).collect::<Vec<_>>(),
            "enqueued": self.enqueued.iter().map(|Enqueued { name, trial }| json!({
                "name": name,
                "architecture": trial.architecture,
                "parameters": trial.parameters,
                "flops": trial.flops,
            })).collect::<Vec<_>>(),
            "devices": self.used,
            "lanes": self.lanes,
            "children_at_once": self.at_once(),
            "run_dir": self.settings.run_dir(None),
        }))
    }
}

/// Sizes of the networks of one depth, in a line.
fn sizes(layers: usize, survey: &Survey) -> String {
    let millions = |flops: u64| format!("{:.1}", flops as f64 / 1e6);
    format!(
        "# networks of {layers} layers: {} to {} parameters, half of random ones above {}; {} to {} MFLOPs, half above {}\n",
        grouped(survey.smallest.0),
        grouped(survey.largest.0),
        grouped(survey.median.0),
        millions(survey.smallest.1),
        millions(survey.largest.1),
        millions(survey.median.1)
    )
}

/// The first few names, and how many there are.
fn lane_names(lanes: &[LaneSpec]) -> String {
    const SHOWN: usize = 8;
    let names: Vec<_> = lanes
        .iter()
        .take(SHOWN)
        .map(|lane| lane.name.as_str())
        .collect();
    let rest = if lanes.len() > SHOWN {
        format!(", … {} in all", lanes.len())
    } else {
        String::new()
    };
    names.join(", ") + &rest
}

/// A number of architectures from its log10: `1296`, `2.3e17`.
fn architectures(log10: f64) -> String {
    if log10 < 6.0 {
        return format!("{:.0}", 10_f64.powf(log10));
    }
    // One decimal of the mantissa; 9.96 would round to 10.0.
    let tenths = (10_f64.powf(log10.fract()) * 10.0).round();
    let (mantissa, exponent) = if tenths >= 100.0 {
        (1.0, log10.trunc() + 1.0)
    } else {
        (tenths / 10.0, log10.trunc())
    };
    format!("{mantissa:.1}e{exponent:.0}")
}

#[cfg(test)]
mod tests {
    use super::architectures;

    #[test]
    fn sizes_read_well() {
        assert_eq!(architectures(1296_f64.log10()), "1296");
        assert_eq!(architectures(2.3e17_f64.log10()), "2.3e17");
        assert_eq!(architectures(9.97e9_f64.log10()), "1.0e10");
        assert_eq!(architectures(400.5), "3.2e400");
        assert_eq!(architectures(0.0), "1");
    }
}
