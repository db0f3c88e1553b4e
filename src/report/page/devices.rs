//! The devices section. The journal says which trial trains on which device; the process that works on
//! the run adds how busy its lanes and GPUs are, if it serves the page. Pure; must not know how
//! readings are taken.

use super::super::html::escape;
use super::super::monitor::RunState;
use super::super::number::grouped;
use super::sections::link;
use crate::telemetry::{DeviceReadings, GpuReading};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Largest number of links to trials, and of lanes that are shown one by one. They are limited because
/// this section is sent again with every reading.
const MAX_LINKS: usize = 64;
const MAX_LANES: usize = 16;

/// The lanes of a device and the trials in training on it.
#[derive(Default)]
struct Device<'a> {
    lanes: Vec<&'a str>,
    trials: Vec<u64>,
}

pub(super) fn html(state: &RunState, readings: &DeviceReadings) -> String {
    let mut devices: BTreeMap<&str, Device> = BTreeMap::new();
    for (lane, device) in &state.lanes {
        devices.entry(device).or_default().lanes.push(lane);
    }
    for (trial, device) in &state.running {
        devices
            .entry(device.as_deref().unwrap_or("–"))
            .or_default()
            .trials
            .push(*trial);
    }
    for gpu in readings.gpus.keys() {
        devices.entry(gpu).or_default();
    }
    if devices.is_empty() {
        return "<p class=\"empty\">No device has trained yet.</p>".into();
    }
    let links = (MAX_LINKS / devices.len()).clamp(1, 8);
    let one_by_one = state.lanes.len() <= MAX_LANES;
    let mut html = String::from("<ul class=\"lanes\">");
    for (name, device) in &devices {
        let gpu = readings.gpus.get(*name).copied().unwrap_or_default();
        let facts = [
            lane_usage(device),
            with_unit(gpu.power_watts, "W"),
            with_unit(gpu.temperature_celsius, "°C"),
        ];
        let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        let _ = write!(
            html,
            "<li><p><b>{}</b> <span class=\"muted\">{}</span></p>",
            escape(name),
            facts.join(" · ")
        );
        html += &gpu_meters(gpu);
        html += &lane_meters(device, readings, one_by_one);
        let _ = write!(html, "<p>{}</p></li>", trial_links(device, links));
    }
    html + "</ul>"
}

/// How many lanes of the device have a child, in words.
fn lane_usage(device: &Device) -> String {
    match (device.lanes.len(), device.trials.len()) {
        (0, 0) => "not used by this search".into(),
        (0, _) => String::new(),
        (1, trials) => if trials == 0 {
            "1 lane, idle"
        } else {
            "1 lane, at work"
        }
        .into(),
        (lanes, trials) => format!("{} of {lanes} lanes at work", trials.min(lanes)),
    }
}

/// Utilization and memory of a GPU, as far as they were read.
fn gpu_meters(gpu: GpuReading) -> String {
    let mut html = gpu
        .utilization
        .map_or_else(String::new, |ratio| meter("utilization", ratio));
    if let (Some(used), Some(total)) = (
        gpu.memory_used_bytes,
        gpu.memory_total_bytes.filter(|total| *total > 0.0),
    ) {
        let gibibytes = |bytes: f64| bytes / f64::from(1 << 30);
        html += &labelled_bar(
            "memory",
            used / total,
            &format!("{:.1} of {:.1} GiB", gibibytes(used), gibibytes(total)),
        );
    }
    html
}

fn with_unit(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(String::new, |value| format!("{value:.0} {unit}"))
}

/// The busy ratio of each lane, or their mean if there are many.
fn lane_meters(device: &Device, readings: &DeviceReadings, one_by_one: bool) -> String {
    let known: Vec<(&str, f64)> = device
        .lanes
        .iter()
        .filter_map(|lane| Some((*lane, *readings.lanes.get(*lane)?)))
        .collect();
    match known.len() {
        0 => String::new(),
        lanes if lanes == 1 || one_by_one => known
            .iter()
            .map(|(lane, ratio)| meter(&format!("{} busy", escape(lane)), *ratio))
            .collect(),
        lanes => meter(
            "lanes busy",
            known.iter().map(|(_, ratio)| ratio).sum::<f64>() / lanes as f64,
        ),
    }
}

/// A labelled bar that shows its ratio in percent.
fn meter(label: &str, ratio: f64) -> String {
    labelled_bar(label, ratio, &format!("{:.0}%", 100.0 * ratio))
}

