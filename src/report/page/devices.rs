//! The devices and what they do: from the journal who trains where, from the process at work, if it
//! serves this page, how busy its lanes and GPUs are. Pure; must not know how readings are taken.

use super::super::html::escape;
use super::super::number::grouped;
use super::super::watch::State;
use super::sections::link;
use crate::telemetry::{DeviceReadings, GpuReading};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Trials that all devices together name, and lanes that are shown one by one: this part is sent
/// again with every reading.
const LINKS: usize = 64;
const LANES: usize = 16;

#[derive(Default)]
struct Device<'a> {
    lanes: Vec<&'a str>,
    trials: Vec<u64>,
}

pub(super) fn html(state: &State, readings: &DeviceReadings) -> String {
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
    let links = (LINKS / devices.len()).clamp(1, 8);
    let one_by_one = state.lanes.len() <= LANES;
    let mut html = String::from("<ul class=\"lanes\">");
    for (name, device) in &devices {
        let gpu = readings.gpus.get(*name).copied().unwrap_or_default();
        let facts = [
            at_work(device),
            of_unit(gpu.power_watts, "W"),
            of_unit(gpu.temperature_celsius, "°C"),
        ];
        let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        let _ = write!(
            html,
            "<li><p><b>{}</b> <span class=\"muted\">{}</span></p>",
            escape(name),
            facts.join(" · ")
        );
        html += &of_gpu(gpu);
        html += &busy(device, readings, one_by_one);
        let _ = write!(html, "<p>{}</p></li>", trains(device, links));
    }
    html + "</ul>"
}

/// How many of its lanes have a child.
fn at_work(device: &Device) -> String {
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

fn of_gpu(gpu: GpuReading) -> String {
    let mut html = gpu
        .utilization
        .map_or_else(String::new, |ratio| meter("utilization", ratio));
    if let (Some(used), Some(total)) = (
        gpu.memory_used_bytes,
        gpu.memory_total_bytes.filter(|total| *total > 0.0),
    ) {
        let gibibytes = |bytes: f64| bytes / f64::from(1 << 30);
        html += &line(
            "memory",
            used / total,
            &format!("{:.1} of {:.1} GiB", gibibytes(used), gibibytes(total)),
        );
    }
    html
}

fn of_unit(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(String::new, |value| format!("{value:.0} {unit}"))
}

/// The busy ratio of each lane, or their mean.
fn busy(device: &Device, readings: &DeviceReadings, one_by_one: bool) -> String {
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

fn meter(label: &str, ratio: f64) -> String {
    line(label, ratio, &format!("{:.0}%", 100.0 * ratio))
}

/// `label` is markup, `ratio` is 0..=1.
fn line(label: &str, ratio: f64, value: &str) -> String {
    format!(
        "<p class=\"share\"><span>{label}</span><progress class=\"bar\" max=\"1\" value=\"{:.2}\" aria-label=\"{label}\"></progress><span class=\"n\">{value}</span></p>",
        ratio.clamp(0.0, 1.0)
    )
}

fn trains(device: &Device, most: usize) -> String {
    match device.trials.as_slice() {
        [] => String::new(),
        trials => {
            let links: Vec<String> = trials
                .iter()
                .take(most)
                .map(|id| link(*id, "lane", &grouped(*id)))
                .collect();
            let more = if trials.len() > most { ", …" } else { "" };
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

    fn state() -> State {
        let lane = |name: &str, device: &str| (name.to_owned(), device.to_owned());
        State {
            lanes: vec![
                lane("cpu-0", "cpu"),
                lane("cpu-1", "cpu"),
                lane("cuda0-0", "cuda:0"),
            ],
            running: vec![(12, Some("cpu".into())), (13, Some("cuda:0".into()))],
            ..State::default()
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
            &State {
                running,
                lanes,
                ..State::default()
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