/// A labelled bar. `label` is HTML, `ratio` is in 0..=1.
fn labelled_bar(label: &str, ratio: f64, value: &str) -> String {
    format!(
        "<p class=\"share\"><span>{label}</span><progress class=\"bar\" max=\"1\" value=\"{:.2}\" aria-label=\"{label}\"></progress><span class=\"n\">{value}</span></p>",
        ratio.clamp(0.0, 1.0)
    )
}

/// Links to the first `limit` trials in training on the device.
fn trial_links(device: &Device, limit: usize) -> String {
    match device.trials.as_slice() {
        [] => String::new(),
        trials => {
            let links: Vec<String> = trials
                .iter()
                .take(limit)
                .map(|id| link(*id, "lane", &grouped(*id)))
                .collect();
            let more = if trials.len() > limit { ", …" } else { "" };
            format!(
                "trial{} {}{more}",
                if trials.len() == 1 { "" } else { "s" },
                links.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> RunState {
        let lane = |name: &str, device: &str| (name.to_owned(), device.to_owned());
        RunState {
            lanes: vec![
                lane("cpu-0", "cpu"),
                lane("cpu-1", "cpu"),
                lane("cuda0-0", "cuda:0"),
            ],
            running: vec![(12, Some("cpu".into())), (13, Some("cuda:0".into()))],
            ..RunState::default()
        }
    }

    #[test]
    fn the_journal_alone_says_who_trains_where() {
        let html = html(&state(), &DeviceReadings::default());
        assert!(
            html.contains("<b>cpu</b> <span class=\"muted\">1 of 2 lanes at work")
                && html.contains("1 lane, at work"),
            "{html}"
        );
        assert!(
            html.contains("#trial-12")
                && html.contains("#trial-13")
                && !html.contains("class=\"bar\""),
            "{html}"
        );
    }

    #[test]
    fn readings_say_how_busy_lanes_and_gpus_are_and_what_is_not_read_is_absent() {
        let full = GpuReading {
            utilization: Some(0.734),
            memory_used_bytes: Some(3.0 * 1024.0 * 1024.0 * 1024.0),
            memory_total_bytes: Some(80.0 * 1024.0 * 1024.0 * 1024.0),
            power_watts: Some(312.5),
            temperature_celsius: Some(54.0),
        };
        let readings = DeviceReadings {
            lanes: [
                ("cpu-0".to_owned(), 0.987),
                ("cpu-1".to_owned(), 0.0),
                ("cuda0-0".to_owned(), 1.0),
            ]
            .into(),
            gpus: [
                ("cuda:0".to_owned(), full),
                ("cuda:1".to_owned(), GpuReading::default()),
            ]
            .into(),
        };
        let html = html(&state(), &readings);
        for part in [
            "cpu-0 busy</span>",
            ">99%<",
            "cpu-1 busy",
            ">0%<",
            "utilization",
            ">73%<",
            "3.0 of 80.0 GiB",
            "312 W · 54 °C",
        ] {
            assert!(html.contains(part), "{part} is missing from {html}");
        }
        let second = html.split("<b>cuda:1</b>").nth(1).unwrap();
        assert!(
            second.contains("not used by this search") && !second.contains("class=\"bar\""),
            "{second}"
        );
    }

    #[test]
    fn many_lanes_are_told_as_one_and_a_large_server_fits_an_update() {
        let gpus = (0..16).map(|gpu| format!("cuda:{gpu}"));
        let lanes: Vec<_> = gpus
            .clone()
            .flat_map(|gpu| (0..8).map(move |lane| (format!("{gpu}-{lane}"), gpu.clone())))
            .collect();
        let reading = GpuReading {
            utilization: Some(0.5),
            memory_used_bytes: Some(1e10),
            memory_total_bytes: Some(8e10),
            ..GpuReading::default()
        };
        let readings = DeviceReadings {
            lanes: lanes.iter().map(|(lane, _)| (lane.clone(), 0.25)).collect(),
            gpus: gpus.map(|gpu| (gpu, reading)).collect(),
        };
        let running = (100_000..)
            .zip(&lanes)
            .map(|(trial, (_, device))| (trial, Some(device.clone())))
            .collect();
        let html = html(
            &RunState {
                running,
                lanes,
                ..RunState::default()
            },
            &readings,
        );
        assert!(
            html.contains("lanes busy")
                && html.contains(">25%<")
                && html.matches("class=\"bar\"").count() == 48,
            "{html}"
        );
        assert!(html.len() < 17_000, "{} bytes", html.len());
    }
}
